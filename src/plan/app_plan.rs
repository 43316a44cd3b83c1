//! What one app needs, before and after its update locks are taken into account.

use crate::plan::Plan;
use crate::plan::hooks::{self, HookHold};
use crate::plan::input::PlanInput;
use crate::plan::release::ReleaseProgress;
use crate::sorted::SortedSet;
use crate::state::lease::Lease;
use crate::state::{AppId, Difference, EngineAction, Force, LockState, ServiceKey, Step, Waiting};

/// The plan of one app.
pub(super) struct AppPlan<'a> {
    pub(super) input: PlanInput<'a>,
    pub(super) app: AppId,
    /// Progress of the app's release.
    pub(super) release: ReleaseProgress,
    proposals: Vec<(Precondition, Step)>,
    waiting: Vec<Waiting>,
    differences: Vec<Difference>,
}

/// When a step may start.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Precondition {
    /// Always: it disturbs nothing that runs.
    Always,
    /// When every image of its release is here.
    Images,
    /// When nothing holds up its release.
    ReleaseReady,
    /// When no disruptive step is due, or the locks are ours: a service whose old container is already gone does not wait for
    /// the release.
    Undisturbed,
    /// When the update locks of the whole app are ours, and the service's update window is open.
    Locked,
    /// When the update locks of the whole app are ours: it finishes what was begun, or mends what does not work.
    Mending,
}

impl Precondition {
    /// Whether it disturbs what runs, so that update locks are taken for it.
    const fn needs_locks(self) -> bool {
        match self {
            Self::Locked | Self::Mending => true,
            Self::Always | Self::Images | Self::ReleaseReady | Self::Undisturbed => false,
        }
    }
}

impl<'a> AppPlan<'a> {
    /// A plan without steps.
    pub(super) fn new(input: PlanInput<'a>, app: AppId) -> Self {
        Self {
            input,
            app,
            release: ReleaseProgress::default(),
            proposals: Vec::new(),
            waiting: Vec::new(),
            differences: Vec::new(),
        }
    }

    pub(super) fn propose(&mut self, precondition: Precondition, step: Step) {
        self.proposals.push((precondition, step));
    }

    pub(super) fn propose_action(&mut self, precondition: Precondition, action: EngineAction) {
        self.propose(precondition, Step::Engine(action));
    }

    pub(super) fn wait(&mut self, waiting: Waiting) {
        if !self.waiting.contains(&waiting) {
            self.waiting.push(waiting);
        }
    }

    /// Whether a service waits for the images of the release.
    pub(super) fn waits_for_images(&self) -> bool {
        self.waiting.iter().any(|it| matches!(it, Waiting::Images(_)))
    }

    /// Records a difference from the target that stays.
    pub(super) fn record_difference(&mut self, what: String, why: String) {
        self.differences.push(Difference { what, why });
    }

    /// Waits for a network or a volume, if there is one to wait for.
    pub(super) fn wait_for(&mut self, key: &ServiceKey, resource: Option<String>) {
        self.waiting.extend(resource.map(|it| Waiting::Resource(key.clone(), it)));
    }

    /// Adds the steps whose preconditions hold to the plan, and takes or releases the update locks.
    pub(super) fn resolve(mut self, plan: &mut Plan) {
        self.hold_back_outside_windows();
        self.hold_back_for_hooks();
        let services = self.services();
        // An app without services has no locks to take.
        let lease = self.input.lease(self.app);
        let is_locked = lease.is_none()
            && (services.is_empty()
                || matches!(self.input.current.locks.get(&self.app), Some(LockState::Ours(held)) if services.is_subset(held)));
        let disruptive = self.proposals.iter().any(|(precondition, _)| precondition.needs_locks());
        let images = self.waits_for_images();
        let incomplete = images || self.waiting.iter().any(|it| matches!(it, Waiting::Containers(_)));
        let is_idle = |it: &Waiting| matches!(it, Waiting::Boot(_) | Waiting::Paused(_) | Waiting::StoppedByHand(_));
        let idle = self.proposals.is_empty() && self.waiting.iter().all(is_idle);
        // A service held back only by a dependency or an update window disturbs nothing, however long that takes.
        let held_back =
            |it: &Waiting| is_idle(it) || matches!(it, Waiting::Dependency(..) | Waiting::Window(..) | Waiting::Hook(..));
        let held_back = self.proposals.is_empty() && self.waiting.iter().all(held_back);
        if !idle {
            plan.busy.insert(self.app);
        }
        let proposals = std::mem::take(&mut self.proposals);
        // If locks were taken only for steps of an update that may not fit, check first that it fits.
        for update in plan.updates.iter_mut().filter(|it| it.app == self.app) {
            update.takes_locks = proposals
                .iter()
                .filter(|(precondition, _)| precondition.needs_locks())
                .all(|(_, step)| update.begins_with(step));
        }
        let allowed = proposals.into_iter().filter(|(precondition, _)| match precondition {
            Precondition::Always => true,
            Precondition::Images => !images,
            Precondition::ReleaseReady => !incomplete && (is_locked || !disruptive),
            Precondition::Undisturbed => is_locked || !disruptive,
            Precondition::Locked | Precondition::Mending => is_locked,
        });
        plan.steps.extend(allowed.map(|(_, step)| step));
        if disruptive && !is_locked {
            self.take_locks(services, lease, plan);
        }
        let forced = self.input.overrides.force.contains(&self.app);
        let release_locks = match self.input.current.locks.get(&self.app) {
            // A release that is still being pulled disturbs no service, and may take hours to arrive.
            Some(LockState::Ours(_)) => held_back || lease.is_some() || incomplete && !disruptive,
            // Our locks are of no use beside a lock that is respected.
            Some(LockState::Both(_)) => !(disruptive && forced),
            Some(LockState::Held(_)) | None => false,
        };
        if release_locks {
            plan.steps.push(Step::ReleaseLocks(self.app));
        }
        plan.waiting.append(&mut self.waiting);
        plan.differences.append(&mut self.differences);
    }

    /// Drops the steps that would disturb a service outside its update window, and waits for the windows instead.
    fn hold_back_outside_windows(&mut self) {
        for (precondition, step) in std::mem::take(&mut self.proposals) {
            let closed = match precondition {
                Precondition::Locked => self.input.window_against(&step),
                Precondition::Always
                | Precondition::Images
                | Precondition::ReleaseReady
                | Precondition::Undisturbed
                | Precondition::Mending => None,
            };
            match closed {
                None => self.proposals.push((precondition, step)),
                Some(waiting) if self.waiting.contains(&waiting) => (),
                Some(waiting) => self.waiting.push(waiting),
            }
        }
    }

    /// Puts hooks in the place of the steps of an update that they go before, or drops these and waits.
    fn hold_back_for_hooks(&mut self) {
        for (precondition, step) in std::mem::take(&mut self.proposals) {
            match if precondition == Precondition::Locked { hooks::hold(self.input, &step) } else { HookHold::None } {
                HookHold::None => self.propose(precondition, step),
                HookHold::Run(action) => self.propose_action(Precondition::Locked, action),
                HookHold::Wait(waiting) if self.waiting.contains(&waiting) => (),
                HookHold::Wait(waiting) => self.waiting.push(waiting),
            }
        }
    }

    fn take_locks(&mut self, mut services: SortedSet<String>, lease: Option<&Lease>, plan: &mut Plan) {
        if let Some(lease) = lease {
            return self.waiting.push(Waiting::Lease(self.app, lease.clone()));
        }
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
    fn services(&self) -> SortedSet<String> {
        let wanted = self.input.app(self.app).into_iter().flat_map(|app| app.services.keys().cloned());
        let existing = self.input.containers_of(self.app).map(|it| it.key.service.clone());
        wanted.chain(existing).collect()
    }
}
