//! Garbage collection of images. Only those pulled for a target of ours are deleted.

use crate::plan::container::existing_containers;
use crate::plan::input::PlanInput;
use crate::plan::{AppUpdate, Plan};
use crate::sorted::SortedSet;
use crate::state::service::Strategy;
use crate::state::{App, EngineAction, ImageRef, Service, Step};

/// Deletes the unused images; not while a pull is due that may share layers with them, unless space is needed more: a wanted
/// image does not fit, or a strategy says to delete first.
pub(super) fn remove_unused(input: PlanInput<'_>, plan: &mut Plan) {
    let mut services = input.active_apps().flat_map(|app| app.services.values());
    let mut is_room_needed = || services.any(|it| it.strategy == Strategy::DeleteThenDownload && !input.has_image(&it.image));
    if plan.downloaded || input.current.out_of_space || is_room_needed() {
        plan.steps.extend(unused(input).map(|it| Step::Engine(EngineAction::RemoveImage(it.clone()))));
    }
}

/// Updates that must not begin while they are known not to fit on the disk. Some images are pulled on their own instead:
/// those of an app without a container, for some of its services are better than none; those of a service whose container is
/// already gone; and those of a service that deletes first, since the space that frees is not known.
pub(super) fn updates(input: PlanInput<'_>) -> Vec<AppUpdate> {
    let apps = || input.active_apps();
    let by_itself: SortedSet<&ImageRef> = apps()
        .flat_map(|app| app.services.iter().filter(|(name, it)| !can_wait(input, app, name, it)))
        .map(|(_, it)| &it.image)
        .collect();
    let missing = |image: &ImageRef| !by_itself.contains(image) && !input.has_image(image);
    let update = |app: &App| {
        let wanted = || app.services.iter().filter(|(_, it)| missing(&it.image));
        let first = wanted().filter(|(_, it)| it.strategy == Strategy::KillThenDownload);
        AppUpdate {
            images: wanted().map(|(_, it)| it.image.clone()).collect(),
            make_way: first.flat_map(|(name, _)| existing_containers(input, app, name)).map(|it| it.id.clone()).collect(),
            ..AppUpdate::of(app.id)
        }
    };
    // The pull of a single image checks that it fits, unless a container is removed before it.
    apps().map(update).filter(|it| it.images.len() > 1 || !it.make_way.is_empty()).collect()
}

/// Whether nothing is lost while a service waits for its image.
fn can_wait(input: PlanInput<'_>, app: &App, name: &str, service: &Service) -> bool {
    match service.strategy {
        Strategy::DownloadThenKill | Strategy::HandOver => input.containers_of(app.id).next().is_some(),
        Strategy::KillThenDownload => existing_containers(input, app, name).next().is_some(),
        Strategy::DeleteThenDownload => false,
    }
}

/// Images of ours that no service wants and no container uses.
pub(super) fn unused(input: PlanInput<'_>) -> impl Iterator<Item = &ImageRef> {
    input.current.removable_images.iter().filter(move |reference| {
        let wanted = || input.target.apps.values().flat_map(|app| app.services.values()).any(|it| it.image == **reference);
        let image = input.current.images.iter().find(|it| it.answers_to(reference));
        image.is_some_and(|image| !wanted() && !input.current.containers.iter().any(|it| it.image == image.id))
    })
}

/// Whether a pull may begin: under delete-then-download not before the unused images are deleted.
pub(super) fn may_pull(input: PlanInput<'_>, service: &Service) -> bool {
    service.strategy != Strategy::DeleteThenDownload || unused(input).next().is_none()
}
