//! The board's and its LEDs' endpoints: identify the device, hold a pattern for a while, and report both.

use std::time::Duration;

use axum::http::StatusCode;
use serde::Serialize;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use crate::api::body::BodyFields;
use crate::api::response::{ApiResponse, failed, json};
use crate::api::{ApiRequest, body};
use crate::request::{LedHandle, LedRequest, Request};
use crate::state::{
    BoardFacts, BoardLed, BoardOutline, BoardPart, HeldPattern, IdentifyOutcome, LedActivity, LedInfo, LedLevel, LedRef,
    LedRefusal, LedStatus, Pattern,
};

/// How long the LED task may take to respond. A driver answers within milliseconds, and a client is not kept waiting.
const LED_TIMEOUT: Duration = Duration::from_secs(1);

/// The default time for which a pattern is held, in seconds.
const HELD_SECS: i64 = 60;

/// The longest time for which a pattern is held, in seconds: a client that needs it longer renews it.
const HELD_MOST_SECS: i64 = 60 * 60;

/// The shortest step of a pattern. A shorter one is invisible, and each step may cost a wake-up.
const SHORTEST_STEP: Duration = Duration::from_millis(20);

/// The reason given when the LED task does not respond in time.
const NO_RESPONSE: &str = "its driver has not answered within a second; GET /agent/v1/leds says what becomes of it";

/// `POST /v1/blink`: always 200 and empty, as the reference wants it; a header says which LED blinks, or why none does.
pub(super) async fn blink(ApiRequest { api, .. }: ApiRequest) -> Result<ApiResponse, ApiResponse> {
    let response = async {
        let (reply, answer) = oneshot::channel();
        api.leds.requests.send(LedRequest::Identify(reply)).await.ok()?;
        answer.await.ok()
    };
    let none = |why: &str| IdentifyOutcome::None(why.to_owned());
    let identified = match timeout(LED_TIMEOUT, response).await {
        Ok(Some(identified)) => identified,
        Ok(None) => none("the agent is stopping"),
        Err(_) => none(NO_RESPONSE),
    };
    let failed = if let IdentifyOutcome::None(why) = &identified { Some(why.clone()) } else { None };
    api.note(Request::Identified(failed));
    Ok(ApiResponse::Identified(identified))
}

/// `POST /agent/v1/leds/:name/pattern`, and the same of a line.
pub(super) async fn hold(which: LedRef, call: ApiRequest) -> Result<ApiResponse, ApiResponse> {
    let (leds, by) = (call.api.leds.clone(), call.api.requester);
    let fields = body::read(call.request).await?;
    let (pattern, seconds) = (pattern(&fields)?, seconds(&fields)?);
    let (reply, answer) = oneshot::channel();
    let length = Duration::from_secs(seconds);
    let hold = LedRequest::Hold { which, pattern: pattern.clone(), length, by, reply };
    let HeldPattern { led, owner, player } = request(&leds, hold, answer).await?;
    Ok(json(
        StatusCode::OK,
        &HeldBody {
            led: &led,
            pattern: pattern.to_string(),
            seconds_left: seconds,
            owner: owner.to_string(),
            player: player.map(|it| it.to_string()),
        },
    ))
}

/// `DELETE /agent/v1/leds/:name/pattern`, and the same of a line.
pub(super) async fn release(which: LedRef, call: ApiRequest) -> Result<ApiResponse, ApiResponse> {
    let (reply, answer) = oneshot::channel();
    request(&call.api.agent.leds, LedRequest::Release { which, by: call.api.requester, reply }, answer).await?;
    Ok(ApiResponse::Nothing)
}

/// The LED that the path names.
pub(super) fn which(call: &ApiRequest) -> LedRef {
    if call.param == "identify" { LedRef::Identify } else { LedRef::Named(call.param.clone()) }
}

/// Sends a request to the LED task, which responds within milliseconds unless a driver hangs.
pub(super) async fn request<T>(
    leds: &LedHandle,
    led_request: LedRequest,
    answer: oneshot::Receiver<Result<T, LedRefusal>>,
) -> Result<T, ApiResponse> {
    let unavailable = |why| failed(StatusCode::SERVICE_UNAVAILABLE, why);
    let response = async {
        leds.requests.send(led_request).await.ok()?;
        answer.await.ok()
    };
    let done = timeout(LED_TIMEOUT, response).await.map_err(|_| unavailable(NO_RESPONSE))?;
    done.ok_or_else(|| unavailable("the agent is stopping"))?.map_err(|why| {
        let status = match why {
            LedRefusal::NoLed(_) => StatusCode::NOT_FOUND,
            LedRefusal::Guarded(_) => StatusCode::FORBIDDEN,
            LedRefusal::Busy(_) => StatusCode::CONFLICT,
            LedRefusal::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        failed(status, &why.to_string())
    })
}

fn pattern(fields: &BodyFields) -> Result<Pattern, ApiResponse> {
    let wrong = |why: &str| failed(StatusCode::BAD_REQUEST, &format!("pattern: {why}"));
    let text = fields.text("pattern").ok_or_else(|| wrong("it is missing; as in {\"pattern\": \"200,200x4,1000\"}"))?;
    let pattern: Pattern = text.parse().map_err(|why: crate::state::PatternError| wrong(&why.to_string()))?;
    let short = pattern.steps().iter().any(|step| Duration::from_millis(step.ms.into()) < SHORTEST_STEP);
    if short { Err(wrong("a step lasts at least 20 ms")) } else { Ok(pattern) }
}

fn seconds(fields: &BodyFields) -> Result<u64, ApiResponse> {
    let seconds = if fields.has("seconds") { fields.number("seconds") } else { Some(HELD_SECS) };
    let fits = seconds.filter(|it| (1..=HELD_MOST_SECS).contains(it)).and_then(|it| u64::try_from(it).ok());
    fits.ok_or_else(|| failed(StatusCode::BAD_REQUEST, "seconds: a whole number from 1 to 3600"))
}

/// `GET /agent/v1/leds`. Where a driver hangs, the answer lacks what the LEDs show, and has all else.
pub(super) async fn leds(ApiRequest { api, .. }: ApiRequest) -> Result<ApiResponse, ApiResponse> {
    let response = async {
        let (reply, answer) = oneshot::channel();
        api.leds.requests.send(LedRequest::Look(reply)).await.ok()?;
        answer.await.ok()
    };
    let levels = timeout(LED_TIMEOUT, response).await.ok().flatten().unwrap_or_default();
    Ok(json(StatusCode::OK, &LedsBody::of(&api.leds.status.borrow(), &levels, Instant::now())))
}

/// `GET /agent/v1/board`.
pub(super) fn board(call: &ApiRequest) -> ApiResponse {
    json(StatusCode::OK, &Board::of(&call.api.status.borrow().device.board))
}

/// A pattern that is held.
#[derive(Serialize)]
struct HeldBody<'a> {
    led: &'a str,
    pattern: String,
    seconds_left: u64,
    /// What the LED shows now: `pattern`, or a purpose of higher priority.
    owner: String,
    player: Option<String>,
}

#[derive(Serialize)]
struct LedsBody<'a> {
    led: Option<Led<'a>>,
    /// `None`: there is a LED.
    why_none: Option<&'a str>,
    /// `None`: its driver does not say.
    lit: Option<bool>,
    #[serde(flatten)]
    shows: Showing<'a>,
    /// Every other LED that may be driven.
    others: Vec<Other<'a>>,
}

#[derive(Serialize)]
struct Led<'a> {
    name: &'a str,
    why: &'a str,
}

#[derive(Serialize)]
struct Other<'a> {
    #[serde(flatten)]
    led: Led<'a>,
    lit: Option<bool>,
    #[serde(flatten)]
    shows: Showing<'a>,
}

#[derive(Serialize)]
pub(super) struct Showing<'a> {
    /// The purpose it shows now.
    owner: Option<String>,
    /// All purposes that request the LED, highest priority first.
    purposes: Vec<Purpose>,
    player: Option<String>,
    /// The pattern it shows.
    pattern: Option<String>,
    /// Since when, in milliseconds.
    pattern_milliseconds: Option<u64>,
    trouble: Option<&'a str>,
}

#[derive(Serialize)]
struct Purpose {
    purpose: String,
    /// `None`: it has no known end.
    seconds_left: Option<u64>,
}

impl<'a> LedsBody<'a> {
    fn of(status: &'a LedStatus, levels: &[(String, LedLevel)], now: Instant) -> Self {
        let lit = |led: &LedInfo| levels.iter().find(|(name, _)| *name == led.name).map(|(_, it)| *it == LedLevel::Lit);
        let other = |(led, shows): &'a (LedInfo, LedActivity)| Other {
            led: Led::of(led),
            lit: lit(led),
            shows: Showing::of(shows, now),
        };
        Self {
            led: status.led.as_ref().ok().map(Led::of),
            why_none: status.led.as_ref().err().map(String::as_str),
            lit: status.led.as_ref().ok().and_then(lit),
            shows: Showing::of(&status.shows, now),
            others: status.others.iter().map(other).collect(),
        }
    }
}

impl<'a> Led<'a> {
    fn of(led: &'a LedInfo) -> Self {
        Self { name: &led.name, why: &led.why }
    }
}

impl<'a> Showing<'a> {
    pub(super) fn of(shows: &'a LedActivity, now: Instant) -> Self {
        // Rounded up: a second that has begun is not over yet.
        let left = |until: Instant| until.saturating_duration_since(now).as_millis().div_ceil(1000);
        let purposes = shows.owners.iter().map(|owner| Purpose {
            purpose: owner.purpose.to_string(),
            seconds_left: owner.until.map(|until| u64::try_from(left(until)).unwrap_or(u64::MAX)),
        });
        Self {
            owner: shows.owners.first().map(|owner| owner.purpose.to_string()),
            purposes: purposes.collect(),
            player: shows.player.map(|player| player.to_string()),
            pattern: shows.pattern.as_ref().map(|(pattern, _)| pattern.to_string()),
            pattern_milliseconds: shows
                .pattern
                .as_ref()
                .map(|(_, since)| u64::try_from(now.saturating_duration_since(*since).as_millis()).unwrap_or(u64::MAX)),
            trouble: shows.trouble.as_deref(),
        }
    }
}

#[derive(Serialize)]
struct Board<'a> {
    id: Option<&'a str>,
    name: Option<&'a str>,
    recognised: &'a str,
    perhaps: &'a [String],
    complaint: Option<&'a str>,
    model: Option<&'a str>,
    compatible: &'a [String],
    simulated: bool,
    led: Option<&'a str>,
    led_why: &'a str,
    passed_over: Vec<Led<'a>>,
    others: &'a [String],
    outline: Option<Outline<'a>>,
    leds: Vec<DescribedLed<'a>>,
}

#[derive(Serialize)]
struct Outline<'a> {
    width_mm: u8,
    height_mm: u8,
    parts: Vec<Part<'a>>,
}

#[derive(Serialize)]
struct Part<'a> {
    kind: &'a str,
    x_mm: u8,
    y_mm: u8,
    width_mm: u8,
    height_mm: u8,
}

#[derive(Serialize)]
struct DescribedLed<'a> {
    name: &'a str,
    label: Option<&'a str>,
    role: &'a str,
    colour: Option<&'a str>,
    place: &'a str,
    at: Option<Point>,
}

#[derive(Serialize)]
struct Point {
    x_mm: u8,
    y_mm: u8,
}

impl<'a> Board<'a> {
    fn of(facts: &'a BoardFacts) -> Self {
        Self {
            id: facts.id.as_deref(),
            name: facts.name.as_deref(),
            recognised: &facts.recognised,
            perhaps: &facts.perhaps,
            complaint: facts.complaint.as_deref(),
            model: facts.model.as_deref(),
            compatible: &facts.compatible,
            simulated: facts.simulated,
            led: facts.led.as_deref(),
            led_why: &facts.why,
            passed_over: facts.passed_over.iter().map(|(name, why)| Led { name, why }).collect(),
            others: &facts.others,
            outline: facts.outline.as_ref().map(Outline::of),
            leds: facts.leds.iter().map(DescribedLed::of).collect(),
        }
    }
}

impl<'a> Outline<'a> {
    fn of(outline: &'a BoardOutline) -> Self {
        let &BoardOutline { width_mm, height_mm, ref parts } = outline;
        let part = |&BoardPart { kind, x_mm, y_mm, width_mm, height_mm }| Part { kind, x_mm, y_mm, width_mm, height_mm };
        Self { width_mm, height_mm, parts: parts.iter().map(part).collect() }
    }
}

impl<'a> DescribedLed<'a> {
    fn of(led: &'a BoardLed) -> Self {
        Self {
            name: &led.name,
            label: led.label,
            role: &led.role,
            colour: led.colour,
            place: &led.place,
            at: led.at_mm.map(|(x_mm, y_mm)| Point { x_mm, y_mm }),
        }
    }
}
