//! Plays a pattern change by change, where the kernel cannot.
//!
//! On a thread of its own, which lives as long as the pattern is played: so each change wakes one thread once. On the agent's own
//! thread a driver that takes its time would hold up everything else, and to hand each change to a helper wakes three times.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::port::LedError;
use crate::state::{LedLevel, Pattern};

/// How long who stops it waits for the change under way. It takes microseconds, unless a driver hangs.
const LAST_CHANGE: Duration = Duration::from_secs(1);

/// A pattern that is being played, or no longer.
#[derive(Debug, Default)]
pub(super) struct Playback {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Nobody wants it any more.
    over: bool,
    /// Nothing is changed any more.
    ended: bool,
}

impl Playback {
    /// Whether nobody wants it any more.
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

    /// Waits until then, or until it is so. Says whether it is.
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

/// The time of this thread, which is none of the runtime's.
#[expect(clippy::disallowed_methods, reason = "a thread of its own does not follow a clock that a simulation pauses")]
fn now() -> Instant {
    Instant::now()
}

/// Stops it when it is dropped.
struct Guard(Arc<Playback>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.change(|state| state.over = true);
        self.0.wait(now() + LAST_CHANGE, |state| state.ended);
    }
}

/// Says that it ended when it is dropped, however that came.
struct Ended(Arc<Playback>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.change(|state| state.ended = true);
    }
}

/// Plays until `set` fails. Who drops it stops it. `set` asks its second argument whether that happened, once nobody can come
/// between.
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
                // Who stopped us does not want to know.
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
        // The thread has ended when nobody can send any more.
        assert!(levels.iter().count() < 10);
    }
}
