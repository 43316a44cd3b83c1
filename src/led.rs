//! Who owns the LED, and what it shows.
//!
//! One future owns it: [`run`]. Others ask it by [`crate::intent::LightAsk`] and read the [`crate::state::Panel`] it publishes.
//! Of all who want the LED the most important one has it; when that one is done, the one below shows again. How the LED is now
//! and how it should be are compared anew whenever anything changes, so nothing depends on the order in which things happen.

mod claims;
pub mod pattern;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::future::pending;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};
use tracing::{debug, info, warn};

use crate::intent::LightAsk;
use crate::led::claims::Claims;
use crate::port::{Bench, LedError, Leds};
use crate::state::{Identified, Level, Owner, Panel, Pattern, Player, Purpose};

/// How long an LED that failed is left alone. Soon enough for one that was unplugged and comes back.
const RETRY: Duration = Duration::from_secs(2);

/// How long where nothing but a person will change it: no LED, no permission.
const RETRY_SLOWLY: Duration = Duration::from_secs(60);

/// Owns the LED for as long as it is polled.
///
/// Whoever drops it calls [`Leds::restore`] afterwards; so does the next start, should nobody have.
pub async fn run(leds: &impl Leds, mut inbox: mpsc::Receiver<LightAsk>, publish: watch::Sender<Panel>) -> Infallible {
    let mut light = Light::new(leds, publish);
    let mut open = true;
    loop {
        light.follow().await;
        let wake = light.wakes_at();
        tokio::select! {
            biased;
            // Before anything is asked: nobody's LED is taken from under their hands.
            bench = leds.bench(light.claims.bench) => light.claims.bench = bench,
            ask = inbox.recv(), if open => match ask {
                Some(ask) => light.hear(ask),
                None => open = false,
            },
            () = until(wake) => {}
        }
    }
}

/// Waits until then, or for ever.
async fn until(wake: Option<Instant>) {
    match wake {
        Some(wake) => sleep_until(wake).await,
        None => pending().await,
    }
}

/// The LED and everything about it.
struct Light<'a, L> {
    leds: &'a L,
    publish: watch::Sender<Panel>,
    claims: Claims,
    shown: Option<Shown>,
    /// Whether the LED may have to be put back. So at the start: who was here before may have been killed.
    owed: bool,
    /// Leave it alone until then.
    retry: Option<Instant>,
    /// Who waits to be told what came of asking to identify.
    asker: Option<oneshot::Sender<Identified>>,
}

/// What is shown now.
struct Shown {
    purpose: Purpose,
    pattern: Pattern,
    since: Instant,
    player: Player,
    /// What we told the LED last, where we play.
    level: Option<Level>,
}

impl<'a, L: Leds> Light<'a, L> {
    fn new(leds: &'a L, publish: watch::Sender<Panel>) -> Self {
        Self { leds, publish, claims: Claims::NONE, shown: None, owed: true, retry: None, asker: None }
    }

    /// Notes a request; [`Light::follow`] acts on it.
    fn hear(&mut self, ask: LightAsk) {
        match ask {
            LightAsk::Identify(asker) => {
                self.claims.identify(Instant::now());
                self.asker = Some(asker);
                self.retry = None;
            }
            LightAsk::Reach(reach) => self.claims.reach = reach,
        }
    }

    /// Brings the LED to what those who want it want, and says so.
    async fn follow(&mut self) {
        let now = Instant::now();
        if self.retry.is_none_or(|retry| retry <= now) {
            self.retry = None;
            if let Err(error) = self.bring_to(self.claims.owners(now).first()).await {
                self.fail(&error);
            } else {
                self.publish.send_if_modified(|panel| panel.trouble.take().is_some());
            }
        }
        self.answer();
        let owners = self.claims.owners(now);
        let player = self.shown.as_ref().map(|shown| shown.player);
        self.publish.send_if_modified(|panel| {
            let news = panel.owners != owners || panel.player != player;
            panel.owners = owners;
            panel.player = player;
            news
        });
    }

    /// Shows what the first of the owners wants.
    async fn bring_to(&mut self, owner: Option<&Owner>) -> Result<(), LedError> {
        let wanted = owner.and_then(|owner| pattern::of(owner.purpose).map(|pattern| (owner, pattern)));
        let Some((owner, pattern)) = wanted else {
            return self.put_back().await;
        };
        let anew = owner.purpose == Purpose::Identify && self.asker.is_some();
        if anew || self.shown.as_ref().is_none_or(|shown| shown.purpose != owner.purpose) {
            self.begin(owner, pattern).await?;
        }
        self.play().await
    }

    async fn put_back(&mut self) -> Result<(), LedError> {
        if self.shown.take().is_some() {
            self.owed = true;
        }
        if self.owed {
            // Nobody wants an LED now, so it is no trouble if there is none.
            let _ = self.look().await;
            self.leds.restore().await?;
            self.owed = false;
            debug!("the LED is as it was");
        }
        Ok(())
    }

    /// Looks which LED it is.
    async fn look(&mut self) -> Result<(), LedError> {
        let led = self.leds.find().await;
        let told = led.as_ref().map_err(ToString::to_string).cloned();
        self.publish.send_if_modified(|panel| set(&mut panel.led, told));
        led.map(drop)
    }

    async fn begin(&mut self, owner: &Owner, pattern: Pattern) -> Result<(), LedError> {
        // Something may have been changed even where this fails.
        self.owed = true;
        self.shown = None;
        self.look().await?;
        let length = owner.until.map(|until| until.saturating_duration_since(Instant::now()));
        let player = self.leds.show(&pattern, length).await?;
        info!(purpose = %owner.purpose, %player, %pattern, "the LED blinks");
        self.shown = Some(Shown { purpose: owner.purpose, pattern, since: Instant::now(), player, level: None });
        Ok(())
    }

    /// Tells the LED the level of this moment, where it is for us to play.
    async fn play(&mut self) -> Result<(), LedError> {
        let Some(shown) = self.shown.as_mut().filter(|shown| shown.player == Player::Agent) else { return Ok(()) };
        let (level, _) = shown.pattern.at(shown.since.elapsed());
        if shown.level != Some(level) {
            self.leds.set(level).await?;
            shown.level = Some(level);
        }
        Ok(())
    }

    /// Notes that the LED did not do as told. What was changed is put back before anything else is tried.
    fn fail(&mut self, error: &LedError) {
        let trouble = error.to_string();
        let news = self.publish.borrow().trouble.as_ref() != Some(&trouble);
        if news {
            warn!(%error, "the LED does not do as told");
        }
        self.shown = None;
        if self.asker.is_some() {
            // Nobody waits for it any longer: they are told now.
            self.claims.forget_identify();
        }
        let now = Instant::now();
        let wait = match error {
            LedError::Busy(_) | LedError::Vanished(_) | LedError::Failed(_) => RETRY,
            LedError::None(_) | LedError::Permission(_) | LedError::ReadOnly(_) | LedError::Guarded(_) => RETRY_SLOWLY,
        };
        self.retry = (self.owed || !self.claims.owners(now).is_empty()).then(|| now + wait);
        self.publish.send_if_modified(|panel| set(&mut panel.trouble, Some(trouble)));
    }

    /// Tells who asked to identify what came of it.
    fn answer(&mut self) {
        let Some(asker) = self.asker.take() else { return };
        let panel = self.publish.borrow();
        let shows = self.shown.as_ref().is_some_and(|shown| shown.purpose == Purpose::Identify);
        let answer = match (&panel.led, &panel.trouble) {
            (Ok(lamp), _) if shows => Identified::By(lamp.name.clone()),
            (Ok(lamp), None) if self.claims.bench == Bench::Taken => Identified::Waiting(lamp.name.clone()),
            (Err(why), _) | (Ok(_), Some(why)) => Identified::None(why.clone()),
            (Ok(_), None) => Identified::None("it was over before it began".into()),
        };
        // Whoever asked may have hung up; that is their business.
        let _ = asker.send(answer);
    }

    /// When to look again, if nothing happens before.
    fn wakes_at(&self) -> Option<Instant> {
        let now = Instant::now();
        let wanted = self.claims.owners(now).first().map(|owner| owner.purpose);
        if self.shown.as_ref().is_some_and(|shown| wanted != Some(shown.purpose)) {
            // The driver took so long that it was over before it began.
            return Some(now);
        }
        let change = self.shown.as_ref().filter(|shown| shown.player == Player::Agent).map(|shown| {
            let (_, end) = shown.pattern.at(shown.since.elapsed());
            shown.since + end
        });
        [self.claims.changes_at(now), self.retry, change].into_iter().flatten().min()
    }
}

/// Puts a value in place of another, and says whether that is news.
fn set<T: PartialEq>(place: &mut T, value: T) -> bool {
    let news = *place != value;
    *place = value;
    news
}
