//! Images nobody wants any more. Only those that were pulled for a target of ours.

use std::collections::BTreeSet;

use crate::plan::scene::Scene;
use crate::plan::{Deed, Plan, Step};
use crate::state::service::Strategy;
use crate::state::{App, ImageRef, Service};

/// Deletes what nobody wants; not while a pull is due that may share layers with it, but where a strategy says to make room first.
pub(super) fn collect(scene: Scene<'_>, plan: &mut Plan) {
    let services = || scene.target.apps.values().flat_map(|app| app.services.values());
    let missing = services().any(|it| !scene.has_image(&it.image));
    let make_room = services().any(|it| it.strategy == Strategy::DeleteThenDownload && !scene.has_image(&it.image));
    if !missing || make_room {
        plan.steps.extend(unwanted(scene).map(|it| Step::Engine(Deed::RemoveImage(it.clone()))));
    }
}

/// What each update has yet to pull before anything of its app makes way. An app without a container is better off with some of its
/// services than with none, and a service that makes room first does not say how much: what they want is pulled by itself.
pub(super) fn together(scene: Scene<'_>) -> Vec<BTreeSet<ImageRef>> {
    let is_update = |app: &App| scene.containers_of(app.id).next().is_some();
    let waits =
        |app: &App, it: &Service| is_update(app) && matches!(it.strategy, Strategy::DownloadThenKill | Strategy::HandOver);
    let apps = || scene.target.apps.values();
    let others = |app| move |it: &&Service| !waits(app, it);
    let by_itself: BTreeSet<&ImageRef> =
        apps().flat_map(|app| app.services.values().filter(others(app))).map(|it| &it.image).collect();
    let missing = |app: &App| {
        let images = app.services.values().map(|it| &it.image);
        images.filter(|it| !by_itself.contains(it) && !scene.has_image(it)).cloned().collect::<BTreeSet<_>>()
    };
    apps().map(missing).filter(|it| it.len() > 1).collect()
}

/// Images of ours that no service wants and no container uses.
pub(super) fn unwanted(scene: Scene<'_>) -> impl Iterator<Item = &ImageRef> {
    scene.current.ours.iter().filter(move |reference| {
        let wanted = || scene.target.apps.values().flat_map(|app| app.services.values()).any(|it| it.image == **reference);
        let seen = scene.current.images.iter().find(|it| it.answers_to(reference));
        seen.is_some_and(|image| !wanted() && !scene.current.containers.iter().any(|it| it.image == image.id))
    })
}
