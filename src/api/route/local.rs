//! Local mode: the target that a developer's tools read and push, and the switch of a person on the device.

use axum::http::StatusCode;
use serde::Serialize;
use serde_json::{Value, json as value};

use crate::api::ApiRequest;
use crate::api::auth::AuthenticatedCallers;
use crate::api::body;
use crate::api::response::{ApiResponse, failed, json};
use crate::json::object::{object, texts};
use crate::request::{LocalModeRequest, Refusal, Request};
use crate::state::local_mode::{LONGEST_LOCAL_MODE_SECS, LocalModeStatus};
use crate::state::utc::utc;
use crate::state::{App, Service, Status};

/// The most bytes of a pushed document: a release of a hundred services takes some 200 kB.
const DOCUMENT_BYTES: usize = 1024 * 1024;

/// Prefixes of the variables that every container is given, keys among them. They are no part of the owner's target.
const GIVEN: [&str; 2] = ["RESIN", "BALENA"];

#[derive(Serialize)]
struct TargetState {
    status: &'static str,
    state: Value,
}

#[derive(Serialize)]
struct Accepted {
    status: &'static str,
    message: &'static str,
}

/// The answer to a switch of local mode.
#[derive(Serialize)]
struct Switched<'a> {
    on: bool,
    until: Option<String>,
    /// The addresses of the device; where one was named with `--listen`, its private network needs no key either.
    addresses: &'a [String],
    /// The networks to which the engine is forwarded in local mode.
    engine_networks: Vec<String>,
}

/// `GET /v2/local/target-state`: in local mode what was pushed, else the apps of the owner's target.
pub(super) fn target_state(call: &ApiRequest) -> ApiResponse {
    let status = call.api.status.borrow();
    let apps = match status.access.local_mode {
        true if call.callers.may_push() => pushed(&status.local_mode),
        // A service's key from elsewhere is none of a developer's.
        true => value!({}),
        false => owners(&status, &call.callers),
    };
    let target = status.target.as_ref();
    let name = target.and_then(|it| it.name.as_deref()).unwrap_or(&status.device.name);
    let config = texts(target.iter().flat_map(|it| &it.config));
    let state = value!({"local": {"name": name, "config": config, "apps": apps}});
    json(StatusCode::OK, &TargetState { status: "success", state })
}

/// The apps as they were pushed: the cloud's command line changes its own part and pushes the whole again.
fn pushed(local: &LocalModeStatus) -> Value {
    let document = local.document.as_deref().and_then(|it| serde_json::from_slice::<Value>(it.as_bytes()).ok());
    let mut document = document.unwrap_or_default();
    let mut part = match document.get_mut("local") {
        Some(local) => local.take(),
        None => document,
    };
    part.get_mut("apps").map_or_else(|| value!({}), Value::take)
}

fn owners(status: &Status, callers: &AuthenticatedCallers) -> Value {
    let apps = status.target.iter().flat_map(|it| it.apps.values());
    let apps = apps.filter(|it| callers.may_access(i64::from(it.id.0)));
    object(apps.map(|app| (app.id.to_string(), owners_app(app))))
}

fn owners_app(app: &App) -> Value {
    let services = app.services.iter().enumerate().map(|(index, (name, it))| {
        // Documents without numbers have names.
        let id = if it.id == 0 { index + 1 } else { it.id as usize };
        (id.to_string(), owners_service(name, it))
    });
    let names = |names: Vec<&String>| object(names.into_iter().map(|it| (it.clone(), value!({}))));
    value!({
        "name": app.name, "commit": app.commit, "releaseId": app.release_id,
        "services": object(services),
        "volumes": names(app.volumes.keys().collect()),
        "networks": names(app.networks.keys().collect()),
    })
}

fn owners_service(name: &str, service: &Service) -> Value {
    let is_given = |name: &str| GIVEN.iter().any(|it| name.starts_with(it));
    let environment = texts(service.config.env.iter().filter(|(name, _)| !is_given(name)));
    value!({
        "serviceName": name, "imageId": service.image_id, "image": service.image.as_str(), "running": service.running,
        "environment": environment, "labels": texts(&service.config.labels),
    })
}

/// `POST /v2/local/target-state`: answered as soon as the document is saved, before it is applied.
pub(super) async fn push(call: ApiRequest) -> Result<ApiResponse, ApiResponse> {
    if !call.api.status.borrow().access.local_mode {
        return Err(failed(StatusCode::BAD_REQUEST, &Refusal::NotInLocalMode.to_string()));
    }
    let fields = body::read_up_to(call.request, DOCUMENT_BYTES).await?;
    let force = fields.force();
    let document = fields.into_document();
    match call.api.send(|reply| Request::PushTarget { document, force, reply }).await? {
        Ok(()) => Ok(json(StatusCode::OK, &Accepted { status: "success", message: "OK" })),
        Err(why @ (Refusal::Document(_) | Refusal::NotInLocalMode)) => Err(failed(StatusCode::BAD_REQUEST, &why.to_string())),
        Err(why) => Err(failed(StatusCode::SERVICE_UNAVAILABLE, &why.to_string())),
    }
}

/// `POST /agent/v1/local-mode`.
pub(super) async fn switch_on(call: ApiRequest) -> Result<ApiResponse, ApiResponse> {
    let fields = body::read(call.request).await?;
    let length_secs = if fields.has("seconds") {
        let length = fields.number("seconds").and_then(|it| u32::try_from(it).ok());
        let length = length.filter(|it| (1..=LONGEST_LOCAL_MODE_SECS).contains(it));
        let why = format!("`seconds` must be a whole number from 1 to {LONGEST_LOCAL_MODE_SECS}");
        Some(length.ok_or_else(|| failed(StatusCode::BAD_REQUEST, &why))?)
    } else {
        None
    };
    switch(&call.api, LocalModeRequest::On { length_secs }).await
}

/// `DELETE /agent/v1/local-mode`.
pub(super) async fn switch_off(call: ApiRequest) -> Result<ApiResponse, ApiResponse> {
    switch(&call.api, LocalModeRequest::Off).await
}

async fn switch(api: &crate::api::RequestHandle, switch: LocalModeRequest) -> Result<ApiResponse, ApiResponse> {
    match api.send(|reply| Request::SwitchLocalMode { switch, reply }).await? {
        Ok(local) => {
            let status = api.status.borrow();
            let (on, addresses) = (status.access.local_mode, &status.device.ip_addresses);
            let engine_networks = api.local_engine.borrow().networks.iter().map(ToString::to_string).collect();
            Ok(json(StatusCode::OK, &Switched { on, until: local.until_secs.map(utc), addresses, engine_networks }))
        }
        Err(why) => Err(failed(StatusCode::SERVICE_UNAVAILABLE, &why.to_string())),
    }
}
