//! Failed steps, and when they are retried.

use std::time::Duration;

use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::plan::{Step, Subject};
use crate::port::EngineError;
use crate::reconcile::execute::StepFailure;
use crate::state::{EngineAction, ServiceKey, Trouble};

/// The first delay after a failure, as in other supervisors.
const LEAST: Duration = Duration::from_secs(1);
/// The longest delay.
const MOST: Duration = Duration::from_secs(5 * 60);
/// The longest delay while the engine does not answer: it may come back at any moment.
const MOST_UNREACHABLE: Duration = Duration::from_secs(10);

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
    why: Why,
}

#[derive(Debug)]
enum Why {
    Failed(String),
    NoRoom(String),
    Unreachable(String),
    Done,
}

impl Why {
    fn words(&self) -> Option<&str> {
        match self {
            Self::Failed(why) | Self::NoRoom(why) | Self::Unreachable(why) => Some(why),
            Self::Done => None,
        }
    }
}

impl Retries {
    /// Records the failure and schedules a retry with exponential backoff; returns the delay.
    pub(super) fn fail(&mut self, step: &Step, failure: &StepFailure) -> Duration {
        let (why, most) = match failure {
            StepFailure::Engine(EngineError::Unreachable(_)) => (Why::Unreachable(failure.to_string()), MOST_UNREACHABLE),
            StepFailure::Engine(EngineError::Full(_)) => (Why::NoRoom(failure.to_string()), MOST),
            StepFailure::Engine(EngineError::Refused(_) | EngineError::InUse(_))
            | StepFailure::Lock(_)
            | StepFailure::Power(_) => (Why::Failed(failure.to_string()), MOST),
        };
        let mut rest = match self.0.iter().position(|it| it.step == *step) {
            Some(at) => self.0.remove(at),
            None => Retry {
                step: step.clone(),
                backoff: Backoff::new(LEAST, MOST),
                failures: 0,
                until: Instant::now(),
                why: Why::Done,
            },
        };
        let pause = rest.backoff.fail().min(most);
        rest.failures += 1;
        rest.until = Instant::now() + pause;
        rest.why = why;
        self.0.push(rest);
        pause
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

    /// Why a matching step failed last, while it is backing off.
    pub(super) fn why(&self, such: impl Fn(&Step) -> bool) -> Option<String> {
        let now = Instant::now();
        let rest = self.0.iter().find(|it| it.until > now && such(&it.step))?;
        rest.why.words().map(|why| format!("{}: {why}", rest.step))
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
        for rest in &mut self.0 {
            rest.until = Instant::now();
        }
    }

    /// Retries a service's steps now, as a request asks.
    pub(super) fn retry_service_now(&mut self, key: &ServiceKey) {
        let subject = Subject::Service(key.clone());
        for rest in self.0.iter_mut().filter(|it| it.step.subject() == subject) {
            rest.until = Instant::now();
        }
    }

    /// The engine is back: steps that failed because it did not answer are retried at once.
    pub(super) fn forget_unreachable(&mut self) {
        self.0.retain(|it| !matches!(it.why, Why::Unreachable(_)));
    }

    /// Why such a step failed last, also while it is tried again.
    pub(super) fn last_failure(&self, such: impl Fn(&Step) -> bool) -> Option<String> {
        let retry = self.0.iter().find(|it| such(&it.step))?;
        retry.why.words().map(|why| format!("{}: {why}", retry.step))
    }

    /// When the next retry is due.
    pub(super) fn next(&self) -> Option<Instant> {
        let now = Instant::now();
        self.0.iter().map(|it| it.until).filter(|it| *it > now).min()
    }

    /// Whether a failure keeps an app from its target state. An image that cannot be deleted does not.
    pub(super) fn is_blocking(&self) -> bool {
        let deletes = |step: &Step| matches!(step, Step::Engine(EngineAction::RemoveImage(_)));
        self.0.iter().any(|it| !matches!(it.why, Why::Done) && !deletes(&it.step))
    }

    /// Steps that failed several times in a row, though the engine answered.
    pub(super) fn failing(&self) -> impl Iterator<Item = &Step> {
        let fails = |it: &&Retry| it.failures >= FAILING && matches!(it.why, Why::Failed(_) | Why::NoRoom(_));
        self.0.iter().filter(fails).map(|it| &it.step)
    }

    /// Whether something that is wanted does not fit on the disk.
    pub(super) fn is_out_of_space(&self) -> bool {
        self.0.iter().any(|it| matches!(it.why, Why::NoRoom(_)))
    }

    /// The failures, for people, newest last.
    pub(super) fn troubles(&self) -> Vec<Trouble> {
        let trouble = |rest: &Retry| {
            let (what, why) = (rest.step.to_string(), rest.why.words()?.to_owned());
            Some(Trouble { kind: rest.step.kind(), what, why, failures: rest.failures, again: Some(rest.until) })
        };
        self.0.iter().filter_map(trouble).collect()
    }
}
