//! Counts what happens, for the agent's metrics: actions by kind and outcome, and restarts of containers. Counting costs
//! nothing where nothing happens: it wakes with the reconciler, and has no timer.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::Instant;

use crate::sorted::{SortedMap, SortedSet};
use crate::state::history::HistoryAction;
use crate::state::metrics::{ActionCounts, ActionKind, RestartCounts};
use crate::state::step::Subject;
use crate::state::{ContainerId, Current, DeviceEvent, EngineAction, EngineTime, ServiceKey, Status, Step};

/// By how much two computations of when the agent started may differ, in seconds, while no clock was set.
const ROUNDING_SECS: u64 = 2;

/// What was counted since the agent started.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Actions that ended.
    pub(super) actions: SortedMap<ActionKind, ActionCounts>,
    /// Restarts of containers. Those of services without a container that the target does not name either are forgotten.
    pub(super) restarts: SortedMap<ServiceKey, RestartCounts>,
    /// When each action in flight began.
    begun: SortedMap<Subject, Instant>,
    /// Containers that the agent starts or started, until the engine shows their new start.
    starting: SortedSet<ContainerId>,
    /// When each container was started, as last seen.
    started: SortedMap<ContainerId, EngineTime>,
    /// When the agent started, as computed before.
    started_secs: Option<i64>,
    /// The observation that was counted last. Weak: the reconciler changes it in place where no other part holds it.
    seen: Weak<Current>,
}

impl Counts {
    /// An action began or ended.
    pub(super) fn on_event(&mut self, event: &DeviceEvent, now: Instant) {
        let (step, count): (_, fn(&mut ActionCounts) -> &mut u64) = match event {
            DeviceEvent::Begun(step) => return self.on_begun(step, now),
            DeviceEvent::Succeeded(step) => (step, |it| &mut it.done),
            DeviceEvent::Failed { step, .. } => (step, |it| &mut it.failed),
            DeviceEvent::Cancelled(step) => (step, |it| &mut it.cancelled),
        };
        let counts = self.actions.entry(kind(step)).or_default();
        let ended = count(counts);
        *ended = ended.saturating_add(1);
        if let Some(begun) = self.begun.remove(&step.subject()) {
            counts.time = counts.time.saturating_add(now.saturating_duration_since(begun));
        }
        if let (DeviceEvent::Failed { .. } | DeviceEvent::Cancelled(_), Some(id)) = (event, started_by(step)) {
            self.starting.remove(id);
        }
    }

    fn on_begun(&mut self, step: &Step, now: Instant) {
        self.begun.insert(step.subject(), now);
        self.starting.extend(started_by(step).cloned());
    }

    /// Events were missed: when the actions that are in flight began is not known.
    pub(super) fn on_missed(&mut self) {
        self.begun.clear();
    }

    /// When the agent started, by the wall clock. A clock that is set later moves it; the rounding of seconds does not.
    pub(super) fn started_secs(&mut self, now_secs: i64, up: Duration) -> i64 {
        let computed = now_secs.saturating_sub(i64::try_from(up.as_secs()).unwrap_or(i64::MAX));
        let before = self.started_secs.filter(|it| it.abs_diff(computed) <= ROUNDING_SECS);
        *self.started_secs.insert(before.unwrap_or(computed))
    }

    /// The reconciler published a status.
    pub(super) fn on_status(&mut self, status: &Status) {
        if self.seen.as_ptr() == Arc::as_ptr(&status.current) {
            return;
        }
        for container in &status.current.containers {
            let Some(started) = container.started else { continue };
            let before = self.started.insert(container.id.clone(), started);
            if before == Some(started) {
                continue;
            }
            let by_agent = self.starting.remove(&container.id);
            if before.is_some_and(|it| it < started) {
                let counts = self.restarts.entry(container.key.clone()).or_default();
                let count = if by_agent { &mut counts.by_agent } else { &mut counts.by_engine };
                *count = count.saturating_add(1);
            }
        }
        let containers = &status.current.containers;
        let is_there = |id: &ContainerId| containers.iter().any(|it| it.id == *id);
        self.started.retain(|id, _| is_there(id));
        // An engine may not say when a container was started, and a container may go before it does.
        self.starting.retain(is_there);
        let wanted = |key: &ServiceKey| {
            let app = status.target.as_ref().and_then(|it| it.apps.get(&key.app));
            app.is_some_and(|it| it.services.contains_key(&key.service))
        };
        self.restarts.retain(|key, _| wanted(key) || containers.iter().any(|it| it.key == *key));
        self.seen = Arc::downgrade(&status.current);
    }
}

/// The container that a step starts.
fn started_by(step: &Step) -> Option<&ContainerId> {
    match step {
        Step::Engine(EngineAction::Start(which) | EngineAction::Restart(which)) => Some(&which.id),
        Step::Engine(
            EngineAction::Pull(_)
            | EngineAction::Create(_)
            | EngineAction::Stop(_)
            | EngineAction::Kill(_)
            | EngineAction::Rename(..)
            | EngineAction::Retire(..)
            | EngineAction::RunHook(..)
            | EngineAction::Connect(..)
            | EngineAction::CreateNetwork(_)
            | EngineAction::RemoveNetwork(..)
            | EngineAction::CreateVolume(_)
            | EngineAction::RemoveVolume(..)
            | EngineAction::KeepData(_)
            | EngineAction::PutDataBack(_)
            | EngineAction::RemoveImage(_),
        )
        | Step::TakeLocks(..)
        | Step::ReleaseLocks(_)
        | Step::HandOver { .. }
        | Step::Reboot => None,
    }
}

/// The kind of action that a step is, as the history names it.
fn kind(step: &Step) -> ActionKind {
    let (action, object, _) = HistoryAction::of(step);
    ActionKind { action: action.word(), object: object.word() }
}

#[cfg(test)]
mod tests;
