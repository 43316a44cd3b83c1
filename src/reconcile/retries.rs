//! Steps that failed, and when they are tried again.

use std::time::Duration;

use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::plan::{EngineAction, Step, Subject};
use crate::port::EngineError;
use crate::reconcile::execute::StepFailure;
use crate::state::{ServiceKey, Trouble};

/// The first pause after a failure, as in other supervisors.
const LEAST: Duration = Duration::from_secs(1);
/// The longest.
const MOST: Duration = Duration::from_secs(5 * 60);
/// The longest while the engine does not answer: it may come back at any moment.
const MOST_UNREACHABLE: Duration = Duration::from_secs(10);

/// A step that failed so often in a row is not waited for by those that can do without it.
const FAILING: u32 = 3;

/// Steps that are not taken for now.
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
    /// Lets a step rest that failed.
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

    /// Whether a step is not to be taken now.
    pub(super) fn is_backing_off(&self, step: &Step) -> bool {
        let now = Instant::now();
        self.0.iter().any(|it| it.step == *step && it.until > now)
    }

    /// Whether a step that is still wanted has failed before.
    pub(super) fn has_failed(&self, step: &Step) -> bool {
        self.0.iter().any(|it| it.step == *step)
    }

    /// Why such a step failed last, while one is not tried again.
    pub(super) fn why(&self, such: impl Fn(&Step) -> bool) -> Option<String> {
        let now = Instant::now();
        let rest = self.0.iter().find(|it| it.until > now && such(&it.step))?;
        rest.why.words().map(|why| format!("{}: {why}", rest.step))
    }

    /// Forgets steps that worked, and those the plan no longer has.
    pub(super) fn keep_only(&mut self, steps: &[Step]) {
        self.0.retain(|it| steps.contains(&it.step));
    }

    /// Forgets one step: it worked.
    pub(super) fn succeed(&mut self, step: &Step) {
        self.0.retain(|it| it.step != *step);
    }

    /// Forgets everything: somebody wants it tried now.
    pub(super) fn retry_now(&mut self) {
        for rest in &mut self.0 {
            rest.until = Instant::now();
        }
    }

    /// Forgets when a service's steps were to be tried again: somebody wants it tried now.
    pub(super) fn retry_service_now(&mut self, key: &ServiceKey) {
        let subject = Subject::Service(key.clone());
        for rest in self.0.iter_mut().filter(|it| it.step.subject() == subject) {
            rest.until = Instant::now();
        }
    }

    /// The engine is back: what failed for want of it is tried at once.
    pub(super) fn forget_unreachable(&mut self) {
        self.0.retain(|it| !matches!(it.why, Why::Unreachable(_)));
    }

    /// Why such a step failed last, also while it is tried again.
    pub(super) fn last_failure(&self, such: impl Fn(&Step) -> bool) -> Option<String> {
        let retry = self.0.iter().find(|it| such(&it.step))?;
        retry.why.words().map(|why| format!("{}: {why}", retry.step))
    }

    /// When the next step has rested.
    pub(super) fn next(&self) -> Option<Instant> {
        let now = Instant::now();
        self.0.iter().map(|it| it.until).filter(|it| *it > now).min()
    }

    /// Whether something is wrong that keeps an app from being as wanted. An image that cannot be deleted does not.
    pub(super) fn is_blocking(&self) -> bool {
        let deletes = |step: &Step| matches!(step, Step::Engine(EngineAction::RemoveImage(_)));
        self.0.iter().any(|it| !matches!(it.why, Why::Done) && !deletes(&it.step))
    }

    /// Steps that failed several times in a row, though the engine answered.
    pub(super) fn failing(&self) -> impl Iterator<Item = &Step> {
        let fails = |it: &&Retry| it.failures >= FAILING && matches!(it.why, Why::Failed(_) | Why::NoRoom(_));
        self.0.iter().filter(fails).map(|it| &it.step)
    }

    /// Whether something that is wanted does not fit.
    pub(super) fn is_out_of_space(&self) -> bool {
        self.0.iter().any(|it| matches!(it.why, Why::NoRoom(_)))
    }

    /// What is wrong, for people, newest last.
    pub(super) fn troubles(&self) -> Vec<Trouble> {
        let trouble = |rest: &Retry| {
            let (what, why) = (rest.step.to_string(), rest.why.words()?.to_owned());
            Some(Trouble { kind: rest.step.kind(), what, why, failures: rest.failures, again: Some(rest.until) })
        };
        self.0.iter().filter_map(trouble).collect()
    }
}
