//! One LED: what it shows, and bringing it to what is wanted.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::time::Instant;
use tracing::{debug, info};

use crate::led::arbiter::DesiredPattern;
use crate::led::{RETRY, RETRY_SLOWLY};
use crate::port::{LedError, Leds};
use crate::state::{LedPurpose, LedRef, Pattern, Player};

/// A LED that shows something, or has shown something and is to be put back.
pub(super) struct LedOutput<'a> {
    which: LedRef,
    shown: Option<Shown<'a>>,
    /// Whether it may have to be put back.
    owed: bool,
    /// Leave it alone until then.
    retry: Option<Instant>,
    /// What went wrong last.
    pub(super) trouble: Option<LedError>,
}

/// What is shown now.
struct Shown<'a> {
    purpose: LedPurpose,
    nth: u64,
    player: Player,
    /// What plays it, where we do.
    playing: Option<Pin<Box<dyn Future<Output = LedError> + 'a>>>,
}

impl<'a> LedOutput<'a> {
    pub(super) const fn new(which: LedRef) -> Self {
        Self { which, shown: None, owed: false, retry: None, trouble: None }
    }

    /// What it shows, and who makes it blink.
    pub(super) fn shows(&self) -> Option<(LedPurpose, Player)> {
        self.shown.as_ref().map(|shown| (shown.purpose, shown.player))
    }

    /// Whether this is what it shows.
    pub(super) fn is_showing(&self, want: &DesiredPattern) -> bool {
        self.shown.as_ref().is_some_and(|shown| (shown.purpose, shown.nth) == (want.owner.purpose, want.nth))
    }

    /// Whether there is nothing to do for it, and nothing to remember.
    pub(super) const fn is_idle(&self) -> bool {
        self.shown.is_none() && !self.owed && self.retry.is_none()
    }

    /// Whether it is left alone for a while, because it did not do as told.
    pub(super) fn is_backing_off(&self, now: Instant) -> bool {
        self.retry.is_some_and(|retry| retry > now)
    }

    /// Tries again at once: somebody asked.
    pub(super) const fn retry_now(&mut self) {
        self.retry = None;
    }

    /// Shows what the first of those who want it wants.
    pub(super) async fn apply(&mut self, leds: &'a impl Leds, want: Option<&DesiredPattern>) -> Result<(), LedError> {
        self.retry = None;
        let Some((want, pattern)) = want.and_then(|want| Some((want, want.pattern.as_ref()?))) else {
            return self.put_back(leds).await;
        };
        if self.is_showing(want) { Ok(()) } else { self.begin(leds, want, pattern).await }
    }

    async fn put_back(&mut self, leds: &impl Leds) -> Result<(), LedError> {
        if self.shown.take().is_some() {
            self.owed = true;
        }
        if self.owed {
            leds.put_back(&self.which).await?;
            self.owed = false;
            debug!(led = ?self.which, "it is as it was");
        }
        Ok(())
    }

    async fn begin(&mut self, leds: &'a impl Leds, want: &DesiredPattern, pattern: &Pattern) -> Result<(), LedError> {
        // Something may have been changed even where this fails.
        self.owed = true;
        self.shown = None;
        let length = want.owner.until.map(|until| until.saturating_duration_since(Instant::now()));
        let player = leds.show(&self.which, pattern, length).await?;
        let purpose = want.owner.purpose;
        info!(led = ?self.which, %purpose, %player, %pattern, "the LED blinks");
        let (which, pattern, since) = (self.which.clone(), pattern.clone(), Instant::now());
        let playing = async move { leds.play(&which, &pattern, since).await };
        let playing = (player == Player::Agent).then(|| Box::pin(playing) as _);
        self.shown = Some(Shown { purpose, nth: want.nth, player, playing });
        Ok(())
    }

    /// Plays, where that is for us. Ready when the LED did not do as told.
    pub(super) fn poll_play(&mut self, context: &mut Context<'_>) -> Poll<LedError> {
        let playing = self.shown.as_mut().and_then(|shown| shown.playing.as_mut());
        playing.map_or(Poll::Pending, |playing| playing.as_mut().poll(context))
    }

    /// Notes that it did not do as told. What was changed is put back before anything else is tried. `wanted`: whether anybody
    /// still wants it.
    pub(super) fn fail(&mut self, error: LedError, wanted: bool) {
        self.shown = None;
        let wait = match error {
            LedError::Busy(_) | LedError::Vanished(_) | LedError::Failed(_) => RETRY,
            LedError::None(_) | LedError::Permission(_) | LedError::ReadOnly(_) | LedError::Guarded(_) => RETRY_SLOWLY,
        };
        self.retry = (self.owed || wanted).then(|| Instant::now() + wait);
        self.trouble = Some(error);
    }

    /// When to look again, if nothing happens before. `wanted`: for what it is wanted first.
    pub(super) fn wakes_at(&self, wanted: Option<LedPurpose>) -> Option<Instant> {
        let Some(shown) = self.shown.as_ref() else { return self.retry };
        if wanted != Some(shown.purpose) {
            // The driver took so long that it was over before it began.
            return Some(Instant::now());
        }
        self.retry
    }
}
