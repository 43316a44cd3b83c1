//! The requests for a target.

use std::time::Duration;

use tokio::time::Instant;

/// The requests for a target, as far as they went.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Polling {
    /// When the last one was answered, and how.
    pub last: Option<(Instant, PollOutcome)>,
    /// Why the last one was sent. `None`: none was sent yet.
    pub cause: Option<PollCause>,
    /// Why the last one failed. `None`: it did not.
    pub why: Option<String>,
    /// When the next one is sent.
    pub next: Option<Instant>,
    /// Why the next one is sent.
    pub next_cause: PollCause,
    /// The time between two of them, without the random part that each wait has. Zero: not known yet.
    pub interval: Duration,
}

/// The answer to a request for a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PollOutcome {
    /// The target is as it was.
    Unchanged,
    /// There is a new target.
    New,
    /// There is a new target, and it is not accepted.
    Rejected(String),
    /// The cloud has no such device: it was deleted, or is frozen.
    Gone,
}

/// Why a request for a target is sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PollCause {
    /// The interval has passed, or the agent started.
    #[default]
    Interval,
    /// The last one failed.
    Retry,
    /// An update was requested.
    Update,
    /// The cloud refused a report: it may not have the device any more.
    RefusedRequest,
}

impl PollCause {
    /// Its name in the device's state.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Interval => "interval",
            Self::Retry => "retry",
            Self::Update => "update",
            Self::RefusedRequest => "refused_request",
        }
    }
}

/// Whose targets the device applies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TargetOrigin {
    /// The cloud's.
    #[default]
    Cloud,
    /// Those of the target-state file. The cloud is polled all the same: that is how it knows that the device is online.
    File,
}

impl TargetOrigin {
    /// Its name in settings and in the device's state.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cloud => "cloud",
            Self::File => "file",
        }
    }
}
