//! Containers of a service: which one it should have, which ones are outdated, and what each needs.

use crate::plan::input::{ChangedNetworks, ConfigHashes, PlanInput};
use crate::plan::{compare, spec};
use crate::sorted::SortedMap;
use crate::state::{App, Container, ContainerId, ContainerPhase, ContainerRef, Current, Namespace, Service, ServiceKey};

/// The name prefix of the old container of a hand-over.
pub(super) const RETIRED: &str = "old_";

/// The outdated containers of a service, and the service.
pub(super) struct Outdated<'a> {
    pub(super) app: &'a App,
    pub(super) service: &'a Service,
    pub(super) key: &'a ServiceKey,
    pub(super) containers: &'a [&'a Container],
    pub(super) changed: &'a ChangedNetworks,
}

/// Whether this is the container the service should have.
pub(super) fn is_fresh(
    input: PlanInput<'_>,
    app: &App,
    service: &Service,
    container: &Container,
    changed: &ChangedNetworks,
) -> bool {
    // One that is not to be started, as its job is done, needs no network.
    let is_stranded = needs_start(input, container) && input.is_stranded(app, service, container);
    !is_stranded
        && !input.overrides.recreate.contains(&container.id)
        && !changed.affects(service)
        && input.is_as_wanted(container, service)
        && !input.ports.offers_another(container)
        && shares_current_namespaces(input, app, service, container)
}

/// Whether a container shares the namespaces of its owners' current containers, and none of a container that is gone and may
/// have been replaced by one of the same name.
fn shares_current_namespaces(input: PlanInput<'_>, app: &App, service: &Service, container: &Container) -> bool {
    let is_right = |(namespace, owner): (Namespace, &str)| {
        let owner = sibling(input, app, owner);
        owner.is_some_and(|owner| container.shares.get(&namespace) == Some(&owner.id))
    };
    !container.is_orphaned && service.config.shares().all(is_right)
}

/// The container that another service of the app has, and will keep.
pub(super) fn sibling<'a>(input: PlanInput<'a>, app: &App, name: &str) -> Option<&'a Container> {
    let service = app.services.get(name)?;
    let containers = input.containers_of(app.id).filter(|it| it.key.service == name);
    containers
        .filter(|it| input.is_as_wanted(it, service) && !input.overrides.recreate.contains(&it.id))
        .max_by_key(|it| rank(it))
}

/// The container that each service of an app has as the target wants it, by the service's name.
#[must_use]
pub fn containers_as_wanted<'a>(
    app: &'a App,
    hashes: &ConfigHashes,
    current: &'a Current,
) -> SortedMap<&'a str, &'a Container> {
    let of_service = |(name, service): (&'a String, &'a Service)| {
        let key = ServiceKey::new(app.id, name);
        let hash = hashes.get(&key)?;
        let containers = current.containers.iter().filter(|it| it.key == key);
        let fresh = containers.filter(|it| compare::is_as_wanted(it, service, hash, &current.images));
        Some((name.as_str(), fresh.max_by_key(|it| rank(it))?))
    };
    app.services.iter().filter_map(of_service).collect()
}

/// Of several containers that match the target, the newest that was started is kept; one that was only created may go.
pub(super) fn rank(container: &Container) -> (bool, i64, &ContainerId) {
    (container.phase != ContainerPhase::Created, container.created_secs, &container.id)
}

/// Of several containers of a service, the newest live one is kept, or the newest if none is alive.
pub(super) fn newest_live<'a>(containers: impl Iterator<Item = &'a Container>) -> Option<&'a Container> {
    containers.max_by_key(|it| (it.phase.is_alive(), it.created_secs, &it.id))
}

/// Containers of a service that the engine is not removing.
pub(super) fn existing_containers<'a>(input: PlanInput<'a>, app: &App, name: &str) -> impl Iterator<Item = &'a Container> {
    let is_kept = |it: &&Container| !matches!(it.phase, ContainerPhase::Removing | ContainerPhase::Dead);
    input.containers_of(app.id).filter(move |it| it.key.service == name).filter(is_kept)
}

/// Whether a container that should run has to be started.
pub(super) fn needs_start(input: PlanInput<'_>, container: &Container) -> bool {
    match container.phase {
        ContainerPhase::Created => true,
        ContainerPhase::Exited(_) => {
            // If it exited by itself, that is up to its restart policy; under one that always restarts, it was stopped by
            // hand.
            container.restart.restarts_always()
                || input.overrides.start.contains(&container.id)
                // A failed start is not an exit of its program: a missing device or address may be back by now.
                || container.error.is_some()
        }
        // The user who paused it may be about to copy its files.
        ContainerPhase::Paused => input.overrides.start.contains(&container.id),
        ContainerPhase::Running | ContainerPhase::Restarting | ContainerPhase::Removing | ContainerPhase::Dead => false,
    }
}

/// Whether the owner of a shared namespace was started after the container: then the container is in the namespace of a
/// program that is gone.
pub(super) fn lost_shared_namespace(input: PlanInput<'_>, container: &Container) -> bool {
    let (ContainerPhase::Running, Some(own), Some(owner)) = (container.phase, container.started, container.shares_since) else {
        return false;
    };
    // A start time in the future is from before the clock was set back: a restart could not come after it.
    own < owner && owner.secs() <= input.current.now_secs
}

/// Whether a container was the old one of a hand-over.
pub(super) fn is_retired(container: &Container) -> bool {
    spec::is_named(container, RETIRED)
}

pub(super) fn ref_of(container: &Container) -> ContainerRef {
    ContainerRef { key: container.key.clone(), id: container.id.clone() }
}
