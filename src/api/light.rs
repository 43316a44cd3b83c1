//! The board and its LED: identify it, and say what is known of both.

use std::time::Duration;

use axum::http::StatusCode;
use serde::Serialize;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use crate::api::sent::{Sent, json};
use crate::intent::{Light, LightAsk};
use crate::state::{BoardFacts, Identified, Panel, Status};

/// How long the LED's owner has to say what came of it. A driver answers within milliseconds, and who asks is not kept waiting.
const OWNER_WAIT: Duration = Duration::from_secs(1);

/// `POST /v1/blink`: always 200 and empty, as the reference wants it; a header says which LED blinks, or why none.
pub(super) async fn blink(light: &Light) -> Sent {
    let asked = async {
        let (reply, answer) = oneshot::channel();
        light.requests.send(LightAsk::Identify(reply)).await.ok()?;
        answer.await.ok()
    };
    let none = |why: &str| Identified::None(why.to_owned());
    Sent::Identified(match timeout(OWNER_WAIT, asked).await {
        Ok(Some(identified)) => identified,
        Ok(None) => none("the agent is stopping"),
        Err(_) => none("its driver has not answered within a second; GET /agent/v1/leds says what becomes of it"),
    })
}

/// `GET /agent/v1/leds`.
pub(super) fn leds(light: &Light) -> Sent {
    json(StatusCode::OK, &Shown::of(&light.panel.borrow(), Instant::now()))
}

/// `GET /agent/v1/board`.
pub(super) fn board(status: &Status) -> Sent {
    json(StatusCode::OK, &Board::of(&status.device.board))
}

#[derive(Serialize)]
struct Shown<'a> {
    led: Option<Led<'a>>,
    /// `None`: there is one.
    why_none: Option<&'a str>,
    /// Who has it now.
    owner: Option<String>,
    /// Everybody who wants it, who has it first.
    purposes: Vec<Purpose>,
    player: Option<String>,
    trouble: Option<&'a str>,
}

#[derive(Serialize)]
struct Led<'a> {
    name: &'a str,
    why: &'a str,
}

#[derive(Serialize)]
struct Purpose {
    purpose: String,
    /// `None`: nobody knows.
    seconds_left: Option<u64>,
}

impl<'a> Shown<'a> {
    fn of(panel: &'a Panel, now: Instant) -> Self {
        // A second that has begun is not over yet.
        let left = |until: Instant| until.saturating_duration_since(now).as_millis().div_ceil(1000);
        let purposes = panel.owners.iter().map(|owner| Purpose {
            purpose: owner.purpose.to_string(),
            seconds_left: owner.until.map(|until| u64::try_from(left(until)).unwrap_or(u64::MAX)),
        });
        Self {
            led: panel.led.as_ref().ok().map(|lamp| Led { name: &lamp.name, why: &lamp.why }),
            why_none: panel.led.as_ref().err().map(String::as_str),
            owner: panel.owners.first().map(|owner| owner.purpose.to_string()),
            purposes: purposes.collect(),
            player: panel.player.map(|player| player.to_string()),
            trouble: panel.trouble.as_deref(),
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
        }
    }
}
