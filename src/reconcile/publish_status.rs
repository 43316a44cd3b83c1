//! The published status: the current state, steps in flight, what is waited for, and what went wrong.

use std::collections::{BTreeMap, BTreeSet};

use tokio::time::Instant;

use crate::plan::{Difference, Step, Subject, Waiting};
use crate::port::World;
use crate::reconcile::Reconciler;
use crate::state::status::{StepInProgress, StepKind};
use crate::state::{Activity, EngineAction, ServiceKey, Trouble};

impl<W: World> Reconciler<'_, W> {
    /// What is wrong, for people: first what only the owner can change, then what was tried, newest last.
    fn troubles(&self) -> Vec<Trouble> {
        let owner = self.observed.plan().differences.iter().map(|Difference { what, why }| Trouble {
            // It stays as it is: no step changes it.
            kind: StepKind::Housekeeping,
            what: what.clone(),
            why: why.clone(),
            failures: 0,
            again: None,
        });
        owner.chain(self.work.retries().troubles()).collect()
    }

    /// Services held back by a dependency, each with what it waits for.
    fn held_back(&self) -> BTreeMap<ServiceKey, String> {
        let held_back = self.observed.plan().waiting.iter().filter_map(|it| match it {
            Waiting::Dependency(key, unmet) => Some((key.clone(), unmet.to_string())),
            _ => None,
        });
        held_back.collect()
    }

    /// Services whose image, container or start fails again and again.
    pub(super) fn failing(&self) -> BTreeSet<ServiceKey> {
        let services = || self.targets.completed().into_iter().flat_map(|it| it.services());
        let of = |step: &Step| -> Vec<ServiceKey> {
            match step {
                Step::Engine(EngineAction::Pull(image)) => {
                    let theirs = services().filter(|(.., it)| it.image == *image);
                    theirs.map(|(app, name, _)| ServiceKey::new(app.id, name)).collect()
                }
                Step::Engine(EngineAction::Create(spec)) => vec![spec.key.clone()],
                Step::Engine(EngineAction::Start(which)) => vec![which.key.clone()],
                _ => Vec::new(),
            }
        };
        self.work.retries().failing().flat_map(of).collect()
    }

    /// Publishes the status.
    pub(super) fn publish_status(&self) {
        let plan = self.observed.plan();
        let locked = plan.waiting.iter().any(|it| matches!(it, Waiting::Lock(..)));
        let never = plan.waiting.iter().any(|it| matches!(it, Waiting::Dependency(_, unmet) if unmet.never.is_some()));
        let pending = !self.targets.is_reached() && !plan.busy.is_empty();
        let doing: Vec<StepInProgress> = self.work.in_flight().map(in_progress).collect();
        let activity = match self.targets.completed() {
            None => Activity::Waiting,
            Some(_) if plan.steps.is_empty() && plan.waiting.is_empty() && doing.is_empty() => Activity::Settled,
            Some(_) => Activity::Applying,
        };
        self.context.publish.send_modify(|status| {
            status.looked = Some(Instant::now());
            status.overrides.clone_from(self.overrides.requested());
            status.current.clone_from(self.observed.current());
            status.waiting = plan.waiting.iter().map(ToString::to_string).collect();
            status.held_back = self.held_back();
            status.troubles = self.troubles();
            status.activity = activity;
            status.doing = doing;
            status.update_pending = pending;
            status.update_downloaded = pending && plan.downloaded;
            status.update_failed = pending && locked || self.work.retries().is_blocking() || never;
        });
    }
}

fn in_progress(step: &Step) -> StepInProgress {
    let service = match step.subject() {
        Subject::Service(key) => Some(key),
        Subject::Image(_) | Subject::Network(_) | Subject::Volume(_) | Subject::Locks(_) | Subject::Machine => None,
    };
    StepInProgress { kind: step.kind(), what: step.to_string(), service }
}
