//! The names that a release defines.

use crate::sorted::{SortedMap, SortedSet};
use crate::state::ContainerConfig;
use crate::state::config::RestartPolicy;

/// The network of services that name none.
pub(super) const DEFAULT_NETWORK: &str = "default";

/// Where a document comes from, which decides what counts where it is silent, and what it may mount.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum DocumentOrigin {
    /// A cloud, or a file in a cloud's format: paths of the host are not mounted.
    #[default]
    Cloud,
    /// A compose file of the device's owner: what `docker compose` would do.
    ComposeFile,
}

/// Names that a release defines, so that references to undefined names are mistakes.
#[derive(Debug, Default)]
pub(super) struct ReleaseNames {
    /// Names of its services.
    pub(super) services: SortedSet<String>,
    /// Names of its networks.
    pub(super) networks: SortedSet<String>,
    /// Names of its volumes.
    pub(super) volumes: SortedSet<String>,
    /// Volumes that others made: their names on the engine, by their names in the document.
    pub(super) external_volumes: SortedMap<String, String>,
    /// Where the document comes from.
    pub(super) origin: DocumentOrigin,
}

impl ReleaseNames {
    /// The configuration of a service that says nothing.
    pub(super) fn defaults(&self) -> ContainerConfig {
        let plain = ContainerConfig::default();
        match self.origin {
            DocumentOrigin::Cloud => plain,
            // An engine's own, which `docker compose` leaves to it.
            DocumentOrigin::ComposeFile => {
                ContainerConfig { tty: false, restart: RestartPolicy::No, ipc: "private".to_owned(), ..plain }
            }
        }
    }

    /// Whether the document is a compose file.
    pub(super) fn is_compose_file(&self) -> bool {
        self.origin == DocumentOrigin::ComposeFile
    }

    /// Whether a service may name the network. The default one always exists.
    pub(super) fn has_network(&self, name: &str) -> bool {
        name == DEFAULT_NETWORK || self.networks.contains(name)
    }
}
