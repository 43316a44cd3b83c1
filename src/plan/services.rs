//! One service: from its containers to the one it should have.

use std::collections::BTreeSet;

use crate::plan::Waiting;
use crate::plan::app_plan::{AppPlan, Precondition};
use crate::plan::depends::{is_owed_a_restart, unmet};
use crate::plan::input::ChangedNetworks;
use crate::plan::release::{self, ReleaseProgress};
use crate::plan::spec;
use crate::plan::strategies::{self, Outdated};
use crate::state::service::Strategy;
use crate::state::{
    App, BootState, Container, ContainerId, ContainerPhase, ContainerRef, EngineAction, Namespace, NetworkConnection, Service,
    ServiceKey,
};

/// Plans the services of an app.
pub(super) fn draft(draft: &mut AppPlan<'_>) {
    let changed = draft.input.app(draft.app).map(|app| draft.input.changed(app)).unwrap_or_default();
    let wanted = draft.input.app(draft.app).into_iter().flat_map(|app| app.services.keys().cloned());
    let seen = draft.input.containers_of(draft.app).map(|it| it.key.service.clone());
    let names: BTreeSet<String> = wanted.chain(seen).collect();
    draft.release = ReleaseProgress::of(draft, &changed);
    for name in names {
        service(draft, &name, &changed);
    }
}

fn service(draft: &mut AppPlan<'_>, name: &str, changed: &ChangedNetworks) {
    let scene = draft.input;
    let key = ServiceKey::new(draft.app, name);
    let mut seen: Vec<&Container> = scene.containers_of(draft.app).filter(|it| it.key == key).collect();
    // Newest first; ids only make the order deterministic.
    seen.sort_by(|a, b| (b.created_secs, &b.id).cmp(&(a.created_secs, &a.id)));
    seen.retain(|it| !already_leaving(draft, it));
    let wanted = scene.app(draft.app).and_then(|app| Some((app, app.services.get(name)?)));
    let Some((app, service)) = wanted else {
        strategies::remove_container(draft, &key, &seen);
        return;
    };
    let fresh = seen.iter().filter(|it| is_fresh(draft, app, service, it, changed)).max_by_key(|it| rank(it)).copied();
    let all = Outdated { app, service, key: &key, containers: &seen, changed };
    let (superfluous, seen): (Vec<_>, Vec<_>) = seen.iter().copied().partition(|it| is_superfluous(draft, &all, fresh, it));
    for container in superfluous {
        draft.deed(Precondition::Free, EngineAction::Kill(which(container)));
    }
    let others: Vec<_> = seen.into_iter().filter(|it| fresh.is_none_or(|fresh| fresh.id != it.id)).collect();
    let old = Outdated { containers: &others, ..all };
    if scene.is_purged(draft.app) {
        strategies::purge(draft, &old, fresh);
        return;
    }
    match (fresh, others.is_empty()) {
        (Some(fresh), true) => revive(draft, app, service, fresh),
        (Some(fresh), false) => strategies::replace(draft, &old, fresh),
        (None, false) => strategies::replace_outdated(draft, &old),
        (None, true) => make(draft, &old, Precondition::Release),
    }
}

/// Of several containers that match the target, the newest that was started is kept; one that was only created may go.
fn rank(container: &Container) -> (bool, i64, &ContainerId) {
    (container.phase != ContainerPhase::Created, container.created_secs, &container.id)
}

/// Whether a created container is removed: another one is kept, or another release is wanted by now. It was never started, so
/// no process is disturbed.
fn is_superfluous(draft: &AppPlan<'_>, all: &Outdated<'_>, fresh: Option<&Container>, container: &Container) -> bool {
    let ran = |it: &&Container| it.phase != ContainerPhase::Created && !strategies::is_retired(it);
    let is_chosen = fresh.is_some_and(|fresh| fresh.id == container.id);
    let is_rival = is_fresh(draft, all.app, all.service, container, all.changed);
    let another_goes_on = if is_rival { fresh.is_some() } else { all.containers.iter().any(ran) };
    container.phase == ContainerPhase::Created && !is_chosen && another_goes_on
}

/// Whether a container is ignored: the engine is removing it, or failed to, which is retried.
fn already_leaving(draft: &mut AppPlan<'_>, container: &Container) -> bool {
    match container.phase {
        ContainerPhase::Removing => draft.wait(Waiting::Engine(container.key.clone())),
        ContainerPhase::Dead => draft.deed(Precondition::Free, EngineAction::Kill(which(container))),
        ContainerPhase::Created
        | ContainerPhase::Running
        | ContainerPhase::Restarting
        | ContainerPhase::Paused
        | ContainerPhase::Exited(_) => return false,
    }
    true
}

/// Whether this is the container the service should have.
pub(super) fn is_fresh(
    draft: &AppPlan<'_>,
    app: &App,
    service: &Service,
    container: &Container,
    changed: &ChangedNetworks,
) -> bool {
    let scene = draft.input;
    !scene.overrides.recreate.contains(&container.id)
        && !changed.concerns(service)
        && scene.is_as_wanted(container, service)
        && !scene.ports.offer_another(container)
        && shares_the_right_namespaces(draft, app, service, container)
}

/// Whether a container shares the namespaces of its owners' current containers, and none of a container that is gone and may
/// have been replaced by one of the same name.
fn shares_the_right_namespaces(draft: &AppPlan<'_>, app: &App, service: &Service, container: &Container) -> bool {
    let is_right = |(namespace, owner): (Namespace, &str)| {
        let owner = sibling(draft, app, owner);
        owner.is_some_and(|owner| container.shares.get(&namespace) == Some(&owner.id))
    };
    !container.is_orphaned && service.config.shares().all(is_right)
}

/// The container that another service of the app has, and will keep.
pub(super) fn sibling<'a>(draft: &AppPlan<'a>, app: &App, name: &str) -> Option<&'a Container> {
    let scene = draft.input;
    let service = app.services.get(name)?;
    let theirs = scene.containers_of(app.id).filter(|it| it.key.service == name);
    theirs.filter(|it| scene.is_as_wanted(it, service) && !scene.overrides.recreate.contains(&it.id)).max_by_key(|it| rank(it))
}

/// Creates a container, where there is none or beside the old one: as soon as everything it needs is here.
pub(super) fn make(draft: &mut AppPlan<'_>, old: &Outdated<'_>, gate: Precondition) {
    let Outdated { app, service, key, changed, .. } = *old;
    let scene = draft.input;
    if !scene.has_image(&service.image) {
        if strategies::may_pull(draft, service) {
            draft.deed(Precondition::Free, EngineAction::Pull(service.image.clone()));
        } else {
            draft.wait(Waiting::Resource(key.clone(), "room: the old image is deleted first".to_owned()));
        }
        return;
    }
    if let Some(port) = scene.ports.lacking(key) {
        let why = format!("other services have all ports of {port}: widen the range, or free one");
        draft.differs(format!("create {key}"), why);
        draft.wait(Waiting::Resource(key.clone(), format!("a free port of the host for {port}")));
        return;
    }
    if let Some(what) = scene.missing(app, service, changed) {
        draft.wait(Waiting::Resource(key.clone(), what));
        return;
    }
    let gate = match gate {
        Precondition::Release if service.strategy.makes_way_first() => Precondition::Undisturbed,
        Precondition::Release if release::is_awaited(draft, app, &key.service) => Precondition::Here,
        other => other,
    };
    let spec = spec::spec(scene, app, &key.service, service, |name| sibling(draft, app, name));
    match spec {
        Some(spec) => draft.deed(gate, EngineAction::Create(Box::new(spec))),
        None => draft.wait(Waiting::Resource(key.clone(), "the container whose namespace it shares".to_owned())),
    }
}

/// The container is the right one: at most rename, connect, stop or start it.
pub(super) fn revive(draft: &mut AppPlan<'_>, app: &App, service: &Service, container: &Container) {
    let name = spec::container_name(app, &container.key.service, service);
    if spec::is_named_new(container) {
        // The container that it replaced is gone. It was never started, so nothing is disturbed.
        draft.deed(
            if container.phase == ContainerPhase::Created { Precondition::Free } else { Precondition::Locked },
            EngineAction::Rename(which(container), name),
        );
    } else if container.name != name {
        // Only the release changed. The container's name is the only record of it.
        if service.strategy == Strategy::DownloadThenKill && !draft.release.images {
            draft.wait(Waiting::Images(container.key.clone()));
        } else if !draft.release.is_ready_for(service) {
            draft.wait(Waiting::Containers(container.key.clone()));
        } else {
            draft.deed(Precondition::Locked, EngineAction::Rename(which(container), name));
        }
    }
    let connections = draft.input.connections(app, service, container);
    if !draft.input.is_wanted_running(&container.key, service) {
        stop(draft, container);
    } else if connections.is_empty() {
        start(draft, app, service, container);
    } else {
        connect(draft, container, connections);
    }
}

/// Attaches a container to its networks before it is started. A running one loses a network only where the new one has the
/// same name.
fn connect(draft: &mut AppPlan<'_>, container: &Container, connections: Vec<NetworkConnection>) {
    let loses = container.phase.is_alive() && connections.iter().any(|it| it.instead_of.is_some());
    let gate = if loses { Precondition::Locked } else { Precondition::Free };
    draft.deed(gate, EngineAction::Connect(which(container), connections));
}

/// Stops a container that should not run.
pub(super) fn stop(draft: &mut AppPlan<'_>, container: &Container) {
    if container.phase.is_alive() {
        draft.deed(Precondition::Locked, EngineAction::Stop(which(container)));
    }
}

/// Whether a container that should run has to be started.
pub(super) fn is_owed_a_start(draft: &AppPlan<'_>, container: &Container) -> bool {
    match container.phase {
        ContainerPhase::Created => true,
        ContainerPhase::Exited(_) => {
            // If it exited by itself, that is up to its restart policy; under one that always restarts, it was stopped by
            // hand.
            container.restart.restarts_always()
                || draft.input.overrides.start.contains(&container.id)
                // A failed start is not an exit of its program: a missing device or address may be back by now.
                || container.error.is_some()
        }
        // The user who paused it may be about to copy its files.
        ContainerPhase::Paused => draft.input.overrides.start.contains(&container.id),
        ContainerPhase::Running | ContainerPhase::Restarting | ContainerPhase::Removing | ContainerPhase::Dead => false,
    }
}

pub(super) fn start(draft: &mut AppPlan<'_>, app: &App, service: &Service, container: &Container) {
    if !is_owed_a_start(draft, container) {
        if is_owed_a_restart(draft, app, service, container) {
            draft.deed(Precondition::Locked, EngineAction::Restart(which(container)));
        } else {
            keep_connected(draft, container);
        }
        return;
    }
    // A creation time in the future is from before the clock was set back: it must not cause reboots until then.
    let (since, now) = (draft.input.current.booted_secs, draft.input.current.now_secs);
    let new = container.phase == ContainerPhase::Created
        && match draft.input.current.awaiting.get(&container.id) {
            // Clocks are wrong at boot on boards without a battery; the recorded boot id is not.
            Some(BootState::NotYet) => true,
            Some(BootState::Done) => false,
            None => (since..=now).contains(&container.created_secs),
        };
    if service.requires_reboot && new {
        draft.wait(Waiting::Boot(container.key.clone()));
    } else if let Some(other) = unmet(draft, app, service) {
        draft.wait(Waiting::Dependency(container.key.clone(), other));
    } else {
        draft.deed(Precondition::Free, EngineAction::Start(which(container)));
    }
}

/// Restarts a live container that lost a namespace it shares, and waits for one that is paused.
pub(super) fn keep_connected(draft: &mut AppPlan<'_>, container: &Container) {
    if lost_its_owner(draft, container) {
        draft.deed(Precondition::Locked, EngineAction::Restart(which(container)));
    } else if container.phase == ContainerPhase::Paused {
        draft.wait(Waiting::Paused(container.key.clone()));
    }
}

/// Whether the owner of a shared namespace was started after the container: then the container is in the namespace of a
/// program that is gone.
fn lost_its_owner(draft: &AppPlan<'_>, container: &Container) -> bool {
    let (ContainerPhase::Running, Some(own), Some(others)) = (container.phase, container.started, container.shares_since)
    else {
        return false;
    };
    // A start time in the future is from before the clock was set back: a restart could not come after it.
    own < others && others.secs() <= draft.input.current.now_secs
}

pub(super) fn which(container: &Container) -> ContainerRef {
    ContainerRef { key: container.key.clone(), id: container.id.clone() }
}
