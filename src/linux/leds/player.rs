//! Plays a pattern change by change, where the kernel cannot.
//!
//! The thread lives as long as the pattern is played, so each change wakes one thread once. On the agent's own thread a slow
//! driver would block everything else, and handing each change to a helper thread wakes three times.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::port::LedError;
use crate::state::{LedLevel, Pattern};

/// How long stopping waits for the change in flight. It takes microseconds, unless a driver hangs.
const LAST_CHANGE: Duration = Duration::from_secs(1);

/// A pattern that is being played, or has ended.
#[derive(Debug, Default)]
pub(super) struct Playback {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Playing was cancelled.
    over: bool,
    /// The thread makes no more changes.
    ended: bool,
}

impl Playback {
    /// Whether playing was cancelled.
    pub(super) fn is_over(&self) -> bool {
        self.state().over
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.changed.notify_all();
    }

    /// Waits until `until`, or until `is_so` holds. Returns whether it holds.
    fn wait(&self, until: Instant, is_so: fn(&State) -> bool) -> bool {
        let mut state = self.state();
        while !is_so(&state) {
            let left = until.saturating_duration_since(now());
            if left.is_zero() {
                return false;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

/// The time of this thread: the system's clock, not the runtime's.
#[expect(clippy::disallowed_methods, reason = "a thread of its own does not follow a clock that a simulation pauses")]
fn now() -> Instant {
    Instant::now()
}

/// Cancels playing when it is dropped.
struct Guard(Arc<Playback>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.change(|state| state.over = true);
        self.0.wait(now() + LAST_CHANGE, |state| state.ended);
    }
}

/// Marks the thread as ended when it is dropped, for whatever reason.
struct Ended(Arc<Playback>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.change(|state| state.ended = true);
    }
}

/// Plays until `set` fails; dropping the future cancels it. `set` checks cancellation in its second argument once it has
/// exclusive use of the LED.
pub(super) async fn play(
    pattern: Pattern,
    since: Instant,
    set: impl Fn(LedLevel, &Playback) -> Result<(), LedError> + Send + 'static,
) -> LedError {
    let play: Arc<Playback> = Arc::default();
    let (tell, told) = oneshot::channel();
    let ended = Ended(Arc::clone(&play));
    let _guard = Guard(Arc::clone(&play));
    let begun = thread::Builder::new().name("led".into()).spawn(move || {
        let _ended = ended;
        loop {
            let (level, end) = pattern.at(since.elapsed());
            if let Err(error) = set(level, &play) {
                // If playing was cancelled, there is no receiver for the error.
                let _ = tell.send(error);
                return;
            }
            if play.wait(since + end, |state| state.over) {
                return;
            }
        }
    });
    match begun {
        Ok(_) => told.await.unwrap_or_else(|_| LedError::Failed("driving the LED broke off".into())),
        Err(error) => LedError::Failed(format!("cannot begin a thread to drive the LED: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;

    fn pattern() -> Pattern {
        "20,30".parse().unwrap()
    }

    #[tokio::test]
    async fn levels_follow_each_other_until_the_led_fails() {
        let (seen, levels) = channel();
        let set = move |level, _: &Playback| {
            let _ = seen.send(level);
            if level == LedLevel::Dark { Err(LedError::Vanished("unplugged".into())) } else { Ok(()) }
        };
        assert_eq!(play(pattern(), now(), set).await, LedError::Vanished("unplugged".into()));
        assert_eq!(levels.iter().collect::<Vec<_>>(), [LedLevel::Lit, LedLevel::Dark]);
    }

    #[tokio::test]
    async fn who_drops_it_stops_it() {
        let (seen, levels) = channel();
        let set = move |level, play: &Playback| {
            if !play.is_over() {
                let _ = seen.send(level);
            }
            Ok(())
        };
        let playing = play(pattern(), now(), set);
        assert!(tokio::time::timeout(Duration::from_millis(70), playing).await.is_err());
        // The channel closes when the thread has ended.
        assert!(levels.iter().count() < 10);
    }
}
