//! The apps of the target, with what is known of each service.

use serde::Serialize;

use crate::state::history::History;
use crate::state::release::trial_text;
use crate::state::utc::utc;
use crate::state::{App, FailedService, KeptData, ReleaseTrial, ServiceKey, Status};

#[derive(Serialize)]
pub(super) struct AppBody<'a> {
    #[serde(rename = "app_id")]
    id: u32,
    name: &'a str,
    uuid: &'a str,
    commit: Option<&'a str>,
    release_id: u32,
    /// `None`: the app does not go back when a new release fails.
    release: Option<ReleaseBody<'a>>,
    services: Vec<ServiceBody<'a>>,
}

#[derive(Serialize)]
struct ReleaseBody<'a> {
    state: &'static str,
    /// In words. `None`: it is good.
    why: Option<String>,
    /// What it waits for while it is on trial.
    waits_for: &'a [String],
    failed: Option<FailedBody<'a>>,
    /// Volumes whose data is kept while the release is on trial, or is being put back.
    volumes: Vec<KeptVolumeBody<'a>>,
}

#[derive(Serialize)]
struct KeptVolumeBody<'a> {
    name: &'a str,
    state: &'static str,
}

#[derive(Serialize)]
struct FailedBody<'a> {
    commit: Option<&'a str>,
    at: String,
    /// Why it failed as a whole. `None`: its services say.
    cause: Option<&'a str>,
    services: Vec<FailedServiceBody<'a>>,
}

#[derive(Serialize)]
struct FailedServiceBody<'a> {
    name: &'a str,
    why: &'a str,
    lines: &'a [String],
    health_output: Option<&'a str>,
}

fn release<'a>(app: &App, trial: &'a ReleaseTrial, kept: Option<&'a KeptData>) -> ReleaseBody<'a> {
    let service = |it: &'a FailedService| FailedServiceBody {
        name: &it.service,
        why: &it.why,
        lines: &it.lines,
        health_output: it.health_output.as_deref(),
    };
    let failed = trial.failure().map(|it| FailedBody {
        commit: it.commit.as_deref(),
        at: utc(it.at_secs),
        cause: it.cause.as_deref(),
        services: it.services.iter().map(service).collect(),
    });
    let waits_for = if let ReleaseTrial::OnTrial(reasons) = trial { reasons.as_slice() } else { &[] };
    let kept = kept.into_iter().flat_map(|it| &it.volumes).filter(|(_, state)| state.has_snapshot());
    let volumes = kept.map(|(name, state)| KeptVolumeBody { name, state: state.word() }).collect();
    ReleaseBody { state: trial.word(), why: trial_text(&app.name, app.id, trial), waits_for, failed, volumes }
}

#[derive(Serialize)]
struct ServiceBody<'a> {
    name: &'a str,
    image: &'a str,
    running: bool,
    stopped_by_hand: bool,
    /// The dependency because of which the service is not started, and why that one is not ready; or the update window for
    /// which its update waits.
    waits_for: Option<String>,
    /// Why its container is as it is, in a sentence. `None`: the history does not say.
    why: Option<String>,
    /// When that was.
    since: Option<String>,
}

/// An app, for callers that may see it.
pub(super) fn body<'a>(status: &'a Status, history: &'a History, app: &'a App) -> AppBody<'a> {
    let stopped = |service: &str| status.overrides.stopped.contains(&ServiceKey::new(app.id, service));
    let services = app.services.iter().map(|(name, service)| {
        let reason = history.reason_of(&ServiceKey::new(app.id, name));
        ServiceBody {
            name,
            image: service.image.as_str(),
            running: service.running,
            stopped_by_hand: stopped(name),
            waits_for: status.held_back_by(&ServiceKey::new(app.id, name)),
            why: reason.map(|it| it.sentence()),
            since: reason.map(|it| utc(it.at_ms.div_euclid(1000))),
        }
    });
    AppBody {
        id: app.id.0,
        name: &app.name,
        uuid: &app.uuid,
        commit: app.commit.as_deref(),
        release_id: app.release_id,
        release: status.releases.get(&app.id).map(|it| release(app, it, status.kept_data.get(&app.id))),
        services: services.collect(),
    }
}
