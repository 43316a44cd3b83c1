//! Failed steps, and when they are retried.

use std::time::Duration;

use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::port::EngineError;
use crate::reconcile::execute::StepFailure;
use crate::state::{EngineAction, ServiceKey, Step, StepFault, Subject, Trouble};

/// The first delay after a failure, as in other supervisors.
const FIRST: Duration = Duration::from_secs(1);
/// The longest delay.
const LONGEST: Duration = Duration::from_secs(5 * 60);
/// The longest delay while the engine does not answer: it may come back at any moment.
const LONGEST_UNREACHABLE: Duration = Duration::from_secs(10);

/// A step that failed this often in a row is not waited for by services that can do without it.
const FAILING: u32 = 3;

/// Steps that failed and are to be retried.
#[derive(Debug, Default)]
pub(super) struct Retries(Vec<Retry>);

#[derive(Debug)]
struct Retry {
    step: Step,
    backoff: Backoff,
    failures: u32,
    until: Instant,
    why: StepFault,
}

impl Retry {
    /// The step and why it failed, in words.
    fn text(&self) -> String {
        format!("{}: {}", self.step, self.why.text())
    }
}

impl Retries {
    /// Records the failure and schedules a retry with exponential backoff; returns the delay.
    pub(super) fn fail(&mut self, step: &Step, failure: &StepFailure) -> Duration {
        let text = failure.to_string();
        let (why, longest) = match failure {
            StepFailure::Engine(EngineError::Unreachable(_)) => (StepFault::Unreachable(text), LONGEST_UNREACHABLE),
            StepFailure::Engine(EngineError::Full(_)) => (StepFault::OutOfSpace(text), LONGEST),
            StepFailure::Engine(EngineError::Missing(_)) => (StepFault::Missing(text), LONGEST),
            StepFailure::Engine(EngineError::Refused(_) | EngineError::InUse(_))
            | StepFailure::Lock(_)
            | StepFailure::Reboot(_) => (StepFault::Failed(text), LONGEST),
        };
        let before = self.0.iter().position(|it| it.step == *step).map(|at| self.0.remove(at));
        let (mut backoff, failures) = before.map_or((Backoff::new(FIRST, LONGEST), 0), |it| (it.backoff, it.failures));
        let delay = backoff.fail().min(longest);
        self.0.push(Retry { step: step.clone(), backoff, failures: failures + 1, until: Instant::now() + delay, why });
        delay
    }

    /// Whether a step is backing off.
    pub(super) fn is_backing_off(&self, step: &Step) -> bool {
        let now = Instant::now();
        self.0.iter().any(|it| it.step == *step && it.until > now)
    }

    /// Whether a step that is still wanted has failed before.
    pub(super) fn has_failed(&self, step: &Step) -> bool {
        self.0.iter().any(|it| it.step == *step)
    }

    /// Why such a step failed last, while it is backing off.
    pub(super) fn failure_backing_off(&self, such: impl Fn(&Step) -> bool) -> Option<String> {
        let now = Instant::now();
        self.0.iter().find(|it| it.until > now && such(&it.step)).map(Retry::text)
    }

    /// Why such a step failed last, also while it is tried again.
    pub(super) fn last_failure(&self, such: impl Fn(&Step) -> bool) -> Option<String> {
        self.0.iter().find(|it| such(&it.step)).map(Retry::text)
    }

    /// Forgets steps that are no longer in the plan: they worked, or are not wanted any more.
    pub(super) fn keep_only(&mut self, steps: &[Step]) {
        self.0.retain(|it| steps.contains(&it.step));
    }

    /// Forgets one step: it worked.
    pub(super) fn succeed(&mut self, step: &Step) {
        self.0.retain(|it| it.step != *step);
    }

    /// Retries every step now, as a request asks; failure counts stay.
    pub(super) fn retry_now(&mut self) {
        for retry in &mut self.0 {
            retry.until = Instant::now();
        }
    }

    /// Retries a service's steps now, as a request asks.
    pub(super) fn retry_service_now(&mut self, key: &ServiceKey) {
        let subject = Subject::Service(key.clone());
        for retry in self.0.iter_mut().filter(|it| it.step.subject() == subject) {
            retry.until = Instant::now();
        }
    }

    /// The engine is back: steps that failed because it did not answer are retried at once.
    pub(super) fn forget_unreachable(&mut self) {
        self.0.retain(|it| !matches!(it.why, StepFault::Unreachable(_)));
    }

    /// When the next retry is due.
    pub(super) fn next(&self) -> Option<Instant> {
        let now = Instant::now();
        self.0.iter().map(|it| it.until).filter(|it| *it > now).min()
    }

    /// Whether a failure keeps an app from its target state. An image that cannot be deleted does not.
    pub(super) fn is_blocking(&self) -> bool {
        let deletes = |step: &Step| matches!(step, Step::Engine(EngineAction::RemoveImage(_)));
        !self.0.iter().all(|it| deletes(&it.step))
    }

    /// Steps that failed several times in a row, though the engine answered.
    pub(super) fn failing(&self) -> impl Iterator<Item = &Step> {
        let fails = |it: &&Retry| {
            it.failures >= FAILING && matches!(it.why, StepFault::Failed(_) | StepFault::Missing(_) | StepFault::OutOfSpace(_))
        };
        self.0.iter().filter(fails).map(|it| &it.step)
    }

    /// Whether something that is wanted does not fit on the disk.
    pub(super) fn is_out_of_space(&self) -> bool {
        self.0.iter().any(|it| matches!(it.why, StepFault::OutOfSpace(_)))
    }

    /// The failures, newest last.
    pub(super) fn troubles(&self) -> impl Iterator<Item = Trouble> {
        self.0.iter().map(|it| Trouble::Step {
            step: Box::new(it.step.clone()),
            why: it.why.clone(),
            failures: it.failures,
            again: it.until,
        })
    }
}

#[cfg(test)]
mod tests;
