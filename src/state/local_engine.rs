//! The forward of the engine's API to a private network, in local mode.

use std::net::SocketAddr;

use crate::state::private_network::PrivateNetwork;

/// The port on which clients of local mode reach an engine. `balena push` knows no other.
pub const ENGINE_PORT: u16 = 2375;

/// Whether the engine's API is forwarded, and to whom. Every peer that reaches it can become root on the board.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LocalEngine {
    /// The networks that were named with `--local-engine`. Empty: nothing is forwarded.
    pub networks: Vec<PrivateNetwork>,
    /// The addresses on which connections are accepted now. Empty: local mode is off, or `trouble` says why.
    pub listens: Vec<SocketAddr>,
    /// Why an address is missing although local mode is on, in human-readable text with what to do.
    pub trouble: Option<String>,
}

impl LocalEngine {
    /// Whether a peer can reach the engine now.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.listens.is_empty()
    }
}
