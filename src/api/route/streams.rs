//! Responses that go on for as long as the client reads: the log of the services, and the host's journal.
//!
//! ```text
//! agent_logs   the log with what was written before       streams/agent_logs.rs
//! ```

mod agent_logs;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{Method, StatusCode};
use futures_util::stream::{self, Stream, StreamExt};
use serde::Serialize;
use serde_json::Value;
use tokio::sync::mpsc::error::SendTimeoutError;
use tokio::sync::{mpsc, oneshot};

use crate::api::body::BodyFields;
use crate::api::response::{ApiResponse, failed};
use crate::api::{ApiHandle, ApiRequest, body};
use crate::request::{StreamRefusal, StreamRequest};
use crate::state::OutputStream;
use crate::state::device::{ServedConnection, ServerStop};
use crate::state::journal::JournalQuery;
use crate::state::live_log::{LiveLogLine, LogQuery};

pub(in crate::api) use agent_logs::agent_logs;

const NDJSON: &str = "application/x-ndjson";
const TEXT: &str = "text/plain; charset=utf-8";
/// How long a request waits for the task that serves streams, which does nothing else.
const BEGIN_WAIT: Duration = Duration::from_secs(5);

/// A line of `GET /v2/local/logs`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LogRow<'a> {
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_name: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    is_std_err: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    is_system: bool,
}

/// `GET /v2/local/logs`: the lines of the apps that the callers may see, from now on.
pub(in crate::api) async fn local_logs(mut call: ApiRequest) -> Result<ApiResponse, ApiResponse> {
    if call.request.method() == Method::HEAD {
        return Ok(ApiResponse::Stream(NDJSON, Body::empty()));
    }
    let apps = call.callers.apps();
    let query = LogQuery { apps, follow: true, ..LogQuery::default() };
    let lines = begin(&call.api, |reply| StreamRequest::Logs { query, reply }).await?;
    let first =
        row(&LogRow { message: "Streaming logs", timestamp: None, service_name: None, is_std_err: false, is_system: true });
    let rows = items(lines, stop_of(&mut call)).map(|it: Arc<LiveLogLine>| row(&LogRow::of(&it)));
    let rows = stream::iter([first]).chain(rows).map(Ok::<_, Infallible>);
    Ok(ApiResponse::Stream(NDJSON, Body::from_stream(rows)))
}

/// `POST /v2/journal-logs`: the host's journal, as journalctl prints it.
pub(in crate::api) async fn journal_logs(mut call: ApiRequest) -> Result<ApiResponse, ApiResponse> {
    let stop = stop_of(&mut call);
    let query = query(&body::read(call.request).await?)?;
    let parts = begin(&call.api, |reply| StreamRequest::Journal { query, reply }).await?;
    Ok(ApiResponse::Stream(TEXT, Body::from_stream(items(parts, stop).map(Ok::<_, Infallible>))))
}

/// What of the journal a body asks for.
fn query(fields: &BodyFields) -> Result<JournalQuery, ApiResponse> {
    let refused = |why: &str| failed(StatusCode::BAD_REQUEST, why);
    let text = |name: &str, example: &str| match fields.value(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if is_argument(text) => Ok(Some(text.clone())),
        Some(_) => Err(refused(&format!(
            "{name} must be a text of 1 to 200 printable characters that does not begin with -, such as {example}"
        ))),
    };
    let count = match fields.value("count") {
        None | Some(Value::Null) => None,
        Some(Value::String(all)) if all == "all" => None,
        Some(_) => {
            let count = fields.number("count").and_then(|it| u32::try_from(it).ok());
            Some(count.ok_or_else(|| refused("count must be a number of lines from 0 to 4294967295, or all"))?)
        }
    };
    let format = text("format", "short")?;
    if let Some(unknown) = format.as_ref().filter(|it| !JournalQuery::FORMATS.contains(&it.as_str())) {
        let known = JournalQuery::FORMATS.join(", ");
        return Err(refused(&format!("format {unknown} is not known; use one of {known}")));
    }
    Ok(JournalQuery {
        all: fields.is_true("all"),
        follow: fields.is_true("follow"),
        count,
        unit: text("unit", "docker.service")?,
        identifier: text("containerId", "4c1a5b0e3d2f")?,
        since: text("since", "2026-01-31 18:00:00 or 5 min ago")?,
        until: text("until", "2026-01-31 18:00:00 or 5 min ago")?,
        format,
    })
}

/// Whether a text may be the value of an argument.
fn is_argument(text: &str) -> bool {
    (1..=200).contains(&text.len()) && !text.starts_with('-') && !text.chars().any(char::is_control)
}

impl<'a> LogRow<'a> {
    fn of(line: &'a LiveLogLine) -> Self {
        let (service_name, stream) = line.from.as_ref().map(|(name, stream)| (name.as_str(), *stream)).unzip();
        Self {
            message: &line.text,
            timestamp: Some(line.at_ms),
            service_name,
            is_std_err: stream == Some(OutputStream::Stderr),
            is_system: stream.is_none(),
        }
    }
}

fn row(row: &LogRow<'_>) -> Bytes {
    let mut text = serde_json::to_string(row).expect("texts, numbers and switches");
    text.push('\n');
    text.into()
}

/// Requests a stream, or what the task that serves streams has counted.
pub(super) async fn begin<T>(
    api: &ApiHandle,
    request: impl FnOnce(oneshot::Sender<Result<T, StreamRefusal>>) -> StreamRequest,
) -> Result<T, ApiResponse> {
    let unavailable = |why: &str| failed(StatusCode::SERVICE_UNAVAILABLE, why);
    let (reply, answer) = oneshot::channel();
    match api.streams.send_timeout(request(reply), BEGIN_WAIT).await {
        Ok(()) => {}
        Err(SendTimeoutError::Timeout(_)) => return Err(unavailable("the agent has too much to do; ask again")),
        Err(SendTimeoutError::Closed(_)) => return Err(unavailable("the agent is stopping")),
    }
    match answer.await {
        Ok(Ok(begun)) => Ok(begun),
        Ok(Err(why @ StreamRefusal::TooMany(_))) => Err(failed(StatusCode::TOO_MANY_REQUESTS, &why.to_string())),
        Ok(Err(StreamRefusal::Failed(why))) => Err(unavailable(&why)),
        Err(_) => Err(unavailable("the agent is stopping")),
    }
}

/// What a stream gives, until its sender or the server ends it.
fn items<T: Send + 'static>(receiver: mpsc::Receiver<T>, stop: Option<ServerStop>) -> impl Stream<Item = T> + use<T> {
    stream::unfold((receiver, stop), async |(mut receiver, mut stop)| {
        let item = tokio::select! {
            biased;
            () = stopped(stop.as_mut()) => None,
            item = receiver.recv() => item,
        };
        Some((item?, (receiver, stop)))
    })
}

/// The end of the server, which a request brings.
pub(super) fn stop_of(call: &mut ApiRequest) -> Option<ServerStop> {
    call.request.extensions_mut().get_mut::<ServedConnection>()?.stop.take()
}

/// Completes when the server stops, if it said how it would.
pub(super) async fn stopped(stop: Option<&mut ServerStop>) {
    match stop {
        // A value that changes and a sender that is gone both end the stream.
        Some(ServerStop(stop)) => drop(stop.changed().await),
        None => std::future::pending().await,
    }
}
