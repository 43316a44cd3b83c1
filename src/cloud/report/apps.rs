//! The apps of the target, made from the status, in the words of supervisors of 2026.
//!
//! Reported are the apps and the releases that the target names, and no others: the cloud refuses a report that mentions a
//! release that was deleted. So while an update is under way, the release before it is not reported any more, and the cloud
//! keeps it as the running one until the new one is complete. A release that this device rejects, or that failed on trial, is
//! reported beside the one that stays in force. What the other troubles are has no field in the cloud.

use crate::sorted::SortedMap;
use crate::state::app_status::{AppStatus, ServiceStatus};
use crate::state::cloud::{AppReport, ReleaseReport, ServiceReport};
use crate::state::{App, EngineState, ReleaseTrial, Service, Status};

/// The apps, by uuid. None in local mode, where the apps are not the cloud's, and none while the engine does not answer: then
/// what the cloud has of them stays.
pub(super) fn app_reports(status: &Status) -> SortedMap<String, AppReport> {
    if status.access.local_mode || status.engine != EngineState::Up {
        return SortedMap::new();
    }
    let apps = status.target.iter().flat_map(|it| it.apps.values()).filter(|it| has_cloud_uuid(it));
    let mut reports: SortedMap<_, _> = apps.map(|app| (app.uuid.clone(), report(status, app))).collect();
    for (app, commit) in &status.rejected_releases {
        let releases = &mut reports.entry(app.clone()).or_default().releases;
        releases.entry(commit.clone()).or_insert_with(|| given_up("rejected"));
    }
    for (app, trial) in &status.releases {
        let app = status.target.as_ref().and_then(|it| it.apps.get(app)).filter(|it| has_cloud_uuid(it));
        if let (Some(app), ReleaseTrial::RolledBack(failed, _)) = (app, trial)
            && let Some(commit) = &failed.commit
        {
            let releases = &mut reports.entry(app.uuid.clone()).or_default().releases;
            releases.entry(commit.clone()).or_insert_with(|| given_up("aborted"));
        }
    }
    reports
}

/// An app without a uuid comes from no document of this cloud; its number stands in for the uuid.
fn has_cloud_uuid(app: &App) -> bool {
    app.uuid != app.id.to_string()
}

fn given_up(update_status: &'static str) -> ReleaseReport {
    ReleaseReport { update_status: Some(update_status), services: SortedMap::new() }
}

fn report(status: &Status, app: &App) -> AppReport {
    let Some(commit) = &app.commit else { return AppReport::default() };
    let seen = AppStatus::new(status, app);
    let service = |(name, service, it): (&String, &Service, ServiceStatus<'_>)| {
        let image = service.image.as_str().to_owned();
        (name.clone(), ServiceReport { image, status: it.word.to_owned(), download_progress: it.download_progress })
    };
    let (services, update_status) = (seen.services().map(service).collect(), seen.update_status());
    AppReport {
        release_uuid: (update_status == "done").then(|| commit.clone()),
        releases: SortedMap::from_iter([(commit.clone(), ReleaseReport { update_status: Some(update_status), services })]),
    }
}
