//! What was last seen of containers, so that the next snapshot inspects only those that changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::state::{Container, ContainerConfig, ContainerId, ContainerPhase, HealthStatus, ImageId, ImageRef};

/// What was last seen of containers.
#[derive(Debug, Default)]
pub(super) struct ContainerCache {
    /// Containers that were inspected.
    pub(super) known: BTreeMap<ContainerId, KnownContainer>,
    /// The last error for each container that the engine cannot describe.
    pub(super) undescribed: BTreeMap<ContainerId, String>,
    /// What images give, by image and by whether the container is on the host's network.
    pub(super) bases: BTreeMap<(ImageId, bool), Arc<ContainerConfig>>,
    /// Foreign containers whose networks the agent's containers share.
    pub(super) owners: BTreeSet<String>,
}

/// A container that was inspected.
#[derive(Debug)]
pub(super) struct KnownContainer {
    /// Its listed state at that time.
    pub(super) state: String,
    /// Its label names further networks, which it is connected to before its start.
    pub(super) has_later_networks: bool,
    pub(super) container: Container,
}

impl ContainerCache {
    /// The image of a container that only has to be started: it was created or has ended when it was last seen, and nothing has
    /// changed it since.
    pub(super) fn startable(&self, id: &ContainerId) -> Option<&ImageRef> {
        let known = self.known.get(id).filter(|it| !it.has_later_networks)?;
        let is_startable = matches!(known.container.phase, ContainerPhase::Created | ContainerPhase::Exited(_));
        is_startable.then_some(&known.container.image_ref)
    }

    /// Has the next snapshot inspect this container.
    pub(super) fn forget(&mut self, id: &ContainerId) {
        self.known.remove(id);
    }

    /// Has the next snapshot inspect every container.
    pub(super) fn forget_all(&mut self) {
        self.known.clear();
    }

    /// Whether a container of the agent shares the network of this foreign container.
    pub(super) fn lends_its_network(&self, id: &str) -> bool {
        self.owners.contains(id)
    }

    /// Whether this is the health last seen of a container.
    pub(super) fn knows_health(&self, id: &str, health: Option<HealthStatus>) -> bool {
        self.known.iter().any(|(it, known)| it.0 == id && known.container.health == health)
    }

    /// Whether this is one of the agent's containers.
    pub(super) fn knows(&self, id: &str) -> bool {
        self.known.keys().any(|it| it.0 == id)
    }

    /// Whether there is a container that the engine cannot describe.
    pub(super) fn has_undescribed(&self) -> bool {
        !self.undescribed.is_empty()
    }

    /// Records an error for a container. Whether the last one was the same.
    pub(super) fn set_error(&mut self, id: &ContainerId, why: &str) -> bool {
        self.undescribed.insert(id.clone(), why.to_owned()).is_some_and(|it| it == why)
    }
}
