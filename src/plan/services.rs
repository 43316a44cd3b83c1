//! One service: from its containers to the one it should have.

use crate::plan::app_plan::{AppPlan, Precondition};
use crate::plan::container::{Outdated, is_fresh, is_retired, rank, ref_of};
use crate::plan::input::ChangedNetworks;
use crate::plan::lifecycle::{create, maintain, stop};
use crate::plan::release::ReleaseProgress;
use crate::plan::strategies;
use crate::plan::{data, images};
use crate::sorted::{SortedSet, sort_by};
use crate::state::{Container, ContainerPhase, EngineAction, ServiceKey, Waiting};

/// Plans the services of an app.
pub(super) fn propose(draft: &mut AppPlan<'_>) {
    let changed = draft.input.app(draft.app).map(|app| draft.input.changed_networks(app)).unwrap_or_default();
    let wanted = draft.input.app(draft.app).into_iter().flat_map(|app| app.services.keys().cloned());
    let existing = draft.input.containers_of(draft.app).map(|it| it.key.service.clone());
    let names: SortedSet<String> = wanted.chain(existing).collect();
    draft.release = ReleaseProgress::of(draft.input, draft.input.app(draft.app), &changed);
    for name in names {
        propose_service(draft, &name, &changed);
    }
    pull_what_is_awaited(draft);
}

/// Pulls the images of services that have the right container already, if another waits for the images of the release. They
/// need none themselves, so that nothing else pulls them; yet an engine deletes an image's name while a container runs.
fn pull_what_is_awaited(draft: &mut AppPlan<'_>) {
    if !draft.waits_for_images() {
        return;
    }
    let input = draft.input;
    for (name, service) in input.app(draft.app).into_iter().flat_map(|app| &app.services) {
        let has_container = input.containers_of(draft.app).any(|it| it.key.service == *name && input.is_as_wanted(it, service));
        if has_container && !input.has_image(&service.image) && images::may_pull(input, service) {
            draft.propose_action(Precondition::Always, EngineAction::Pull(service.image.clone()));
        }
    }
}

fn propose_service(draft: &mut AppPlan<'_>, name: &str, changed: &ChangedNetworks) {
    let input = draft.input;
    let key = ServiceKey::new(draft.app, name);
    let mut containers: Vec<&Container> = input.containers_of(draft.app).filter(|it| it.key == key).collect();
    if input.target.keeps(draft.app) {
        // A device that has no target is left as it is, but for what was pushed.
        for container in containers.into_iter().filter(|_| input.target.local.as_ref().is_some_and(|it| it.is_on)) {
            stop(draft, container);
        }
        return;
    }
    // Newest first; ids only make the order deterministic.
    sort_by(&mut containers, |a, b| (b.created_secs, &b.id).cmp(&(a.created_secs, &a.id)));
    containers.retain(|it| !skip_removed(draft, it));
    let wanted = input.app(draft.app).and_then(|app| Some((app, app.services.get(name)?)));
    let Some((app, service)) = wanted else {
        strategies::remove_unwanted(draft, &key, &containers);
        return;
    };
    if containers.iter().any(|it| data::must_go(draft, it)) {
        return data::make_way(draft, &containers);
    }
    let fresh =
        containers.iter().filter(|it| is_fresh(draft.input, app, service, it, changed)).max_by_key(|it| rank(it)).copied();
    let all = Outdated { app, service, key: &key, containers: &containers, changed };
    let (superfluous, containers): (Vec<_>, Vec<_>) =
        containers.iter().copied().partition(|it| is_superfluous(draft, &all, fresh, it));
    for container in superfluous {
        draft.propose_action(Precondition::Always, EngineAction::Kill(ref_of(container)));
    }
    let others: Vec<_> = containers.into_iter().filter(|it| fresh.is_none_or(|fresh| fresh.id != it.id)).collect();
    let old = Outdated { containers: &others, ..all };
    if input.is_purged(draft.app) {
        strategies::purge(draft, &old, fresh);
        return;
    }
    match (fresh, others.is_empty()) {
        (Some(fresh), true) => maintain(draft, app, service, fresh),
        (Some(fresh), false) => strategies::replace(draft, &old, fresh),
        (None, false) => strategies::replace_outdated(draft, &old),
        (None, true) => create(draft, &old, Precondition::ReleaseReady),
    }
}

/// Whether a created container is removed: another one is kept, or another release is wanted by now. It was never started, so
/// no process is disturbed.
fn is_superfluous(draft: &AppPlan<'_>, all: &Outdated<'_>, fresh: Option<&Container>, container: &Container) -> bool {
    // The old one of a hand-over goes on only until the right one takes over.
    let ran = |it: &&Container| it.phase != ContainerPhase::Created && (fresh.is_some() || !is_retired(it));
    let is_chosen = fresh.is_some_and(|fresh| fresh.id == container.id);
    let is_rival = is_fresh(draft.input, all.app, all.service, container, all.changed);
    // Two that never ran have both names that the right one could be created with.
    let is_newer = |it: &&Container| it.phase == ContainerPhase::Created && rank(it) > rank(container);
    let is_older_of_two = fresh.is_none() && all.containers.iter().any(is_newer);
    let another_goes_on = if is_rival { fresh.is_some() } else { is_older_of_two || all.containers.iter().any(ran) };
    container.phase == ContainerPhase::Created && !is_chosen && another_goes_on
}

/// Whether a container is ignored: the engine is removing it, or failed to, which is retried.
fn skip_removed(draft: &mut AppPlan<'_>, container: &Container) -> bool {
    match container.phase {
        ContainerPhase::Removing => draft.wait(Waiting::Engine(container.key.clone())),
        ContainerPhase::Dead => draft.propose_action(Precondition::Always, EngineAction::Kill(ref_of(container))),
        ContainerPhase::Created
        | ContainerPhase::Running
        | ContainerPhase::Restarting
        | ContainerPhase::Paused
        | ContainerPhase::Exited(_) => return false,
    }
    true
}
