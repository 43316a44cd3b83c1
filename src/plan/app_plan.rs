//! What one app needs, before and after its update locks are taken into account.

use std::collections::BTreeSet;

use crate::plan::input::PlanInput;
use crate::plan::release::ReleaseProgress;
use crate::plan::{Difference, Plan, Step, Waiting};
use crate::state::{AppId, EngineAction, Force, LockState, ServiceKey};

/// The plan of one app.
pub(super) struct AppPlan<'a> {
    pub(super) input: PlanInput<'a>,
    pub(super) app: AppId,
    /// Progress of the app's release.
    pub(super) release: ReleaseProgress,
    wishes: Vec<(Precondition, Step)>,
    waiting: Vec<Waiting>,
    differences: Vec<Difference>,
}

/// When a step may start.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Precondition {
    /// Always: it disturbs nothing that runs.
    Free,
    /// When every image of its release is here.
    Here,
    /// When nothing holds up its release.
    Release,
    /// When no disruptive step is due, or the locks are ours: a service whose old container is already gone does not wait for
    /// the release.
    Undisturbed,
    /// When the update locks of the whole app are ours.
    Locked,
}

impl<'a> AppPlan<'a> {
    /// A plan without steps.
    pub(super) fn new(input: PlanInput<'a>, app: AppId) -> Self {
        Self {
            input,
            app,
            release: ReleaseProgress::default(),
            wishes: Vec::new(),
            waiting: Vec::new(),
            differences: Vec::new(),
        }
    }

    pub(super) fn propose(&mut self, gate: Precondition, step: Step) {
        self.wishes.push((gate, step));
    }

    pub(super) fn deed(&mut self, gate: Precondition, deed: EngineAction) {
        self.propose(gate, Step::Engine(deed));
    }

    pub(super) fn wait(&mut self, waiting: Waiting) {
        self.waiting.push(waiting);
    }

    /// Records a difference from the target that stays.
    pub(super) fn differs(&mut self, what: String, why: String) {
        self.differences.push(Difference { what, why });
    }

    /// Waits for a network or a volume, if there is one to wait for.
    pub(super) fn wait_for(&mut self, key: &ServiceKey, resource: Option<String>) {
        self.waiting.extend(resource.map(|it| Waiting::Resource(key.clone(), it)));
    }

    /// Adds the steps whose preconditions hold to the plan, and takes or releases the update locks.
    pub(super) fn resolve(mut self, plan: &mut Plan) {
        let services = self.services();
        // An app without services has no locks to take.
        let ours = services.is_empty()
            || matches!(self.input.current.locks.get(&self.app), Some(LockState::Ours(held)) if services.is_subset(held));
        let disruptive = self.wishes.iter().any(|(gate, _)| *gate == Precondition::Locked);
        let images = self.waiting.iter().any(|it| matches!(it, Waiting::Images(_)));
        let incomplete = images || self.waiting.iter().any(|it| matches!(it, Waiting::Containers(_)));
        let rests = |it: &Waiting| matches!(it, Waiting::Boot(_) | Waiting::Paused(_));
        let idle = self.wishes.is_empty() && self.waiting.iter().all(rests);
        // A service held back only by a dependency disturbs nothing, however long that takes.
        let held_back = |it: &Waiting| rests(it) || matches!(it, Waiting::Dependency(..));
        let held_back = self.wishes.is_empty() && self.waiting.iter().all(held_back);
        if !idle {
            plan.busy.insert(self.app);
        }
        let wishes = std::mem::take(&mut self.wishes);
        // If locks were taken only for steps of an update that may not fit, check first that it fits.
        for update in plan.updates.iter_mut().filter(|it| it.app == self.app) {
            update.takes_locks =
                wishes.iter().filter(|(gate, _)| *gate == Precondition::Locked).all(|(_, step)| update.begins_with(step));
        }
        let allowed = wishes.into_iter().filter(|(gate, _)| match gate {
            Precondition::Free => true,
            Precondition::Here => !images,
            Precondition::Release => !incomplete && (ours || !disruptive),
            Precondition::Undisturbed => ours || !disruptive,
            Precondition::Locked => ours,
        });
        plan.steps.extend(allowed.map(|(_, step)| step));
        if disruptive && !ours {
            self.take_locks(services, plan);
        }
        let forced = self.input.overrides.force.contains(&self.app);
        let give_back = match self.input.current.locks.get(&self.app) {
            // A release that is still being pulled disturbs no service, and may take hours to arrive.
            Some(LockState::Ours(_)) => held_back || incomplete && !disruptive,
            // Our locks are of no use beside a lock that is respected.
            Some(LockState::Both(_)) => !(disruptive && forced),
            Some(LockState::Held(_)) | None => false,
        };
        if give_back {
            plan.steps.push(Step::ReleaseLocks(self.app));
        }
        plan.waiting.append(&mut self.waiting);
        plan.differences.append(&mut self.differences);
    }

    fn take_locks(&mut self, mut services: BTreeSet<String>, plan: &mut Plan) {
        let forced = self.input.overrides.force.contains(&self.app);
        match self.input.current.locks.get(&self.app) {
            Some(LockState::Held(held) | LockState::Both(held)) if !forced => {
                self.waiting.push(Waiting::Lock(self.app, held.clone()));
            }
            // It may be the lock of a service that is gone: not listed here, it would stay held for ever.
            Some(LockState::Held(held) | LockState::Both(held)) => {
                services.insert(held.service.clone());
                plan.steps.push(Step::TakeLocks(self.app, services, Force::Yes));
            }
            Some(LockState::Ours(_)) | None => {
                let force = if forced { Force::Yes } else { Force::No };
                plan.steps.push(Step::TakeLocks(self.app, services, force));
            }
        }
    }

    /// Services whose locks are needed: the existing and the wanted ones.
    fn services(&self) -> BTreeSet<String> {
        let wanted = self.input.app(self.app).into_iter().flat_map(|app| app.services.keys().cloned());
        let seen = self.input.containers_of(self.app).map(|it| it.key.service.clone());
        wanted.chain(seen).collect()
    }
}
