//! The data of volumes: copied before the first container of a release starts, and put back when the app goes back.
//!
//! A copy is of data that nothing changes: every container that has the volume is stopped first, within update locks and
//! windows. Until the copy is made, the app's other services are left alone and no new container is started, so that the old
//! release runs on for as long as possible. A volume that is put back is created anew: no container has it then.

use crate::plan::AppUpdate;
use crate::plan::app_plan::{AppPlan, Precondition};
use crate::plan::container::ref_of;
use crate::plan::data_work::{DataWork, data_plan};
use crate::plan::input::PlanInput;
use crate::state::volume::APP_UUID_LABEL;
use crate::state::{
    App, Container, ContainerPhase, DataDemand, DataPlan, EngineAction, ImageRef, Service, Volume, VolumeConfig, VolumeCopy,
    Waiting,
};

/// What the start of a container waits for.
pub(super) fn start_waits(draft: &AppPlan<'_>, service: &Service, container: &Container) -> Option<String> {
    let work = DataWork::of(draft.input, draft.app)?;
    let waits = match work {
        DataWork::Keep(_) => container.phase == ContainerPhase::Created || is_ready(draft) && work.is_for(service),
        DataWork::PutBack(_) => container.phase == ContainerPhase::Created || work.is_for(service),
        DataWork::Unsaved => container.phase == ContainerPhase::Created,
    };
    waits.then(|| work.text())
}

/// Whether a container of another release than the wanted one is left alone: where data is to go back, one that never ran must
/// not change it.
pub(super) fn is_left_alone(draft: &AppPlan<'_>, container: &Container) -> bool {
    let (input, id) = (draft.input, draft.app);
    let keeps_data =
        input.app(id).is_some_and(|it| !it.snapshots.is_empty()) || data_plan(input, id).is_some_and(|it| it.guarded);
    container.phase == ContainerPhase::Created && (keeps_data || DataWork::of(input, id).is_some())
}

/// Whether a container that is as wanted is to be stopped, so that a volume of it can be copied.
pub(super) fn must_stop(draft: &AppPlan<'_>, container: &Container) -> bool {
    let is_copied = |it: &DataWork<'_>| matches!(it, DataWork::Keep(_)) && it.concerns(container);
    DataWork::of(draft.input, draft.app).is_some_and(|it| is_copied(&it)) && is_ready(draft)
}

/// Whether a container of the app is in the way of a volume that is put back, and can be created again.
pub(super) fn must_go(draft: &AppPlan<'_>, container: &Container) -> bool {
    let is_put_back = |it: &DataWork<'_>| matches!(it, DataWork::PutBack(_)) && it.concerns(container);
    draft.release.images && DataWork::of(draft.input, draft.app).is_some_and(|it| is_put_back(&it))
}

/// Whether a service may be handed over: not while data is to be copied, which needs the old container stopped.
pub(super) fn allows_hand_over(draft: &AppPlan<'_>, containers: &[&Container]) -> bool {
    DataWork::of(draft.input, draft.app).is_none_or(|work| !containers.iter().any(|it| work.concerns(it)))
}

/// What holds back the removal of an outdated container: once all images are here, the containers that have the volumes go
/// first, and those only when none of them is held up by its update window.
pub(super) fn removal_waits(draft: &AppPlan<'_>, container: &Container) -> Option<Waiting> {
    let work = DataWork::of(draft.input, draft.app)?;
    if !container.phase.is_alive() || work == DataWork::Unsaved {
        return None;
    }
    if !work.concerns(container) {
        // An image may only be pulled once its predecessor is gone, and the copy waits for all images.
        if !draft.release.images {
            return None;
        }
        return Some(Waiting::Resource(container.key.clone(), work.text()));
    }
    let closed = |it: &Container| {
        let closed = draft.input.closed_window(&it.key).filter(|_| it.phase.is_alive() && work.concerns(it))?;
        Some(Waiting::Window(Some(it.key.clone()), closed.clone()))
    };
    draft.input.containers_of(draft.app).find_map(closed)
}

/// Stops a container whose volume is to be copied, or waits for the windows of all such containers.
pub(super) fn stop_for_copy(draft: &mut AppPlan<'_>, container: &Container) {
    match removal_waits(draft, container) {
        Some(waiting) => draft.wait(waiting),
        None => draft.propose_action(Precondition::Locked, EngineAction::Stop(ref_of(container))),
    }
}

/// Removes the containers that are in the way of a volume that is put back.
pub(super) fn make_way(draft: &mut AppPlan<'_>, containers: &[&Container]) {
    for container in containers.iter().copied() {
        if !must_go(draft, container) {
            continue;
        }
        match removal_waits(draft, container) {
            Some(waiting) => draft.wait(waiting),
            None => draft.propose_action(Precondition::Locked, EngineAction::Kill(ref_of(container))),
        }
    }
}

/// Whether everything is prepared that can be prepared while the old release runs.
fn is_ready(draft: &AppPlan<'_>) -> bool {
    draft.release.images && draft.release.containers
}

/// Plans the copies of an app's volumes, and removes snapshots that are of no use any more.
pub(super) fn propose(draft: &mut AppPlan<'_>, app: &App) {
    let input = draft.input;
    remove_unused(draft);
    let Some((work, plan)) = DataWork::of(input, app.id).zip(data_plan(input, app.id)) else { return };
    let Some(image) = some_image(input, app).filter(|_| !plan.unsaved) else { return };
    for name in work.names().into_iter().flatten() {
        let volume = existing_or_new(input, app, name);
        let has = |it: &&Container| it.volumes.contains(&volume.name);
        let mut users = input.containers_of(app.id).filter(has);
        let copy = || {
            Box::new(VolumeCopy {
                name: name.clone(),
                volume: volume.clone(),
                release: plan.release.clone(),
                image: image.clone(),
            })
        };
        match work {
            DataWork::Keep(_) if is_ready(draft) && !users.any(|it| it.phase.is_alive()) => {
                draft.propose_action(Precondition::Always, EngineAction::KeepData(copy()));
            }
            DataWork::PutBack(_) if draft.release.images && users.next().is_none() => {
                draft.propose_action(Precondition::Always, EngineAction::PutDataBack(copy()));
            }
            DataWork::Keep(_) | DataWork::PutBack(_) | DataWork::Unsaved => (),
        }
    }
}

/// Removes every snapshot of an app. Returns whether there is one.
pub(super) fn remove_all(draft: &mut AppPlan<'_>) -> bool {
    let (input, app) = (draft.input, draft.app);
    let mut any = false;
    for snapshot in input.current.snapshots.iter().filter(|it| it.app == app) {
        any = true;
        draft.propose_action(Precondition::Always, EngineAction::RemoveVolume(snapshot.name.clone(), app));
    }
    any
}

fn remove_unused(draft: &mut AppPlan<'_>) {
    let (input, app) = (draft.input, draft.app);
    let plan = data_plan(input, app);
    if plan.is_some_and(|it| it.unsaved) {
        // After a power cut it would be missed, and one that is half made in its place be taken for it.
        return;
    }
    let is_used = |name: &String| {
        let is_due = |plan: &DataPlan| matches!(&plan.demand, DataDemand::Keep(names) if names.contains(name));
        plan.is_some_and(|it| it.kept.contains(name) || is_due(it))
    };
    for snapshot in input.current.snapshots.iter().filter(|it| it.app == app && !is_used(&it.volume)) {
        draft.propose_action(Precondition::Always, EngineAction::RemoveVolume(snapshot.name.clone(), app));
    }
}

/// The volume as it is, or as it is created. It gets the label that other volumes of the app have.
fn existing_or_new(input: PlanInput<'_>, app: &App, name: &str) -> Volume {
    let existing = input.volume(app, name).map(|it| &it.config);
    let mut config = existing.or_else(|| app.volumes.get(name)).cloned().unwrap_or_else(VolumeConfig::default);
    config.labels.insert(APP_UUID_LABEL.to_owned(), app.uuid.clone());
    Volume { name: Volume::engine_name(app.id, name), app: app.id, config }
}

/// An image that is here: any will do, as the containers that are made of it are never started. A release may have no services.
fn some_image(input: PlanInput<'_>, app: &App) -> Option<ImageRef> {
    let wanted = app.services.values().map(|it| &it.image);
    let used = input.containers_of(app.id).map(|it| &it.image_ref);
    let here = wanted.chain(used).find(|it| input.has_image(it)).cloned();
    here.or_else(|| input.current.images.iter().find_map(|it| it.names.first().cloned()))
}

/// Adds to the updates that are checked before they begin those of which data is to be copied first.
pub(super) fn add_updates(input: PlanInput<'_>, updates: &mut Vec<AppUpdate>) {
    for app in input.active_apps() {
        let Some(DataWork::Keep(names)) = DataWork::of(input, app.id) else { continue };
        let at = updates.iter().position(|it| it.app == app.id).unwrap_or_else(|| {
            updates.push(AppUpdate::of(app.id));
            updates.len() - 1
        });
        // What a person stops does not wait for room.
        let disturbed = |it: &&Container| it.phase.is_alive() && !input.overrides.stopped.contains(&it.key);
        let alive = input.containers_of(app.id).filter(disturbed);
        if let Some(update) = updates.get_mut(at) {
            update.make_way.extend(alive.map(|it| it.id.clone()));
            update.volumes = names.iter().map(|it| Volume::engine_name(app.id, it)).collect();
        }
    }
}
