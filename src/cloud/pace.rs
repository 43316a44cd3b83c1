//! When requests may be sent: one back-off for all of them.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio::time::{Instant, sleep_until};

use crate::backoff::Backoff;
use crate::cloud::jitter::Jitter;
use crate::port::CloudError;

/// The wait after the first failure, as supervisors of 2026 have it. It doubles up to the poll interval.
const FIRST_WAIT: Duration = Duration::from_secs(15);
/// The longest wait that a cloud may ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 60 * 60);

/// The back-off of all requests to the cloud. A wait that the cloud asked for (`Retry-After`) is kept by all of them.
#[derive(Debug)]
pub(super) struct Pace {
    jitter: Jitter,
    backoff: RefCell<Backoff>,
    longest: Cell<Duration>,
    not_before: watch::Sender<Instant>,
    /// Until when the cloud asked to wait.
    asked_until: Cell<Instant>,
    turns: Semaphore,
}

/// The right to send a request, until it is dropped.
#[derive(Debug)]
pub(super) struct RequestTurn<'a>(#[expect(dead_code, reason = "dropping it ends the turn")] SemaphorePermit<'a>);

impl Pace {
    /// No request failed yet. `longest`: the longest wait after failures, the poll interval.
    pub(super) fn new(jitter: Jitter, longest: Duration) -> Self {
        let backoff = RefCell::new(Backoff::new(FIRST_WAIT, longest.max(FIRST_WAIT)));
        let now = Instant::now();
        Self {
            jitter,
            backoff,
            longest: Cell::new(longest),
            not_before: watch::Sender::new(now),
            asked_until: Cell::new(now),
            turns: Semaphore::new(1),
        }
    }

    /// The randomness of the waits.
    pub(super) const fn jitter(&self) -> &Jitter {
        &self.jitter
    }

    /// Changes the longest wait after failures. Failures so far are forgotten, if it differs.
    pub(super) fn set_longest(&self, longest: Duration) {
        if self.longest.replace(longest) != longest {
            self.backoff.replace(Backoff::new(FIRST_WAIT, longest.max(FIRST_WAIT)));
            self.reset();
        }
    }

    /// Waits until a request may be sent.
    pub(super) async fn ready(&self) {
        let mut changes = self.not_before.subscribe();
        loop {
            let not_before = *changes.borrow_and_update();
            if not_before <= Instant::now() {
                return;
            }
            // `self` owns the sender, so the channel is never closed here.
            tokio::select! {
                biased;
                _ = changes.changed() => (),
                () = sleep_until(not_before) => return,
            }
        }
    }

    /// Waits until a request may be sent and no other is in flight. While the turn is held, no other request begins: the next
    /// one finds the connection that this one opened.
    pub(super) async fn turn(&self) -> RequestTurn<'_> {
        loop {
            self.ready().await;
            let turn = self.turns.acquire().await.expect("it is never closed");
            if self.next().is_none() {
                return RequestTurn(turn);
            }
        }
    }

    /// When requests may be sent again, if not now.
    pub(super) fn next(&self) -> Option<Instant> {
        let not_before = *self.not_before.borrow();
        (not_before > Instant::now()).then_some(not_before)
    }

    /// Learns from an answer. A refusal that concerns this one request, such as 400 or 401, delays no other.
    pub(super) fn on_answer<T>(&self, answer: &Result<T, CloudError>) {
        match answer {
            Ok(_) => self.backoff.borrow_mut().succeed(),
            Err(CloudError::Refused { retry_after: Some(wait), .. }) => {
                let wait = (*wait).min(LONGEST_WAIT);
                self.asked_until.set(self.asked_until.get().max(Instant::now() + wait));
                self.wait(wait);
            }
            Err(CloudError::Refused { status: 429 | 500.., .. } | CloudError::Unreachable(_) | CloudError::Foreign(_)) => {
                let wait = self.backoff.borrow_mut().fail();
                self.wait(wait);
            }
            Err(CloudError::Refused { .. }) => (),
        }
    }

    /// Forgets the failures: a new target arrived, or a user asked for an update. A wait that the cloud asked for is kept.
    pub(super) fn reset(&self) {
        self.backoff.borrow_mut().succeed();
        self.not_before.send_replace(self.asked_until.get().max(Instant::now()));
    }

    /// At least this long, and up to a quarter longer: other devices wait for the same cloud.
    fn wait(&self, wait: Duration) {
        let until = Instant::now() + wait + self.jitter.below(wait / 4);
        self.not_before.send_if_modified(|it| {
            let later = until > *it;
            *it = until.max(*it);
            later
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace() -> Pace {
        Pace::new(Jitter::new([7; 32]), Duration::from_secs(900))
    }

    fn unreachable() -> Result<(), CloudError> {
        Err(CloudError::Unreachable("no route".to_owned()))
    }

    async fn waited(pace: &Pace) -> u64 {
        let begun = Instant::now();
        pace.ready().await;
        begun.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn waits_double_up_to_the_poll_interval_and_end_with_success() {
        let pace = pace();
        let mut waits = Vec::new();
        for _ in 0..8 {
            pace.on_answer(&unreachable());
            waits.push(waited(&pace).await);
        }
        for (wait, least) in waits.iter().zip([15, 30, 60, 120, 240, 480, 900, 900]) {
            assert!((least..=least * 5 / 4).contains(wait), "{waits:?}");
        }
        pace.on_answer(&Ok(()));
        pace.on_answer(&unreachable());
        assert!(waited(&pace).await <= 19);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_that_the_cloud_asks_for_is_kept_and_a_refusal_of_one_request_is_no_reason_to_wait() {
        let pace = pace();
        let refused = |status, retry_after| Err::<(), _>(CloudError::Refused { status, why: String::new(), retry_after });
        pace.on_answer(&refused(401, None));
        assert_eq!(waited(&pace).await, 0);
        pace.on_answer(&refused(503, Some(Duration::from_secs(25))));
        // An answer that was under way does not shorten it.
        pace.on_answer(&Ok(()));
        pace.reset();
        let waited = waited(&pace).await;
        assert!((25..=32).contains(&waited), "{waited}");
    }

    #[tokio::test(start_paused = true)]
    async fn one_request_at_a_time_and_none_within_a_wait_that_the_one_before_was_given() {
        let pace = pace();
        let begun = Instant::now();
        let first = async {
            let _turn = pace.turn().await;
            tokio::time::sleep(Duration::from_secs(5)).await;
            pace.on_answer(&unreachable());
        };
        let second = async {
            let _turn = pace.turn().await;
            begun.elapsed().as_secs()
        };
        let ((), sent) = tokio::join!(first, second);
        assert!((20..=24).contains(&sent), "{sent}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_waits_is_sent_at_once_after_a_reset() {
        let pace = pace();
        pace.on_answer(&unreachable());
        let begun = Instant::now();
        tokio::join!(pace.ready(), async { pace.reset() });
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }
}
