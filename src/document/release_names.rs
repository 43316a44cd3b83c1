//! The names that a release defines.

use std::collections::BTreeSet;

/// The network of services that name none.
pub(super) const DEFAULT_NETWORK: &str = "default";

/// Names that a release defines, so that references to undefined names are mistakes.
#[derive(Debug, Default)]
pub(super) struct ReleaseNames {
    /// Names of its services.
    pub(super) services: BTreeSet<String>,
    /// Names of its networks.
    pub(super) networks: BTreeSet<String>,
    /// Names of its volumes.
    pub(super) volumes: BTreeSet<String>,
}

impl ReleaseNames {
    /// Whether a service may name the network. The default one always exists.
    pub(super) fn has_network(&self, name: &str) -> bool {
        name == DEFAULT_NETWORK || self.networks.contains(name)
    }
}
