//! How an outdated container is replaced.
//!
//! ```text
//! download-then-kill    pull · every image of the app is here · create · lock · kill · start · unlock
//! kill-then-download    unless the image is known not to fit: lock · kill · pull · create · start · unlock
//! delete-then-download  lock · kill · delete the old image · pull · create · start · unlock
//! hand-over             pull · create · lock · retire the old · start the new beside it · await notification · kill the old
//! ```
//!
//! The new container is created before anything is disturbed, so that nothing is killed for one that the engine rejects. If
//! the image is here, that holds for every strategy. It is impossible where the old container, or a network that it is on,
//! has to go first.

use crate::plan::app_plan::{AppPlan, Precondition};
use crate::plan::container::{Outdated, RETIRED, is_retired, needs_start, newest_live, ref_of};
use crate::plan::depends::{unmet, unmet_meanwhile};
use crate::plan::lifecycle::{create, keep_running, maintain, start, stop};
use crate::plan::{data, release, spec};
use crate::state::service::Strategy;
use crate::state::{Container, ContainerPhase, EngineAction, ServiceKey, Step, Waiting};

/// The service is not in the target: its containers are removed when the release that replaces them is here.
pub(super) fn remove_unwanted(draft: &mut AppPlan<'_>, key: &ServiceKey, containers: &[&Container]) {
    if containers.is_empty() {
        return;
    }
    if !draft.release.images {
        draft.wait(Waiting::Images(key.clone()));
    } else if !draft.release.containers {
        draft.wait(Waiting::Containers(key.clone()));
    } else {
        for container in containers {
            match data::removal_waits(draft, container) {
                Some(waiting) => draft.wait(waiting),
                None => draft.propose_action(Precondition::Locked, EngineAction::Kill(ref_of(container))),
            }
        }
    }
}

/// The app is being purged: its containers are removed once they can come back, that is when the images are here and the
/// engine has shown that it can create the ones that are outdated.
pub(super) fn purge(draft: &mut AppPlan<'_>, old: &Outdated<'_>, fresh: Option<&Container>) {
    if !draft.input.has_image(&old.service.image) {
        draft.propose_action(Precondition::Always, EngineAction::Pull(old.service.image.clone()));
    } else if draft.release.images && fresh.is_none() && is_unproven(draft, old) {
        draft.wait(Waiting::Containers(old.key.clone()));
        return;
    }
    let all = || old.containers.iter().copied().chain(fresh);
    // A container created beside another is removed after that one: otherwise the next plan would find it missing.
    let ran = all().any(|it| it.phase != ContainerPhase::Created);
    let first: Vec<_> = all().filter(|it| !ran || it.phase != ContainerPhase::Created).collect();
    remove_unwanted(draft, old.key, &first);
}

/// No container matches the target. The old ones are replaced as the service's strategy says.
pub(super) fn replace_outdated(draft: &mut AppPlan<'_>, old: &Outdated<'_>) {
    let input = draft.input;
    let has_image = input.has_image(&old.service.image);
    if old.service.strategy.makes_way_first() && !has_image {
        // The new container's networks and volumes can exist before its image does, and must exist before the old container
        // is removed.
        match input.first_absent(old.app, old.service) {
            None => kill_outdated(draft, old),
            absent => {
                draft.wait_for(old.key, absent);
                if let Some(newest) = keep_the_newest(draft, old) {
                    maintain_until_replaced(draft, old, newest);
                }
            }
        }
        return;
    }
    if !has_image {
        draft.propose_action(Precondition::Always, EngineAction::Pull(old.service.image.clone()));
    }
    if waits_for_images(draft, old) {
        return;
    }
    if is_unproven(draft, old) || !draft.release.is_ready_for(old.service) {
        wait_for_containers(draft, old);
    } else {
        kill_outdated(draft, old);
    }
}

/// Whether the engine has yet to show that it can create the new container, or its network. The container is created beside
/// the old ones, where that is possible.
fn is_unproven(draft: &mut AppPlan<'_>, old: &Outdated<'_>) -> bool {
    let untried = draft.input.untried_driver(old.app, old.service).filter(|_| !old.containers.is_empty());
    draft.wait_for(old.key, untried.clone());
    untried.is_some() || create_beside(draft, old)
}

/// Creates the new container beside the old ones, where that is possible.
fn create_beside(draft: &mut AppPlan<'_>, old: &Outdated<'_>) -> bool {
    let can = !old.containers.is_empty() && release::can_be_created_beside(draft.input, old.app, old.service, old.changed);
    if can {
        create(draft, old, Precondition::Always);
    }
    can
}

/// There is the right container and others: it was created beside them, a hand-over is in progress, or one is left over.
pub(super) fn replace(draft: &mut AppPlan<'_>, old: &Outdated<'_>, fresh: &Container) {
    if fresh.phase != ContainerPhase::Created {
        return remove_replaced(draft, old, fresh);
    }
    if waits_for_images(draft, old) {
        return;
    }
    let is_recreate_requested = old.containers.iter().any(|it| draft.input.overrides.recreate.contains(&it.id));
    if !draft.release.is_ready_for(old.service) {
        wait_for_containers(draft, old);
    } else if old.service.strategy == Strategy::HandOver && !is_recreate_requested && can_start_side_by_side(draft, old) {
        start_side_by_side(draft, old, fresh);
    } else {
        kill_outdated(draft, old);
    }
}

/// The new container was started: the others are removed, at once or when it notifies that it has taken over.
fn remove_replaced(draft: &mut AppPlan<'_>, old: &Outdated<'_>, fresh: &Container) {
    let running = draft.input.is_wanted_running(&fresh.key, old.service);
    let handing_over =
        old.service.strategy == Strategy::HandOver && running && old.containers.iter().any(|it| it.phase.is_alive());
    for other in old.containers {
        let (which, timeout) = (ref_of(other), old.service.handover_timeout);
        let hand_over = handing_over && other.phase.is_alive();
        let step = if hand_over { Step::HandOver { old: which, timeout } } else { Step::Engine(EngineAction::Kill(which)) };
        draft.propose(Precondition::Mending, step);
    }
}

/// Whether the release is still being pulled. The existing container is maintained meanwhile.
fn waits_for_images(draft: &mut AppPlan<'_>, old: &Outdated<'_>) -> bool {
    if draft.release.images || old.service.strategy.makes_way_first() {
        return false;
    }
    draft.wait(Waiting::Images(old.key.clone()));
    // A hand-over that a newer release overtook ends here, however long that release takes to arrive.
    if let Some(newest) = keep_the_newest(draft, old) {
        maintain_until_replaced(draft, old, newest);
    }
    true
}

/// New containers are about to be created, or the engine rejects one: the existing container stays as it is, and is stopped
/// and started on request. It is not restarted in place, for a requested restart is fulfilled by the new container.
fn wait_for_containers(draft: &mut AppPlan<'_>, old: &Outdated<'_>) {
    draft.wait(Waiting::Containers(old.key.clone()));
    let newest = newest_live(old.containers.iter().copied());
    if let Some(newest) = newest.filter(|it| !draft.input.overrides.recreate.contains(&it.id)) {
        maintain_until_replaced(draft, old, newest);
    }
}

fn kill_outdated(draft: &mut AppPlan<'_>, old: &Outdated<'_>) {
    for container in old.containers {
        // An image that is pulled only then is needed before data is copied.
        let waiting = data::removal_waits(draft, container).filter(|_| draft.input.has_image(&old.service.image));
        if let Some(waiting) = waiting {
            draft.wait(waiting);
            continue;
        }
        let action = if is_restarted_in_place(draft, old, container) { EngineAction::Restart } else { EngineAction::Kill };
        draft.propose_action(Precondition::Locked, action(ref_of(container)));
    }
}

/// Whether a requested restart leaves the container as it is: what would replace it is an update, whose window is closed.
fn is_restarted_in_place(draft: &AppPlan<'_>, old: &Outdated<'_>, container: &Container) -> bool {
    let input = draft.input;
    let is_update = !input.is_as_wanted(container, old.service) || old.changed.affects(old.service);
    let requested = input.overrides.recreate.contains(&container.id) && !input.is_purged(old.key.app);
    requested && is_update && container.phase.is_alive() && input.closed_window(old.key).is_some()
}

/// Removes all containers but the survivor: they play no part in what follows.
fn keep_the_newest<'a>(draft: &mut AppPlan<'_>, old: &Outdated<'a>) -> Option<&'a Container> {
    let newest = newest_live(old.containers.iter().copied())?;
    for other in old.containers.iter().filter(|it| it.id != newest.id) {
        draft.propose_action(Precondition::Locked, EngineAction::Kill(ref_of(other)));
    }
    Some(newest)
}

/// While the release that will replace it is still being pulled, the existing container is restarted, stopped and started on
/// request.
fn maintain_until_replaced(draft: &mut AppPlan<'_>, old: &Outdated<'_>, container: &Container) {
    if !draft.input.is_wanted_running(old.key, old.service) {
        stop(draft, container);
    } else if draft.input.overrides.recreate.contains(&container.id) {
        draft.propose_action(Precondition::Locked, EngineAction::Restart(ref_of(container)));
    } else if data::is_left_alone(draft, container) || draft.input.is_stranded(old.app, old.service, container) {
        // Something else is waited for already, or no engine starts it.
    } else if !old.service.requires_reboot && needs_start(draft.input, container) {
        match unmet_meanwhile(draft.input, old) {
            Some(other) => draft.wait(Waiting::Dependency(old.key.clone(), other)),
            None => draft.propose_action(Precondition::Always, EngineAction::Start(ref_of(container))),
        }
    } else {
        keep_running(draft, container);
    }
}

/// A hand-over needs a live old container, a new one that should run, and no changed network, which both cannot have at once.
fn can_start_side_by_side(draft: &AppPlan<'_>, old: &Outdated<'_>) -> bool {
    let alive = old.containers.iter().any(|it| it.phase.is_alive());
    alive
        && draft.input.is_wanted_running(old.key, old.service)
        && !old.changed.affects(old.service)
        && data::allows_hand_over(draft, old.containers)
}

/// Retires the old container, which frees its name, and starts the new one.
fn start_side_by_side(draft: &mut AppPlan<'_>, old: &Outdated<'_>, fresh: &Container) {
    if let Some(other) = unmet(draft.input, old.app, old.service) {
        draft.wait(Waiting::Dependency(old.key.clone(), other));
        return;
    }
    if let Some(waiting) = old.containers.iter().find_map(|it| data::removal_waits(draft, it)) {
        draft.wait(waiting);
        return;
    }
    let [newest] = old.containers else {
        keep_the_newest(draft, old);
        return;
    };
    if is_retired(fresh) {
        start(draft, old.app, old.service, fresh);
    } else if is_retired(newest) {
        maintain(draft, old.app, old.service, fresh);
    } else {
        let name = format!("{RETIRED}{}", spec::bare_name(newest));
        draft.propose_action(Precondition::Locked, EngineAction::Retire(ref_of(newest), name));
    }
}
