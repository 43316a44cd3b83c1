//! The cloud, in the state of the agent.

use serde::Serialize;
use tokio::time::Instant;

use crate::sorted::SortedMap;
use crate::state::cloud::{self, CloudStatus, Pinning, PollOutcome};

/// What became of the requests to the cloud. No key is in it.
#[derive(Serialize)]
pub(super) struct CloudBody<'a> {
    registration: Registration<'a>,
    /// `None`: no preloaded target asks for one, or it was settled before the agent started.
    pin: Option<Pin<'a>>,
    polling: Polling<'a>,
    reporting: Reporting<'a>,
    log_upload: LogUpload<'a>,
    /// By purpose.
    traffic: SortedMap<&'static str, ByteCount>,
}

#[derive(Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
enum Registration<'a> {
    NoCloud,
    Pending { why: Option<&'a str>, next_in_seconds: Option<u64> },
    Registered { endpoint: &'a str, device_id: Option<u64> },
}

#[derive(Serialize)]
struct Pin<'a> {
    state: &'static str,
    commit: &'a str,
    why: Option<&'a str>,
    next_in_seconds: Option<u64>,
}

#[derive(Serialize)]
struct Polling<'a> {
    targets_from: &'static str,
    /// `None`: not known yet.
    interval_seconds: Option<u64>,
    /// `None`: none was answered yet.
    last: Option<PollAnswer<'a>>,
    cause: Option<&'static str>,
    why: Option<&'a str>,
    next_in_seconds: Option<u64>,
    next_cause: &'static str,
}

#[derive(Serialize)]
struct PollAnswer<'a> {
    answer: &'static str,
    why: Option<&'a str>,
    seconds_ago: u64,
}

#[derive(Serialize)]
struct Reporting<'a> {
    accepted_seconds_ago: Option<u64>,
    why: Option<&'a str>,
    refused: Vec<RefusedPart<'a>>,
}

#[derive(Serialize)]
struct RefusedPart<'a> {
    part: &'a str,
    why: &'a str,
}

#[derive(Serialize)]
struct LogUpload<'a> {
    accepted_seconds_ago: Option<u64>,
    why: Option<&'a str>,
    dropped_lines: u64,
}

#[derive(Serialize)]
struct ByteCount {
    sent: u64,
    received: u64,
}

impl<'a> From<&'a CloudStatus> for CloudBody<'a> {
    fn from(it: &'a CloudStatus) -> Self {
        let CloudStatus { registration, pin, polling, reporting, log_upload, targets_from, traffic } = it;
        let refused = reporting.refused.iter().map(|it| RefusedPart { part: &it.part, why: &it.why });
        let bytes = |it: &cloud::ByteCount| ByteCount { sent: it.sent, received: it.received };
        Self {
            registration: Registration::from(registration),
            pin: Pin::of(pin),
            polling: Polling {
                targets_from: targets_from.name(),
                interval_seconds: Some(polling.interval.as_secs()).filter(|it| *it > 0),
                last: polling.last.as_ref().map(|(at, outcome)| poll_answer(*at, outcome)),
                cause: polling.cause.map(cloud::PollCause::name),
                why: polling.why.as_deref(),
                next_in_seconds: polling.next.map(until),
                next_cause: polling.next_cause.name(),
            },
            reporting: Reporting {
                accepted_seconds_ago: reporting.accepted.map(since),
                why: reporting.why.as_deref(),
                refused: refused.collect(),
            },
            log_upload: LogUpload {
                accepted_seconds_ago: log_upload.accepted.map(since),
                why: log_upload.why.as_deref(),
                dropped_lines: log_upload.dropped_lines,
            },
            traffic: traffic.0.iter().map(|(purpose, count)| (purpose.name(), bytes(count))).collect(),
        }
    }
}

impl<'a> From<&'a cloud::Registration> for Registration<'a> {
    fn from(it: &'a cloud::Registration) -> Self {
        match it {
            cloud::Registration::NoCloud => Self::NoCloud,
            cloud::Registration::Pending { why, next } => {
                Self::Pending { why: why.as_deref(), next_in_seconds: next.map(until) }
            }
            cloud::Registration::Registered { endpoint, device_id } => Self::Registered { endpoint, device_id: *device_id },
        }
    }
}

impl<'a> Pin<'a> {
    fn of(pin: &'a Pinning) -> Option<Self> {
        let (state, commit, why, next) = match pin {
            Pinning::NotAsked => return None,
            Pinning::Pending { commit, why, next } => ("pending", commit, why.as_deref(), *next),
            Pinning::Pinned(commit) => ("pinned", commit, None, None),
            Pinning::Refused { commit, why } => ("refused", commit, Some(why.as_str()), None),
        };
        Some(Self { state, commit, why, next_in_seconds: next.map(until) })
    }
}

fn poll_answer(at: Instant, outcome: &PollOutcome) -> PollAnswer<'_> {
    let (answer, why) = match outcome {
        PollOutcome::Unchanged => ("unchanged", None),
        PollOutcome::New => ("new", None),
        PollOutcome::Rejected(why) => ("rejected", Some(why.as_str())),
        PollOutcome::Gone => ("gone", None),
    };
    PollAnswer { answer, why, seconds_ago: since(at) }
}

fn since(at: Instant) -> u64 {
    at.elapsed().as_secs()
}

fn until(at: Instant) -> u64 {
    at.saturating_duration_since(Instant::now()).as_secs()
}
