//! Progress of a release: whether its images are here, and the containers that replace others are created.
//!
//! Only the engine knows whether it can create a container: it checks runtimes, capabilities, signals and the like. So a new
//! container is created beside the old one, and the old one is killed once the new one exists. A created container holds no
//! port and no address: both are claimed at its start.

use crate::plan::container::{existing_containers, is_fresh, sibling};
use crate::plan::data_work;
use crate::plan::input::{ChangedNetworks, PlanInput};
use crate::sorted::SortedSet;
use crate::state::{App, Service};

/// Progress of a release.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ReleaseProgress {
    /// Every image is here.
    pub(super) images: bool,
    /// Every container that can be created beside the one it replaces is created.
    pub(super) containers: bool,
}

impl ReleaseProgress {
    /// The progress of the app's release. An app that is not in the target waits for nothing.
    pub(super) fn of(input: PlanInput<'_>, app: Option<&App>, changed: &ChangedNetworks) -> Self {
        let pending = |app: &App| app.services.iter().any(|(name, it)| is_pending(input, app, name, it, changed));
        Self { images: input.has_all_images(app), containers: !app.is_some_and(pending) }
    }

    /// Whether a service's old containers may be removed. A service that removes them before the pull waits for no other
    /// service.
    pub(super) const fn is_ready_for(self, service: &Service) -> bool {
        service.strategy.makes_way_first() || self.containers
    }
}

/// Whether a replacement is to be created beside the old container and is not yet; or whether a network that it needs first
/// has a driver that the engine may lack.
fn is_pending(input: PlanInput<'_>, app: &App, name: &str, service: &Service, changed: &ChangedNetworks) -> bool {
    let mut containers = existing_containers(input, app, name).peekable();
    containers.peek().is_some()
        && !containers.any(|it| is_fresh(input, app, service, it, changed))
        && (can_be_created_beside(input, app, service, changed) || input.untried_driver(app, service).is_some())
}

/// Whether the new container of a service can be created while the old one exists. It cannot without its image, nor on a
/// network that has to be removed first; nor if it shares a namespace of such a service.
pub(super) fn can_be_created_beside(input: PlanInput<'_>, app: &App, service: &Service, changed: &ChangedNetworks) -> bool {
    // The parser rejects cycles; each service is visited once all the same.
    let mut visited = SortedSet::new();
    let mut left = vec![service];
    while let Some(service) = left.pop() {
        // No volume is created while all of them are being purged.
        let lacks = input.is_purged(app.id) && input.first_missing(app, service, changed).is_some();
        let is_put_back = data_work::creation_waits(input, app, service).is_some();
        if !input.has_image(&service.image) || changed.affects(service) || lacks || is_put_back {
            return false;
        }
        for (_, owner) in service.config.shares() {
            let waits = sibling(input, app, owner).is_none() && existing_containers(input, app, owner).next().is_some();
            if waits && visited.insert(owner) {
                left.extend(app.services.get(owner));
            }
        }
    }
    true
}

/// Whether a service that has a container and shares this one's namespace waits for it.
pub(super) fn is_awaited(input: PlanInput<'_>, app: &App, name: &str) -> bool {
    app.services.iter().any(|(other, it)| {
        it.config.shares().any(|(_, owner)| owner == name) && existing_containers(input, app, other).next().is_some()
    })
}
