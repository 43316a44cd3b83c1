//! Images nobody wants any more. Only those that were pulled for a target of ours.

use crate::plan::scene::Scene;
use crate::plan::{Deed, Plan, Step};
use crate::state::ImageRef;
use crate::state::service::Strategy;

/// Deletes what nobody wants; not while a pull is due that may share layers with it, but where a strategy says to make room first.
pub(super) fn collect(scene: Scene<'_>, plan: &mut Plan) {
    let services = || scene.target.apps.values().flat_map(|app| app.services.values());
    let missing = services().any(|it| !scene.has_image(&it.image));
    let make_room = services().any(|it| it.strategy == Strategy::DeleteThenDownload && !scene.has_image(&it.image));
    if !missing || make_room {
        plan.steps.extend(unwanted(scene).map(|it| Step::Engine(Deed::RemoveImage(it.clone()))));
    }
}

/// Images of ours that no service wants and no container uses.
pub(super) fn unwanted(scene: Scene<'_>) -> impl Iterator<Item = &ImageRef> {
    scene.current.ours.iter().filter(move |reference| {
        let wanted = || scene.target.apps.values().flat_map(|app| app.services.values()).any(|it| it.image == **reference);
        let seen = scene.current.images.iter().find(|it| it.answers_to(reference));
        seen.is_some_and(|image| !wanted() && !scene.current.containers.iter().any(|it| it.image == image.id))
    })
}
