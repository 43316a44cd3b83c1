//! The first version of the API: the endpoints that act on the device here, those that read it in [`read`].
//!
//! Successes have the form of the reference of 2017, failures that of the supervisors of today.

mod host;
mod power;
mod read;

use axum::http::StatusCode;
use serde::Serialize;

use crate::api::body::integer;
use crate::api::response::{ApiResponse, PlainText, failed, json, leased};
use crate::api::{ApiRequest, body};
use crate::request::{NotStarted, Refusal, Reply, Request, ServiceSelector};
use crate::state::{AppId, ConnectivityCheck, ContainerId, Force};

pub(super) use host::{configure_host, host_config};
pub(super) use power::end;
pub(super) use read::{app, commit_of, device, healthy, liveliest_first, ping, progress};

pub(super) const OK: PlainText = PlainText::new("OK");
const UNAUTHORIZED: PlainText = PlainText::new("Unauthorized");
const MISSING_APP: PlainText = PlainText::new("Missing app id");
const MISSING_APP_TO_PURGE: PlainText = PlainText::new("Invalid or missing appId");
const INVALID_APP: PlainText = PlainText::new("Invalid app id");
const APP_NOT_FOUND: PlainText = PlainText::new("App not found");
pub(super) const NO_APP: PlainText = PlainText::new(concat!(
    "App not found: an app needs to be installed for this endpoint to work.\n",
    "\tIf you've recently moved this device from another app,\n",
    "\tplease push an app and wait for it to be installed first."
));
const SEVERAL_SERVICES: PlainText = PlainText::new("Some v1 endpoints are only allowed on single-container apps");
pub(super) const NAME_THE_SERVICE: PlainText = PlainText::new(concat!(
    "serviceName or imageId parameters were not provided or the app is multi-container. ",
    "Use the v2 service action endpoints."
));
const NO_CONTAINER: PlainText = PlainText::new("Service not found, a container must exist for this endpoint to work");
const NOT_IN_TARGET: PlainText = PlainText::new("Service does not exist in target release");

/// The body of the endpoints that were first written in Go.
#[derive(Serialize)]
struct Done {
    #[serde(rename = "Data")]
    data: &'static str,
    #[serde(rename = "Error")]
    error: &'static str,
}

#[derive(Serialize)]
struct Container<'a> {
    #[serde(rename = "containerId")]
    container_id: &'a str,
}

/// `POST /v1/update`: always 204, as soon as the reconciler has it; the device's state shows the result.
pub(super) async fn update(call: ApiRequest) -> Result<ApiResponse, ApiResponse> {
    let fields = body::read(call.request).await?;
    let (locks, running) = (fields.force(), fields.cancel());
    // The reconciler's response is dropped: in the reference the response says nothing about it.
    let _ = call.api.send(|reply| Request::Update { locks, running, reply }).await?;
    Ok(ApiResponse::Nothing)
}

/// `POST` and `DELETE /v1/tcp-ping`. The body is ignored.
pub(super) async fn check(call: ApiRequest, check: ConnectivityCheck) -> Result<ApiResponse, ApiResponse> {
    let _ = call.api.send(|reply| Request::CheckConnectivity { check, reply }).await?;
    Ok(ApiResponse::Nothing)
}

/// `POST /v1/restart`.
pub(super) async fn restart(call: ApiRequest) -> Result<ApiResponse, ApiResponse> {
    let not_started = of_app(call, MISSING_APP, |app, force, reply| Request::Restart { app, force, reply }).await?;
    Ok(ApiResponse::Text(StatusCode::OK, OK).with_not_started(&not_started))
}

/// `POST /v1/purge`.
pub(super) async fn purge(call: ApiRequest) -> Result<ApiResponse, ApiResponse> {
    let not_started = of_app(call, MISSING_APP_TO_PURGE, |app, force, reply| Request::Purge { app, force, reply }).await?;
    Ok(json(StatusCode::OK, &Done { data: "OK", error: "" }).with_not_started(&not_started))
}

/// `POST /v1/apps/:appId/stop`.
pub(super) async fn stop(call: ApiRequest) -> Result<ApiResponse, ApiResponse> {
    of_service(call, |app, force, reply| Request::Stop { app, service: ServiceSelector::Only, force, reply }).await
}

/// `POST /v1/apps/:appId/start`. It takes no lock, so there is nothing to force.
pub(super) async fn start(call: ApiRequest) -> Result<ApiResponse, ApiResponse> {
    of_service(call, |app, _, reply| Request::Start { app, service: ServiceSelector::Only, reply }).await
}

/// `POST /v1/regenerate-api-key`: renews the caller's own key.
pub(super) async fn regenerate_key(call: ApiRequest) -> Result<ApiResponse, ApiResponse> {
    let caller = call.callers.into_first();
    match call.api.send(|reply| Request::RenewKey { caller, reply }).await? {
        Ok(key) => Ok(ApiResponse::Key(key)),
        Err(why) => Err(failed(StatusCode::SERVICE_UNAVAILABLE, &why.to_string())),
    }
}

/// Sends a request about the app that the body names.
async fn of_app(
    call: ApiRequest,
    missing: PlainText,
    request: fn(AppId, Force, Reply<NotStarted>) -> Request,
) -> Result<NotStarted, ApiResponse> {
    let fields = body::read(call.request).await?;
    let number = fields.app().ok_or(ApiResponse::Text(StatusCode::BAD_REQUEST, missing))?;
    if !call.callers.may_access(number) {
        return Err(failed(StatusCode::UNAUTHORIZED, "Unauthorized"));
    }
    let app = app_id(number).ok_or_else(|| unknown_app(number))?;
    call.api.send(|reply| request(app, fields.force(), reply)).await?.map_err(|why| refused(app, &why))
}

/// Sends a request about the only service of the app in the path.
async fn of_service(
    call: ApiRequest,
    request: fn(AppId, Force, Reply<ContainerId>) -> Request,
) -> Result<ApiResponse, ApiResponse> {
    let number = integer(&call.param).ok_or(ApiResponse::Text(StatusCode::BAD_REQUEST, INVALID_APP))?;
    if !call.callers.may_access(number) {
        return Err(ApiResponse::Text(StatusCode::UNAUTHORIZED, UNAUTHORIZED));
    }
    let fields = body::read(call.request).await?;
    let app = app_id(number).ok_or(ApiResponse::Text(StatusCode::BAD_REQUEST, NO_APP))?;
    match call.api.send(|reply| request(app, fields.force(), reply)).await? {
        Ok(ContainerId(id)) => Ok(json(StatusCode::OK, &Container { container_id: &id })),
        Err(why) => Err(service_refused(app, &why, StatusCode::BAD_REQUEST)),
    }
}

/// The response to a request about an app with a number that none can have.
pub(super) fn unknown_app(number: i64) -> ApiResponse {
    failed(StatusCode::SERVICE_UNAVAILABLE, &format!("Application with ID {number} is not in the current state"))
}

/// The app with this number, if an ID can have it.
pub(super) fn app_id(number: i64) -> Option<AppId> {
    u32::try_from(number).ok().map(AppId)
}

/// The response to a refusal that concerns a service. `missing`: the status of an app or a container that is not there.
pub(super) fn service_refused(app: AppId, why: &Refusal, missing: StatusCode) -> ApiResponse {
    match why {
        Refusal::UnknownApp(_) => ApiResponse::Text(missing, NO_APP),
        Refusal::SeveralServices => ApiResponse::Text(StatusCode::BAD_REQUEST, NAME_THE_SERVICE),
        Refusal::NoContainer => ApiResponse::Text(missing, NO_CONTAINER),
        Refusal::NotInTarget => ApiResponse::Text(StatusCode::NOT_FOUND, NOT_IN_TARGET),
        Refusal::NotToRun(_) => failed(StatusCode::BAD_REQUEST, &why.to_string()),
        Refusal::Locked(_)
        | Refusal::Leased(..)
        | Refusal::Busy(_)
        | Refusal::TooManyLeases(_)
        | Refusal::LockedApp(..)
        | Refusal::HostUpdate(_)
        | Refusal::ShuttingDown
        | Refusal::Failed(_)
        | Refusal::Kept(_)
        | Refusal::NotInLocalMode
        | Refusal::Document(_)
        | Refusal::Trial(_)
        | Refusal::UnknownLink
        | Refusal::UnknownKey => refused(app, why),
    }
}

pub(super) fn refused(app: AppId, why: &Refusal) -> ApiResponse {
    match why {
        Refusal::Locked(held) => {
            let message = format!("Lockfile exists for {{ appId: {app}, service: {} }}", held.service);
            failed(StatusCode::LOCKED, &message)
        }
        Refusal::Leased(_, lease) => leased(lease, &why.to_string()),
        Refusal::Busy(_) => failed(StatusCode::LOCKED, &why.to_string()),
        Refusal::TooManyLeases(_) => failed(StatusCode::CONFLICT, &why.to_string()),
        Refusal::UnknownApp(_)
        | Refusal::SeveralServices
        | Refusal::NoContainer
        | Refusal::NotInTarget
        | Refusal::NotToRun(_)
        | Refusal::LockedApp(..)
        | Refusal::HostUpdate(_)
        | Refusal::ShuttingDown
        | Refusal::Failed(_)
        | Refusal::Kept(_)
        | Refusal::NotInLocalMode
        | Refusal::Document(_)
        | Refusal::Trial(_)
        | Refusal::UnknownLink
        | Refusal::UnknownKey => failed(StatusCode::SERVICE_UNAVAILABLE, &why.to_string()),
    }
}
