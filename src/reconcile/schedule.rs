//! When the machine is observed next.

use std::time::Duration;

use tokio::time::Instant;

use crate::backoff::Backoff;

/// Minimum interval between the starts of two observations triggered by engine events or update locks.
const MIN_INTERVAL: Duration = Duration::from_millis(250);
/// The interval where observations are slow: they take no more than a fifth of the time.
const MAX_INTERVAL: Duration = Duration::from_secs(2);

/// When the machine is observed next.
#[derive(Debug)]
pub(super) struct Schedule {
    /// Full resync interval, when nothing triggers an earlier observation.
    every: Duration,
    next: Instant,
    /// When the last observation began.
    started: Instant,
    /// How long after `started` engine and lock events may trigger the next observation.
    min_interval: Duration,
    engine_backoff: Backoff,
}

impl Schedule {
    pub(super) fn new(every: Duration) -> Self {
        let engine_backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
        Self { every, next: Instant::now(), started: Instant::now(), min_interval: MIN_INTERVAL, engine_backoff }
    }

    /// When the next observation begins.
    pub(super) const fn next(&self) -> Instant {
        self.next
    }

    /// State may have changed: observe as soon as no observation is in flight.
    pub(super) fn request_resync(&mut self) {
        self.next = Instant::now();
    }

    /// State outside may have changed: observe at once the first time, and then rate-limited.
    pub(super) fn request_resync_soon(&mut self) {
        let soonest = self.started + self.min_interval;
        self.resync_by(soonest.max(Instant::now()));
    }

    /// Observe at this time, if not earlier.
    pub(super) fn resync_by(&mut self, latest: Instant) {
        self.next = self.next.min(latest);
    }

    /// An observation begins.
    pub(super) fn on_begins(&mut self) {
        self.started = Instant::now();
        self.next = self.started + self.every;
    }

    /// An observation ended: the slower it was, the longer events wait for the next.
    pub(super) fn on_ended(&mut self) {
        self.min_interval = (self.started.elapsed() * 5).clamp(MIN_INTERVAL, MAX_INTERVAL);
    }

    /// The engine answered.
    pub(super) fn on_engine_up(&mut self) {
        self.engine_backoff.succeed();
    }

    /// The engine did not answer: observe again with exponential backoff.
    pub(super) fn on_engine_down(&mut self) {
        self.next = Instant::now() + self.engine_backoff.fail();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_of_events_triggers_one_observation_in_250_ms() {
        let mut schedule = Schedule::new(Duration::from_secs(60));
        schedule.on_begins();
        let began = Instant::now();
        schedule.on_ended();
        for _ in 0..100 {
            schedule.request_resync_soon();
        }
        assert_eq!(schedule.next() - began, MIN_INTERVAL);
    }

    #[tokio::test(start_paused = true)]
    async fn slow_observations_take_a_fifth_of_the_time() {
        let mut schedule = Schedule::new(Duration::from_secs(60));
        schedule.on_begins();
        let began = Instant::now();
        tokio::time::advance(Duration::from_millis(300)).await;
        schedule.on_ended();
        schedule.request_resync_soon();
        assert_eq!(schedule.next() - began, Duration::from_millis(1500));
    }

    #[tokio::test(start_paused = true)]
    async fn an_engine_that_stays_down_is_asked_ever_later_and_at_once_after_it_was_back() {
        let mut schedule = Schedule::new(Duration::from_secs(60));
        let mut delays = Vec::new();
        for _ in 0..10 {
            schedule.on_engine_down();
            delays.push(schedule.next() - Instant::now());
        }
        assert!(
            delays.is_sorted() && delays[0] <= Duration::from_millis(200) && delays[9] >= Duration::from_secs(4),
            "{delays:?}"
        );
        schedule.on_engine_up();
        schedule.on_engine_down();
        assert_eq!(schedule.next() - Instant::now(), delays[0]);
    }
}
