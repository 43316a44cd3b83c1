//! `GET /agent/v1/logs`: what containers wrote and write, as JSON lines or as text.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header::ACCEPT;
use axum::http::{HeaderMap, Method, StatusCode};
use futures_util::stream::StreamExt;
use serde::Serialize;

use super::{NDJSON, TEXT, begin, items, stop_of};
use crate::api::response::{ApiResponse, failed};
use crate::api::{ApiRequest, form};
use crate::request::StreamRequest;
use crate::sorted::SortedSet;
use crate::state::live_log::{LiveLogLine, LogPast, LogQuery, LogSince};
use crate::state::utc::{from_rfc3339, utc_millis};
use crate::state::{AppId, EngineTime, OutputStream, ServiceKey, Status};

/// A line of the answer.
#[derive(Serialize)]
struct LogLine<'a> {
    at: String,
    app_id: Option<u32>,
    service: Option<&'a str>,
    stream: Option<&'static str>,
    text: &'a str,
}

/// What of the log the caller is sent, as the query says, and in which form.
pub(in crate::api) async fn agent_logs(mut call: ApiRequest) -> Result<ApiResponse, ApiResponse> {
    let query = query(&call)?;
    let is_text = prefers_text(call.request.headers());
    let kind = if is_text { TEXT } else { NDJSON };
    if call.request.method() == Method::HEAD {
        return Ok(ApiResponse::Stream(kind, Body::empty()));
    }
    let lines = begin(&call.api, |reply| StreamRequest::Logs { query, reply }).await?;
    let rows = items(lines, stop_of(&mut call));
    let rows = rows.map(move |it: Arc<LiveLogLine>| Ok::<_, Infallible>(if is_text { text(&it) } else { json(&it) }));
    Ok(ApiResponse::Stream(kind, Body::from_stream(rows)))
}

/// Reads the query; the answer to one that cannot be read says which parameter is wrong.
fn query(call: &ApiRequest) -> Result<LogQuery, ApiResponse> {
    let refused = |why: String| failed(StatusCode::BAD_REQUEST, &why);
    let query = call.request.uri().query().unwrap_or_default();
    let named = |name: &str| form::pairs(query.as_bytes()).find_map(|(it, value)| (it == name).then_some(value));
    let app = match named("app") {
        None => None,
        Some(text) => {
            let app = text.parse().map(AppId).map_err(|_| refused("app must be the number of an app, such as 1".to_owned()))?;
            if !call.callers.may_access(i64::from(app.0)) {
                return Err(failed(StatusCode::UNAUTHORIZED, "Unauthorized"));
            }
            Some(app)
        }
    };
    let apps = app.map(|it| SortedSet::from([it])).or_else(|| call.callers.apps());
    let service = named("service");
    has_services(&call.api.status.borrow(), apps.as_ref(), app, service.as_deref()).map_err(refused)?;
    let follow = match named("follow").as_deref() {
        None | Some("false" | "0") => false,
        Some("true" | "1") => true,
        Some(_) => return Err(refused("follow must be true or false".to_owned())),
    };
    let tail = match named("tail").as_deref() {
        None | Some("all") => None,
        Some(text) => {
            let why = "tail must be a number of lines from 0 to 4294967295, or all";
            Some(text.parse().map_err(|_| refused(why.to_owned()))?)
        }
    };
    let since = match named("since").as_deref() {
        None => None,
        Some(text) => {
            let why = "since must be a number of seconds before now, such as 600, or a time such as 2026-11-29T02:00:00Z";
            Some(since(text).ok_or_else(|| refused(why.to_owned()))?)
        }
    };
    let past = (tail != Some(0)).then_some(LogPast { since, tail });
    Ok(LogQuery { apps, service, past, follow })
}

fn since(text: &str) -> Option<LogSince> {
    match text.parse::<u32>() {
        Ok(secs) => Some(LogSince::Ago(Duration::from_secs(secs.into()))),
        Err(_) => from_rfc3339(text).map(|it| LogSince::At(EngineTime(it))),
    }
}

/// Whether the app and the service are in the target or on the engine. If not, says which there are.
fn has_services(
    status: &Status,
    apps: Option<&SortedSet<AppId>>,
    app: Option<AppId>,
    service: Option<&str>,
) -> Result<(), String> {
    let wanted = status.target.iter().flat_map(|it| it.services().map(|(app, name, _)| ServiceKey::new(app.id, name)));
    let present = status.current.containers.iter().map(|it| it.key.clone());
    let all = wanted.chain(present).filter(|it| apps.is_none_or(|apps| apps.contains(&it.app)));
    let all: SortedSet<ServiceKey> = all.collect();
    let list = |names: SortedSet<String>| {
        let names = names.into_iter().collect::<Vec<_>>().join(", ");
        if names.is_empty() { "there is none".to_owned() } else { format!("there is {names}") }
    };
    if let Some(app) = app.filter(|app| !all.iter().any(|it| it.app == *app)) {
        return Err(format!("app: app {app} has no service in the target and no container; GET /agent/v1/state lists all"));
    }
    match service {
        Some(name) if !all.iter().any(|it| it.service == name) => {
            let name: String = name.chars().take(100).collect();
            Err(format!("service: {name:?} is not known; {}", list(all.into_iter().map(|it| it.service).collect())))
        }
        Some(_) | None => Ok(()),
    }
}

/// Whether a client would rather have text than JSON.
fn prefers_text(headers: &HeaderMap) -> bool {
    let accept = headers.get_all(ACCEPT).iter().filter_map(|it| it.to_str().ok()).flat_map(|it| it.split(','));
    let (mut text, mut json) = (0.0_f32, 0.0_f32);
    for range in accept {
        let mut parts = range.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
        let quality = parts.find_map(|it| it.strip_prefix("q=")?.parse::<f32>().ok()).unwrap_or(1.0);
        match kind.as_str() {
            "text/plain" | "text/*" => text = text.max(quality),
            NDJSON | "application/json" | "application/*" => json = json.max(quality),
            _ => {}
        }
    }
    text > json
}

fn stream(stream: OutputStream) -> &'static str {
    match stream {
        OutputStream::Stdout => "stdout",
        OutputStream::Stderr => "stderr",
    }
}

fn json(line: &LiveLogLine) -> Bytes {
    let row = LogLine {
        at: utc_millis(line.at_ms),
        app_id: line.app.map(|it| it.0),
        service: line.from.as_ref().map(|(name, _)| name.as_str()),
        stream: line.from.as_ref().map(|(_, it)| stream(*it)),
        text: &line.text,
    };
    let mut text = serde_json::to_string(&row).expect("texts and numbers");
    text.push('\n');
    text.into()
}

fn text(line: &LiveLogLine) -> Bytes {
    let service = line.from.as_ref().map_or("boardkeeper", |(name, _)| name);
    format!("{} {service}: {}\n", utc_millis(line.at_ms), line.text).into()
}
