//! The device's tags in its cloud.

use std::time::Duration;

use axum::http::StatusCode;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::mpsc::error::SendTimeoutError;
use tokio::sync::oneshot;

use super::read::success;
use crate::api::response::{ApiResponse, failed, json};
use crate::api::{ApiHandle, ApiRequest, body};
use crate::request::{TagRefusal, TagRequest};
use crate::sorted::SortedMap;

const INVALID: &str = "Invalid tags body, must be an object like `{[tagKey: string]: string}`";
const WHITESPACE: &str = "Tag keys cannot contain whitespace";
/// How long a request waits until the cloud's task reads it: it may be asking the cloud, which takes a minute at most.
const INBOX_WAIT: Duration = Duration::from_secs(60);

#[derive(Serialize)]
struct Tags<'a> {
    tags: Vec<Tag<'a>>,
}

#[derive(Serialize)]
struct Tag<'a> {
    id: u64,
    name: &'a str,
    value: &'a str,
}

#[derive(Serialize)]
struct Accepted {
    status: &'static str,
}

/// `GET /v2/device/tags`: as the cloud has them now, or as it had them last.
pub(in crate::api) async fn tags(call: ApiRequest) -> Result<ApiResponse, ApiResponse> {
    let tags = send(&call.api, TagRequest::Read).await?;
    let shown = tags.iter().map(|it| Tag { id: it.id, name: &it.name, value: &it.value });
    Ok(success(Tags { tags: shown.collect() }))
}

/// `PATCH /v2/device/tags`: the cloud gets them later; 202.
pub(in crate::api) async fn set_tags(call: ApiRequest) -> Result<ApiResponse, ApiResponse> {
    let fields = body::read(call.request).await?;
    let refused = |why| failed(StatusCode::BAD_REQUEST, why);
    let tags = fields.all().iter().map(|(name, value)| match value {
        Value::String(value) => Some((name.clone(), value.clone())),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => None,
    });
    let tags: SortedMap<String, String> = tags.collect::<Option<_>>().ok_or_else(|| refused(INVALID))?;
    if tags.is_empty() || tags.keys().any(String::is_empty) {
        return Err(refused(INVALID));
    }
    if tags.keys().any(|it| it.contains(char::is_whitespace)) {
        return Err(refused(WHITESPACE));
    }
    send(&call.api, |reply| TagRequest::Set(tags, reply)).await?;
    Ok(json(StatusCode::ACCEPTED, &Accepted { status: "success" }))
}

async fn send<T>(
    api: &ApiHandle,
    request: impl FnOnce(oneshot::Sender<Result<T, TagRefusal>>) -> TagRequest,
) -> Result<T, ApiResponse> {
    let unavailable = |why| failed(StatusCode::SERVICE_UNAVAILABLE, why);
    let (reply, answer) = oneshot::channel();
    match api.tags.send_timeout(request(reply), INBOX_WAIT).await {
        Ok(()) => {}
        Err(SendTimeoutError::Timeout(_)) => return Err(unavailable("the agent has too much to do; ask again")),
        Err(SendTimeoutError::Closed(_)) => return Err(unavailable("the agent is stopping")),
    }
    match answer.await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(why)) => Err(failed(StatusCode::INTERNAL_SERVER_ERROR, &why.to_string())),
        Err(_) => Err(unavailable("the agent is stopping")),
    }
}
