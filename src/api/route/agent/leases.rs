//! Leases of apps: `POST` and `DELETE /agent/v1/apps/:appId/lock`.

use axum::http::StatusCode;
use serde::Serialize;

use crate::api::body::{BodyFields, integer};
use crate::api::response::{ApiResponse, failed, json};
use crate::api::route::v1::{app_id, refused, unknown_app};
use crate::api::{ApiRequest, body, form};
use crate::request::{Refusal, Request};
use crate::state::lease::{LeaseTerms, MAX_OWNER_CHARS, MAX_REASON_CHARS, MAX_SECONDS};
use crate::state::switch::is_on;
use crate::state::{AppId, Force};

#[derive(Serialize)]
struct LeaseBody<'a> {
    owner: &'a str,
    reason: &'a str,
    seconds: u32,
    ends: String,
}

/// `POST /agent/v1/apps/:appId/lock`: grants a lease, or renews the owner's.
pub(in crate::api::route) async fn lease(call: ApiRequest) -> Result<ApiResponse, ApiResponse> {
    let app = app(&call)?;
    let fields = body::read(call.request).await?;
    let terms = LeaseTerms { owner: owner(fields.text("owner"))?, reason: reason(&fields)?, seconds: seconds(&fields)? };
    match call.api.send(|reply| Request::Lease { app, terms, reply }).await? {
        Ok(lease) => {
            let ends = lease.ends();
            Ok(json(StatusCode::OK, &LeaseBody { owner: &lease.owner, reason: &lease.reason, seconds: lease.seconds, ends }))
        }
        Err(why) => Err(not_leased(app, &why)),
    }
}

/// `DELETE /agent/v1/apps/:appId/lock`: ends the lease of an owner; with `force` and the device's key, every lease of the app.
/// It is fine if there is none.
pub(in crate::api::route) async fn end_lease(call: ApiRequest) -> Result<ApiResponse, ApiResponse> {
    let app = app(&call)?;
    let owns_the_device = call.callers.own_the_device();
    let query = call.request.uri().query().unwrap_or_default().to_owned();
    let fields = body::read(call.request).await?;
    let queried = |name: &str| form::pairs(query.as_bytes()).find(|(it, _)| it == name).map(|(_, value)| value);
    let given = fields.text("owner").map(str::to_owned).or_else(|| queried("owner"));
    let forced = fields.force() == Force::Yes || queried("force").is_some_and(|it| is_on(&it));
    let owner = match (given, forced) {
        (None, true) if owns_the_device => None,
        (None, true) => {
            return Err(failed(
                StatusCode::UNAUTHORIZED,
                "only the device's key ends the leases of every owner; name the owner",
            ));
        }
        (given, _) => Some(owner(given.as_deref())?),
    };
    match call.api.send(|reply| Request::EndLease { app, owner, reply }).await? {
        Ok(()) => Ok(ApiResponse::Nothing),
        Err(why) => Err(not_leased(app, &why)),
    }
}

fn not_leased(app: AppId, why: &Refusal) -> ApiResponse {
    match why {
        Refusal::UnknownApp(_) => failed(StatusCode::NOT_FOUND, &why.to_string()),
        _ => refused(app, why),
    }
}

/// The app in the path, if the callers may change it.
fn app(call: &ApiRequest) -> Result<AppId, ApiResponse> {
    let number = integer(&call.param).filter(|it| *it != 0);
    let number = number.ok_or_else(|| failed(StatusCode::BAD_REQUEST, "appId: a whole number, and not 0"))?;
    if !call.callers.may_access(number) {
        return Err(failed(StatusCode::UNAUTHORIZED, "Unauthorized"));
    }
    app_id(number).ok_or_else(|| unknown_app(number))
}

fn owner(given: Option<&str>) -> Result<String, ApiResponse> {
    let fits = |it: &&str| !it.trim().is_empty() && is_line(it, MAX_OWNER_CHARS);
    given.filter(fits).map(str::to_owned).ok_or_else(|| {
        let why = format!("owner: a text of 1 to {MAX_OWNER_CHARS} printable characters, not only blanks");
        failed(StatusCode::BAD_REQUEST, &why)
    })
}

fn reason(fields: &BodyFields) -> Result<String, ApiResponse> {
    let given = if fields.has("reason") { fields.text("reason") } else { Some("") };
    given.filter(|it| is_line(it, MAX_REASON_CHARS)).map(str::to_owned).ok_or_else(|| {
        failed(StatusCode::BAD_REQUEST, &format!("reason: a text of at most {MAX_REASON_CHARS} printable characters"))
    })
}

fn seconds(fields: &BodyFields) -> Result<u32, ApiResponse> {
    let given = fields.number("seconds").and_then(|it| u32::try_from(it).ok());
    given
        .filter(|it| (1..=MAX_SECONDS).contains(it))
        .ok_or_else(|| failed(StatusCode::BAD_REQUEST, &format!("seconds: a whole number from 1 to {MAX_SECONDS}")))
}

/// Whether a text is one line of printable characters.
fn is_line(text: &str, most_chars: usize) -> bool {
    text.chars().count() <= most_chars && !text.chars().any(char::is_control)
}
