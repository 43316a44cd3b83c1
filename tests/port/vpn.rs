//! The cloud's VPN on any Linux: a real OpenVPN server at the other end of a cable, and the client as our unit runs it.
//!
//! ```text
//!   stranger ──eth1── host ──eth0── cloud, with the VPN's server
//!                      └──resin-vpn──────────┘
//! ```

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::pin::pin;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use boardkeeper::http::serve;
use boardkeeper::linux::net::{Listeners, NetAdapter};
use boardkeeper::port::{Net as _, UnitChange};
use boardkeeper::state::cloud::{CloudAccount, VpnProfile};
use boardkeeper::state::{Secret, VpnState};
use futures_util::{Stream, StreamExt};
use tokio::time::timeout;

use crate::listen::{Other, PORT, no_networks_yet, router, run};
use crate::units::{Systemd, Unit};

const UUID: &str = "335a908fe6803c7dda6f13eadcd1f7e0";
const KEY: &str = "0123456789abcdef0123456789abcdef";
/// What the cloud gives, as recorded, with the address of this test's server.
const CONFIG: &str = "\nclient\nremote 192.0.2.2 11943\nresolv-retry infinite\n\nremote-cert-tls server\ntls-version-min 1.2\n\
    ca /etc/openvpn/ca.crt\nauth-user-pass /var/volatile/vpn-auth\nauth-retry none\nscript-security 2\n\
    up /etc/openvpn-misc/upscript.sh\nup-restart\ndown /etc/openvpn-misc/downscript.sh\n\ncomp-lzo\ndev resin-vpn\n\
    dev-type tun\nproto tcp\nnobind\n\npersist-key\npersist-tun\nverb 3\nuser openvpn\ngroup openvpn\n\nreneg-bytes 0\n\
    reneg-pkts 0\nreneg-sec 0\n";
const UNITS: &[Unit] = &[("boardkeeper-vpn.service", "inactive", &[])];

/// A process that ends with this value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn shell(dir: &Path, script: &str) {
    let status = Command::new("sh").args(["-ec", script]).current_dir(dir).stderr(Stdio::null()).status().unwrap();
    assert!(status.success(), "{script}");
}

/// The VPN's server, in the network of another machine. It admits the device that has its uuid and its key.
fn server(dir: &Path, cloud: &Other) -> Running {
    shell(
        dir,
        "openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.crt -days 2 -subj /CN=vpn-ca
         openssl req -newkey rsa:2048 -nodes -keyout server.key -out server.csr -subj /CN=vpn
         printf 'extendedKeyUsage=serverAuth\\nkeyUsage=digitalSignature,keyEncipherment\\n' > server.ext
         openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile server.ext -out server.crt",
    );
    let verify = dir.join("verify");
    fs::write(&verify, format!("#!/bin/sh\n[ \"$(cat $1)\" = '{UUID}\n{KEY}' ]\n")).unwrap();
    fs::set_permissions(&verify, fs::Permissions::from_mode(0o755)).unwrap();
    let conf = "server 10.2.0.0 255.255.255.0\ndev vpn-server\ndev-type tun\nproto tcp-server\nport 11943\nca ca.crt\n\
        cert server.crt\nkey server.key\ndh none\nverify-client-cert none\nusername-as-common-name\nscript-security 2\n\
        auth-user-pass-verify ./verify via-file\ncomp-lzo\nallow-compression yes\nkeepalive 5 20\n";
    fs::write(dir.join("server.conf"), conf).unwrap();
    let mut openvpn = cloud.command("openvpn");
    openvpn.args(["--config", "server.conf"]).current_dir(dir).stdout(fs::File::create(dir.join("server.log")).unwrap());
    Running(openvpn.spawn().unwrap())
}

/// The client, with the command line of our unit.
fn client(state: &Path, log: &str) -> Running {
    let unit = include_str!("../../packaging/boardkeeper-vpn.service");
    let line = unit.lines().find_map(|it| it.strip_prefix("ExecStart=")).unwrap();
    let line = line.replace("/var/lib/boardkeeper", &state.display().to_string());
    let mut words = line.split(' ');
    let mut openvpn = Command::new(words.next().unwrap());
    Running(openvpn.args(words).stdout(fs::File::create(state.join(log)).unwrap()).spawn().unwrap())
}

fn account(key: &str) -> CloudAccount {
    let key = Secret::new(key.to_owned());
    CloudAccount { endpoint: "https://api.example".to_owned(), logs_endpoint: None, uuid: UUID.to_owned(), key }
}

async fn becomes(vpn: &mut (impl Stream<Item = VpnState> + Unpin), wanted: VpnState) {
    let state = timeout(Duration::from_secs(20), vpn.next()).await;
    assert_eq!(state.ok().flatten(), Some(wanted));
}

#[tokio::test]
#[ignore = "needs root, openvpn and a network of its own"]
async fn a_device_joins_the_clouds_vpn_with_its_own_credentials_and_is_reached_through_it_alone() {
    assert!(std::env::var_os("BOARDKEEPER_LAB").is_some(), "to be run by tests/lab/inside.sh: it changes the network");
    let (root, far) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (cloud, stranger) = (Other::new(), Other::new());
    for (other, interface, network) in [(&cloud, "eth0", "192.0.2"), (&stranger, "eth1", "198.51.100")] {
        other.cable(interface, &format!("{network}.2/24"));
        run(&format!("ip address add {network}.1/24 dev {interface}"));
        run(&format!("ip link set {interface} up"));
    }
    let _server = server(far.path(), &cloud);
    let systemd = Systemd::new(root.path(), UNITS).await;
    let net = NetAdapter::new(root.path(), root.path(), None);
    let mut vpn = pin!(net.vpn());
    becomes(&mut vpn, VpnState::Down).await;
    assert_eq!(systemd.during(net.takes_vpn_profile()).await, Ok(true));
    let profile = VpnProfile { config: CONFIG.to_owned(), ca: fs::read_to_string(far.path().join("ca.crt")).unwrap() };

    // A key that the cloud does not know gets no further than its server.
    assert_eq!(systemd.during(net.install_vpn(&profile, &account("wrong"))).await, Ok(UnitChange::Now));
    let mut refused = client(root.path(), "refused.log");
    let ended = tokio::task::spawn_blocking(move || refused.0.wait().unwrap());
    timeout(Duration::from_secs(20), ended).await.unwrap().unwrap();
    let log = fs::read_to_string(root.path().join("refused.log")).unwrap();
    assert!(log.contains("AUTH_FAILED") && !log.contains("wrong"), "{log}");

    assert_eq!(systemd.during(net.install_vpn(&profile, &account(KEY))).await, Ok(UnitChange::Now));
    assert_eq!(systemd.during(net.install_vpn(&profile, &account(KEY))).await, Ok(UnitChange::Already));
    assert_eq!(*systemd.told.borrow(), ["RestartUnit boardkeeper-vpn.service"; 2]);
    let mut joined = client(root.path(), "client.log");
    becomes(&mut vpn, VpnState::Up).await;
    let command = fs::read_to_string(format!("/proc/{}/cmdline", joined.0.id())).unwrap();
    assert!(command.contains("openvpn.conf") && !command.contains(KEY), "{command}");

    let listeners = Listeners::bind(Path::new("/"), &[([127, 0, 0, 1], PORT).into()], Some(PORT), no_networks_yet()).unwrap();
    let own = listeners.addresses().into_iter().map(|it| it.ip().to_string()).find(|it| it.starts_with("10.2.0.")).unwrap();
    stranger.inside(&format!("ip route add {own}/32 via 198.51.100.1"));
    let asked = async {
        assert_eq!(cloud.asks(&own).await.as_deref(), Some("10.2.0.1 false"));
        assert_eq!(stranger.asks(&own).await, None);
    };
    tokio::select! {
        () = serve(router(), listeners, std::future::pending()) => (),
        () = asked => (),
    }
    run(&format!("kill -TERM {}", joined.0.id()));
    becomes(&mut vpn, VpnState::Down).await;
    joined.0.wait().unwrap();
}
