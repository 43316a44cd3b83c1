//! Who owns each LED, and what it shows.
//!
//! One future owns the LEDs: [`run`]. Others send it a [`crate::request::LedRequest`] and read the [`crate::state::LedStatus`]
//! it publishes. The most important purpose that requests a LED owns it; when that request ends, the next one shows again. The
//! LEDs' actual and desired states are compared anew whenever anything changes, so nothing depends on the order of events.

mod arbiter;
mod output;
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

use crate::led::arbiter::{DesiredPattern, LedArbiter};
use crate::led::output::LedOutput;
use crate::port::{LedError, Leds, ToolLock};
use crate::request::LedRequest;
use crate::state::{HeldPattern, IdentifyOutcome, LedActivity, LedInfo, LedPurpose, LedRef, LedRefusal, LedStatus};

/// Backoff of a LED that failed. Short enough for one that was unplugged and comes back.
const RETRY: Duration = Duration::from_secs(2);

/// Backoff where only a user can help: no LED, no permission.
const RETRY_SLOWLY: Duration = Duration::from_secs(60);

/// Owns the LEDs for as long as it is polled.
///
/// The caller drops it and then calls [`Leds::restore`]. Otherwise the next start restores the LEDs.
pub async fn run(leds: &impl Leds, mut inbox: mpsc::Receiver<LedRequest>, publish: watch::Sender<LedStatus>) -> Infallible {
    let mut light = LedController::new(leds, publish);
    let mut open = true;
    loop {
        light.reconcile().await;
        let wake = light.wakes_at();
        tokio::select! {
            biased;
            // Before requests: no LED is taken from the bring-up tool.
            bench = leds.bench(light.arbiter.bench) => light.bench(bench),
            ask = inbox.recv(), if open => match ask {
                Some(ask) => light.hear(ask).await,
                None => open = false,
            },
            () = until(wake) => {}
            (which, error) = poll_fn(|context| light.poll_play(context)) => light.fail(&which, error, true),
        }
    }
}

/// Waits until `wake`, or for ever.
async fn until(wake: Option<Instant>) {
    match wake {
        Some(wake) => sleep_until(wake).await,
        None => pending().await,
    }
}

/// The LEDs and their requests.
struct LedController<'a, L> {
    leds: &'a L,
    publish: watch::Sender<LedStatus>,
    arbiter: LedArbiter,
    /// The identify LED, always, and every other LED that is requested or has yet to be restored.
    lit: BTreeMap<LedRef, LedOutput<'a>>,
    /// When to restore LEDs that a killed program left changed. `None`: there can be none.
    restore_at: Option<Instant>,
    /// Why that restore failed.
    restore_failure: Option<LedError>,
    /// The requester that awaits a response. Requests are handled one at a time.
    asker: Option<Requester>,
}

/// The requester that awaits a response, by the kind of its request.
enum Requester {
    Identify(oneshot::Sender<IdentifyOutcome>),
    Hold(String, oneshot::Sender<Result<HeldPattern, LedRefusal>>),
    LetGo(oneshot::Sender<Result<(), LedRefusal>>),
}

impl<'a, L: Leds> LedController<'a, L> {
    fn new(leds: &'a L, publish: watch::Sender<LedStatus>) -> Self {
        let lit = BTreeMap::from([(LedRef::Identify, LedOutput::new(LedRef::Identify))]);
        let sweep = Some(Instant::now());
        Self { leds, publish, arbiter: LedArbiter::none(), lit, restore_at: sweep, restore_failure: None, asker: None }
    }

    /// Records a request; [`LedController::reconcile`] acts on it.
    async fn hear(&mut self, ask: LedRequest) {
        match ask {
            LedRequest::Identify(asker) => {
                self.arbiter.identify(Instant::now());
                self.outputs(LedRef::Identify).retry_now();
                self.asker = Some(Requester::Identify(asker));
            }
            LedRequest::Hold(which, pattern, length, asker) => match self.resolve_name(&which).await {
                Ok(name) => {
                    self.arbiter.hold(name.clone(), pattern, length, Instant::now());
                    let which = self.which(&name);
                    self.outputs(which).retry_now();
                    self.asker = Some(Requester::Hold(name, asker));
                }
                // The requester may have hung up; that is its business.
                Err(error) => drop(asker.send(Err(not_held(&error)))),
            },
            LedRequest::Release(which, asker) => match self.resolve_name(&which).await {
                Ok(name) => {
                    self.arbiter.let_go(&name);
                    self.asker = Some(Requester::LetGo(asker));
                }
                Err(error) => drop(asker.send(Err(not_held(&error)))),
            },
            LedRequest::CloudReachability(reach) => self.arbiter.reach = reach,
        }
    }

    /// Records whether the bring-up tool is at work. The tool may have been killed, so its LEDs are checked when it is gone.
    fn bench(&mut self, bench: ToolLock) {
        self.arbiter.bench = bench;
        if bench == ToolLock::Free {
            self.restore_at = Some(Instant::now());
        }
    }

    /// The LED's own name, for a requested name.
    async fn resolve_name(&mut self, which: &LedRef) -> Result<String, LedError> {
        match self.survey().await.and_then(|survey| self.leds.find(&survey, which)) {
            Ok(lamp) => Ok(lamp.name),
            // A pattern can be released by its name although its LED was unplugged.
            Err(error) => match which {
                LedRef::Named(name) if self.arbiter.held().any(|held| held == name) => Ok(name.clone()),
                LedRef::Named(_) | LedRef::Identify => Err(error),
            },
        }
    }

    /// Looks which LEDs there are, and publishes the list.
    async fn survey(&mut self) -> Result<L::Survey, LedError> {
        let survey = self.leds.survey().await;
        let led = survey.as_ref().map_err(LedError::clone).and_then(|it| self.leds.find(it, &LedRef::Identify));
        let told = led.map_err(|error| error.to_string());
        let mut lamps = survey.as_ref().map(|it| self.leds.others(it)).unwrap_or_default();
        let is_here = |name: &str| lamps.iter().chain(&told).any(|lamp| lamp.name == name);
        let gone: Vec<String> = self.arbiter.held().filter(|name| !is_here(name)).cloned().collect();
        lamps.extend(gone.into_iter().map(|name| LedInfo { name, why: "it went away".into() }));
        self.publish.send_if_modified(|panel| {
            let shows =
                |lamp: &LedInfo| panel.others.iter().find(|(it, _)| it.name == lamp.name).map(|(_, shows)| shows.clone());
            let others = lamps.into_iter().map(|lamp| (shows(&lamp).unwrap_or_default(), lamp));
            let others: Vec<_> = others.map(|(shows, lamp)| (lamp, shows)).collect();
            let news = set(&mut panel.led, told);
            set(&mut panel.others, others) || news
        });
        survey
    }

    /// The name of the LED to identify the device by.
    fn main(&self) -> Option<String> {
        self.publish.borrow().led.as_ref().ok().map(|lamp| lamp.name.clone())
    }

    /// The LED of this name.
    fn which(&self, name: &str) -> LedRef {
        if self.main().as_deref() == Some(name) { LedRef::Identify } else { LedRef::Named(name.to_owned()) }
    }

    fn outputs(&mut self, which: LedRef) -> &mut LedOutput<'a> {
        self.lit.entry(which.clone()).or_insert_with(|| LedOutput::new(which))
    }

    /// Brings the LEDs to their desired state, responds to the requester and publishes the status.
    async fn reconcile(&mut self) {
        self.arbiter.expire(Instant::now());
        self.restore_orphaned().await;
        for name in self.arbiter.held().cloned().collect::<Vec<_>>() {
            let which = self.which(&name);
            self.outputs(which);
        }
        for which in self.lit.keys().cloned().collect::<Vec<_>>() {
            self.reconcile_one(&which).await;
        }
        self.answer();
        self.publish_status();
        let (now, main) = (Instant::now(), self.main());
        let claims = &self.arbiter;
        self.lit.retain(|which, lit| {
            *which == LedRef::Identify || !lit.is_idle() || !claims.wants(which, main.as_deref(), now).is_empty()
        });
    }

    /// Restores what a killed program left changed, while no LED shows a pattern: restoring would end that, too.
    async fn restore_orphaned(&mut self) {
        if self.restores_at().is_none_or(|at| at > Instant::now()) {
            return;
        }
        // No LED is requested now, so it is no error if there is none.
        let _ = self.survey().await;
        (self.restore_at, self.restore_failure) = match self.leds.restore().await {
            Ok(()) => (None, None),
            Err(error) => {
                warn!(%error, "a LED that an earlier run changed cannot be restored");
                (Some(Instant::now() + RETRY_SLOWLY), Some(error))
            }
        };
    }

    fn restores_at(&self) -> Option<Instant> {
        self.restore_at.filter(|_| self.lit.values().all(|lit| lit.shows().is_none()))
    }

    async fn reconcile_one(&mut self, which: &LedRef) {
        let wants = self.wants(which);
        let leds = self.leds;
        if self.outputs(which.clone()).is_backing_off(Instant::now()) {
            return;
        }
        let done = match wants.first() {
            Some(want) if self.outputs(which.clone()).is_showing(want) => Ok(()),
            Some(want @ DesiredPattern { pattern: Some(pattern), .. }) => match self.survey().await {
                Ok(survey) => self.outputs(which.clone()).begin(leds, &survey, want, pattern).await,
                Err(error) => Err(error),
            },
            Some(DesiredPattern { pattern: None, .. }) | None => self.outputs(which.clone()).put_back(leds).await,
        };
        match done {
            Ok(()) => self.outputs(which.clone()).trouble = None,
            Err(error) => self.fail(which, error, !wants.is_empty()),
        }
    }

    /// Plays the patterns of which the agent is the player. Ready when a LED has failed.
    fn poll_play(&mut self, context: &mut Context<'_>) -> Poll<(LedRef, LedError)> {
        for (which, lit) in &mut self.lit {
            if let Poll::Ready(error) = lit.poll_play(context) {
                return Poll::Ready((which.clone(), error));
            }
        }
        Poll::Pending
    }

    /// Every current request for this LED, its owner first.
    fn wants(&self, which: &LedRef) -> Vec<DesiredPattern> {
        self.arbiter.wants(which, self.main().as_deref(), Instant::now())
    }

    fn fail(&mut self, which: &LedRef, error: LedError, wanted: bool) {
        let lit = self.outputs(which.clone());
        if lit.trouble.as_ref() != Some(&error) {
            warn!(%error, "the LED cannot be set as requested");
        }
        lit.fail(error, wanted);
        // The request is dropped; its requester gets the error now.
        match &self.asker {
            Some(Requester::Identify(_)) if *which == LedRef::Identify => self.arbiter.forget_identify(),
            Some(Requester::Hold(name, _)) if self.which(name) == *which => self.arbiter.let_go(&name.clone()),
            Some(Requester::Identify(_) | Requester::Hold(..) | Requester::LetGo(_)) | None => {}
        }
    }

    /// Responds to the requester.
    fn answer(&mut self) {
        // The requester may have hung up; that is its business.
        match self.asker.take() {
            Some(Requester::Identify(asker)) => drop(asker.send(self.identified())),
            Some(Requester::Hold(name, asker)) => drop(asker.send(self.holding(name))),
            Some(Requester::LetGo(asker)) => drop(asker.send(Ok(()))),
            None => {}
        }
    }

    fn identified(&mut self) -> IdentifyOutcome {
        let led = self.publish.borrow().led.clone();
        let benched = self.arbiter.bench == ToolLock::Taken;
        let lit = self.outputs(LedRef::Identify);
        match (led, &lit.trouble) {
            (Ok(lamp), _) if lit.shows().is_some_and(|(purpose, _)| purpose == LedPurpose::Identify) => {
                IdentifyOutcome::By(lamp.name)
            }
            (Ok(lamp), None) if benched => IdentifyOutcome::Waiting(lamp.name),
            (Err(why), _) => IdentifyOutcome::None(why),
            (Ok(_), Some(error)) => IdentifyOutcome::None(error.to_string()),
            (Ok(_), None) => IdentifyOutcome::None("it was over before it began".into()),
        }
    }

    fn holding(&mut self, led: String) -> Result<HeldPattern, LedRefusal> {
        let which = self.which(&led);
        let owner = self.wants(&which).first().map(|want| want.owner.purpose);
        let lit = self.outputs(which);
        match (owner, &lit.trouble) {
            (_, Some(error)) => Err(not_held(error)),
            (Some(owner), None) => Ok(HeldPattern { led, owner, player: lit.shows().map(|(_, player)| player) }),
            (None, None) => Err(LedRefusal::Failed("it was over before it began".into())),
        }
    }

    /// Publishes the owners of each LED and what it shows.
    fn publish_status(&self) {
        let shows = |which: &LedRef| {
            let lit = self.lit.get(which);
            LedActivity {
                owners: self.wants(which).into_iter().map(|want| want.owner).collect(),
                player: lit.and_then(LedOutput::shows).map(|(_, player)| player),
                trouble: lit.and_then(|lit| lit.trouble.as_ref()).map(ToString::to_string),
            }
        };
        let mut main = shows(&LedRef::Identify);
        main.trouble = main.trouble.or_else(|| self.restore_failure.as_ref().map(ToString::to_string));
        let names: Vec<String> = self.publish.borrow().others.iter().map(|(lamp, _)| lamp.name.clone()).collect();
        let others: Vec<LedActivity> = names.into_iter().map(|name| shows(&LedRef::Named(name))).collect();
        self.publish.send_if_modified(|panel| {
            let news = panel.others.iter_mut().zip(others).fold(false, |news, ((_, it), shows)| set(it, shows) || news);
            set(&mut panel.shows, main) || news
        });
    }

    /// When to reconcile next, if no event comes first.
    fn wakes_at(&self) -> Option<Instant> {
        let now = Instant::now();
        let wanted = |which| self.wants(which).first().map(|want| want.owner.purpose);
        let wakes = self.lit.iter().filter_map(|(which, lit)| lit.wakes_at(wanted(which)));
        wakes.chain(self.arbiter.changes_at(now)).chain(self.restores_at()).min()
    }
}

/// Replaces a value. Returns whether it differed.
fn set<T: PartialEq>(place: &mut T, value: T) -> bool {
    let news = *place != value;
    *place = value;
    news
}

fn not_held(error: &LedError) -> LedRefusal {
    let why = error.to_string();
    match error {
        LedError::None(_) | LedError::Vanished(_) => LedRefusal::NoLed(why),
        LedError::Guarded(_) => LedRefusal::Guarded(why),
        LedError::Busy(_) => LedRefusal::Busy(why),
        LedError::Permission(_) | LedError::ReadOnly(_) | LedError::Failed(_) => LedRefusal::Failed(why),
    }
}
