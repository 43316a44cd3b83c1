//! systemd's units, as the VPN and the proxy use them: a fake systemd on a bus of its own.

use std::cell::RefCell;
use std::fs;
use std::path::Path;

use boardkeeper::linux::host::LiveHost;
use boardkeeper::linux::net::NetAdapter;
use boardkeeper::port::{Host as _, HostError, JournalChange, Net as _, UnitChange};
use boardkeeper::state::VpnState;
use boardkeeper::state::host::{HostPatch, Proxy, ProxyField, ProxyPatch};
use futures_util::StreamExt;
use zbus::message::Type;
use zbus::{Connection, Message, MessageStream, ObjectPath, Variant};

use crate::bus::{self, Daemon};

/// A unit: its name, whether it runs, what it is part of.
pub(crate) type Unit = (&'static str, &'static str, &'static [&'static str]);

/// systemd, and the calls it got.
pub(crate) struct Systemd {
    _daemon: Daemon,
    bus: Connection,
    units: &'static [Unit],
    pub(crate) told: RefCell<Vec<String>>,
}

impl Systemd {
    pub(crate) async fn new(root: &Path, units: &'static [Unit]) -> Self {
        let (daemon, address) = (Daemon::start(root), bus::address(root));
        let bus = zbus::connection::Builder::address(address.as_str()).build().await.unwrap();
        let (name, dbus) = (("org.freedesktop.systemd1", 4_u32), "org.freedesktop.DBus");
        bus.call_method(Some(dbus), "/org/freedesktop/DBus", Some(dbus), "RequestName", &name).await.unwrap();
        Self { _daemon: daemon, bus, units, told: RefCell::default() }
    }

    /// Answers while something happens.
    pub(crate) async fn during<T>(&self, action: impl Future<Output = T>) -> T {
        let mut calls = MessageStream::from(&self.bus);
        let mut action = std::pin::pin!(action);
        loop {
            tokio::select! {
                biased;
                done = &mut action => return done,
                call = calls.next() => {
                    let call = call.unwrap().unwrap();
                    if call.message_type() == Type::MethodCall {
                        self.answer(&call).await;
                    }
                }
            }
        }
    }

    async fn answer(&self, call: &Message) {
        let header = call.header();
        match header.member().unwrap().as_str() {
            "LoadUnit" => {
                let name: String = call.body().deserialize().unwrap();
                let number = self.units.iter().position(|it| it.0 == name).map_or("none".to_owned(), |it| it.to_string());
                let path = ObjectPath::try_from(format!("/unit/{number}")).unwrap();
                self.bus.reply(&header, &path).await.unwrap();
            }
            "Get" => {
                let (_, property): (String, String) = call.body().deserialize().unwrap();
                let number = header.path().unwrap().as_str().rsplit('/').next().unwrap().parse::<usize>();
                let unit = number.ok().map(|it| self.units[it]);
                let value = match property.as_str() {
                    "LoadState" => Variant::from(if unit.is_some() { "loaded" } else { "not-found" }),
                    "ActiveState" => Variant::from(unit.unwrap().1),
                    "PartOf" => Variant::from(unit.unwrap().2.to_vec()),
                    other => panic!("{other}"),
                };
                self.bus.reply(&header, &value).await.unwrap();
            }
            verb => {
                let (name, mode): (String, String) = call.body().deserialize().unwrap();
                assert_eq!(mode, "fail");
                self.told.borrow_mut().push(format!("{verb} {name}"));
                self.bus.reply(&header, &ObjectPath::try_from("/job/1").unwrap()).await.unwrap();
            }
        }
    }
}

fn proxy() -> HostPatch {
    use ProxyField::{Ip, Port, Type};
    let fields = [(Type, "socks5"), (Ip, "h"), (Port, "1")].map(|(field, value)| (field, value.to_owned())).to_vec();
    let merge = ProxyPatch::Merge { proxy: Proxy { fields, ..Proxy::default() }, drop_dns: false, set_no_proxy: false };
    HostPatch { hostname: None, proxy: Some(merge) }
}

/// The calls that systemd gets when the proxy is set, and their effect.
async fn configured(units: &'static [Unit], patch: &HostPatch) -> (Vec<String>, Result<(), String>) {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("mnt/boot")).unwrap();
    let systemd = Systemd::new(root.path(), units).await;
    let host = LiveHost::new(root.path(), root.path(), None, None, None);
    let done = systemd.during(host.configure(patch)).await.map_err(|why| why.0);
    (systemd.told.take(), done)
}

#[tokio::test]
#[ignore = "needs dbus-daemon"]
async fn the_proxys_units_are_restarted_unless_their_target_does_it() {
    let plain: &[Unit] = &[("redsocks.service", "active", &[]), ("resin-proxy-config.service", "inactive", &[])];
    let told = ["RestartUnit resin-proxy-config.service", "RestartUnit redsocks.service"].map(str::to_owned).to_vec();
    assert_eq!(configured(plain, &proxy()).await, (told, Ok(())));
    let part: &[Unit] = &[
        ("redsocks.service", "active", &["redsocks-conf.target"]),
        ("balena-proxy-config.service", "inactive", &["x.target", "redsocks-conf.target"]),
    ];
    assert_eq!(configured(part, &proxy()).await, (Vec::new(), Ok(())));
    // A name alone concerns no proxy.
    let name = HostPatch { hostname: Some("x".to_owned()), proxy: None };
    assert_eq!(configured(plain, &name).await, (Vec::new(), Ok(())));
    let (told, done) = configured(&[], &proxy()).await;
    assert!(told.is_empty() && done.unwrap_err().contains("no balena-proxy-config.service or resin-proxy-config.service"));
}

#[tokio::test]
#[ignore = "needs dbus-daemon"]
async fn the_journals_unit_is_started_and_stopped_only_where_it_is_otherwise() {
    const UNIT: &str = "boardkeeper-journal.service";
    let done = async |active, has_drop_in, persistent| {
        let root = tempfile::tempdir().unwrap();
        let drop_in = root.path().join("run/systemd/journald.conf.d/90-boardkeeper.conf");
        fs::create_dir_all(drop_in.parent().unwrap()).unwrap();
        if has_drop_in {
            fs::write(&drop_in, "").unwrap();
        }
        let units: &[Unit] = Option::map_or(active, &[], |it| Box::leak(Box::new([(UNIT, it, [].as_slice())])));
        let systemd = Systemd::new(root.path(), units).await;
        let host = LiveHost::new(root.path(), root.path(), None, None, None);
        let done: Result<JournalChange, HostError> = systemd.during(host.persist_journal(persistent)).await;
        (done.map_err(|why| why.0), systemd.told.take().join(" "))
    };
    for (active, has_drop_in, persistent, came, told) in [
        (Some("inactive"), false, true, JournalChange::Now, "RestartUnit boardkeeper-journal.service"),
        (Some("failed"), false, true, JournalChange::Now, "RestartUnit boardkeeper-journal.service"),
        (Some("active"), true, true, JournalChange::Already, ""),
        (Some("active"), true, false, JournalChange::Now, "StopUnit boardkeeper-journal.service"),
        (Some("inactive"), false, false, JournalChange::Already, ""),
        (None, false, false, JournalChange::Already, ""),
    ] {
        assert_eq!(done(active, has_drop_in, persistent).await, (Ok(came), told.to_owned()), "{active:?} {persistent}");
    }
    let (refused, told) = done(None, false, true).await;
    assert!(refused.unwrap_err().contains("install the package boardkeeper") && told.is_empty());
}

#[tokio::test]
#[ignore = "needs dbus-daemon"]
async fn the_vpns_service_is_started_and_stopped_only_where_it_is_otherwise() {
    for (active, to, came, told) in [
        ("inactive", VpnState::Up, UnitChange::Now, Some("RestartUnit openvpn.service")),
        ("active", VpnState::Up, UnitChange::Already, None),
        ("active", VpnState::Down, UnitChange::Now, Some("StopUnit openvpn.service")),
        ("failed", VpnState::Down, UnitChange::Already, None),
    ] {
        let root = tempfile::tempdir().unwrap();
        let units: &[Unit] = Box::leak(Box::new([("openvpn.service", active, [].as_slice())]));
        let systemd = Systemd::new(root.path(), units).await;
        let reach = NetAdapter::new(root.path(), root.path(), None);
        assert_eq!(systemd.during(reach.ensure_vpn(to)).await, Ok(came), "{active}");
        assert_eq!(systemd.told.take(), told.into_iter().map(str::to_owned).collect::<Vec<_>>(), "{active}");
    }
    let root = tempfile::tempdir().unwrap();
    let none = Systemd::new(root.path(), &[]).await;
    assert_eq!(
        none.during(NetAdapter::new(root.path(), root.path(), None).ensure_vpn(VpnState::Up)).await,
        Ok(UnitChange::Already)
    );
}
