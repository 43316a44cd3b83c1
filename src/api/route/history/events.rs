//! `GET /agent/v1/events`: Server-Sent Events of the state and of the history, as they change.
//!
//! The first event is the whole state. What follows is the difference to the state that was sent last, so that a client that
//! reads slowly gets fewer and larger events, and nothing waits for it. Entries of the history are numbered; the number is the
//! event's `id`, and a client that connects again with `Last-Event-ID` gets those after it. If the agent does not keep them any
//! more, an event names those that are lost.
//!
//! A stream holds the last state that was sent, some kilobytes. It costs no wake-up while nothing changes, but for the comment
//! that keeps the connection open. The server closes the connection of a client that reads nothing.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use futures_util::stream;
use serde::Serialize;
use serde_json::Value;
use tokio::time::{Instant, sleep, sleep_until};

use super::patch::patch;
use super::{EntryBody, may_see};
use crate::api::ApiRequest;
use crate::api::auth::AuthenticatedCallers;
use crate::api::response::{ApiResponse, failed};
use crate::api::route::agent;
use crate::api::route::streams::{stop_of, stopped};
use crate::state::device::ServerStop;

/// How many clients follow the events at once. Each page that is open is one.
const CLIENTS: usize = 64;
/// A comment is sent when nothing else was for so long, so that proxies keep the connection open.
const COMMENT_EVERY: Duration = Duration::from_secs(15);
/// Changes within this time after an event share one: a download would send some hundred a second.
const GATHER: Duration = Duration::from_millis(250);
/// The type of the response.
const TYPE: &str = "text/event-stream";

/// How many clients follow the events now.
static FOLLOWING: AtomicUsize = AtomicUsize::new(0);

/// A place among the clients. It is free again when this is dropped.
struct Place;

impl Place {
    fn take() -> Option<Self> {
        let taken = |it| (it < CLIENTS).then_some(it + 1);
        FOLLOWING.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken).ok().map(|_| Self)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        FOLLOWING.fetch_sub(1, Ordering::Relaxed);
    }
}

#[derive(Serialize)]
struct LostBody {
    from: u64,
    to: u64,
}

/// A client.
struct Follower {
    call: ApiRequest,
    stop: Option<ServerStop>,
    /// The state that was sent last, as JSON: a parsed one takes several times as much memory. `None`: none was.
    sent: Option<Box<str>>,
    /// The newest entry that was sent, or that the client may not see.
    last: u64,
    /// Events that are to be sent.
    due: VecDeque<Bytes>,
    quiet_until: Instant,
    _place: Place,
}

/// `GET /agent/v1/events`.
pub(in crate::api::route) fn events(mut call: ApiRequest) -> ApiResponse {
    let Some(place) = Place::take() else {
        let why = format!("{CLIENTS} other clients follow the events already; close one of them and ask again");
        return failed(StatusCode::TOO_MANY_REQUESTS, &why);
    };
    let given = call.request.headers().get("last-event-id").and_then(|it| it.to_str().ok()?.trim().parse::<u64>().ok());
    let newest = call.api.history.borrow().newest();
    let stop = stop_of(&mut call);
    let follower = Follower {
        call,
        stop,
        sent: None,
        // A number that was never given is one of a history that was lost.
        last: given.filter(|it| *it <= newest).unwrap_or(if given.is_some() { 0 } else { newest }),
        due: VecDeque::new(),
        quiet_until: Instant::now(),
        _place: place,
    };
    let events = stream::unfold(follower, async |mut follower| {
        let event = follower.next().await?;
        Some((Ok::<_, Infallible>(event), follower))
    });
    ApiResponse::Stream(TYPE, Body::from_stream(events))
}

impl Follower {
    /// The next event. `None`: the server stops.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(event) = self.due.pop_front() {
                self.quiet_until = Instant::now() + COMMENT_EVERY;
                return Some(event);
            }
            if !self.may_go_on() {
                return None;
            }
            if !self.collect() {
                tokio::select! {
                    biased;
                    () = stopped(self.stop.as_mut()) => return None,
                    going_on = changed(&mut self.call) => if !going_on { return None },
                    () = sleep_until(self.quiet_until) => {
                        self.quiet_until = Instant::now() + COMMENT_EVERY;
                        return Some(Bytes::from_static(b":\n\n"));
                    }
                }
                if self.sent.is_some() {
                    sleep(GATHER).await;
                }
            }
        }
    }

    /// Whether the client's key still is one. The events end with a key that was made anew.
    fn may_go_on(&mut self) -> bool {
        let known = AuthenticatedCallers::of(&self.call.request, &self.call.api.status.borrow());
        known.is_ok_and(|callers| {
            self.call.callers = callers;
            true
        })
    }

    /// Puts what is new into the queue. Returns whether there was anything.
    fn collect(&mut self) -> bool {
        let mut lines = Vec::new();
        let api = &mut *self.call.api;
        // What changes from here on wakes the client again.
        let _ = (api.status.borrow_and_update(), api.connectivity.borrow_and_update(), api.cloud.borrow_and_update());
        let _ = (api.leds.status.borrow_and_update(), api.vpn.borrow_and_update());
        let history = api.history.borrow_and_update();
        if let Some(oldest) = history.oldest().filter(|it| *it > self.last + 1) {
            lines.push((Some(oldest - 1), "lost", json(&LostBody { from: self.last + 1, to: oldest - 1 })));
        }
        let new = history.after(self.last).filter(|it| may_see(&self.call.callers, it));
        lines.extend(new.map(|it| (Some(it.id), "history", json(&EntryBody::of(it)))));
        self.last = self.last.max(history.newest());
        drop(history);
        let now = agent::state_value(&self.call);
        let state = match &self.sent {
            None => Some(("state", now.to_string())),
            Some(before) => {
                let before: Value = serde_json::from_str(before).unwrap_or_default();
                patch(&before, &now).map(|it| ("change", it.to_string()))
            }
        };
        if let Some((event, data)) = state {
            // The state first: an entry is about what it shows.
            let before = lines.first().and_then(|it| it.0).map_or(self.last, |it| it.saturating_sub(1));
            lines.insert(0, (Some(before), event, data));
            self.sent = Some(now.to_string().into());
        }
        self.due.extend(lines.into_iter().map(|(id, event, data)| {
            let id = id.map(|it| format!("id: {it}\n")).unwrap_or_default();
            Bytes::from(format!("{id}event: {event}\ndata: {data}\n\n"))
        }));
        !self.due.is_empty()
    }
}

/// Waits until something changes. Returns whether the agent goes on.
async fn changed(call: &mut ApiRequest) -> bool {
    let api = &mut *call.api;
    let changed = tokio::select! {
        changed = api.status.changed() => changed,
        changed = api.history.changed() => changed,
        changed = api.connectivity.changed() => changed,
        changed = api.cloud.changed() => changed,
        changed = api.leds.status.changed() => changed,
        changed = api.vpn.changed() => changed,
    };
    changed.is_ok()
}

fn json(it: &impl Serialize) -> String {
    serde_json::to_string(it).expect("our answers have text keys and no failing parts")
}
