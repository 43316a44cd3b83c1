//! Who owns each LED, and what it shows.
//!
//! One future owns them: [`run`]. Others ask it by [`crate::intent::LightAsk`] and read the [`crate::state::Panel`] it publishes.
//! Of all who want a LED the most important one has it; when that one is done, the one below shows again. How a LED is now
//! and how it should be are compared anew whenever anything changes, so nothing depends on the order in which things happen.

mod claims;
mod lit;
pub mod pattern;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::{pending, poll_fn};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};
use tracing::warn;

use crate::intent::LightAsk;
use crate::led::claims::{Claims, Want};
use crate::led::lit::Lit;
use crate::port::{Bench, LedError, Leds};
use crate::state::{Holding, Identified, Lamp, NotHeld, Panel, Purpose, Shows, Which};

/// How long an LED that failed is left alone. Soon enough for one that was unplugged and comes back.
const RETRY: Duration = Duration::from_secs(2);

/// How long where nothing but a person will change it: no LED, no permission.
const RETRY_SLOWLY: Duration = Duration::from_secs(60);

/// Owns the LEDs for as long as it is polled.
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
            bench = leds.bench(light.claims.bench) => light.bench(bench),
            ask = inbox.recv(), if open => match ask {
                Some(ask) => light.hear(ask).await,
                None => open = false,
            },
            () = until(wake) => {}
            (which, error) = poll_fn(|context| light.poll_play(context)) => light.fail(&which, error, true),
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

/// The LEDs and everything about them.
struct Light<'a, L> {
    leds: &'a L,
    publish: watch::Sender<Panel>,
    claims: Claims,
    /// The LED to find the device by, always, and every other that somebody wants or that is to be put back.
    lit: BTreeMap<Which, Lit<'a>>,
    /// When to put back what somebody left changed who was killed. `None`: nobody can have been.
    sweep: Option<Instant>,
    /// Why that failed.
    unswept: Option<LedError>,
    /// Who waits to be told what came of their request. One is heard at a time.
    asker: Option<Asker>,
}

/// Who waits to be told.
enum Asker {
    Identify(oneshot::Sender<Identified>),
    Hold(String, oneshot::Sender<Result<Holding, NotHeld>>),
    LetGo(oneshot::Sender<Result<(), NotHeld>>),
}

impl<'a, L: Leds> Light<'a, L> {
    fn new(leds: &'a L, publish: watch::Sender<Panel>) -> Self {
        let lit = BTreeMap::from([(Which::Identify, Lit::new(Which::Identify))]);
        let sweep = Some(Instant::now());
        Self { leds, publish, claims: Claims::none(), lit, sweep, unswept: None, asker: None }
    }

    /// Notes a request; [`Light::follow`] acts on it.
    async fn hear(&mut self, ask: LightAsk) {
        match ask {
            LightAsk::Identify(asker) => {
                self.claims.identify(Instant::now());
                self.lit(Which::Identify).hurry();
                self.asker = Some(Asker::Identify(asker));
            }
            LightAsk::Hold(which, pattern, length, asker) => match self.name_of(&which).await {
                Ok(name) => {
                    self.claims.hold(name.clone(), pattern, length, Instant::now());
                    let which = self.which(&name);
                    self.lit(which).hurry();
                    self.asker = Some(Asker::Hold(name, asker));
                }
                // Whoever asked may have hung up; that is their business.
                Err(error) => drop(asker.send(Err(not_held(&error)))),
            },
            LightAsk::LetGo(which, asker) => match self.name_of(&which).await {
                Ok(name) => {
                    self.claims.let_go(&name);
                    self.asker = Some(Asker::LetGo(asker));
                }
                Err(error) => drop(asker.send(Err(not_held(&error)))),
            },
            LightAsk::Reach(reach) => self.claims.reach = reach,
        }
    }

    /// Notes whether somebody tries LEDs out. Who did may have been killed at it.
    fn bench(&mut self, bench: Bench) {
        self.claims.bench = bench;
        if bench == Bench::Free {
            self.sweep = Some(Instant::now());
        }
    }

    /// What a LED that somebody names is really called.
    async fn name_of(&mut self, which: &Which) -> Result<String, LedError> {
        // What there is not is told by the next question.
        let _ = self.look().await;
        match self.leds.find(which).await {
            Ok(lamp) => Ok(lamp.name),
            // One that was unplugged is still let go of by its name.
            Err(error) => match which {
                Which::Named(name) if self.claims.held().any(|held| held == name) => Ok(name.clone()),
                Which::Named(_) | Which::Identify => Err(error),
            },
        }
    }

    /// Looks which LEDs there are.
    async fn look(&mut self) -> Result<(), LedError> {
        let led = self.leds.find(&Which::Identify).await;
        let told = led.as_ref().map_err(ToString::to_string).cloned();
        let mut lamps = self.leds.others().await;
        let is_here = |name: &str| lamps.iter().chain(&told).any(|lamp| lamp.name == name);
        let gone: Vec<String> = self.claims.held().filter(|name| !is_here(name)).cloned().collect();
        lamps.extend(gone.into_iter().map(|name| Lamp { name, why: "it went away".into() }));
        self.publish.send_if_modified(|panel| {
            let shows = |lamp: &Lamp| panel.others.iter().find(|(it, _)| it.name == lamp.name).map(|(_, shows)| shows.clone());
            let others = lamps.into_iter().map(|lamp| (shows(&lamp).unwrap_or_default(), lamp));
            let others: Vec<_> = others.map(|(shows, lamp)| (lamp, shows)).collect();
            let news = set(&mut panel.led, told);
            set(&mut panel.others, others) || news
        });
        led.map(drop)
    }

    /// What the LED to find the device by is called.
    fn main(&self) -> Option<String> {
        self.publish.borrow().led.as_ref().ok().map(|lamp| lamp.name.clone())
    }

    /// Which LED this name is.
    fn which(&self, name: &str) -> Which {
        if self.main().as_deref() == Some(name) { Which::Identify } else { Which::Named(name.to_owned()) }
    }

    fn lit(&mut self, which: Which) -> &mut Lit<'a> {
        self.lit.entry(which.clone()).or_insert_with(|| Lit::new(which))
    }

    /// Brings the LEDs to what those who want them want, and says so.
    async fn follow(&mut self) {
        self.claims.expire(Instant::now());
        self.put_right().await;
        for name in self.claims.held().cloned().collect::<Vec<_>>() {
            let which = self.which(&name);
            self.lit(which);
        }
        for which in self.lit.keys().cloned().collect::<Vec<_>>() {
            self.follow_one(&which).await;
        }
        self.answer();
        self.tell();
        let (now, main) = (Instant::now(), self.main());
        let claims = &self.claims;
        self.lit.retain(|which, lit| {
            *which == Which::Identify || !lit.is_idle() || !claims.wants(which, main.as_deref(), now).is_empty()
        });
    }

    /// Puts back what somebody changed who was killed at it, while nothing is shown: it would go too.
    async fn put_right(&mut self) {
        if self.sweeps_at().is_none_or(|at| at > Instant::now()) {
            return;
        }
        // Nobody wants one now, so it is no trouble if there is none.
        let _ = self.look().await;
        (self.sweep, self.unswept) = match self.leds.restore().await {
            Ok(()) => (None, None),
            Err(error) => {
                warn!(%error, "a LED that was left changed cannot be put back");
                (Some(Instant::now() + RETRY_SLOWLY), Some(error))
            }
        };
    }

    fn sweeps_at(&self) -> Option<Instant> {
        self.sweep.filter(|_| self.lit.values().all(|lit| lit.shows().is_none()))
    }

    async fn follow_one(&mut self, which: &Which) {
        let wants = self.wants(which);
        let leds = self.leds;
        if self.lit(which.clone()).rests(Instant::now()) {
            return;
        }
        let begins = wants.first().is_some_and(|want| want.pattern.is_some() && !self.lit(which.clone()).is_showing(want));
        let looked = if begins { self.look().await } else { Ok(()) };
        let done = match looked {
            Err(error) if *which == Which::Identify => Err(error),
            Ok(()) | Err(_) => self.lit(which.clone()).bring_to(leds, wants.first()).await,
        };
        match done {
            Ok(()) => self.lit(which.clone()).trouble = None,
            Err(error) => self.fail(which, error, !wants.is_empty()),
        }
    }

    /// Plays what is for us to play. Ready when a LED did not do as told.
    fn poll_play(&mut self, context: &mut Context<'_>) -> Poll<(Which, LedError)> {
        for (which, lit) in &mut self.lit {
            if let Poll::Ready(error) = lit.poll_play(context) {
                return Poll::Ready((which.clone(), error));
            }
        }
        Poll::Pending
    }

    /// Everybody who wants this LED, who has it first.
    fn wants(&self, which: &Which) -> Vec<Want> {
        self.claims.wants(which, self.main().as_deref(), Instant::now())
    }

    fn fail(&mut self, which: &Which, error: LedError, wanted: bool) {
        let lit = self.lit(which.clone());
        if lit.trouble.as_ref() != Some(&error) {
            warn!(%error, "the LED does not do as told");
        }
        lit.fail(error, wanted);
        // Nobody waits for it any longer: they are told now.
        match &self.asker {
            Some(Asker::Identify(_)) if *which == Which::Identify => self.claims.forget_identify(),
            Some(Asker::Hold(name, _)) if self.which(name) == *which => self.claims.let_go(&name.clone()),
            Some(Asker::Identify(_) | Asker::Hold(..) | Asker::LetGo(_)) | None => {}
        }
    }

    /// Tells who asked what came of it.
    fn answer(&mut self) {
        // Whoever asked may have hung up; that is their business.
        match self.asker.take() {
            Some(Asker::Identify(asker)) => drop(asker.send(self.identified())),
            Some(Asker::Hold(name, asker)) => drop(asker.send(self.holding(name))),
            Some(Asker::LetGo(asker)) => drop(asker.send(Ok(()))),
            None => {}
        }
    }

    fn identified(&mut self) -> Identified {
        let led = self.publish.borrow().led.clone();
        let benched = self.claims.bench == Bench::Taken;
        let lit = self.lit(Which::Identify);
        match (led, &lit.trouble) {
            (Ok(lamp), _) if lit.shows().is_some_and(|(purpose, _)| purpose == Purpose::Identify) => Identified::By(lamp.name),
            (Ok(lamp), None) if benched => Identified::Waiting(lamp.name),
            (Err(why), _) => Identified::None(why),
            (Ok(_), Some(error)) => Identified::None(error.to_string()),
            (Ok(_), None) => Identified::None("it was over before it began".into()),
        }
    }

    fn holding(&mut self, led: String) -> Result<Holding, NotHeld> {
        let which = self.which(&led);
        let owner = self.wants(&which).first().map(|want| want.owner.purpose);
        let lit = self.lit(which);
        match (owner, &lit.trouble) {
            (_, Some(error)) => Err(not_held(error)),
            (Some(owner), None) => Ok(Holding { led, owner, player: lit.shows().map(|(_, player)| player) }),
            (None, None) => Err(NotHeld::Failed("it was over before it began".into())),
        }
    }

    /// Publishes who has which LED.
    fn tell(&self) {
        let shows = |which: &Which| {
            let lit = self.lit.get(which);
            Shows {
                owners: self.wants(which).into_iter().map(|want| want.owner).collect(),
                player: lit.and_then(Lit::shows).map(|(_, player)| player),
                trouble: lit.and_then(|lit| lit.trouble.as_ref()).map(ToString::to_string),
            }
        };
        let mut main = shows(&Which::Identify);
        main.trouble = main.trouble.or_else(|| self.unswept.as_ref().map(ToString::to_string));
        let names: Vec<String> = self.publish.borrow().others.iter().map(|(lamp, _)| lamp.name.clone()).collect();
        let others: Vec<Shows> = names.into_iter().map(|name| shows(&Which::Named(name))).collect();
        self.publish.send_if_modified(|panel| {
            let news = panel.others.iter_mut().zip(others).fold(false, |news, ((_, it), shows)| set(it, shows) || news);
            set(&mut panel.shows, main) || news
        });
    }

    /// When to look again, if nothing happens before.
    fn wakes_at(&self) -> Option<Instant> {
        let now = Instant::now();
        let wanted = |which| self.wants(which).first().map(|want| want.owner.purpose);
        let wakes = self.lit.iter().filter_map(|(which, lit)| lit.wakes_at(wanted(which)));
        wakes.chain(self.claims.changes_at(now)).chain(self.sweeps_at()).min()
    }
}

/// Puts a value in place of another, and says whether that is news.
fn set<T: PartialEq>(place: &mut T, value: T) -> bool {
    let news = *place != value;
    *place = value;
    news
}

fn not_held(error: &LedError) -> NotHeld {
    let why = error.to_string();
    match error {
        LedError::None(_) | LedError::Vanished(_) => NotHeld::NoLed(why),
        LedError::Guarded(_) => NotHeld::Guarded(why),
        LedError::Busy(_) => NotHeld::Busy(why),
        LedError::Permission(_) | LedError::ReadOnly(_) | LedError::Failed(_) => NotHeld::Failed(why),
    }
}
