//! The first version of the API: what is asked of the device here, what is read of it in [`read`].
//!
//! Successes are as the reference of 2017 shows them, failures as the supervisors of today answer them.

mod host;
mod power;
mod read;

use axum::http::StatusCode;
use serde::Serialize;

use crate::api::body::integer;
use crate::api::sent::{Plain, Sent, failed, json};
use crate::api::{Call, body};
use crate::intent::{Intent, Refusal, Reply};
use crate::state::{AppId, Check, ContainerId, Force};

pub(super) use host::{configure_host, host_config};
pub(super) use power::end;
pub(super) use read::{app, device, healthy, ping};

const OK: Plain = Plain::new("OK");
const UNAUTHORIZED: Plain = Plain::new("Unauthorized");
const MISSING_APP: Plain = Plain::new("Missing app id");
const MISSING_APP_TO_PURGE: Plain = Plain::new("Invalid or missing appId");
const INVALID_APP: Plain = Plain::new("Invalid app id");
const APP_NOT_FOUND: Plain = Plain::new("App not found");
const NO_APP: Plain = Plain::new(concat!(
    "App not found: an app needs to be installed for this endpoint to work.\n",
    "\tIf you've recently moved this device from another app,\n",
    "\tplease push an app and wait for it to be installed first."
));
const SEVERAL_SERVICES: Plain = Plain::new("Some v1 endpoints are only allowed on single-container apps");
const NAME_THE_SERVICE: Plain = Plain::new(concat!(
    "serviceName or imageId parameters were not provided or the app is multi-container. ",
    "Use the v2 service action endpoints."
));
const NO_CONTAINER: Plain = Plain::new("Service not found, a container must exist for this endpoint to work");
const NOT_IN_TARGET: Plain = Plain::new("Service does not exist in target release");

/// What the parts that were first written in Go answer.
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

/// `POST /v1/update`: always 204, as soon as the reconciler has it; what becomes of it is seen in the device's state.
pub(super) async fn update(call: Call) -> Result<Sent, Sent> {
    let fields = body::read(call.request).await?;
    let intent = Intent::Update { locks: fields.force(), running: fields.cancel() };
    // Whatever it answers, the caller is told nothing: so the reference wants it.
    let _ = call.door.ask(intent).await?;
    Ok(Sent::Nothing)
}

/// `POST` and `DELETE /v1/tcp-ping`. The body is nobody's business.
pub(super) async fn check(call: Call, check: Check) -> Result<Sent, Sent> {
    let _ = call.door.ask(Intent::CheckConnectivity(check)).await?;
    Ok(Sent::Nothing)
}

/// `POST /v1/restart`.
pub(super) async fn restart(call: Call) -> Result<Sent, Sent> {
    let except = of_app(call, MISSING_APP, Intent::Restart).await?;
    Ok(Sent::Text(StatusCode::OK, OK).except(&except))
}

/// `POST /v1/purge`.
pub(super) async fn purge(call: Call) -> Result<Sent, Sent> {
    let except = of_app(call, MISSING_APP_TO_PURGE, Intent::Purge).await?;
    Ok(json(StatusCode::OK, &Done { data: "OK", error: "" }).except(&except))
}

/// `POST /v1/apps/:appId/stop`.
pub(super) async fn stop(call: Call) -> Result<Sent, Sent> {
    of_service(call, |app, locks| Intent::Stop(app, None, locks)).await
}

/// `POST /v1/apps/:appId/start`. It takes no lock, so there is nothing to force.
pub(super) async fn start(call: Call) -> Result<Sent, Sent> {
    of_service(call, |app, _| Intent::Start(app, None)).await
}

/// `POST /v1/regenerate-api-key`: the caller's own.
pub(super) async fn regenerate_key(call: Call) -> Result<Sent, Sent> {
    match call.door.ask(Intent::RenewKey(call.callers.into_first())).await? {
        Ok(Reply::Key(key)) => Ok(Sent::Key(key)),
        Ok(Reply::Done | Reply::Except(_) | Reply::Container(_) | Reply::Host(_)) => Err(misfit()),
        Err(why) => Err(failed(StatusCode::SERVICE_UNAVAILABLE, &why.to_string())),
    }
}

/// Services that do not run although it was done, each with the reason.
type NotStarted = Vec<(String, &'static str)>;

/// Asks for something of the app that the body names.
async fn of_app(call: Call, missing: Plain, intent: fn(AppId, Force) -> Intent) -> Result<NotStarted, Sent> {
    let fields = body::read(call.request).await?;
    let number = fields.app().ok_or(Sent::Text(StatusCode::BAD_REQUEST, missing))?;
    if !call.callers.open(number) {
        return Err(failed(StatusCode::UNAUTHORIZED, "Unauthorized"));
    }
    let unknown =
        || failed(StatusCode::SERVICE_UNAVAILABLE, &format!("Application with ID {number} is not in the current state"));
    let app = app_id(number).ok_or_else(unknown)?;
    match call.door.ask(intent(app, fields.force())).await? {
        Ok(Reply::Done) => Ok(NotStarted::default()),
        Ok(Reply::Except(services)) => Ok(services),
        Ok(Reply::Container(_) | Reply::Key(_) | Reply::Host(_)) => Err(misfit()),
        Err(why) => Err(refused(app, &why)),
    }
}

/// Asks for something of the only service of the app in the path.
async fn of_service(call: Call, intent: fn(AppId, Force) -> Intent) -> Result<Sent, Sent> {
    let number = integer(&call.param).ok_or(Sent::Text(StatusCode::BAD_REQUEST, INVALID_APP))?;
    if !call.callers.open(number) {
        return Err(Sent::Text(StatusCode::UNAUTHORIZED, UNAUTHORIZED));
    }
    let fields = body::read(call.request).await?;
    let app = app_id(number).ok_or(Sent::Text(StatusCode::BAD_REQUEST, NO_APP))?;
    match call.door.ask(intent(app, fields.force())).await? {
        Ok(Reply::Container(ContainerId(id))) => Ok(json(StatusCode::OK, &Container { container_id: &id })),
        Ok(Reply::Done | Reply::Except(_) | Reply::Key(_) | Reply::Host(_)) => Err(misfit()),
        Err(why) => Err(service_refused(app, &why)),
    }
}

/// The app with this number, if there could be one.
fn app_id(number: i64) -> Option<AppId> {
    u32::try_from(number).ok().map(AppId)
}

fn service_refused(app: AppId, why: &Refusal) -> Sent {
    match why {
        Refusal::UnknownApp(_) => Sent::Text(StatusCode::BAD_REQUEST, NO_APP),
        Refusal::SeveralServices => Sent::Text(StatusCode::BAD_REQUEST, NAME_THE_SERVICE),
        Refusal::NoContainer => Sent::Text(StatusCode::BAD_REQUEST, NO_CONTAINER),
        Refusal::NotInTarget => Sent::Text(StatusCode::NOT_FOUND, NOT_IN_TARGET),
        Refusal::NotToRun(_) => failed(StatusCode::BAD_REQUEST, &why.to_string()),
        Refusal::Locked(_)
        | Refusal::LockedApp(..)
        | Refusal::HostUpdate(_)
        | Refusal::ShuttingDown
        | Refusal::Failed(_)
        | Refusal::UnknownKey => refused(app, why),
    }
}

fn refused(app: AppId, why: &Refusal) -> Sent {
    match why {
        Refusal::Locked(held) => {
            let message = format!("Lockfile exists for {{ appId: {app}, service: {} }}", held.service);
            failed(StatusCode::LOCKED, &message)
        }
        Refusal::UnknownApp(_)
        | Refusal::SeveralServices
        | Refusal::NoContainer
        | Refusal::NotInTarget
        | Refusal::NotToRun(_)
        | Refusal::LockedApp(..)
        | Refusal::HostUpdate(_)
        | Refusal::ShuttingDown
        | Refusal::Failed(_)
        | Refusal::UnknownKey => failed(StatusCode::SERVICE_UNAVAILABLE, &why.to_string()),
    }
}

/// The reconciler answered another question.
fn misfit() -> Sent {
    failed(StatusCode::INTERNAL_SERVER_ERROR, "it was done, but the agent lost the answer; this is a defect of the agent")
}
