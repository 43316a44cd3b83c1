//! Work in flight: the steps that run now, those that ended since the observation began, and those that failed.

use std::time::Duration;

use futures_util::future::{AbortHandle, AbortRegistration};

use crate::reconcile::execute::StepFailure;
use crate::reconcile::retries::Retries;
use crate::sorted::SortedSet;
use crate::state::{AppId, EngineAction, ImageRef, Network, Step, Subject};

/// The steps that were launched, and those that failed.
#[derive(Debug, Default)]
pub(super) struct Work {
    running: Vec<(Step, AbortHandle)>,
    /// Steps that ended while an observation was in flight: what it saw of their subjects may be out of date.
    ended: Vec<Step>,
    retries: Retries,
}

impl Work {
    /// An observation begins: it sees the effects of every step that has ended.
    pub(super) fn on_observation_begins(&mut self) {
        self.ended.clear();
    }

    /// Records that a step runs. The step is cancelled through the registration.
    pub(super) fn launch(&mut self, step: &Step) -> AbortRegistration {
        let (handle, registration) = AbortHandle::new_pair();
        self.running.push((step.clone(), handle));
        registration
    }

    /// Records that a step no longer runs. It counts as ended only after [`Work::on_ended`].
    pub(super) fn remove(&mut self, step: &Step) {
        self.running.retain(|(it, _)| it != step);
    }

    /// Records that the effects of a step may have come too late for the observation in flight.
    pub(super) fn on_ended(&mut self, step: Step) {
        self.ended.push(step);
    }

    /// A step succeeded: it is not retried.
    pub(super) fn succeed(&mut self, step: &Step) {
        self.retries.succeed(step);
    }

    /// A step failed: schedules a retry, and returns the delay.
    pub(super) fn fail(&mut self, step: &Step, failure: &StepFailure) -> Duration {
        self.retries.fail(step, failure)
    }

    /// Cancels downloads and waits, and steps that have not begun, except those to keep.
    pub(super) fn cancel_except(&self, keep: impl Fn(&Step) -> bool) {
        for (step, handle) in &self.running {
            if !keep(step) {
                handle.abort();
            }
        }
    }

    /// The failed steps.
    pub(super) const fn retries(&self) -> &Retries {
        &self.retries
    }

    /// The failed steps, to retry or to forget some.
    pub(super) const fn retries_mut(&mut self) -> &mut Retries {
        &mut self.retries
    }

    /// Whether no step is in flight.
    pub(super) fn is_idle(&self) -> bool {
        self.running.is_empty()
    }

    /// Whether a step ended since the observation in flight began.
    pub(super) fn has_ended_steps(&self) -> bool {
        !self.ended.is_empty()
    }

    /// Steps in flight.
    pub(super) fn in_flight(&self) -> impl Iterator<Item = &Step> {
        self.running.iter().map(|(step, _)| step)
    }

    /// Steps that are in flight, or ended since the observation.
    pub(super) fn under_way(&self) -> impl Iterator<Item = &Step> {
        self.in_flight().chain(&self.ended)
    }

    /// Whether an image is being pulled.
    pub(super) fn is_pulling(&self, image: &ImageRef) -> bool {
        self.in_flight().any(|step| matches!(step, Step::Engine(EngineAction::Pull(it)) if it == image))
    }

    /// Whether a network is being removed, or was since the observation. One whose removal has failed stays.
    pub(super) fn is_removing(&self, network: &Network) -> bool {
        let removes = |step: &Step| matches!(step, Step::Engine(EngineAction::RemoveNetwork(name, id, _)) if *name == network.name && network.id.may_be(id));
        self.under_way().any(|step| removes(step) && !self.retries.has_failed(step))
    }

    /// Whether a step of an app is in flight.
    pub(super) fn concerns(&self, app: AppId) -> bool {
        self.in_flight().any(|step| step.app() == Some(app))
    }

    /// The steps of a plan that may start now: not backing off, not held back, and with a subject that no other step acts on
    /// or has acted on since the observation.
    pub(super) fn startable(&self, steps: &[Step], held_back: impl Fn(&Step) -> bool) -> Vec<Step> {
        let mut busy: SortedSet<Subject> = self.under_way().map(Step::subject).collect();
        let starts = |step: &&Step| !held_back(step) && !self.retries.is_backing_off(step) && busy.insert(step.subject());
        steps.iter().filter(starts).cloned().collect()
    }
}

#[cfg(test)]
mod tests;
