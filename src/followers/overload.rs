//! When a container's lines are dropped: only if it writes more than the cloud takes, and for long.
//!
//! The rule: while the cloud accepts every body, and its lines grow older by at least half a second with each second for a
//! whole minute, a container writes at least twice as much as can be sent. Then its lines are dropped until they are less than
//! five seconds old, or none is left. Lines that are old because the cloud was away get younger while they are sent, so none of
//! these is dropped; nor does a jump of the clock count. Nor do lines that are old because the engine was away: the observation
//! begins anew with each request to the engine.

use std::time::Duration;

use tokio::time::Instant;

/// How long a container is observed.
const WINDOW: Duration = Duration::from_secs(60);
/// Dropping ends with a line that is no older than this.
const FRESH: Duration = Duration::from_secs(5);
/// A line's age is known to the second, and a lag that grows faster than time is a jump of the clock.
const TOLERANCE: Duration = Duration::from_secs(5);

/// What is known of a container's backlog.
#[derive(Debug, Default)]
pub(super) struct Overload {
    /// When the observation began, and the age of the line that was sent then.
    window: Option<(Instant, Duration)>,
    is_dropping: bool,
}

impl Overload {
    /// Whether a line of this age is dropped. `accepting_since`: since when the cloud accepts every body.
    pub(super) fn drops(&mut self, age: Duration, accepting_since: Option<Instant>) -> bool {
        let now = Instant::now();
        let Some(accepting_since) = accepting_since else {
            *self = Self::default();
            return false;
        };
        if self.is_dropping {
            self.is_dropping = age > FRESH;
            return self.is_dropping;
        }
        let (since, first_age) = match self.window {
            Some(window) if window.0 >= accepting_since => window,
            Some(_) | None => (now, age),
        };
        self.window = Some((since, first_age));
        let (elapsed, growth) = (now - since, age.saturating_sub(first_age));
        if growth > elapsed + TOLERANCE || age + TOLERANCE < first_age {
            self.window = Some((now, age));
        } else if elapsed >= WINDOW {
            self.is_dropping = growth >= elapsed / 2;
            self.window = (!self.is_dropping).then_some((now, age));
        }
        self.is_dropping
    }

    /// No line is left: the container's next one is new.
    pub(super) fn on_idle(&mut self) {
        self.is_dropping = false;
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// The age of the first line that is dropped, if any within ten minutes: one line a second, with ages by second.
    async fn dropped(overload: &mut Overload, accepting_since: Option<Instant>, age: impl Fn(u32) -> Duration) -> Option<u32> {
        for second in 0..600 {
            if overload.drops(age(second), accepting_since) {
                return Some(second);
            }
            advance(SECOND).await;
        }
        None
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_dropped_after_a_minute_until_its_lines_are_fresh() {
        let (mut overload, accepting) = (Overload::default(), Some(Instant::now()));
        assert_eq!(dropped(&mut overload, accepting, |it| SECOND * it * 9 / 10).await, Some(60));
        assert!(overload.drops(SECOND * 20, accepting));
        assert!(!overload.drops(SECOND * 4, accepting));
        assert!(!overload.drops(SECOND * 20, accepting));
        assert_eq!(dropped(&mut overload, accepting, |it| SECOND * (20 + it)).await, Some(60));
        overload.on_idle();
        assert!(!overload.drops(SECOND * 100, accepting));
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_cloud_was_away_for_is_not_dropped() {
        let (mut overload, begun) = (Overload::default(), Instant::now());
        // Away: nothing is accepted.
        assert_eq!(dropped(&mut overload, None, |it| SECOND * it).await, None);
        // A day's lines, which get younger slowly, or as fast as time goes by.
        assert_eq!(dropped(&mut overload, Some(begun), |it| SECOND * (86_400 - it)).await, None);
        assert_eq!(dropped(&mut overload, Some(begun), |_| SECOND * 86_400).await, None);
        // Back and away again, so that each interruption begins the observation anew.
        for _ in 0..10 {
            let back = Some(Instant::now());
            for second in 0..50 {
                assert!(!overload.drops(SECOND * (3600 + second), back));
                advance(SECOND).await;
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_jumps_drops_nothing() {
        let (mut overload, accepting) = (Overload::default(), Some(Instant::now()));
        assert_eq!(dropped(&mut overload, accepting, |it| if it < 59 { SECOND } else { SECOND * 1_700_000_000 }).await, None);
    }
}
