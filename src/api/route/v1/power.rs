//! `POST /v1/reboot` and `POST /v1/shutdown`. Every outcome has the shape the reference shows.

use axum::http::StatusCode;
use serde::Serialize;

use crate::api::response::{ApiResponse, LeaseFields, json};
use crate::api::{ApiRequest, body};
use crate::request::{Refusal, Request};
use crate::state::utc::utc;
use crate::state::{AppId, HeldLock, PowerAction};

/// The body of the endpoints that were first written in Go.
#[derive(Serialize)]
struct Outcome<'a> {
    #[serde(rename = "Data")]
    data: &'a str,
    #[serde(rename = "Error")]
    error: &'a str,
    /// The lease that it is refused for.
    #[serde(flatten)]
    lease: Option<LeaseFields<'a>>,
}

/// Reboots or powers off the machine. 202 means that logind can do it, and that the agent requests it in a second.
pub(in crate::api) async fn end(call: ApiRequest, ending: PowerAction) -> Result<ApiResponse, ApiResponse> {
    let fields = body::read(call.request).await?;
    match call.api.send(|reply| Request::Shutdown { ending, force: fields.force(), reply }).await? {
        Ok(()) => Ok(json(StatusCode::ACCEPTED, &Outcome { data: "OK", error: "", lease: None })),
        Err(why) => {
            let (status, error) = status_and_text(&why);
            let lease = if let Refusal::Leased(_, lease) = &why { Some(LeaseFields::of(lease)) } else { None };
            Err(json(status, &Outcome { data: "", error: &error, lease }))
        }
    }
}

fn status_and_text(why: &Refusal) -> (StatusCode, String) {
    match why {
        Refusal::LockedApp(app, held) => (StatusCode::LOCKED, locked(*app, held)),
        Refusal::HostUpdate(_) | Refusal::Leased(..) => (StatusCode::LOCKED, why.to_string()),
        Refusal::ShuttingDown => (StatusCode::SERVICE_UNAVAILABLE, why.to_string()),
        Refusal::Locked(_)
        | Refusal::Busy(_)
        | Refusal::TooManyLeases(_)
        | Refusal::UnknownApp(_)
        | Refusal::SeveralServices
        | Refusal::NoContainer
        | Refusal::NotInTarget
        | Refusal::NotToRun(_)
        | Refusal::Failed(_)
        | Refusal::Kept(_)
        | Refusal::NotInLocalMode
        | Refusal::Document(_)
        | Refusal::Trial(_)
        | Refusal::UnknownLink
        | Refusal::UnknownKey => (StatusCode::INTERNAL_SERVER_ERROR, why.to_string()),
    }
}

/// Begins as later supervisors write it, then adds the lock's path and since when it is held.
fn locked(app: AppId, held: &HeldLock) -> String {
    let HeldLock { service, path, since_secs } = held;
    format!("Lockfile exists for {{ appId: {app}, service: {service} }}: {path} since {}", utc(*since_secs))
}
