//! What the agent does and sees, with the reasons, as it is kept in the history.
//!
//! The reason of a step is found when it is launched, in the plan's own inputs. Steps that only follow from another step of the
//! same service, such as the start of a new container, have the reason of that one. Who asked is remembered with each request
//! until the steps that follow from it have ended.
//!
//! ```text
//! holds     LEDs and lines that were held
//! requests  the words of a request
//! seen      what happened without the agent, found between two observations
//! ```

use tokio::time::Instant;

use crate::plan::{Reasons, Trigger, disturbs};
use crate::port::{Clock, World};
use crate::reconcile::Reconciler;
use crate::request::Request;
use crate::sorted::SortedMap;
use crate::state::history::{
    Cause, History, HistoryAction, HistoryEntry, HistoryNote, HistoryObject, HistoryOutcome, Requester,
};
use crate::state::{AppId, EngineAction, PowerAction, ServiceKey, Step, Target, Waiting};
use requests::RequestWords;

mod holds;
mod requests;
mod seen;

/// How many entries back the same request of the same caller is not entered once more. A program that asks every second
/// would leave no other entry.
const REPEATED: usize = 8;

/// What is remembered for the reasons of steps to come.
#[derive(Debug, Default)]
pub(super) struct HistoryTracker {
    /// Steps in flight: since when, and why.
    begun: Vec<BegunStep>,
    /// Why a service's container is being replaced.
    replaced: SortedMap<ServiceKey, Cause>,
    /// The last request about an app or a service of it, and who sent it.
    asked: SortedMap<(AppId, Option<String>), (Trigger, Option<Requester>)>,
    /// Who sent the target.
    target_from: Option<Requester>,
    /// Who asked for the trial of the target in force. `None`: it is on none.
    tried_by: Option<Requester>,
    /// Why the trial before the target in force ended.
    trial_end: Option<String>,
    /// Why the target is not the one that was sent last, if it is not.
    rolled_back: Option<String>,
    /// What apps waited for, and do not wait for any more: locks, leases, windows.
    waited: SortedMap<AppId, String>,
    /// Services that steps acted on since the last observation, and whether one of the steps removes a container.
    touched: SortedMap<ServiceKey, bool>,
    /// The engine did not answer since the last observation.
    engine_was_lost: bool,
    /// Something was observed already in this run of the agent.
    has_observed: bool,
}

#[derive(Debug)]
struct BegunStep {
    step: Step,
    at_ms: i64,
    since: Instant,
    cause: Cause,
}

impl HistoryTracker {
    /// Remembers who sent the target in force.
    pub(super) fn on_target(&mut self, from: Option<Requester>) {
        self.target_from = from;
        self.rolled_back = None;
        self.trial_end = None;
    }

    /// Remembers who has a target tried.
    pub(super) fn on_trial(&mut self, by: Option<Requester>) {
        self.tried_by = by;
        self.trial_end = None;
    }

    /// Remembers why a trial ended.
    pub(super) fn on_trial_end(&mut self, why: &str) {
        self.tried_by = None;
        self.trial_end = Some(why.to_owned());
    }

    /// The device is as it is to be: what follows has reasons of its own.
    pub(super) fn on_settled(&mut self) {
        self.trial_end = None;
    }

    /// Forgets who had the target tried that gave way to another.
    pub(super) fn on_trial_gone(&mut self) {
        self.tried_by = None;
    }

    /// Who sent the target in force, or has it tried.
    fn target_requester(&self) -> Option<Requester> {
        self.tried_by.as_ref().or(self.target_from.as_ref()).cloned()
    }

    /// Remembers that the last good target was returned to.
    pub(super) fn on_rollback(&mut self, why: Option<String>) {
        self.rolled_back = why;
    }

    /// Drops what is about apps and services that a new target does not have, and what was waited for before it: the steps to
    /// come have reasons of their own.
    pub(super) fn keep_only(&mut self, target: &Target) {
        self.asked.retain(|(app, _), _| target.apps.contains_key(app));
        self.waited.clear();
        // The reason why a service gives way is needed until it is gone, and by no service after it.
        self.replaced.retain(|key, _| target.service(key).is_some());
    }

    /// Remembers what is waited for by an update: when it goes on, that is part of the reason.
    pub(super) fn on_plan(&mut self, waiting: &[Waiting]) {
        for it in waiting {
            let app = match it {
                Waiting::Lock(app, _) | Waiting::Lease(app, _) => *app,
                Waiting::Window(Some(key), _) | Waiting::Hook(key, _) => key.app,
                _ => continue,
            };
            self.waited.insert(app, it.to_string());
        }
    }

    fn requester(&self, trigger: Trigger, app: Option<AppId>, service: Option<&str>) -> Option<Requester> {
        if trigger == Trigger::Target {
            return self.target_requester();
        }
        let app = app?;
        let keys = [(app, service.map(str::to_owned)), (app, None)];
        let found = keys.iter().filter_map(|key| self.asked.get(key)).find(|it| it.0 == trigger);
        found.and_then(|it| it.1.clone())
    }

    /// Completes the reason of a step: who asked, what it waited for, and the reason of the step that it follows from.
    /// `app_rolled_back`: why the step's app is back at its last good release, if it is.
    fn complete(&mut self, step: &Step, (trigger, mut cause): (Trigger, Cause), app_rolled_back: Option<String>) -> Cause {
        let service = step.service();
        let app = step.app().or(service.as_ref().map(|it| it.app));
        if trigger == Trigger::Follows {
            let of_service = service.as_ref().and_then(|key| self.replaced.get(key));
            let of_app = || {
                let is_lock = matches!(step, Step::TakeLocks(..));
                self.replaced.iter().find(|(key, _)| is_lock && Some(key.app) == app).map(|it| it.1)
            };
            if let Some(before) = of_service.or_else(of_app) {
                return before.clone();
            }
            let is_new = matches!(step, Step::Engine(EngineAction::Create(_)));
            cause.asked_by = is_new.then(|| self.target_requester()).flatten();
        } else {
            cause.asked_by = self.requester(trigger, app, service.as_ref().map(|it| it.service.as_str()));
        }
        if let Some(why) = self.rolled_back.as_ref().filter(|_| trigger == Trigger::Target) {
            cause.why = format!("{}, as the device went back to its last good target: {why}", cause.why);
            cause.asked_by = None;
        }
        let is_new = matches!(step, Step::Engine(EngineAction::Create(_)));
        let is_of_target = trigger == Trigger::Target || trigger == Trigger::Follows && is_new;
        if let Some(why) = self.trial_end.as_ref().filter(|_| is_of_target) {
            cause.why = format!("{}, as the trial of a target ended: {why}", cause.why);
            cause.asked_by = None;
        }
        if let Some(why) = app_rolled_back.filter(|_| trigger == Trigger::Target) {
            cause.why = format!("{}, as the app went back to its last good release: {why}", cause.why);
            cause.asked_by = None;
        }
        if let Some(waited) = app.filter(|_| disturbs(step)).and_then(|it| self.waited.remove(&it)) {
            cause.why = format!("{}, after it was held up ({waited})", cause.why);
        }
        let starts_replacement = matches!(
            step,
            Step::HandOver { .. } | Step::Engine(EngineAction::Create(_) | EngineAction::Kill(_) | EngineAction::Retire(..))
        );
        if let Some(key) = service.filter(|_| starts_replacement) {
            self.replaced.insert(key, cause.clone());
        }
        cause
    }
}

impl<W: World> Reconciler<'_, W> {
    /// Adds an entry.
    pub(super) fn note(&self, note: HistoryNote) {
        self.context.history.send_modify(|it| {
            it.add(note);
        });
    }

    pub(super) fn now_ms(&self) -> i64 {
        self.context.world.clock().now_secs().saturating_mul(1000)
    }

    /// A step is launched: finds out why.
    pub(super) fn on_step_launched(&mut self, step: &Step) {
        let overrides = self.effective_overrides();
        let Some(target) = self.targets.completed() else { return };
        let changes = self.targets.changes();
        let reasons = Reasons { target, current: self.observed.current(), overrides: &overrides, changes };
        let found = reasons.of(step);
        let app = step.app().or(step.service().map(|it| it.app));
        let rolled_back = app.filter(|it| self.targets.rollback_of(*it).is_some());
        let rolled_back = rolled_back.and_then(|it| self.targets.failure_of(it)).map(|it| it.why());
        let cause = self.history.complete(step, found, rolled_back);
        if let Some(key) = step.service() {
            *self.history.touched.entry(key).or_default() |= removes_container(step);
        }
        let (at_ms, since) = (self.now_ms(), Instant::now());
        self.history.begun.push(BegunStep { step: step.clone(), at_ms, since, cause });
    }

    /// A step has ended: adds its entry.
    pub(super) fn note_step(&mut self, step: &Step, outcome: HistoryOutcome) {
        let Some(at) = self.history.begun.iter().position(|it| it.step == *step) else { return };
        let BegunStep { at_ms, since, cause, .. } = self.history.begun.swap_remove(at);
        let (action, object, name) = HistoryAction::of(step);
        let service = step.service();
        if outcome == HistoryOutcome::Done
            && let (Some(key), Step::Engine(EngineAction::Start(_) | EngineAction::Restart(_))) = (&service, step)
        {
            // The next change of the service has a reason of its own.
            self.history.replaced.remove(key);
        }
        self.note(HistoryNote {
            at_ms,
            action,
            object,
            name: self.container_name(step).unwrap_or(name),
            app: step.app().or(service.as_ref().map(|it| it.app)),
            service: service.map(|it| it.service),
            cause,
            outcome,
            millis: u64::try_from(since.elapsed().as_millis()).ok(),
        });
    }

    /// The name of the container that a step acts on, instead of its id.
    fn container_name(&self, step: &Step) -> Option<String> {
        let which = match step {
            Step::HandOver { old, .. } => old,
            Step::Engine(
                EngineAction::Start(which)
                | EngineAction::Stop(which)
                | EngineAction::Kill(which)
                | EngineAction::Restart(which)
                | EngineAction::RunHook(which, _)
                | EngineAction::Connect(which, _),
            ) => which,
            _ => return None,
        };
        self.observed.current().containers.iter().find(|it| it.id == which.id).map(|it| it.name.clone())
    }

    /// A request arrives: enters it, if it is to change something, and remembers who sent it.
    pub(super) fn note_request(&mut self, by: Option<&Requester>, request: &Request) {
        let Some(RequestWords { text, app, service, trigger }) = requests::words(request) else { return };
        if let (Some(app), Some(trigger)) = (app, trigger) {
            self.history.asked.insert((app, service.clone()), (trigger, by.cloned()));
        }
        let is_same = |it: &HistoryEntry| {
            it.action == HistoryAction::Asked && it.name == text && it.app == app && it.asked_by.as_ref() == by
        };
        if self.context.history.borrow().entries().rev().take(REPEATED).any(|it| is_same(it)) {
            return;
        }
        self.note(HistoryNote {
            at_ms: self.now_ms(),
            action: HistoryAction::Asked,
            object: HistoryObject::Request,
            name: text,
            app,
            service,
            cause: Cause { asked_by: by.cloned(), ..Cause::default() },
            outcome: HistoryOutcome::Seen,
            millis: None,
        });
    }

    /// A target was accepted.
    pub(super) fn note_accepted(&mut self, by: Option<Requester>) {
        let cause = Cause { asked_by: by.clone(), ..Cause::default() };
        self.note_event(HistoryAction::Target, HistoryObject::Target, cause, HistoryOutcome::Done);
        self.history.on_target(by);
    }

    /// A target was rejected, unless it is for the reason that was published before: each reason has one entry.
    pub(super) fn note_rejected(&self, before: Option<&String>, by: Option<Requester>) {
        let now = self.context.publish.borrow().rejected.clone();
        if let Some(why) = now.filter(|it| before != Some(it)) {
            let cause = Cause { asked_by: by, ..Cause::default() };
            self.note_event(HistoryAction::Target, HistoryObject::Target, cause, HistoryOutcome::Failed(why));
        }
    }

    /// An LED was blinked to identify the board, or could not be.
    pub(super) fn note_identified(&self, by: Option<Requester>, failed: Option<String>) {
        let cause = Cause { asked_by: by, ..Cause::default() };
        let outcome = failed.map_or(HistoryOutcome::Done, HistoryOutcome::Failed);
        self.note_event(HistoryAction::Identify, HistoryObject::Led, cause, outcome);
    }

    /// An entry about something else than a step.
    pub(super) fn note_event(&self, action: HistoryAction, object: HistoryObject, cause: Cause, outcome: HistoryOutcome) {
        self.note(HistoryNote {
            at_ms: self.now_ms(),
            action,
            object,
            name: String::new(),
            app: None,
            service: None,
            cause,
            outcome,
            millis: None,
        });
    }

    /// The machine goes down, or was to.
    pub(super) fn note_shutdown(&self, ending: Option<PowerAction>, cause: Cause, outcome: HistoryOutcome) {
        let action = match ending {
            Some(PowerAction::PowerOff) => HistoryAction::ShutDown,
            Some(PowerAction::Reboot) | None => HistoryAction::Reboot,
        };
        self.note_event(action, HistoryObject::Machine, cause, outcome);
    }
}

/// The history as it was kept, for a start of the agent, with the entries of this start.
pub(super) fn started<W: World>(world: &W, kept: Vec<HistoryEntry>, version: &str) -> History {
    let mut history = History::from_kept(kept);
    let clock = world.clock();
    let (at_ms, boot_id) = (clock.now_secs().saturating_mul(1000), clock.boot_id());
    let last_boot = history.entries().rev().find(|it| it.action == HistoryAction::Booted).map(|it| it.name.clone());
    let has_booted = match last_boot {
        Some(id) => id != boot_id,
        None => history.entries().next_back().is_none_or(|it| it.at_ms / 1000 < clock.booted_secs()),
    };
    let mut add = |action, object, name: String, why: &str| {
        let cause = Cause::from_why(why);
        let (app, service, outcome, millis) = (None, None, HistoryOutcome::Seen, None);
        history.add(HistoryNote { at_ms, action, object, name, app, service, cause, outcome, millis });
    };
    if has_booted {
        add(HistoryAction::Booted, HistoryObject::Machine, boot_id, "");
    }
    add(HistoryAction::AgentStarted, HistoryObject::Agent, version.to_owned(), "");
    history
}

/// Whether a step removes a container of its service.
const fn removes_container(step: &Step) -> bool {
    matches!(step, Step::Engine(EngineAction::Kill(_)) | Step::HandOver { .. })
}

#[cfg(test)]
mod tests;
