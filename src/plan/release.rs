//! What a release is ready for: its images are here, and the containers that replace others are created.
//!
//! The engine alone knows whether it can create a container: it checks runtimes, capabilities, signals and the like. So a new
//! container is created beside the old one, and the old one is killed once the new one exists. A created container holds no port
//! and no address: both are claimed when it is started.

use std::collections::BTreeSet;

use crate::plan::app_plan::AppPlan;
use crate::plan::input::ChangedNetworks;
use crate::plan::services::{is_fresh, sibling};
use crate::state::{App, Container, ContainerPhase, Service};

/// How far a release has come.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ReleaseProgress {
    /// Every image is here.
    pub(super) images: bool,
    /// Every container that can be created beside the one it replaces is created.
    pub(super) containers: bool,
}

impl ReleaseProgress {
    /// How far the app's release has come. An app that is not wanted waits for nothing.
    pub(super) fn of(draft: &AppPlan<'_>, changed: &ChangedNetworks) -> Self {
        let app = draft.input.app(draft.app);
        let pending = |app: &App| app.services.iter().any(|(name, it)| is_pending(draft, app, name, it, changed));
        Self { images: draft.input.has_all_images(app), containers: !app.is_some_and(pending) }
    }

    /// Whether a service's old containers may make way. One that makes way before its image is pulled waits for no other service.
    pub(super) const fn is_ready_for(self, service: &Service) -> bool {
        service.strategy.makes_way_first() || self.containers
    }
}

/// Whether a container that replaces another is to be created beside it, and is not; or whether the network that it needs first is
/// of a driver which the engine may not have.
fn is_pending(draft: &AppPlan<'_>, app: &App, name: &str, service: &Service, changed: &ChangedNetworks) -> bool {
    let mut theirs = standing(draft, app, name).peekable();
    theirs.peek().is_some()
        && !theirs.any(|it| is_fresh(draft, app, service, it, changed))
        && (can_be_created_beside(draft, app, service, changed) || draft.input.untried(app, service).is_some())
}

/// Containers of a service that the engine is not about to remove.
fn standing<'a>(draft: &AppPlan<'a>, app: &App, name: &str) -> impl Iterator<Item = &'a Container> {
    let there = |it: &&Container| !matches!(it.phase, ContainerPhase::Removing | ContainerPhase::Dead);
    draft.input.containers_of(app.id).filter(move |it| it.key.service == name).filter(there)
}

/// Whether the new container of a service can be created while the old one exists. It cannot without its image, nor on a network
/// that has to be removed first; nor can one that shares a namespace of such a service.
pub(super) fn can_be_created_beside(draft: &AppPlan<'_>, app: &App, service: &Service, changed: &ChangedNetworks) -> bool {
    // The parser accepts no circle; each service is looked at once all the same.
    let mut seen = BTreeSet::new();
    let mut left = vec![service];
    while let Some(service) = left.pop() {
        // No volume is created while all of them are being purged.
        let lacks = draft.input.is_purged(app.id) && draft.input.missing(app, service, changed).is_some();
        if !draft.input.has_image(&service.image) || changed.concerns(service) || lacks {
            return false;
        }
        for (_, owner) in service.config.shares() {
            let waits = sibling(draft, app, owner).is_none() && standing(draft, app, owner).next().is_some();
            if waits && seen.insert(owner) {
                left.extend(app.services.get(owner));
            }
        }
    }
    true
}

/// Whether a service that has a container waits for this one, whose namespace it shares.
pub(super) fn is_awaited(draft: &AppPlan<'_>, app: &App, name: &str) -> bool {
    app.services
        .iter()
        .any(|(other, it)| it.config.shares().any(|(_, owner)| owner == name) && standing(draft, app, other).next().is_some())
}
