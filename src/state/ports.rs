//! Published ports.

use crate::state::canonical_form::canonical_by_display;
use std::fmt;
use std::ops::RangeInclusive;

/// A published port: a port of the host that leads to a port of the container.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port {
    /// The container's port.
    pub container: u16,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
    /// The host's address. Empty: all of its addresses.
    pub host_ip: String,
    /// The host's port, or the first of a range. `None`: the engine chooses.
    pub host: Option<u16>,
    /// The last of a range of host ports, one of which is chosen when the container is created. `None`: there is one port.
    pub host_last: Option<u16>,
}

impl Port {
    /// The range of host ports of which one is chosen, if there is a range.
    #[must_use]
    pub fn range(&self) -> Option<RangeInclusive<u16>> {
        Some(self.host?..=self.host_last?)
    }

    /// The same port with `host` as its only host port.
    #[must_use]
    pub fn at(&self, host: u16) -> Self {
        Self { host: Some(host), host_last: None, ..self.clone() }
    }

    /// Whether `other` is this port, or this port with one host port chosen from its range.
    #[must_use]
    pub fn may_be(&self, other: &Self) -> bool {
        let chosen = |host| self.range().is_some_and(|it| it.contains(&host)) && self.at(host) == *other;
        self == other || other.host.is_some_and(chosen)
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { container, protocol, host_ip, host, host_last } = self;
        let host = host.map(|it| it.to_string()).unwrap_or_default();
        let last = host_last.map(|it| format!("-{it}")).unwrap_or_default();
        write!(f, "{host_ip}:{host}{last}:{container}/{protocol}")
    }
}

canonical_by_display!(Port);
