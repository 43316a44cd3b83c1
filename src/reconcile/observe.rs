//! Observes the engine and the update locks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use crate::plan::Step;
use crate::port::{Engine, EngineError, EngineSnapshot, LockError, Locks, Power, World};
use crate::reconcile::Reconciler;
use crate::reconcile::execute::make_lock_directory;
use crate::state::{self, AppId, Container, ContainerPhase, LockHolders, ServiceKey};

/// Minimum interval between the starts of two observations triggered by engine events or update locks.
pub(super) const LOOKS_APART: Duration = Duration::from_millis(250);
/// The interval where observations are slow: they take no more than a fifth of the time.
const SLOW_LOOKS_APART: Duration = Duration::from_secs(2);
/// Resync interval while the engine is about to restart a container: it sends no event when the restart fails.
const RESTARTING: Duration = Duration::from_secs(10);
/// Retry interval for locks that could not be read.
const LOCKS_AGAIN: Duration = Duration::from_secs(30);

/// The result of an observation: the engine, the update locks, and the file that says a reboot is required.
pub(super) type Observation =
    (Result<EngineSnapshot, EngineError>, Result<BTreeMap<AppId, state::LockState>, LockError>, Option<String>);

/// Observes the engine, the locks of every app there is, and whether the host requires a reboot. `seen_before`: `apps`
/// includes the services that had containers when the engine answered last.
pub(super) async fn observe<W: World>(world: &W, mut apps: BTreeMap<AppId, LockHolders>, seen_before: bool) -> Observation {
    let seen = world.engine().observe().await;
    match &seen {
        Ok(seen) => add_containers(&mut apps, &seen.containers),
        Err(_) if seen_before => (),
        // An app to be removed may still have containers, and a lock that holds up a reboot. A read error here shows up in
        // the call below.
        Err(_) => {
            let found = world.locks().apps().await.unwrap_or_default();
            apps = apps.into_keys().chain(found).map(|app| (app, LockHolders::All)).collect();
        }
    }
    let locks = world.locks().observe(&apps).await;
    (seen, locks, world.power().boot_wanted().await)
}

impl<W: World> Reconciler<'_, W> {
    /// State may have changed: observe as soon as no observation is in flight.
    pub(super) fn request_resync(&mut self) {
        self.next_observe = Instant::now();
    }

    /// State outside may have changed: observe at once the first time, and then rate-limited.
    pub(super) fn request_resync_soon(&mut self) {
        let soonest = self.observe_started + self.min_observe_interval;
        self.next_observe = self.next_observe.min(soonest.max(Instant::now()));
    }

    /// An observation ended: the slower it was, the longer events wait for the next.
    pub(super) fn pace_resyncs(&mut self) {
        self.min_observe_interval = (self.observe_started.elapsed() * 5).clamp(LOOKS_APART, SLOW_LOOKS_APART);
    }

    /// The engine may give up a container that it is about to restart.
    pub(super) fn resync_while_restarting(&mut self) {
        if self.current.containers.iter().any(|it| it.phase == ContainerPhase::Restarting) {
            self.next_observe = self.next_observe.min(Instant::now() + RESTARTING);
        }
    }

    /// The locks as observed; where they cannot be read, as last known. A lock of ours counts only if it cannot have been
    /// released since: taking it again is cheap, while disturbing a service without it might cost the service its data.
    pub(super) fn merge_observed_locks(
        &mut self,
        seen: Result<BTreeMap<AppId, state::LockState>, LockError>,
    ) -> BTreeMap<AppId, state::LockState> {
        let mut locks = seen.unwrap_or_else(|error| {
            warn!(%error, "update locks cannot be read; they count as they were last known");
            self.next_observe = self.next_observe.min(Instant::now() + LOCKS_AGAIN);
            self.current.locks.clone()
        });
        let given_back = |app: &AppId| self.under_way().any(|step| *step == Step::ReleaseLocks(*app));
        let counts = |app: &AppId| !self.locks_released_since_observe && !given_back(app) && !self.is_leased(*app);
        without_ours(&mut locks, |app| !counts(app));
        locks
    }

    /// Services that can hold locks, as far as known: those of the target and those that had containers at the last
    /// observation.
    pub(super) fn holders(&self) -> BTreeMap<AppId, LockHolders> {
        // Locks of ours are released also if nothing else is left of an app.
        let locked = self.current.locks.keys().map(|app| (*app, LockHolders::default()));
        let mut all: BTreeMap<_, _> = locked.collect();
        for (app, name, _) in self.target.iter().flat_map(|it| it.services()) {
            all.entry(app.id).or_default().add(name);
        }
        for app in self.target.iter().flat_map(|it| it.apps.keys()) {
            all.entry(*app).or_default();
        }
        add_containers(&mut all, &self.current.containers);
        all
    }

    /// Whether the engine has answered once, so that it is known which services have containers. Such an observation sets the
    /// time.
    pub(super) fn knows_containers(&self) -> bool {
        self.current.now_secs != 0
    }

    /// Reads the locks of one app now, whatever was observed before: a lock that was released rejects no request. Where locks
    /// cannot be read, they count as they were last known.
    pub(super) async fn refresh_locks(&mut self, app: AppId) {
        let holders = self.holders().remove(&app).unwrap_or_default();
        match self.world.locks().observe(&BTreeMap::from([(app, holders)])).await {
            Ok(mut seen) => {
                let known = self.are_ours(app);
                self.locks_checked_since_observe.insert(app);
                match seen.remove(&app) {
                    // Whether ours count is decided by the whole observation.
                    Some(state::LockState::Ours(_)) if !known => drop(self.locks().remove(&app)),
                    Some(state::LockState::Ours(_)) => (),
                    Some(locks) => drop(self.locks().insert(app, locks)),
                    None => drop(self.locks().remove(&app)),
                }
            }
            Err(error) => warn!(%app, %error, "its update locks cannot be read; they count as they were last known"),
        }
    }

    /// An engine that starts after us mounts these directories, and would create the missing ones itself.
    pub(super) async fn make_lock_directories(&self) {
        let apps = self.target.iter().flat_map(|it| it.apps.values());
        for key in apps.flat_map(|app| app.services.keys().map(|name| ServiceKey::new(app.id, name))) {
            make_lock_directory(self.world, &key).await;
        }
    }

    /// Services that have a container, by app.
    pub(super) fn services(&self) -> BTreeMap<AppId, BTreeSet<String>> {
        let mut apps: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        for container in &self.current.containers {
            apps.entry(container.key.app).or_default().insert(container.key.service.clone());
        }
        apps
    }

    /// Whether we hold locks of an app.
    pub(super) fn are_ours(&self, app: AppId) -> bool {
        matches!(self.current.locks.get(&app), Some(state::LockState::Ours(_)))
    }

    /// Releases the locks that were taken, except those that host configuration or a shutdown relies on. The last observation
    /// of these apps' locks is out of date, and a plan made from it did not take the release into account.
    pub(super) async fn give_back(&mut self, apps: &BTreeSet<AppId>, taken: impl IntoIterator<Item = AppId>) {
        if apps.is_empty() {
            return;
        }
        self.locks_released_since_observe = true;
        self.plan_ready = false;
        self.forget_ours(|app| apps.contains(app));
        for app in taken {
            if self.is_leased(app) || self.shutdown.has_locked(app) {
                continue;
            }
            if let Err(error) = self.world.locks().release(app).await {
                warn!(%app, %error, "its update locks cannot be given back; this is tried again");
            }
        }
    }

    /// Forgets our locks of these apps: they are no longer known to exist.
    pub(super) fn forget_ours(&mut self, of: impl Fn(&AppId) -> bool) {
        without_ours(self.locks(), of);
    }

    /// The known locks, for changing. Readers of the published snapshot keep their copy.
    pub(super) fn locks(&mut self) -> &mut BTreeMap<AppId, state::LockState> {
        &mut Arc::make_mut(&mut self.current).locks
    }
}

fn add_containers(apps: &mut BTreeMap<AppId, LockHolders>, containers: &[Container]) {
    for container in containers {
        apps.entry(container.key.app).or_default().add(&container.key.service);
    }
}

fn without_ours(locks: &mut BTreeMap<AppId, state::LockState>, of: impl Fn(&AppId) -> bool) {
    let all = std::mem::take(locks);
    let left = |(app, it): (AppId, state::LockState)| if of(&app) { Some((app, it.without_ours()?)) } else { Some((app, it)) };
    *locks = all.into_iter().filter_map(left).collect();
}
