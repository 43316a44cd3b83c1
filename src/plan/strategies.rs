//! How an old container gives way to a new one.
//!
//! ```text
//! download-then-kill    pull · every image of the app is here · lock · kill · create · start · unlock
//! kill-then-download    unless the image is known not to fit: lock · kill · pull · create · start · unlock
//! delete-then-download  lock · kill · delete the old image · pull · create · start · unlock
//! hand-over             pull · lock · retire the old · create and start the new beside it · wait for its word · kill the old
//! ```

use crate::plan::draft::{Draft, Gate};
use crate::plan::images;
use crate::plan::scene::Changed;
use crate::plan::services::{is_owed_a_start, make, stop, unmet, unmet_meanwhile, which};
use crate::plan::{Deed, Waiting};
use crate::state::service::Strategy;
use crate::state::{App, Container, Service, ServiceKey};

/// Containers of a service that are not as it should be, and the service.
pub(super) struct Old<'a> {
    pub(super) app: &'a App,
    pub(super) service: &'a Service,
    pub(super) key: &'a ServiceKey,
    pub(super) containers: &'a [&'a Container],
    pub(super) changed: &'a Changed,
}

/// What the name of an old container of a hand-over begins with.
const RETIRED: &str = "old_";

/// Nobody wants the service any more, or its app is being purged: its containers go when the release that replaces them is here.
pub(super) fn dismiss(draft: &mut Draft<'_>, key: &ServiceKey, containers: &[&Container]) {
    if containers.is_empty() {
        return;
    }
    if !draft.scene.has_all_images(draft.scene.app(draft.app)) {
        draft.wait(Waiting::Images(key.clone()));
        return;
    }
    for container in containers {
        draft.deed(Gate::Locked, Deed::Kill(which(container)));
    }
}

/// The old containers make way as the service's strategy says.
pub(super) fn make_way(draft: &mut Draft<'_>, old: &Old<'_>) {
    let scene = draft.scene;
    let all_here = scene.has_all_images(Some(old.app));
    let asked_anew = old.containers.iter().any(|it| scene.demands.recreate.contains(&it.id));
    match old.service.strategy {
        Strategy::KillThenDownload | Strategy::DeleteThenDownload => kill(draft, old),
        Strategy::HandOver if all_here && !asked_anew && can_stand_beside(draft, old) => stand_beside(draft, old),
        Strategy::HandOver | Strategy::DownloadThenKill => {
            if !scene.has_image(&old.service.image) {
                draft.deed(Gate::Free, Deed::Pull(old.service.image.clone()));
            }
            if all_here {
                kill(draft, old);
            } else {
                draft.wait(Waiting::Images(old.key.clone()));
                // A hand-over that this release overtook ends here, however long it takes to arrive.
                if let Some(newest) = keep_the_newest(draft, old) {
                    serve_meanwhile(draft, old, newest);
                }
            }
        }
    }
}

fn kill(draft: &mut Draft<'_>, old: &Old<'_>) {
    for container in old.containers {
        draft.deed(Gate::Locked, Deed::Kill(which(container)));
    }
}

/// Of several containers of a service the newest that lives goes on, or the newest where none does.
pub(super) fn goes_on<'a>(containers: impl Iterator<Item = &'a Container>) -> Option<&'a Container> {
    containers.max_by_key(|it| (it.phase.is_alive(), it.created_secs, &it.id))
}

/// The one that goes on goes on alone: the others have no part in what comes.
fn keep_the_newest<'a>(draft: &mut Draft<'_>, old: &Old<'a>) -> Option<&'a Container> {
    let newest = goes_on(old.containers.iter().copied())?;
    for other in old.containers.iter().filter(|it| it.id != newest.id) {
        draft.deed(Gate::Locked, Deed::Kill(which(other)));
    }
    Some(newest)
}

/// While the release that will replace it is still on its way, what is there is restarted, stopped and started as anybody asks.
fn serve_meanwhile(draft: &mut Draft<'_>, old: &Old<'_>, container: &Container) {
    if !draft.scene.is_wanted_running(old.key, old.service) {
        stop(draft, container);
    } else if draft.scene.demands.recreate.contains(&container.id) {
        draft.deed(Gate::Locked, Deed::Restart(which(container)));
    } else if !old.service.requires_reboot && is_owed_a_start(draft, container) {
        match unmet_meanwhile(draft, old) {
            Some(other) => draft.wait(Waiting::Dependency(old.key.clone(), other)),
            None => draft.deed(Gate::Free, Deed::Start(which(container))),
        }
    }
}

/// A hand-over needs an old one that lives, a new one that is to run, and nothing that both cannot have at once.
fn can_stand_beside(draft: &Draft<'_>, old: &Old<'_>) -> bool {
    let alive = old.containers.iter().any(|it| it.phase.is_alive());
    alive && draft.scene.is_wanted_running(old.key, old.service) && !old.changed.concerns(old.service)
}

fn stand_beside(draft: &mut Draft<'_>, old: &Old<'_>) {
    if let Some(other) = unmet(draft, old.app, old.service) {
        draft.wait(Waiting::Dependency(old.key.clone(), other));
        return;
    }
    let [newest] = old.containers else {
        keep_the_newest(draft, old);
        return;
    };
    if newest.name.starts_with(RETIRED) {
        make(draft, old.app, old.service, old.key, old.changed);
    } else {
        let name = format!("{RETIRED}{}", newest.name);
        draft.deed(Gate::Locked, Deed::Retire(which(newest), name));
    }
}

/// Whether a pull may begin: under delete-then-download not before the images nobody wants are gone.
pub(super) fn may_pull(draft: &Draft<'_>, service: &Service) -> bool {
    service.strategy != Strategy::DeleteThenDownload || images::unwanted(draft.scene).next().is_none()
}
