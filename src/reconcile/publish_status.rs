//! The published status: the current state, steps in flight, what is waited for, and what went wrong.

use tokio::time::Instant;

use crate::port::World;
use crate::reconcile::Reconciler;
use crate::sorted::SortedSet;
use crate::state::{Activity, EngineAction, ReleaseTrial, ServiceKey, Step, Trouble, Waiting};

impl<W: World> Reconciler<'_, W> {
    /// Services whose image, container or start fails again and again.
    pub(super) fn failing_services(&self) -> SortedSet<ServiceKey> {
        let services = || self.targets.completed().into_iter().flat_map(|it| it.services());
        let services_of = |step: &Step| -> Vec<ServiceKey> {
            match step {
                Step::Engine(EngineAction::Pull(image)) => {
                    let of_image = services().filter(|(.., it)| it.image == *image);
                    of_image.map(|(app, name, _)| ServiceKey::new(app.id, name)).collect()
                }
                Step::Engine(EngineAction::Create(spec)) => vec![spec.key.clone()],
                Step::Engine(EngineAction::Start(which)) => vec![which.key.clone()],
                _ => Vec::new(),
            }
        };
        self.work.retries().failing().flat_map(services_of).collect()
    }

    /// Publishes the status.
    pub(super) fn publish_status(&self) {
        let plan = self.observed.plan();
        let locked = plan.waiting.iter().any(|it| matches!(it, Waiting::Lock(..) | Waiting::Lease(..)));
        let never = plan.waiting.iter().any(|it| matches!(it, Waiting::Dependency(_, unmet) if unmet.never.is_some()));
        let pending = !self.targets.is_reached() && !plan.busy.is_empty();
        let doing: Vec<Step> = self.work.in_flight().cloned().collect();
        let differences = plan.differences.iter().cloned().chain(self.boot_config.differences()).map(Trouble::Difference);
        let activity = match self.targets.completed() {
            None => Activity::Waiting,
            // An empty plan tells nothing of a target that it was not made for.
            Some(_) if !self.observed.has_plan() || self.targets.has_changed() => Activity::Applying,
            // A release is not there before it is proven, and the agent goes on trying one that has none to go back to.
            Some(_) if self.targets.has_trials() => Activity::Applying,
            Some(_) if plan.steps.is_empty() && plan.waiting.is_empty() && doing.is_empty() => Activity::Settled,
            Some(_) => Activity::Applying,
        };
        let has_failed = |it: &ReleaseTrial| it.failure().is_some();
        self.context.publish.send_modify(|status| {
            status.observed_at = Some(Instant::now());
            status.overrides.clone_from(self.overrides.requested());
            status.current.clone_from(self.observed.current());
            status.waiting.clone_from(&plan.waiting);
            status.troubles = differences.chain(self.work.retries().troubles()).collect();
            status.activity = activity;
            status.steps_in_flight = doing;
            status.boot_config = self.boot_config.status();
            status.update_pending = pending;
            status.update_downloaded = pending && plan.downloaded;
            status.update_failed = pending && locked || self.work.retries().is_blocking() || never;
            status.update_failed |= status.releases.values().any(has_failed);
        });
    }
}
