//! The addresses and names by which clients reach the device, as the `Host` header of a request has them.

use std::net::IpAddr;

use crate::state::Status;
use crate::state::network::SUPERVISOR_GATEWAY;

/// Names that container engines give their host in containers. No public DNS name ends in `.internal`.
const ENGINE_HOST_NAMES: [&str; 2] = ["host.docker.internal", "host.containers.internal"];

/// The addresses and names of the device.
#[derive(Debug, Clone, Copy)]
pub struct OwnNames<'a> {
    /// What the reconciler publishes.
    pub status: &'a Status,
    /// The address that the client connected to, if it is known.
    pub reached: Option<IpAddr>,
}

/// A host in a request.
#[derive(Debug, PartialEq, Eq)]
pub enum RequestHost {
    /// An IP address.
    Address(IpAddr),
    /// A name, in lower case, without a trailing dot.
    Name(String),
}

impl OwnNames<'_> {
    /// Whether a host is this device.
    #[must_use]
    pub fn has(&self, host: &RequestHost) -> bool {
        match host {
            RequestHost::Address(ip) => {
                let mut known = self.status.device.ip_addresses.iter().map(String::as_str).chain([SUPERVISOR_GATEWAY]);
                ip.is_loopback() || self.reached == Some(*ip) || known.any(|it| it.parse() == Ok(*ip))
            }
            RequestHost::Name(name) => is_localhost(name) || ENGINE_HOST_NAMES.contains(&name.as_str()) || self.is_called(name),
        }
    }

    /// Whether this is the hostname, its first label, or the mDNS name of that.
    fn is_called(&self, name: &str) -> bool {
        self.status.metrics.hostnames.iter().any(|hostname| {
            let hostname = hostname.to_ascii_lowercase();
            let short = hostname.split('.').next().unwrap_or_default();
            let multicast = || name.strip_suffix(".local").is_some_and(|it| it == short);
            !short.is_empty() && (name == hostname || name == short || multicast())
        })
    }
}

impl RequestHost {
    /// `text` is a host without a port; an IPv6 address is in brackets.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let bare = text.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(text);
        // A link-local address may have its interface as a zone.
        let bare = bare.split('%').next().unwrap_or_default();
        match bare.parse::<IpAddr>() {
            Ok(ip) => Self::Address(ip.to_canonical()),
            Err(_) => Self::Name(text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase()),
        }
    }

    /// Whether browsers take it for the machine that they run on.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        match self {
            Self::Address(ip) => ip.is_loopback(),
            Self::Name(name) => is_localhost(name),
        }
    }
}

/// Browsers resolve these names to loopback without DNS.
fn is_localhost(name: &str) -> bool {
    name == "localhost" || name.ends_with(".localhost")
}
