//! Looks at the engine and at the locks.

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

/// The least time between the beginnings of two looks that others cause: engine events, update locks.
pub(super) const LOOKS_APART: Duration = Duration::from_millis(250);
/// The most, where looks take long: no more than a fifth of the time is spent looking.
const SLOW_LOOKS_APART: Duration = Duration::from_secs(2);
/// How soon there is another look while the engine is about to start a container again: it sends no event when that fails.
const RESTARTING: Duration = Duration::from_secs(10);
/// How soon locks are looked at again that could not be read.
const LOCKS_AGAIN: Duration = Duration::from_secs(30);

/// What was seen.
pub(super) type Observation =
    (Result<EngineSnapshot, EngineError>, Result<BTreeMap<AppId, state::LockState>, LockError>, Option<String>);

/// Looks at the engine, at the locks of every app there is, and whether the host is to be booted. `seen_before`: these holders
/// include the services that had containers when the engine answered last.
pub(super) async fn observe<W: World>(world: &W, mut apps: BTreeMap<AppId, LockHolders>, seen_before: bool) -> Observation {
    let seen = world.engine().observe().await;
    match &seen {
        Ok(seen) => add_containers(&mut apps, &seen.containers),
        Err(_) if seen_before => (),
        // An app that is to go may still have containers, and a lock that holds up a reboot. What cannot be read here is told below.
        Err(_) => {
            let found = world.locks().apps().await.unwrap_or_default();
            apps = apps.into_keys().chain(found).map(|app| (app, LockHolders::All)).collect();
        }
    }
    let locks = world.locks().observe(&apps).await;
    (seen, locks, world.power().boot_wanted().await)
}

impl<W: World> Reconciler<'_, W> {
    /// Something may have changed: look as soon as nobody is looking.
    pub(super) fn request_resync(&mut self) {
        self.next_observe = Instant::now();
    }

    /// Something outside may have changed: the first time it is looked at at once, and then only so often.
    pub(super) fn request_resync_soon(&mut self) {
        let soonest = self.observe_started + self.min_observe_interval;
        self.next_observe = self.next_observe.min(soonest.max(Instant::now()));
    }

    /// A look ended: the slower it was, the longer others wait for the next.
    pub(super) fn pace_resyncs(&mut self) {
        self.min_observe_interval = (self.observe_started.elapsed() * 5).clamp(LOOKS_APART, SLOW_LOOKS_APART);
    }

    /// The engine may give up a container that it is about to start again.
    pub(super) fn resync_while_restarting(&mut self) {
        if self.current.containers.iter().any(|it| it.phase == ContainerPhase::Restarting) {
            self.next_observe = self.next_observe.min(Instant::now() + RESTARTING);
        }
    }

    /// What was seen of the locks; where they cannot be read, what is known of them. One of ours counts only where it cannot have
    /// been given back since: to take it again costs little, to disturb a service without it might cost the service its data.
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

    /// Which services can hold locks, as far as it is known: those of the target and those that had containers at the last look.
    pub(super) fn holders(&self) -> BTreeMap<AppId, LockHolders> {
        // Of an app that nothing else is left of, locks of ours are still given back.
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

    /// Whether the engine answered once, so that it is known which services have containers. Such a look tells the time.
    pub(super) fn knows_containers(&self) -> bool {
        self.current.now_secs != 0
    }

    /// Looks at the locks of one app now, whatever was seen of them before: a lock that was given back refuses no request. Where they
    /// cannot be read, they count as they were last known.
    pub(super) async fn refresh_locks(&mut self, app: AppId) {
        let holders = self.holders().remove(&app).unwrap_or_default();
        match self.world.locks().observe(&BTreeMap::from([(app, holders)])).await {
            Ok(mut seen) => {
                let known = self.are_ours(app);
                self.locks_checked_since_observe.insert(app);
                match seen.remove(&app) {
                    // Whether ours count is for the whole look to say.
                    Some(state::LockState::Ours(_)) if !known => drop(self.locks().remove(&app)),
                    Some(state::LockState::Ours(_)) => (),
                    Some(locks) => drop(self.locks().insert(app, locks)),
                    None => drop(self.locks().remove(&app)),
                }
            }
            Err(error) => warn!(%app, %error, "its update locks cannot be read; they count as they were last known"),
        }
    }

    /// An engine that comes up after us mounts these directories, and would make those that are not there for itself.
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

    /// Whether locks of an app are ours.
    pub(super) fn are_ours(&self, app: AppId) -> bool {
        matches!(self.current.locks.get(&app), Some(state::LockState::Ours(_)))
    }

    /// Gives back the locks that were taken, but for those that the host's configuration or the end of the machine counts on. What was
    /// seen of these apps' locks is out of date, and what was planned meanwhile did not reckon with that.
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

    /// Locks of ours of these apps are not known to be there any more.
    pub(super) fn forget_ours(&mut self, of: impl Fn(&AppId) -> bool) {
        without_ours(self.locks(), of);
    }

    /// What is known of the locks, to be changed. Whoever looks at what was published keeps that.
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
