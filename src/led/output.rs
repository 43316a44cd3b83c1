//! One LED: what it shows, and applying the desired pattern to it.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::time::Instant;
use tracing::{debug, info};

use crate::led::arbiter::DesiredPattern;
use crate::led::{RETRY, RETRY_SLOWLY};
use crate::port::{LedError, Leds};
use crate::state::{LedPurpose, LedRef, Pattern, Player};

/// A LED that shows a pattern, or has shown one and has yet to be restored.
pub(super) struct LedOutput<'a> {
    which: LedRef,
    shown: Option<Shown<'a>>,
    /// Whether it may have to be restored.
    may_need_restore: bool,
    /// When to retry. Left alone until then.
    retry: Option<Instant>,
    /// The last error.
    pub(super) trouble: Option<LedError>,
}

/// What the LED shows now.
struct Shown<'a> {
    purpose: LedPurpose,
    nth: u64,
    player: Player,
    pattern: Pattern,
    since: Instant,
    /// The future that plays the pattern, where the agent is the player.
    playing: Option<Pin<Box<dyn Future<Output = LedError> + 'a>>>,
}

impl<'a> LedOutput<'a> {
    pub(super) const fn new(which: LedRef) -> Self {
        Self { which, shown: None, may_need_restore: false, retry: None, trouble: None }
    }

    /// The purpose it shows, and what makes it blink.
    pub(super) fn shows(&self) -> Option<(LedPurpose, Player)> {
        self.shown.as_ref().map(|shown| (shown.purpose, shown.player))
    }

    /// The pattern it shows, and since when.
    pub(super) fn pattern(&self) -> Option<(Pattern, Instant)> {
        self.shown.as_ref().map(|shown| (shown.pattern.clone(), shown.since))
    }

    /// Whether it shows this request.
    pub(super) fn is_showing(&self, request: &DesiredPattern) -> bool {
        self.shown.as_ref().is_some_and(|shown| (shown.purpose, shown.nth) == (request.owner.purpose, request.nth))
    }

    /// Whether there is nothing to do for it, and nothing to remember.
    pub(super) const fn is_idle(&self) -> bool {
        self.shown.is_none() && !self.may_need_restore && self.retry.is_none()
    }

    /// Whether it is in backoff after a failure.
    pub(super) fn is_backing_off(&self, now: Instant) -> bool {
        self.retry.is_some_and(|retry| retry > now)
    }

    /// Ends the backoff: a request came in.
    pub(super) const fn retry_now(&mut self) {
        self.retry = None;
    }

    /// Restores the LED.
    pub(super) async fn restore(&mut self, leds: &impl Leds) -> Result<(), LedError> {
        self.retry = None;
        if self.shown.take().is_some() {
            self.may_need_restore = true;
        }
        if self.may_need_restore {
            leds.restore(&self.which).await?;
            self.may_need_restore = false;
            debug!(led = ?self.which, "the LED is restored");
        }
        Ok(())
    }

    /// Shows the pattern of the owner, if the survey found the LED.
    pub(super) async fn begin<L: Leds>(
        &mut self,
        leds: &'a L,
        survey: &L::Survey,
        request: &DesiredPattern,
        pattern: &Pattern,
    ) -> Result<(), LedError> {
        leds.find(survey, &self.which)?;
        self.retry = None;
        // A failed `show` may have changed the LED too.
        self.may_need_restore = true;
        self.shown = None;
        let length = request.owner.until.map(|until| until.saturating_duration_since(Instant::now()));
        let player = leds.show(survey, &self.which, pattern, length).await?;
        let purpose = request.owner.purpose;
        info!(led = ?self.which, %purpose, %player, %pattern, "the LED blinks");
        let since = Instant::now();
        let (which, shown) = (self.which.clone(), pattern.clone());
        let playing = async move { leds.play(&which, &shown, since).await };
        let playing = (player == Player::Agent).then(|| Box::pin(playing) as _);
        self.shown = Some(Shown { purpose, nth: request.nth, player, pattern: pattern.clone(), since, playing });
        Ok(())
    }

    /// Plays the pattern, where the agent is the player. Ready when the LED has failed.
    pub(super) fn poll_play(&mut self, context: &mut Context<'_>) -> Poll<LedError> {
        let playing = self.shown.as_mut().and_then(|shown| shown.playing.as_mut());
        playing.map_or(Poll::Pending, |playing| playing.as_mut().poll(context))
    }

    /// Records a failure and schedules a retry. The retry restores what was changed before it tries anything else. `wanted`:
    /// whether the LED is still requested.
    pub(super) fn fail(&mut self, error: LedError, wanted: bool) {
        self.shown = None;
        let wait = match error {
            LedError::Busy(_) | LedError::Vanished(_) | LedError::Failed(_) => RETRY,
            LedError::None(_) | LedError::Permission(_) | LedError::ReadOnly(_) | LedError::Guarded(_) => RETRY_SLOWLY,
        };
        self.retry = (self.may_need_restore || wanted).then(|| Instant::now() + wait);
        self.trouble = Some(error);
    }

    /// When to reconcile next, if no event comes first. `wanted`: the purpose of the LED's owner.
    pub(super) fn wakes_at(&self, wanted: Option<LedPurpose>) -> Option<Instant> {
        let Some(shown) = self.shown.as_ref() else { return self.retry };
        if wanted != Some(shown.purpose) {
            // The request expired before the driver had begun the pattern.
            return Some(Instant::now());
        }
        self.retry
    }
}
