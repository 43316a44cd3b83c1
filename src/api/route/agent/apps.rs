//! The apps of the target, with what is known of each service.

use serde::Serialize;

use crate::state::history::History;
use crate::state::utc::utc;
use crate::state::{App, ServiceKey, Status};

#[derive(Serialize)]
pub(super) struct AppBody<'a> {
    #[serde(rename = "app_id")]
    id: u32,
    name: &'a str,
    uuid: &'a str,
    commit: Option<&'a str>,
    release_id: u32,
    services: Vec<ServiceBody<'a>>,
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
        services: services.collect(),
    }
}
