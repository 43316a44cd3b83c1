//! The requests for a target.

use tokio::time::Instant;

/// The requests for a target, as far as they went.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Polling {
    /// When the last one was answered, and how.
    pub last: Option<(Instant, PollOutcome)>,
    /// Why the last one failed. `None`: it did not.
    pub why: Option<String>,
    /// When the next one is sent.
    pub next: Option<Instant>,
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
