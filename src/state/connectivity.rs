//! Whether the device reaches its cloud.

use tokio::time::Instant;

use crate::state::Target;
use crate::state::switch::parse_switch;

/// The target's setting that enables the connectivity check.
const CHECK_VARIABLE: &str = "SUPERVISOR_CONNECTIVITY_CHECK";
/// The target's setting that says whether the VPN service runs.
const VPN_VARIABLE: &str = "SUPERVISOR_VPN_CONTROL";

/// Whether the device reaches its cloud, as of the last check.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Connectivity {
    /// Not known: there is no cloud, the check is disabled, or the first check has not ended.
    #[default]
    Unknown,
    /// The cloud is reachable: a connection was made, or the VPN is up.
    Online,
    /// The cloud is unreachable.
    Offline {
        /// The reason, in human-readable text.
        why: String,
        /// Since when.
        since: Instant,
    },
}

/// Whether connectivity is checked while the VPN is down.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ConnectivityCheck {
    /// The check is enabled.
    #[default]
    On,
    /// The check is disabled.
    Off,
}

/// The VPN through which the cloud reaches the device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum VpnState {
    /// The VPN is up.
    Up,
    /// The VPN is down, or there is none.
    #[default]
    Down,
}

impl Target {
    /// Whether the VPN is to be up. `None`: the target has no setting for it, so it stays as it is.
    #[must_use]
    pub fn vpn_wanted(&self) -> Option<VpnState> {
        let value = self.config.get(VPN_VARIABLE)?;
        Some(if parse_switch(value) == Some(false) { VpnState::Down } else { VpnState::Up })
    }
}

impl ConnectivityCheck {
    /// The check according to a new target. `None`: its setting equals the previous target's, so what users requested stays.
    #[must_use]
    pub fn changed(before: Option<&Target>, new: &Target) -> Option<Self> {
        let entry = |target: &Target| target.config.get(CHECK_VARIABLE).cloned();
        let now = entry(new);
        if before.map(entry).as_ref() == Some(&now) {
            return None;
        }
        let off = now.is_some_and(|it| parse_switch(&it) == Some(false));
        Some(if off { Self::Off } else { Self::On })
    }
}

/// Host and port of an address such as `https://api.balena-cloud.com`. Without a port it is 443 for https, else 80.
#[must_use]
pub fn host_and_port(url: &str) -> Option<(String, u16)> {
    let (scheme, rest) = url.trim().split_once("://").unwrap_or(("", url.trim()));
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let place = authority.rsplit_once('@').map_or(authority, |(_, place)| place);
    let default = if scheme.eq_ignore_ascii_case("https") { 443 } else { 80 };
    let (host, port) = match place.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map(|(host, port)| (host, port.strip_prefix(':')))?,
        None => place.split_once(':').map_or((place, None), |(host, port)| (host, Some(port))),
    };
    let port = port.filter(|it| !it.is_empty()).map_or(Ok(default), str::parse).ok()?;
    (!host.is_empty()).then(|| (host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(check: Option<&str>) -> Target {
        let config = check.map(|it| (CHECK_VARIABLE.to_owned(), it.to_owned())).into_iter().collect();
        Target { config, ..Target::default() }
    }

    #[test]
    fn a_target_decides_only_when_it_says_something_new() {
        let (silent, off) = (target(None), target(Some("FALSE")));
        assert_eq!(ConnectivityCheck::changed(None, &silent), Some(ConnectivityCheck::On));
        assert_eq!(ConnectivityCheck::changed(None, &off), Some(ConnectivityCheck::Off));
        assert_eq!(ConnectivityCheck::changed(Some(&off), &off), None);
        assert_eq!(ConnectivityCheck::changed(Some(&silent), &silent), None);
        assert_eq!(ConnectivityCheck::changed(Some(&off), &target(Some("1"))), Some(ConnectivityCheck::On));
        assert_eq!(ConnectivityCheck::changed(Some(&off), &target(Some("perhaps"))), Some(ConnectivityCheck::On));
        assert_eq!(ConnectivityCheck::changed(Some(&off), &silent), Some(ConnectivityCheck::On));
    }

    #[test]
    fn endpoints_are_read() {
        let read = |url: &str| host_and_port(url).map(|(host, port)| format!("{host} {port}"));
        assert_eq!(read("https://api.balena-cloud.com").as_deref(), Some("api.balena-cloud.com 443"));
        assert_eq!(read("http://api.resin.io/v4").as_deref(), Some("api.resin.io 80"));
        assert_eq!(read("https://10.0.0.1:8443/").as_deref(), Some("10.0.0.1 8443"));
        assert_eq!(read("HTTPS://[2001:db8::1]").as_deref(), Some("2001:db8::1 443"));
        assert_eq!(read("http://u:p@h:81?x").as_deref(), Some("h 81"));
        assert_eq!(read("api.resin.io").as_deref(), Some("api.resin.io 80"));
        for wrong in ["", "https://", "http://h:x", "http://[::1", "http://:80"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
