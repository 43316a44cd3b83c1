//! The agent's events: a connection that is made again when it breaks, and the state that they describe.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::cli::CommandError;
use crate::cli::sse::{SseEvent, SseParser};
use crate::cli::stream::{BodyStream, FollowError, FollowRequest};
use crate::config::Config;
use crate::state::Secret;

/// The shortest and the longest wait before the agent is asked again.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// The agent sends a comment every 15 s. A connection that is silent for longer than two of them is broken.
const SILENCE: Duration = Duration::from_secs(40);

/// What the connection gave.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Update {
    /// An event.
    Event(SseEvent),
    /// The connection is lost, for this reason. It is made again; the next update is an event.
    Lost(String),
}

type Opening = Pin<Box<dyn Future<Output = Result<BodyStream, FollowError>>>>;

/// The connection to the agent's events.
pub(super) struct Events {
    request: FollowRequest,
    link: Link,
    parser: SseParser,
    ready: VecDeque<SseEvent>,
    /// Where the next connection goes on.
    last_id: String,
    wait: Duration,
}

enum Link {
    Open(BodyStream, Instant),
    Opening(Opening),
    Waiting(Instant),
}

impl Events {
    /// Connects. `after`: events about entries of the history after this one come first.
    pub(super) async fn open(config: &Config, key: &Secret, after: Option<u64>) -> Result<Self, CommandError> {
        let request = FollowRequest::get(config, key, "/agent/v1/events");
        let last_id = after.map(|it| it.to_string()).unwrap_or_default();
        let opened = request.clone().open(header(&last_id)).await;
        let stream = opened.map_err(|why| CommandError::Failed(why.to_string()))?;
        let link = Link::Open(stream, Instant::now() + SILENCE);
        Ok(Self { request, link, parser: SseParser::default(), ready: VecDeque::new(), last_id, wait: FIRST_WAIT })
    }

    /// The next update. May be dropped: none is lost.
    pub(super) async fn next(&mut self) -> Result<Update, CommandError> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                event.id.clone_into(&mut self.last_id);
                self.wait = FIRST_WAIT;
                return Ok(Update::Event(event));
            }
            match &mut self.link {
                Link::Open(stream, silent_at) => {
                    let part = timeout_at(*silent_at, stream.part()).await;
                    let lost = match part {
                        Ok(Ok(part)) if part.is_empty() => "the agent ended it".to_owned(),
                        Ok(Ok(part)) => {
                            *silent_at = Instant::now() + SILENCE;
                            match self.parser.parse(&part, &mut |it| self.ready.push_back(it)) {
                                Ok(()) => continue,
                                Err(why) => why.to_string(),
                            }
                        }
                        Ok(Err(why)) => why.to_string(),
                        Err(_) => format!("nothing came for {} s", SILENCE.as_secs()),
                    };
                    self.link = Link::Waiting(Instant::now() + self.wait);
                    return Ok(Update::Lost(lost));
                }
                Link::Waiting(until) => {
                    sleep_until(*until).await;
                    self.wait = (self.wait * 2).min(LONGEST_WAIT);
                    self.link = Link::Opening(Box::pin(self.request.clone().open(header(&self.last_id))));
                }
                Link::Opening(opening) => match opening.await {
                    Ok(stream) => {
                        self.parser = SseParser::default();
                        self.link = Link::Open(stream, Instant::now() + SILENCE);
                    }
                    Err(FollowError::Later(_)) => self.link = Link::Waiting(Instant::now() + self.wait),
                    Err(FollowError::Refused(why)) => return Err(CommandError::Failed(why)),
                },
            }
        }
    }
}

fn header(last_id: &str) -> Option<(&'static str, String)> {
    // An id comes from the agent and is a number; nothing else becomes a header.
    let is_number = !last_id.is_empty() && last_id.bytes().all(|it| it.is_ascii_digit());
    is_number.then(|| ("Last-Event-ID", last_id.to_owned()))
}

/// The state, as the events so far describe it.
#[derive(Debug, Default)]
pub(super) struct StateMirror {
    state: Value,
}

impl StateMirror {
    /// Takes an event. Whether it is one of the state.
    pub(super) fn take(&mut self, event: &SseEvent) -> Result<bool, String> {
        let is_whole = event.kind == "state";
        if !is_whole && event.kind != "change" {
            return Ok(false);
        }
        let data =
            serde_json::from_slice(event.data.as_bytes()).map_err(|why| format!("the agent's event cannot be read: {why}"))?;
        if is_whole {
            self.state = data;
        } else {
            merge(&mut self.state, data);
        }
        Ok(true)
    }

    /// The state, in which times went on for so long.
    pub(super) fn after(&self, passed: Duration) -> Value {
        let mut state = self.state.clone();
        count(&mut state, &|secs, is_to_come| {
            let passed = passed.as_secs();
            if is_to_come { secs.saturating_sub(passed) } else { secs.saturating_add(passed) }
        });
        state
    }

    /// The state without what only counts seconds.
    pub(super) fn without_times(&self) -> Value {
        let mut state = self.state.clone();
        count(&mut state, &|_, _| 0);
        state
    }
}

/// Applies a merge patch (RFC 7386). Neither is nested deeper than the JSON parser allows.
fn merge(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(members) = target else { return };
    for (name, value) in patch {
        if value.is_null() {
            members.remove(&name);
        } else {
            merge(members.entry(name).or_insert(Value::Null), value);
        }
    }
}

/// Changes each number that counts seconds: since what was, or until what is to come.
fn count(value: &mut Value, change: &impl Fn(u64, bool) -> u64) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|it| count(it, change)),
        Value::Object(members) => {
            for (name, value) in members {
                let Some(number) = value.as_u64() else {
                    count(value, change);
                    continue;
                };
                let is_to_come = name.ends_with("in_seconds") || name == "seconds_left";
                if is_to_come || name == "seconds" || name.ends_with("seconds_ago") {
                    *value = change(number, is_to_come).into();
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests;
