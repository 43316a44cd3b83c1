//! The second version of the API, for apps of several services: the actions on an app or one of its services here, the
//! endpoints that read the device in [`read`].
//!
//! Unlike those of the first version, they answer a success with a text, and 404 where they do not find what they act on.

mod read;
mod tags;

use axum::http::{Method, StatusCode};

use crate::api::body::{BodyFields, integer};
use crate::api::response::{ApiResponse, failed};
use crate::api::route::v1::{NAME_THE_SERVICE, NO_APP, OK, app_id, refused, service_refused, unknown_app};
use crate::api::{ApiRequest, body};
use crate::request::{NotStarted, Refusal, Reply, Request, ServiceSelector};
use crate::state::{AppId, ContainerId, Force};

pub(super) use read::{app_state_of, apps_state, container_id, device_info, device_name, state_status, version, vpn};
pub(super) use tags::{set_tags, tags};

/// `POST /v2/applications/:appId/restart`.
pub(super) async fn restart(call: ApiRequest) -> Result<ApiResponse, ApiResponse> {
    of_app(call, |app, force, reply| Request::Restart { app, force, reply }).await
}

/// `POST /v2/applications/:appId/purge`.
pub(super) async fn purge(call: ApiRequest) -> Result<ApiResponse, ApiResponse> {
    of_app(call, |app, force, reply| Request::Purge { app, force, reply }).await
}

/// `POST /v2/applications/:appId/restart-service`.
pub(super) async fn restart_service(call: ApiRequest) -> Result<ApiResponse, ApiResponse> {
    of_service(call, |app, service, force, reply| Request::RestartService { app, service, force, reply }).await
}

/// `POST /v2/applications/:appId/stop-service`.
pub(super) async fn stop_service(call: ApiRequest) -> Result<ApiResponse, ApiResponse> {
    of_service(call, |app, service, force, reply| Request::Stop { app, service, force, reply }).await
}

/// `POST /v2/applications/:appId/start-service`. It takes no lock, so there is nothing to force.
pub(super) async fn start_service(call: ApiRequest) -> Result<ApiResponse, ApiResponse> {
    of_service(call, |app, service, _, reply| Request::Start { app, service, reply }).await
}

/// `GET /v2/cleanup-volumes`: of the apps that the callers may change. `HEAD` removes nothing: only `GET` is what clients of
/// today know to have an effect.
pub(super) async fn clean_up_volumes(call: ApiRequest) -> Result<ApiResponse, ApiResponse> {
    let apps = call.callers.apps();
    if call.request.method() != Method::HEAD {
        match call.api.send(|reply| Request::CleanUpVolumes { apps, reply }).await? {
            Ok(()) => (),
            Err(Refusal::LockedApp(app, held)) => return Err(refused(app, &Refusal::Locked(held))),
            Err(why) => return Err(failed(StatusCode::SERVICE_UNAVAILABLE, &why.to_string())),
        }
    }
    Ok(read::success(()))
}

/// Sends a request about the app in the path.
async fn of_app(call: ApiRequest, request: fn(AppId, Force, Reply<NotStarted>) -> Request) -> Result<ApiResponse, ApiResponse> {
    let number = app_number(&call, "Missing app id")?;
    let fields = body::read(call.request).await?;
    let app = app_id(number).ok_or_else(|| unknown_app(number))?;
    let done = call.api.send(|reply| request(app, fields.force(), reply)).await?;
    let not_started = done.map_err(|why| refused(app, &why))?;
    Ok(ApiResponse::Text(StatusCode::OK, OK).with_not_started(&not_started))
}

/// Sends a request about the service that the body names, of the app in the path.
async fn of_service(
    call: ApiRequest,
    request: fn(AppId, ServiceSelector, Force, Reply<ContainerId>) -> Request,
) -> Result<ApiResponse, ApiResponse> {
    let number = app_number(&call, "Invalid app id")?;
    let fields = body::read(call.request).await?;
    let service = selector(&fields).ok_or(ApiResponse::Text(StatusCode::BAD_REQUEST, NAME_THE_SERVICE))?;
    let app = app_id(number).ok_or(ApiResponse::Text(StatusCode::NOT_FOUND, NO_APP))?;
    match call.api.send(|reply| request(app, service, fields.force(), reply)).await? {
        Ok(_) => Ok(ApiResponse::Text(StatusCode::OK, OK)),
        Err(why) => Err(service_refused(app, &why, StatusCode::NOT_FOUND)),
    }
}

/// The number of the app in the path, if the callers may change that app.
fn app_number(call: &ApiRequest, missing: &str) -> Result<i64, ApiResponse> {
    let number = integer(&call.param).filter(|it| *it != 0);
    let number = number.ok_or_else(|| failed(StatusCode::BAD_REQUEST, missing))?;
    if call.callers.may_access(number) { Ok(number) } else { Err(failed(StatusCode::UNAUTHORIZED, "Unauthorized")) }
}

/// The service that a body names. The name is preferred to the image's number: documents without numbers have names too.
fn selector(fields: &BodyFields) -> Option<ServiceSelector> {
    let name = fields.text("serviceName").filter(|it| !it.is_empty());
    // 0 stands for an image without a number.
    let image = || fields.number("imageId").filter(|it| *it != 0).map(ServiceSelector::Image);
    name.map(|it| ServiceSelector::Named(it.to_owned())).or_else(image)
}
