//! When polls are due. Pure, but for the clock of its first and last poll.
//!
//! The cloud counts a device as online for one and a half intervals after a poll. So a wait is the interval and a random part
//! of up to a quarter of it.
//!
//! Devices of a fleet start together after a power cut. Their first polls are spread over [`FIRST_WITHIN`], and their second
//! ones over a whole interval; from then on they stay spread.

use std::time::Duration;

use tokio::time::Instant;

use crate::cloud::jitter::Jitter;
use crate::state::cloud::PollCause;

/// The interval if neither the target nor config.json has one.
const DEFAULT: Duration = Duration::from_secs(900);
/// The shortest interval.
const LEAST: Duration = Duration::from_secs(10);
/// The longest interval.
const MOST: Duration = Duration::from_secs(24 * 60 * 60);
/// The longest wait before the first poll of a device that boots and has a target.
const FIRST_WITHIN: Duration = Duration::from_secs(30);

/// The interval: the target's, in milliseconds, else that of config.json, else the default.
pub(super) fn interval(target: Option<&str>, settings: Option<Duration>) -> Duration {
    let target = target.and_then(|it| it.trim().parse().ok()).map(Duration::from_millis);
    target.or(settings).unwrap_or(DEFAULT).clamp(LEAST, MOST)
}

/// What the first wait depends on.
#[derive(Debug, Clone, Copy)]
pub(super) struct PollStart {
    /// The agent starts because the machine was booted.
    pub(super) just_booted: bool,
    /// The device has a target, and runs it.
    pub(super) has_target: bool,
    /// The target permits a poll at the start.
    pub(super) is_instant: bool,
}

/// When the next poll is due.
#[derive(Debug)]
pub(super) struct PollSchedule {
    interval: Duration,
    /// The last poll, or the start.
    since: Instant,
    wait: Wait,
    due: Instant,
}

/// How long a wait is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wait {
    /// For the first poll.
    First(FirstWait),
    /// For the second poll.
    Second,
    /// For any later one.
    Regular,
    /// For one that repeats a failed one: the back-off says how long.
    Retry {
        /// Whether no poll was answered yet.
        is_first: bool,
    },
}

/// The wait before the first poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FirstWait {
    /// None.
    None,
    /// Of up to [`FIRST_WITHIN`].
    Boot,
    /// Of up to the interval.
    Interval,
}

impl PollSchedule {
    /// For an agent that starts now.
    pub(super) fn new(start: PollStart, interval: Duration, jitter: &Jitter) -> Self {
        let first = match start {
            PollStart { has_target: false, .. } => FirstWait::None,
            PollStart { is_instant: false, .. } => FirstWait::Interval,
            PollStart { just_booted: true, .. } => FirstWait::Boot,
            PollStart { .. } => FirstWait::None,
        };
        let (now, wait) = (Instant::now(), Wait::First(first));
        Self { interval, since: now, wait, due: now + length(wait, interval, jitter) }
    }

    /// The interval.
    pub(super) const fn interval(&self) -> Duration {
        self.interval
    }

    /// When the next poll is due.
    pub(super) const fn due(&self) -> Instant {
        self.due
    }

    /// Why the next poll is sent.
    pub(super) const fn cause(&self) -> PollCause {
        match self.wait {
            Wait::Retry { .. } => PollCause::Retry,
            Wait::First(_) | Wait::Second | Wait::Regular => PollCause::Interval,
        }
    }

    /// Changes the interval. The wait that has begun counts with the new one.
    pub(super) fn set_interval(&mut self, interval: Duration, jitter: &Jitter) {
        if std::mem::replace(&mut self.interval, interval) != interval {
            self.due = self.since + length(self.wait, interval, jitter);
        }
    }

    /// A poll has ended. `next`: why the next one is sent.
    pub(super) fn sent(&mut self, next: PollCause, jitter: &Jitter) {
        let was_first = matches!(self.wait, Wait::First(_) | Wait::Retry { is_first: true });
        self.wait = match next {
            PollCause::Retry => Wait::Retry { is_first: was_first },
            PollCause::Interval | PollCause::Update | PollCause::RefusedRequest if was_first => Wait::Second,
            PollCause::Interval | PollCause::Update | PollCause::RefusedRequest => Wait::Regular,
        };
        self.since = Instant::now();
        self.due = self.since + length(self.wait, self.interval, jitter);
    }
}

/// The length of a wait.
fn length(wait: Wait, interval: Duration, jitter: &Jitter) -> Duration {
    match wait {
        Wait::First(FirstWait::None) | Wait::Retry { .. } => Duration::ZERO,
        Wait::First(FirstWait::Boot) => jitter.below(FIRST_WITHIN),
        Wait::First(FirstWait::Interval) | Wait::Second => jitter.below(interval),
        Wait::Regular => interval + jitter.below(interval / 4),
    }
}

#[cfg(test)]
mod tests;
