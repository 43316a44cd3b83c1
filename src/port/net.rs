//! The port of the machine's networks.

use futures_util::Stream;

use crate::state::VpnState;

/// The machine's networks.
///
/// # Caveats
/// - [`Net::dial`] may take as long as the kernel and the name servers do. The caller sets the timeout.
pub trait Net {
    /// Opens a TCP connection, and closes it. `host` is a name or an address; any address of a name will do.
    ///
    /// Cancel-safe.
    async fn dial(&self, host: &str, port: u16) -> Result<(), NetError>;
    /// The VPN's state: at once, and whenever it may have changed. Never ends.
    fn vpn(&self) -> impl Stream<Item = VpnState>;
    /// Starts or stops the VPN service. A host without one needs no change.
    async fn steer_vpn(&self, to: VpnState) -> Result<UnitChange, NetError>;
}

/// The outcome of starting or stopping a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnitChange {
    /// The service was in that state already.
    Already,
    /// The start or stop was requested.
    Now,
}

/// Why a network operation failed. Says what, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NetError(pub String);
