//! The last observation, the plan made from it, the locks that count, and when the next observation begins.

use std::sync::Arc;

use tracing::warn;

use crate::plan::Plan;
use crate::port::{Locks, World};
use crate::reconcile::locks::{LockTracker, remove_ours};
use crate::reconcile::schedule::Schedule;
use crate::request::Refusal;
use crate::sorted::{SortedMap, SortedSet};
use crate::state::lease::Leases;
use crate::state::{
    AppId, BootState, ClosedWindows, Container, ContainerId, ContainerPhase, Current, DataPlan, HeldLock, LockHolders,
    LockState, ServiceKey, Target, Waiting,
};

/// The last observation, the plan made from it, the locks that count, and when the next observation begins.
#[derive(Debug)]
pub(super) struct Observed {
    current: Arc<Current>,
    plan: Plan,
    /// A plan was made; until then `plan` is empty.
    has_plan: bool,
    /// `plan` was recomputed, and its steps were not launched yet.
    plan_ready: bool,
    /// Containers that wait for a reboot, each with the boot id under which that was first seen.
    awaiting_reboot: SortedMap<ContainerId, String>,
    locks: LockTracker,
    schedule: Schedule,
}

impl Observed {
    /// Nothing was observed yet. `awaiting_reboot`: as stored.
    pub(super) fn new(awaiting_reboot: SortedMap<ContainerId, String>, schedule: Schedule) -> Self {
        let (current, plan, locks) = Default::default();
        Self { current, plan, has_plan: false, plan_ready: false, awaiting_reboot, locks, schedule }
    }

    /// When the next observation begins.
    pub(super) const fn schedule(&mut self) -> &mut Schedule {
        &mut self.schedule
    }

    /// The last observation.
    pub(super) const fn current(&self) -> &Arc<Current> {
        &self.current
    }

    /// The plan made from it.
    pub(super) const fn plan(&self) -> &Plan {
        &self.plan
    }

    /// What happened to locks since the observation in flight began.
    pub(super) const fn locks(&self) -> &LockTracker {
        &self.locks
    }

    /// As [`Observed::locks`], to record what happens.
    pub(super) const fn locks_mut(&mut self) -> &mut LockTracker {
        &mut self.locks
    }

    /// Containers that wait for a reboot, each with the boot id under which that was first seen.
    pub(super) const fn awaiting_reboot(&self) -> &SortedMap<ContainerId, String> {
        &self.awaiting_reboot
    }

    /// Whether the steps of the plan were not launched yet.
    pub(super) const fn is_plan_ready(&self) -> bool {
        self.plan_ready
    }

    /// The steps of the plan may be launched, or not before the next observation.
    pub(super) const fn set_plan_ready(&mut self, ready: bool) {
        self.plan_ready = ready;
    }

    /// For each container that waits for a reboot: whether the reboot has happened.
    pub(super) fn awaited_boots(&self, boot_id: &str) -> SortedMap<ContainerId, BootState> {
        let boot = |seen: &String| if *seen == boot_id { BootState::NotYet } else { BootState::Done };
        self.awaiting_reboot.iter().map(|(id, seen)| (id.clone(), boot(seen))).collect()
    }

    /// Replaces the observation.
    pub(super) fn set_current(&mut self, current: Current) {
        self.current = Arc::new(current);
    }

    /// Replaces what follows from the observation by the target in force: the windows that are closed, and what is to be done
    /// with data.
    pub(super) fn set_rules(&mut self, windows: ClosedWindows, data: SortedMap<AppId, DataPlan>) {
        let current = Arc::make_mut(&mut self.current);
        (current.windows, current.data) = (windows, data);
    }

    /// Replaces the locks only: the engine did not answer, and locks hold up a reboot all the same.
    pub(super) fn update_locks(&mut self, locks: SortedMap<AppId, LockState>) {
        if self.current.locks != locks {
            *self.known_locks() = locks;
        }
    }

    /// Replaces the leases only.
    pub(super) fn update_leases(&mut self, leases: &Leases) {
        if self.current.leases != *leases {
            Arc::make_mut(&mut self.current).leases.clone_from(leases);
        }
    }

    /// Replaces the plan.
    pub(super) fn set_plan(&mut self, plan: Plan) {
        self.plan = plan;
        self.has_plan = true;
    }

    /// Whether a plan was made yet.
    pub(super) const fn has_plan(&self) -> bool {
        self.has_plan
    }

    /// Records which containers wait for the next boot, by boot id, so that no correct clock is needed to tell that boot from
    /// this one. Returns whether there was anything to record.
    pub(super) fn record_awaiting_reboot(&mut self, boot_id: &str) -> bool {
        let mut awaiting = self.awaiting_reboot.clone();
        awaiting.retain(|id, _| self.current.containers.iter().any(|it| it.id == *id));
        for waiting in self.plan.waiting.iter().filter(|_| !boot_id.is_empty()) {
            let Waiting::Boot(key) = waiting else { continue };
            for container in self.containers(key).filter(|it| it.phase == ContainerPhase::Created) {
                awaiting.entry(container.id.clone()).or_insert_with(|| boot_id.to_owned());
            }
        }
        let new = awaiting != self.awaiting_reboot;
        self.awaiting_reboot = awaiting;
        new
    }

    /// The containers of a service.
    pub(super) fn containers(&self, key: &ServiceKey) -> impl Iterator<Item = &Container> {
        self.current.containers.iter().filter(move |it| it.key == *key)
    }

    /// Whether a service has a container.
    pub(super) fn has_container(&self, key: &ServiceKey) -> bool {
        self.containers(key).next().is_some()
    }

    /// Services that have a container, by app.
    pub(super) fn services(&self) -> SortedMap<AppId, SortedSet<String>> {
        let mut apps: SortedMap<_, SortedSet<_>> = SortedMap::new();
        for container in &self.current.containers {
            apps.entry(container.key.app).or_default().insert(container.key.service.clone());
        }
        apps
    }

    /// Whether the engine has answered once, so that it is known which services have containers. Such an observation sets the
    /// time.
    pub(super) fn knows_containers(&self) -> bool {
        self.current.now_secs != 0
    }

    /// The apps of the target, and those that have containers or locks.
    pub(super) fn known_apps(&self, target: Option<&Target>) -> SortedSet<AppId> {
        let wanted = target.into_iter().flat_map(|it| it.apps.keys().copied());
        wanted.chain(self.current.containers.iter().map(|it| it.key.app)).chain(self.current.locks.keys().copied()).collect()
    }

    /// Sets which containers another program stopped a moment ago.
    pub(super) fn set_stopped_lately(&mut self, containers: SortedSet<ContainerId>) {
        if self.current.stopped_lately != containers {
            Arc::make_mut(&mut self.current).stopped_lately = containers;
        }
    }

    /// Services that can hold locks, as far as known: those of the target and those that had containers at the last
    /// observation.
    pub(super) fn lock_holders(&self, target: Option<&Target>) -> SortedMap<AppId, LockHolders> {
        // Locks of ours are released also if nothing else is left of an app.
        let locked = self.current.locks.keys().map(|app| (*app, LockHolders::default()));
        let mut all: SortedMap<_, _> = locked.collect();
        for (app, name, _) in target.into_iter().flat_map(Target::services) {
            all.entry(app.id).or_default().add(name);
        }
        for app in target.into_iter().flat_map(|it| it.apps.keys()) {
            all.entry(*app).or_default();
        }
        add_containers(&mut all, &self.current.containers);
        all
    }

    /// The lock of an app that a service holds, if any.
    pub(super) fn held_lock(&self, app: AppId) -> Option<&HeldLock> {
        self.current.locks.get(&app).and_then(LockState::held)
    }

    /// The lock or lease that holds up the plan's steps of an app. A request that has just read the locks knows better.
    pub(super) fn blocking_lock(&self, app: AppId) -> Option<Refusal> {
        self.plan.waiting.iter().find_map(|it| match it {
            Waiting::Lock(it, held) if *it == app && !self.locks.was_checked(app) => Some(Refusal::Locked(held.clone())),
            Waiting::Lease(it, lease) if *it == app => Some(Refusal::Leased(app, lease.clone())),
            _ => None,
        })
    }

    /// Whether we hold locks of an app.
    pub(super) fn are_ours(&self, app: AppId) -> bool {
        matches!(self.current.locks.get(&app), Some(LockState::Ours(_)))
    }

    /// The locks of these services are ours now, whether or not locks can be read.
    pub(super) fn add_ours(&mut self, app: AppId, services: &SortedSet<String>) {
        self.known_locks().insert(app, LockState::Ours(services.clone()));
    }

    /// Forgets our locks of such apps: they are no longer known to exist.
    pub(super) fn forget_ours(&mut self, of: impl Fn(AppId) -> bool) {
        remove_ours(self.known_locks(), of);
    }

    /// The locks as observed; where they cannot be read, as last known. A lock of ours counts only if it cannot have been
    /// released since: taking it again is cheap, while disturbing a service without it might cost the service its data.
    pub(super) fn merged_locks(
        &self,
        seen: Option<SortedMap<AppId, LockState>>,
        is_releasing: impl Fn(AppId) -> bool,
    ) -> SortedMap<AppId, LockState> {
        let mut locks = seen.unwrap_or_else(|| self.current.locks.clone());
        remove_ours(&mut locks, |app| self.locks.were_released() || is_releasing(app) || self.locks.is_lent(app));
        locks
    }

    /// Reads the locks of one app now, whatever was observed before: a lock that was released rejects no request. Where locks
    /// cannot be read, they count as they were last known.
    pub(super) async fn refresh_locks<W: World>(&mut self, app: AppId, target: Option<&Target>, world: &W) {
        let holders = self.lock_holders(target).remove(&app).unwrap_or_default();
        match world.locks().observe(&SortedMap::from_iter([(app, holders)])).await {
            Ok(mut seen) => {
                self.locks.on_checked(app);
                match seen.remove(&app) {
                    // Whether ours count is decided by the whole observation.
                    Some(LockState::Ours(_)) if self.are_ours(app) => (),
                    Some(LockState::Ours(_)) | None => drop(self.known_locks().remove(&app)),
                    Some(locks) => drop(self.known_locks().insert(app, locks)),
                }
            }
            Err(error) => warn!(%app, %error, "cannot read the app's update locks; using those last known"),
        }
    }

    /// The known locks, for changing. Readers of the published snapshot keep their copy.
    fn known_locks(&mut self) -> &mut SortedMap<AppId, LockState> {
        &mut Arc::make_mut(&mut self.current).locks
    }
}

/// Adds the services that have containers to those that can hold locks.
pub(super) fn add_containers(apps: &mut SortedMap<AppId, LockHolders>, containers: &[Container]) {
    for container in containers {
        apps.entry(container.key.app).or_default().add(&container.key.service);
    }
}

#[cfg(test)]
mod tests;
