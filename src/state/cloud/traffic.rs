//! The bytes that the agent sends and receives, by purpose.

use crate::sorted::SortedMap;

/// Payload of TCP since the agent started, TLS included, by purpose.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Traffic(pub SortedMap<TrafficPurpose, ByteCount>);

/// Bytes in both directions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ByteCount {
    /// Bytes that were sent.
    pub sent: u64,
    /// Bytes that were received.
    pub received: u64,
}

/// What bytes are sent and received for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TrafficPurpose {
    /// Registration, the exchange of keys, the pin on a preloaded release, and tags.
    Registration,
    /// Requests for a target.
    Poll,
    /// Reports of the current state.
    Report,
    /// The upload of logs.
    Logs,
    /// Questions to registries, how large an image is.
    Registry,
    /// Connections that only show that the cloud is reached.
    ConnectivityCheck,
    /// The configuration of the VPN.
    Vpn,
}

impl TrafficPurpose {
    /// Its name in the device's state.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Registration => "registration",
            Self::Poll => "poll",
            Self::Report => "report",
            Self::Logs => "logs",
            Self::Registry => "registry",
            Self::ConnectivityCheck => "connectivity_check",
            Self::Vpn => "vpn",
        }
    }
}

impl Traffic {
    /// Adds bytes of a purpose.
    pub fn add(&mut self, purpose: TrafficPurpose, more: ByteCount) {
        let count = self.0.entry(purpose).or_default();
        count.sent = count.sent.saturating_add(more.sent);
        count.received = count.received.saturating_add(more.received);
    }
}
