//! The steps of one container: it is created, renamed, connected, started and stopped.

use std::sync::Arc;

use crate::plan::app_plan::{AppPlan, Precondition};
use crate::plan::container::{Outdated, lost_shared_namespace, needs_start, ref_of, sibling};
use crate::plan::depends::{needs_restart, unmet};
use crate::plan::{data, data_work, images, release, spec};
use crate::state::service::Strategy;
use crate::state::{App, BootState, Container, ContainerPhase, EngineAction, NetworkConnection, Service, Waiting};

/// Creates a container, where there is none or beside the old one: as soon as everything it needs is here.
pub(super) fn create(draft: &mut AppPlan<'_>, old: &Outdated<'_>, precondition: Precondition) {
    let Outdated { app, service, key, changed, .. } = *old;
    let input = draft.input;
    if !input.has_image(&service.image) {
        if images::may_pull(input, service) {
            draft.propose_action(Precondition::Always, EngineAction::Pull(service.image.clone()));
        } else {
            draft.wait(Waiting::Resource(key.clone(), "room: the old image is deleted first".to_owned()));
        }
        return;
    }
    if let Some(port) = input.ports.unassigned(key) {
        let why = format!("other services have all ports of {port}: widen the range, or free one");
        draft.record_difference(format!("create {key}"), why);
        draft.wait(Waiting::Resource(key.clone(), format!("a free port of the host for {port}")));
        return;
    }
    if let Some(what) = input.first_missing(app, service, changed) {
        draft.wait(Waiting::Resource(key.clone(), what));
        return;
    }
    if let Some(what) = data_work::creation_waits(input, app, service) {
        draft.wait(Waiting::Resource(key.clone(), what));
        return;
    }
    let precondition = match precondition {
        Precondition::ReleaseReady if service.strategy.makes_way_first() => Precondition::Undisturbed,
        Precondition::ReleaseReady if release::is_awaited(draft.input, app, &key.service) => Precondition::Images,
        other => other,
    };
    let spec = spec::container_spec(input, app, &key.service, service, |name| sibling(draft.input, app, name));
    match spec {
        // An outdated one that is about to go has it.
        Some(spec) if input.containers_of(app.id).any(|it| it.name == spec.name) => {
            draft.wait(Waiting::Resource(key.clone(), format!("the name {} to be free", spec.name)));
        }
        Some(spec) => draft.propose_action(precondition, EngineAction::Create(Arc::new(spec))),
        None => draft.wait(Waiting::Resource(key.clone(), "the container whose namespace it shares".to_owned())),
    }
}

/// The container is the right one: at most rename, connect, stop or start it.
pub(super) fn maintain(draft: &mut AppPlan<'_>, app: &App, service: &Service, container: &Container) {
    let name = spec::container_name(app, &container.key.service, service);
    if spec::is_named_new(container) {
        // The container that it replaced is gone. It was never started, so nothing is disturbed.
        draft.propose_action(
            if container.phase == ContainerPhase::Created { Precondition::Always } else { Precondition::Locked },
            EngineAction::Rename(ref_of(container), name),
        );
    } else if container.name != name {
        // Only the release changed. The container's name is the only record of it.
        if service.strategy == Strategy::DownloadThenKill && !draft.release.images {
            draft.wait(Waiting::Images(container.key.clone()));
        } else if !draft.release.is_ready_for(service) {
            draft.wait(Waiting::Containers(container.key.clone()));
        } else {
            draft.propose_action(Precondition::Locked, EngineAction::Rename(ref_of(container), name));
        }
    }
    let connections = draft.input.missing_connections(app, service, container);
    if !draft.input.is_wanted_running(&container.key, service) {
        stop(draft, container);
    } else if data::must_stop(draft, container) && container.phase.is_alive() {
        data::stop_for_copy(draft, container);
    } else if !connections.is_empty() {
        connect(draft, container, connections);
    } else if let Some(network) = draft.input.gone_network(app, service, container).filter(|_| !container.phase.is_alive()) {
        draft.wait(Waiting::Resource(container.key.clone(), format!("network {network}")));
    } else {
        start(draft, app, service, container);
    }
}

/// Attaches a container to its networks before it is started. A running one loses a network only where the new one has the
/// same name.
fn connect(draft: &mut AppPlan<'_>, container: &Container, connections: Vec<NetworkConnection>) {
    let loses = container.phase.is_alive() && connections.iter().any(|it| it.instead_of.is_some());
    let precondition = if loses { Precondition::Locked } else { Precondition::Always };
    draft.propose_action(precondition, EngineAction::Connect(ref_of(container), connections));
}

/// Stops a container that should not run.
pub(super) fn stop(draft: &mut AppPlan<'_>, container: &Container) {
    if container.phase.is_alive() {
        draft.propose_action(Precondition::Locked, EngineAction::Stop(ref_of(container)));
    }
}

pub(super) fn start(draft: &mut AppPlan<'_>, app: &App, service: &Service, container: &Container) {
    if !needs_start(draft.input, container) {
        if needs_restart(draft.input, app, service, container) {
            draft.propose_action(Precondition::Locked, EngineAction::Restart(ref_of(container)));
        } else {
            keep_running(draft, container);
        }
        return;
    }
    // A creation time in the future is from before the clock was set back: it must not cause reboots until then.
    let (since, now) = (draft.input.current.booted_secs, draft.input.current.now_secs);
    let new = container.phase == ContainerPhase::Created
        && match draft.input.current.boot_waits.get(&container.id) {
            // Clocks are wrong at boot on boards without a battery; the recorded boot id is not.
            Some(BootState::NotYet) => true,
            Some(BootState::Done) => false,
            None => (since..=now).contains(&container.created_secs),
        };
    if service.requires_reboot && new {
        draft.wait(Waiting::Boot(container.key.clone()));
    } else if draft.input.current.stopped_lately.contains(&container.id) {
        draft.wait(Waiting::StoppedByHand(container.key.clone()));
    } else if let Some(what) = data::start_waits(draft, service, container) {
        draft.wait(Waiting::Resource(container.key.clone(), what));
    } else if let Some(other) = unmet(draft.input, app, service) {
        draft.wait(Waiting::Dependency(container.key.clone(), other));
    } else if let Some(other) = draft.input.predecessor(app.id) {
        draft.wait(Waiting::Predecessor(container.key.clone(), other));
    } else {
        draft.propose_action(Precondition::Always, EngineAction::Start(ref_of(container)));
    }
}

/// Restarts a live container that lost a namespace it shares, and waits for one that is paused.
pub(super) fn keep_running(draft: &mut AppPlan<'_>, container: &Container) {
    if lost_shared_namespace(draft.input, container) {
        draft.propose_action(Precondition::Mending, EngineAction::Restart(ref_of(container)));
    } else if container.phase == ContainerPhase::Paused {
        draft.wait(Waiting::Paused(container.key.clone()));
    }
}
