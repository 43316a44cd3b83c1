//! The endpoints of the GPIO lines that the board leaves to its owner: list them, and hold a pattern on one for a while.

use axum::http::StatusCode;
use serde::Serialize;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::api::ApiRequest;
use crate::api::response::{ApiResponse, json};
use crate::api::route::leds::{self, Showing};
use crate::request::LedRequest;
use crate::state::{FreeLineInfo, LedRef, LineHolder};

/// `GET /agent/v1/lines`.
pub(super) async fn lines(call: ApiRequest) -> Result<ApiResponse, ApiResponse> {
    let (reply, answer) = oneshot::channel();
    let lines = leds::request(&call.api.leds, LedRequest::Lines(reply), answer).await?;
    let now = Instant::now();
    let lines = lines.iter().map(|(line, shows)| Line::of(line, Showing::of(shows, now))).collect();
    Ok(json(StatusCode::OK, &LinesBody { lines }))
}

/// `POST /agent/v1/lines/:name/pattern`.
pub(super) async fn hold(call: ApiRequest) -> Result<ApiResponse, ApiResponse> {
    leds::hold(LedRef::Line(call.param.clone()), call).await
}

/// `DELETE /agent/v1/lines/:name/pattern`.
pub(super) async fn release(call: ApiRequest) -> Result<ApiResponse, ApiResponse> {
    leds::release(LedRef::Line(call.param.clone()), call).await
}

#[derive(Serialize)]
struct LinesBody<'a> {
    lines: Vec<Line<'a>>,
}

#[derive(Serialize)]
struct Line<'a> {
    name: &'a str,
    place: &'a str,
    chip: &'a str,
    offset: u32,
    direction: String,
    /// Whether a driver or another program holds it.
    in_use: bool,
    /// That holder's name, if it gave the kernel one.
    consumer: Option<&'a str>,
    #[serde(flatten)]
    shows: Showing<'a>,
}

impl<'a> Line<'a> {
    fn of(line: &'a FreeLineInfo, shows: Showing<'a>) -> Self {
        let (in_use, consumer) = match &line.holder {
            LineHolder::None | LineHolder::Agent => (false, None),
            LineHolder::Other(consumer) => (true, consumer.as_deref()),
        };
        Self {
            name: &line.name,
            place: &line.place,
            chip: &line.chip,
            offset: line.offset,
            direction: line.direction.to_string(),
            in_use,
            consumer,
            shows,
        }
    }
}
