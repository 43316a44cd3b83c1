//! Who owns each LED, and what it shows.
//!
//! One future owns the LEDs: [`run`]. Others send it a [`crate::request::LedRequest`] and read the [`crate::state::LedStatus`]
//! it publishes. What was held goes to the reconciler, for the history.
//!
//! The most important purpose that requests a LED owns it; when that request ends, the next one shows again. The LEDs' actual
//! and desired states are compared anew whenever anything changes, so nothing depends on the order of events.

mod arbiter;
mod holds;
mod output;
pub mod pattern;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::future::{pending, poll_fn};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};
use tracing::warn;

use crate::led::arbiter::{DesiredPattern, LedArbiter};
use crate::led::holds::HoldTracker;
use crate::led::output::LedOutput;
use crate::port::{LedError, Leds, ToolLock};
use crate::request::{LedRequest, Request};
use crate::sorted::SortedMap;
use crate::state::{
    FreeLineInfo, HeldPattern, HoldEnd, IdentifyOutcome, LedActivity, LedInfo, LedLevel, LedPurpose, LedRef, LedRefusal,
    LedStatus,
};

/// Backoff of a LED that failed. Short enough for one that was unplugged and comes back.
const RETRY: Duration = Duration::from_secs(2);

/// Backoff where only a user can help: no LED, no permission.
const RETRY_SLOWLY: Duration = Duration::from_secs(60);

/// Owns the LEDs for as long as it is polled.
///
/// `history`: where what was held goes. The caller drops it and then calls [`Leds::restore_all`]. Otherwise the next start
/// restores the LEDs.
pub async fn run(
    leds: &impl Leds,
    mut inbox: mpsc::Receiver<LedRequest>,
    publish: watch::Sender<LedStatus>,
    history: mpsc::Sender<Request>,
) -> Infallible {
    let mut controller = LedController::new(leds, publish, history);
    let mut open = true;
    loop {
        controller.reconcile().await;
        let wake = controller.wakes_at();
        tokio::select! {
            biased;
            // Before requests: no LED is taken from the bring-up tool.
            tool_lock = leds.bench(controller.arbiter.tool_lock) => controller.set_tool_lock(tool_lock),
            request = inbox.recv(), if open => match request {
                Some(request) => controller.record(request).await,
                None => open = false,
            },
            () = until(wake) => {}
            (which, error) = poll_fn(|context| controller.poll_play(context)) => controller.fail(&which, error, true),
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
    holds: HoldTracker,
    /// The identify LED, always, and every other LED or line that is requested or has yet to be restored.
    outputs: SortedMap<LedRef, LedOutput<'a>>,
    /// When to restore LEDs that a killed program left changed. `None`: there can be none.
    restore_at: Option<Instant>,
    /// Why that restore failed.
    restore_failure: Option<LedError>,
    /// The requester that awaits a response. Requests are handled one at a time.
    requester: Option<Requester>,
}

/// The requester that awaits a response, by the kind of its request.
enum Requester {
    Identify(oneshot::Sender<IdentifyOutcome>),
    Hold(LedRef, oneshot::Sender<Result<HeldPattern, LedRefusal>>),
    Release(oneshot::Sender<Result<(), LedRefusal>>),
}

impl<'a, L: Leds> LedController<'a, L> {
    fn new(leds: &'a L, publish: watch::Sender<LedStatus>, history: mpsc::Sender<Request>) -> Self {
        let outputs = SortedMap::from_iter([(LedRef::Identify, LedOutput::new(LedRef::Identify))]);
        let restore_at = Some(Instant::now());
        let (arbiter, holds) = (LedArbiter::none(), HoldTracker::none(history));
        Self { leds, publish, arbiter, holds, outputs, restore_at, restore_failure: None, requester: None }
    }

    /// Records a request; [`LedController::reconcile`] acts on it.
    async fn record(&mut self, request: LedRequest) {
        match request {
            LedRequest::Identify(reply) => {
                self.arbiter.identify(Instant::now());
                self.output(LedRef::Identify).retry_now();
                self.requester = Some(Requester::Identify(reply));
            }
            LedRequest::Hold { which, pattern, length, by, reply } => match self.resolve(&which).await {
                Ok(named) => {
                    self.holds.begin(&named, pattern.clone(), length, by);
                    self.arbiter.hold(named.clone(), pattern, length, Instant::now());
                    let which = self.output_ref(&named);
                    self.output(which).retry_now();
                    self.requester = Some(Requester::Hold(named, reply));
                }
                // If the requester has disconnected, the reply is dropped.
                Err(error) => drop(reply.send(Err(refusal(&error)))),
            },
            // If the requester has disconnected, the reply is dropped.
            LedRequest::Lines(reply) => drop(reply.send(self.lines().await.map_err(|error| refusal(&error)))),
            LedRequest::Release { which, by, reply } => match self.resolve(&which).await {
                Ok(named) => {
                    self.holds.end(&named, HoldEnd::Released(by));
                    self.arbiter.release(&named);
                    self.requester = Some(Requester::Release(reply));
                }
                Err(error) => drop(reply.send(Err(refusal(&error)))),
            },
            LedRequest::Look(reply) => drop(reply.send(self.levels().await)),
            LedRequest::CloudReachability(reach) => self.arbiter.reach = reach,
        }
    }

    /// Records whether the bring-up tool is at work. The tool may have been killed, so its LEDs are checked when it is gone.
    fn set_tool_lock(&mut self, tool_lock: ToolLock) {
        self.arbiter.tool_lock = tool_lock;
        self.holds.set_tool_lock(tool_lock);
        if tool_lock == ToolLock::Free {
            self.restore_at = Some(Instant::now());
        }
    }

    /// The LED or line by its own name, for a requested name.
    async fn resolve(&mut self, which: &LedRef) -> Result<LedRef, LedError> {
        match self.survey().await.and_then(|survey| self.leds.find(&survey, which)) {
            Ok(LedInfo { name, .. }) => Ok(match which {
                LedRef::Line(_) => LedRef::Line(name),
                LedRef::Named(_) | LedRef::Identify => LedRef::Named(name),
            }),
            // A pattern can be released by its name although its LED was unplugged.
            Err(error) => {
                if self.arbiter.held().any(|held| held == which) {
                    Ok(which.clone())
                } else {
                    Err(error)
                }
            }
        }
    }

    /// The GPIO lines that the board leaves to its owner, and what each shows.
    async fn lines(&mut self) -> Result<Vec<(FreeLineInfo, LedActivity)>, LedError> {
        let survey = self.survey().await?;
        let lines = self.leds.lines(&survey).await?;
        let with_activity = |line: FreeLineInfo| {
            let shows = self.activity(&LedRef::Line(line.name.clone()));
            (line, shows)
        };
        Ok(lines.into_iter().map(with_activity).collect())
    }

    /// Lists the LEDs there are, and publishes the list.
    async fn survey(&mut self) -> Result<L::Survey, LedError> {
        let survey = self.leds.survey().await;
        self.publish_survey(survey.as_ref());
        survey
    }

    /// What each LED shows at this moment.
    async fn levels(&mut self) -> Vec<(String, LedLevel)> {
        match self.leds.look().await {
            Ok((survey, levels)) => {
                self.publish_survey(Ok(&survey));
                levels
            }
            Err(error) => {
                self.publish_survey(Err(&error));
                Vec::new()
            }
        }
    }

    fn publish_survey(&self, survey: Result<&L::Survey, &LedError>) {
        let led = survey.map_err(LedError::clone).and_then(|it| self.leds.find(it, &LedRef::Identify));
        let identify_led = led.map_err(|error| error.to_string());
        let mut others = survey.map(|it| self.leds.others(it)).unwrap_or_default();
        let is_here = |name: &str| others.iter().chain(&identify_led).any(|led| led.name == name);
        let held_leds = self.arbiter.held().filter_map(|held| match held {
            LedRef::Named(name) => Some(name.clone()),
            LedRef::Identify | LedRef::Line(_) => None,
        });
        let gone: Vec<String> = held_leds.filter(|name| !is_here(name)).collect();
        others.extend(gone.into_iter().map(|name| LedInfo { name, why: "it went away".into() }));
        self.publish.send_if_modified(|status| {
            let shows =
                |led: &LedInfo| status.others.iter().find(|(it, _)| it.name == led.name).map(|(_, shows)| shows.clone());
            let others = others.into_iter().map(|led| (shows(&led).unwrap_or_default(), led));
            let others: Vec<_> = others.map(|(shows, led)| (led, shows)).collect();
            let changed = set(&mut status.led, identify_led);
            set(&mut status.others, others) || changed
        });
    }

    /// The name of the LED to identify the device by.
    fn identify_name(&self) -> Option<String> {
        self.publish.borrow().led.as_ref().ok().map(|led| led.name.clone())
    }

    /// The output of the LED or line with this own name.
    fn output_ref(&self, named: &LedRef) -> LedRef {
        match named {
            LedRef::Named(name) if self.identify_name().as_ref() == Some(name) => LedRef::Identify,
            LedRef::Identify | LedRef::Named(_) | LedRef::Line(_) => named.clone(),
        }
    }

    fn output(&mut self, which: LedRef) -> &mut LedOutput<'a> {
        self.outputs.entry(which.clone()).or_insert_with(|| LedOutput::new(which))
    }

    /// Brings the LEDs to their desired state, responds to the requester and publishes the status.
    async fn reconcile(&mut self) {
        self.arbiter.expire(Instant::now());
        self.holds.keep_only(|which| self.arbiter.held().any(|held| held == which));
        self.restore_orphaned().await;
        for named in self.arbiter.held().cloned().collect::<Vec<_>>() {
            let which = self.output_ref(&named);
            self.output(which);
        }
        for which in self.outputs.keys().cloned().collect::<Vec<_>>() {
            self.reconcile_one(&which).await;
        }
        self.answer();
        self.publish_status();
        let (now, identify_name) = (Instant::now(), self.identify_name());
        let arbiter = &self.arbiter;
        self.outputs.retain(|which, output| {
            *which == LedRef::Identify
                || !output.is_idle()
                || !arbiter.requests(which, identify_name.as_deref(), now).is_empty()
        });
    }

    /// Restores what a killed program left changed, while no LED shows a pattern: restoring would end that, too.
    async fn restore_orphaned(&mut self) {
        if self.restores_at().is_none_or(|at| at > Instant::now()) {
            return;
        }
        // No LED is requested now, so it is no error if there is none.
        let _ = self.survey().await;
        (self.restore_at, self.restore_failure) = match self.leds.restore_all().await {
            Ok(()) => (None, None),
            Err(error) => {
                warn!(%error, "a LED that an earlier run changed cannot be restored");
                (Some(Instant::now() + RETRY_SLOWLY), Some(error))
            }
        };
    }

    fn restores_at(&self) -> Option<Instant> {
        self.restore_at.filter(|_| self.outputs.values().all(|output| output.shows().is_none()))
    }

    async fn reconcile_one(&mut self, which: &LedRef) {
        let requests = self.requests(which);
        let leds = self.leds;
        if self.output(which.clone()).is_backing_off(Instant::now()) {
            return;
        }
        let done = match requests.first() {
            Some(request) if self.output(which.clone()).is_showing(request) => Ok(()),
            Some(request @ DesiredPattern { pattern: Some(pattern), .. }) => match self.survey().await {
                Ok(survey) => self.output(which.clone()).begin(leds, &survey, request, pattern).await,
                Err(error) => Err(error),
            },
            Some(DesiredPattern { pattern: None, .. }) | None => self.output(which.clone()).restore(leds).await,
        };
        match done {
            Ok(()) => self.output(which.clone()).trouble = None,
            Err(error) => self.fail(which, error, !requests.is_empty()),
        }
    }

    /// Plays the patterns of which the agent is the player. Ready when a LED has failed.
    fn poll_play(&mut self, context: &mut Context<'_>) -> Poll<(LedRef, LedError)> {
        for (which, output) in &mut self.outputs {
            if let Poll::Ready(error) = output.poll_play(context) {
                return Poll::Ready((which.clone(), error));
            }
        }
        Poll::Pending
    }

    /// Every current request for this LED, its owner first.
    fn requests(&self, which: &LedRef) -> Vec<DesiredPattern> {
        self.arbiter.requests(which, self.identify_name().as_deref(), Instant::now())
    }

    fn fail(&mut self, which: &LedRef, error: LedError, wanted: bool) {
        let output = self.output(which.clone());
        if output.trouble.as_ref() != Some(&error) {
            warn!(%error, "the LED cannot be set as requested");
        }
        let why = error.to_string();
        output.fail(error, wanted);
        // The request is dropped; its requester gets the error now.
        match &self.requester {
            Some(Requester::Identify(_)) if *which == LedRef::Identify => self.arbiter.cancel_identify(),
            Some(Requester::Hold(named, _)) if self.output_ref(named) == *which => {
                self.arbiter.release(named);
                self.holds.end(named, HoldEnd::Failed(why));
            }
            Some(Requester::Identify(_) | Requester::Hold(..) | Requester::Release(_)) | None => {}
        }
    }

    /// Responds to the requester.
    fn answer(&mut self) {
        // If the requester has disconnected, the reply is dropped.
        match self.requester.take() {
            Some(Requester::Identify(reply)) => drop(reply.send(self.identify_outcome())),
            Some(Requester::Hold(named, reply)) => drop(reply.send(self.hold_outcome(&named))),
            Some(Requester::Release(reply)) => drop(reply.send(Ok(()))),
            None => {}
        }
    }

    fn identify_outcome(&mut self) -> IdentifyOutcome {
        let led = self.publish.borrow().led.clone();
        let tool_has_leds = self.arbiter.tool_lock == ToolLock::Taken;
        let output = self.output(LedRef::Identify);
        match (led, &output.trouble) {
            (Ok(led), _) if output.shows().is_some_and(|(purpose, _)| purpose == LedPurpose::Identify) => {
                IdentifyOutcome::By(led.name)
            }
            (Ok(led), None) if tool_has_leds => IdentifyOutcome::Waiting(led.name),
            (Err(why), _) => IdentifyOutcome::None(why),
            (Ok(_), Some(error)) => IdentifyOutcome::None(error.to_string()),
            (Ok(_), None) => IdentifyOutcome::None("it was over before it began".into()),
        }
    }

    fn hold_outcome(&mut self, named: &LedRef) -> Result<HeldPattern, LedRefusal> {
        let which = self.output_ref(named);
        let owner = self.requests(&which).first().map(|request| request.owner.purpose);
        let output = self.output(which);
        match (owner, &output.trouble) {
            (_, Some(error)) => Err(refusal(error)),
            (Some(owner), None) => {
                let player = output.shows().map(|(_, player)| player);
                Ok(HeldPattern { led: named.to_string(), owner, player })
            }
            (None, None) => Err(LedRefusal::Failed("it was over before it began".into())),
        }
    }

    /// The owners of a LED or line, and what it shows.
    fn activity(&self, which: &LedRef) -> LedActivity {
        let output = self.outputs.get(which);
        LedActivity {
            owners: self.requests(which).into_iter().map(|request| request.owner).collect(),
            player: output.and_then(LedOutput::shows).map(|(_, player)| player),
            pattern: output.and_then(LedOutput::pattern),
            trouble: output.and_then(|output| output.trouble.as_ref()).map(ToString::to_string),
        }
    }

    /// Publishes the owners of each LED and what it shows.
    fn publish_status(&self) {
        let mut identify = self.activity(&LedRef::Identify);
        identify.trouble = identify.trouble.or_else(|| self.restore_failure.as_ref().map(ToString::to_string));
        let names: Vec<String> = self.publish.borrow().others.iter().map(|(led, _)| led.name.clone()).collect();
        let others: Vec<LedActivity> = names.into_iter().map(|name| self.activity(&LedRef::Named(name))).collect();
        self.publish.send_if_modified(|status| {
            let changed =
                status.others.iter_mut().zip(others).fold(false, |changed, ((_, it), shows)| set(it, shows) || changed);
            set(&mut status.shows, identify) || changed
        });
    }

    /// When to reconcile next, if no event comes first.
    fn wakes_at(&self) -> Option<Instant> {
        let now = Instant::now();
        let wanted = |which| self.requests(which).first().map(|request| request.owner.purpose);
        let wakes = self.outputs.iter().filter_map(|(which, output)| output.wakes_at(wanted(which)));
        wakes.chain(self.arbiter.changes_at(now)).chain(self.restores_at()).min()
    }
}

/// Replaces a value. Returns whether it differed.
fn set<T: PartialEq>(place: &mut T, value: T) -> bool {
    let changed = *place != value;
    *place = value;
    changed
}

fn refusal(error: &LedError) -> LedRefusal {
    let why = error.to_string();
    match error {
        LedError::None(_) | LedError::Vanished(_) => LedRefusal::NoLed(why),
        LedError::Guarded(_) => LedRefusal::Guarded(why),
        LedError::Busy(_) => LedRefusal::Busy(why),
        LedError::Permission(_) | LedError::ReadOnly(_) | LedError::Failed(_) => LedRefusal::Failed(why),
    }
}
