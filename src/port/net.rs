//! The port of the machine's networks.

use futures_util::Stream;

use crate::state::VpnState;
use crate::state::cloud::{CloudAccount, VpnProfile};

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
    async fn ensure_vpn(&self, to: VpnState) -> Result<UnitChange, NetError>;
    /// Whether the host runs the VPN with a configuration from the agent. `false`: it brings its own, or none.
    async fn takes_vpn_profile(&self) -> Result<bool, NetError>;
    /// Gives the VPN service its configuration and the device's credentials, and restarts it if they changed. No other user of
    /// the host can read them, and no command line has them.
    async fn install_vpn(&self, profile: &VpnProfile, account: &CloudAccount) -> Result<UnitChange, NetError>;
}

/// The outcome of starting or stopping a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnitChange {
    /// The service was in that state already.
    Already,
    /// The start or stop was requested.
    Now,
}

/// Why a network operation failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetError {
    /// The name servers know no address of the host.
    #[error("cannot look up {host}: {why}; see the name servers in /etc/resolv.conf")]
    Lookup {
        /// The name.
        host: String,
        /// What the resolver returned, in words.
        why: String,
    },
    /// No address of the host answers.
    #[error("cannot connect to {host} port {port} ({why}); see the network's cable, firewall and proxy")]
    Connect {
        /// The name or address.
        host: String,
        /// The port.
        port: u16,
        /// What the kernel returned, for each address.
        why: String,
    },
    /// The VPN's configuration could not be written. Says why, and what to do.
    #[error("{0}")]
    Files(String),
    /// systemd did not start or stop the service. Says why, and what to do.
    #[error("{0}")]
    Service(String),
}
