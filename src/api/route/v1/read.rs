//! The endpoints that read the device, from what the reconciler last published.

use std::cmp::Reverse;
use std::time::Duration;

use axum::http::StatusCode;
use serde::Serialize;

use crate::api::ApiRequest;
use crate::api::body::integer;
use crate::api::response::{ApiResponse, PlainText, failed, json};
use crate::api::route::v1::{APP_NOT_FOUND, MISSING_APP, OK, SEVERAL_SERVICES};
use crate::sorted::{SortedMap, SortedSet};
use crate::state::{AppId, Container, EngineState, Status, StepKind, parse_name};

const UNHEALTHY: PlainText = PlainText::new("Unhealthy");

/// A reconciler without an observation for this long is stuck: it observes every few minutes, even an engine that hangs.
const OBSERVED_WITHIN: Duration = Duration::from_secs(5 * 60);

/// How long the first observation may take.
const FIRST_OBSERVATION: Duration = Duration::from_secs(60);

/// `GET /v1/device`.
#[derive(Serialize)]
struct Device<'a> {
    api_port: u16,
    ip_address: String,
    commit: Option<String>,
    status: &'static str,
    download_progress: Option<u32>,
    os_version: &'a str,
    supervisor_version: &'a str,
    update_pending: bool,
    update_downloaded: bool,
    update_failed: bool,
    mac_address: &'a str,
    os_variant: Option<&'a str>,
}

/// `GET /v1/apps/:appId`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct App<'a> {
    #[serde(rename = "appId")]
    id: u32,
    commit: Option<String>,
    image_id: &'a str,
    container_id: &'a str,
    env: SortedMap<&'a str, &'a str>,
    release_id: Option<u32>,
}

/// `GET /ping`.
pub(in crate::api) fn ping(_: &ApiRequest) -> ApiResponse {
    ApiResponse::Text(StatusCode::OK, OK)
}

/// `GET /v1/healthy`: whether restarting the agent would help. An engine that hangs does not make the agent unhealthy.
pub(in crate::api) fn healthy(ApiRequest { api, .. }: &ApiRequest) -> ApiResponse {
    let observed = api.status.borrow().observed_at;
    let is_observing = observed.is_some_and(|at| at.elapsed() < OBSERVED_WITHIN);
    if is_observing || api.started.elapsed() < FIRST_OBSERVATION {
        ApiResponse::Status(StatusCode::OK)
    } else {
        ApiResponse::Text(StatusCode::INTERNAL_SERVER_ERROR, UNHEALTHY)
    }
}

/// `GET /v1/device`.
pub(in crate::api) fn device(call: &ApiRequest) -> ApiResponse {
    let status = &*call.api.status.borrow();
    let device = &status.device;
    json(
        StatusCode::OK,
        &Device {
            api_port: device.api_port,
            ip_address: device.ip_addresses.join(" "),
            commit: commit(status),
            status: status.word(),
            download_progress: progress(status),
            os_version: &device.reported.os_version,
            supervisor_version: &device.reported.supervisor_version,
            update_pending: status.update_pending,
            update_downloaded: status.update_downloaded,
            update_failed: status.update_failed,
            mac_address: &device.mac_address,
            os_variant: Some(device.reported.os_variant.as_str()).filter(|it| !it.is_empty()),
        },
    )
}

/// `GET /v1/apps/:appId`.
pub(in crate::api) fn app(call: &ApiRequest) -> ApiResponse {
    container(call).unwrap_or_else(|rejection| rejection)
}

fn container(call: &ApiRequest) -> Result<ApiResponse, ApiResponse> {
    let bad = |text| ApiResponse::Text(StatusCode::BAD_REQUEST, text);
    let number = integer(&call.param).ok_or(bad(MISSING_APP))?;
    if !call.callers.may_access(number) {
        return Err(failed(StatusCode::UNAUTHORIZED, "Application is not available"));
    }
    let status = call.api.status.borrow();
    let containers: Vec<_> = status.current.containers.iter().filter(|it| i64::from(it.key.app.0) == number).collect();
    let services: SortedSet<_> = containers.iter().map(|it| &it.key.service).collect();
    if services.len() > 1 {
        return Err(bad(SEVERAL_SERVICES));
    }
    // Two containers of one service: the old one is about to be replaced by the new one.
    match containers.into_iter().min_by_key(|it| liveliest_first(it)) {
        Some(container) => Ok(shown(container)),
        None => Err(unseen(&status.engine).unwrap_or(bad(APP_NOT_FOUND))),
    }
}

fn shown(container: &Container) -> ApiResponse {
    let named = parse_name(&container.name);
    let env = container.env.iter().filter(|(name, _)| !is_key(name)).map(|(name, value)| (name.as_str(), value.as_str()));
    let app = App {
        id: container.key.app.0,
        release_id: named.as_ref().map(|it| it.release_id),
        commit: named.map(|it| it.commit),
        image_id: container.image_ref.as_str(),
        container_id: &container.id.0,
        env: env.collect(),
    };
    json(StatusCode::OK, &app)
}

/// Why an app is unknown, if not because it does not exist.
fn unseen(engine: &EngineState) -> Option<ApiResponse> {
    let why = match engine {
        EngineState::Up => return None,
        EngineState::Unknown => "the container engine was not looked at yet; ask again",
        EngineState::Down { why, .. } => why,
    };
    Some(failed(StatusCode::SERVICE_UNAVAILABLE, why))
}

/// Variables that hold keys to an API. Other keys are the owner's own business.
fn is_key(name: &str) -> bool {
    let bare = name.strip_prefix("RESIN_").or_else(|| name.strip_prefix("BALENA_"));
    bare.is_some_and(|it| it == "API_KEY" || it == "SUPERVISOR_API_KEY")
}

/// The order in which containers represent their app: running ones first, then the newest.
pub(in crate::api) fn liveliest_first(container: &Container) -> (bool, Reverse<i64>) {
    (!container.phase.is_alive(), Reverse(container.created_secs))
}

/// The commit of the first app that has one.
fn commit(status: &Status) -> Option<String> {
    commit_among(status.current.containers.iter())
}

/// The commit of what runs of an app.
pub(in crate::api) fn commit_of(status: &Status, app: AppId) -> Option<String> {
    commit_among(status.current.containers.iter().filter(|it| it.key.app == app))
}

fn commit_among<'a>(containers: impl Iterator<Item = &'a Container>) -> Option<String> {
    let named = containers.filter_map(|it| Some((it, parse_name(&it.name)?.commit)));
    named.min_by_key(|(it, _)| (it.key.app, liveliest_first(it))).map(|(_, commit)| commit)
}

/// The mean progress of the downloads, in per cent.
pub(in crate::api) fn progress(status: &Status) -> Option<u32> {
    status.steps_in_flight.iter().find(|it| it.kind() == StepKind::Downloading)?;
    let sum: u32 = status.progress.values().map(|it| u32::from(it.percent)).sum();
    let pulls = u32::try_from(status.progress.len()).unwrap_or(u32::MAX);
    // A download without reported progress counts as 0.
    Some(sum.checked_div(pulls).unwrap_or_default())
}
