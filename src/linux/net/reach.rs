//! The networks the machine is in: which hosts can be reached, and whether the VPN is up.

use std::fs;
use std::future::poll_fn;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::Stream;
use futures_util::stream::unfold;
use tokio::time::sleep;
use tracing::warn;

use crate::linux::dial;
use crate::linux::net::openvpn;
use crate::linux::off_thread;
use crate::linux::systemd::{Systemd, UnitAction, UnitState};
use crate::linux::watch::FileWatcher;
use crate::port::{self, NetError, UnitChange};
use crate::state::VpnState;
use crate::state::cloud::{CloudAccount, VpnProfile};

/// The file by which the VPN's scripts say that it is up, below the host's root.
const ACTIVE: &str = "run/openvpn/vpn_status/active";
/// The VPN's systemd unit on balenaOS, which brings its configuration too.
const HOSTS_SERVICE: &str = "openvpn.service";
/// The unit of our package. It runs with the files that the agent writes. Debian's own `openvpn.service` runs nothing.
const OUR_SERVICE: &str = "boardkeeper-vpn.service";
/// The directory of the VPN's configuration, below the agent's state.
pub const VPN_DIR: &str = "vpn";
/// The polling interval where inotify is not available.
const BLIND: Duration = Duration::from_secs(30);

/// The real networks of the host whose root it was created with.
#[derive(Debug, Clone)]
pub struct NetAdapter {
    active: PathBuf,
    systemd: Systemd,
    /// Where the VPN's configuration is written.
    vpn_dir: PathBuf,
}

impl NetAdapter {
    /// The networks of the host whose root is `root`, with the agent's state in `state_dir`. `bus` as in
    /// [`Power::new`](crate::linux::power::Power::new).
    #[must_use]
    pub fn new(root: &Path, state_dir: &Path, bus: Option<&str>) -> Self {
        Self { active: root.join(ACTIVE), systemd: Systemd::new(root, bus), vpn_dir: state_dir.join(VPN_DIR) }
    }

    /// The VPN's unit, and its state. `None`: the host has none.
    async fn vpn_unit(&self) -> Result<Option<(&'static str, UnitState)>, NetError> {
        for name in [OUR_SERVICE, HOSTS_SERVICE] {
            if let Some(unit) = self.systemd.unit(name).await.map_err(NetError::Service)? {
                return Ok(Some((name, unit)));
            }
        }
        Ok(None)
    }
}

impl port::Net for NetAdapter {
    async fn dial(&self, host: &str, port: u16) -> Result<(), NetError> {
        dial::connect(host, port).await.map(drop)
    }

    fn vpn(&self) -> impl Stream<Item = VpnState> {
        // The VPN's scripts expect the directory to exist. If we may not make it, they still do.
        let _ = self.active.parent().map(fs::create_dir_all);
        let watch = FileWatcher::new(&self.active).inspect_err(|why| warn!(%why, "the VPN's state cannot be watched")).ok();
        unfold((self.active.clone(), watch, None), async |(active, mut watch, before)| {
            let now = loop {
                // The watch is armed before the file is checked, so that no change is missed in between.
                let armed = watch.as_mut().is_some_and(|it| it.arm().is_ok());
                let now = state(&active);
                if before != Some(now) {
                    break now;
                }
                let is_watched = match watch.as_mut().filter(|_| armed) {
                    Some(watch) => poll_fn(|context| watch.poll_change(context)).await.is_ok(),
                    None => false,
                };
                if !is_watched {
                    sleep(BLIND).await;
                }
            };
            Some((now, (active, watch, Some(now))))
        })
    }

    async fn ensure_vpn(&self, to: VpnState) -> Result<UnitChange, NetError> {
        let Some((name, unit)) = self.vpn_unit().await? else { return Ok(UnitChange::Already) };
        let runs = matches!(unit.active.as_str(), "active" | "activating" | "reloading");
        let action = match to {
            VpnState::Up if !runs => UnitAction::Restart,
            VpnState::Down if runs => UnitAction::Stop,
            VpnState::Up | VpnState::Down => return Ok(UnitChange::Already),
        };
        self.systemd.control(name, action).await.map(|()| UnitChange::Now).map_err(NetError::Service)
    }

    async fn takes_vpn_profile(&self) -> Result<bool, NetError> {
        Ok(self.vpn_unit().await?.is_some_and(|(name, _)| name == OUR_SERVICE))
    }

    async fn install_vpn(&self, profile: &VpnProfile, account: &CloudAccount) -> Result<UnitChange, NetError> {
        let (dir, active) = (self.vpn_dir.clone(), self.active.clone());
        let (profile, account) = (profile.clone(), account.clone());
        let shown = dir.display().to_string();
        let failed = |why: String| NetError::Files(format!("cannot write the VPN's configuration into `{shown}`: {why}"));
        let written = off_thread(move || openvpn::write(&dir, &active, &profile, &account)).await.map_err(failed)?;
        let (changed, left_out) = written.map_err(|why| failed(why.to_string()))?;
        if !left_out.is_empty() {
            warn!("the cloud's configuration of the VPN has directives that are not taken: {}", left_out.join(", "));
        }
        if !changed {
            return Ok(UnitChange::Already);
        }
        self.systemd.control(OUR_SERVICE, UnitAction::Restart).await.map(|()| UnitChange::Now).map_err(NetError::Service)
    }
}

fn state(active: &Path) -> VpnState {
    // Any file type counts, a dangling link too.
    if active.symlink_metadata().is_ok() { VpnState::Up } else { VpnState::Down }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::StreamExt;
    use tokio::net::TcpListener;
    use tokio::time::timeout;

    use super::*;
    use crate::port::Net as _;

    const SOON: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn whoever_listens_is_reached_in_both_families() {
        let reach = NetAdapter::new(Path::new("/nowhere"), Path::new("/nowhere"), None);
        let v4 = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = v4.local_addr().unwrap().port();
        reach.dial("127.0.0.1", port).await.unwrap();
        // Both addresses of this name are tried, and one of them answers.
        reach.dial("localhost", port).await.unwrap();
        if let Ok(v6) = TcpListener::bind("[::1]:0").await {
            reach.dial("::1", v6.local_addr().unwrap().port()).await.unwrap();
        }
        drop(v4);
        let why = reach.dial("127.0.0.1", port).await.unwrap_err().to_string();
        assert!(why.contains(&format!("127.0.0.1:{port}")), "{why}");
    }

    #[tokio::test]
    async fn a_name_that_does_not_resolve_is_told() {
        let reach = NetAdapter::new(Path::new("/nowhere"), Path::new("/nowhere"), None);
        let why = timeout(SOON * 4, reach.dial("no-such-name.invalid", 443)).await.unwrap().unwrap_err().to_string();
        assert!(why.starts_with("cannot look up no-such-name.invalid"), "{why}");
    }

    #[tokio::test]
    async fn the_vpn_comes_and_goes_with_its_file() {
        let root = tempfile::tempdir().unwrap();
        let active = root.path().join(ACTIVE);
        let reach = NetAdapter::new(root.path(), root.path(), None);
        let mut vpn = pin!(reach.vpn());
        assert_eq!(vpn.next().await, Some(VpnState::Down));
        assert!(active.parent().unwrap().is_dir());
        fs::write(&active, "").unwrap();
        assert_eq!(timeout(SOON, vpn.next()).await.unwrap(), Some(VpnState::Up));
        fs::remove_dir_all(root.path().join("run/openvpn")).unwrap();
        assert_eq!(timeout(SOON, vpn.next()).await.unwrap(), Some(VpnState::Down));
        fs::create_dir_all(active.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink("/nowhere", &active).unwrap();
        assert_eq!(timeout(SOON, vpn.next()).await.unwrap(), Some(VpnState::Up));
    }

    #[tokio::test]
    async fn a_host_without_a_bus_says_so() {
        let root = tempfile::tempdir().unwrap();
        let why = NetAdapter::new(root.path(), root.path(), None).ensure_vpn(VpnState::Up).await.unwrap_err().to_string();
        assert!(why.contains("run/dbus/system_bus_socket"), "{why}");
    }
}
