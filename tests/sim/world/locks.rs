//! Update locks in a directory that a reboot empties, and the signals of a hand-over.

use std::pin::pin;
use std::time::Duration;

use boardkeeper::port::{LockError, Locks};
use boardkeeper::sorted::{SortedMap, SortedSet};
use boardkeeper::state::{AppId, ContainerRef, EngineAction, Force, HeldLock, LockHolders, LockState as Held, ServiceKey};
use futures_util::{Stream, stream};

use super::marks::Mark;
use super::{Model, Sim};

/// The directory of update locks.
#[derive(Debug, Default)]
pub(crate) struct LockDir {
    /// Who holds the lock of a service.
    pub(crate) held: SortedMap<ServiceKey, Holder>,
    /// The name of the lock file, where a service uses another than the usual one.
    pub(crate) files: SortedMap<ServiceKey, String>,
    /// Services whose new container said it is ready.
    pub(crate) ready: SortedSet<ServiceKey>,
    /// Observing them fails.
    pub(crate) unreadable: bool,
    /// Services whose directory is there.
    there: SortedSet<ServiceKey>,
    /// Those of them that the engine made, as it mounted what was not there: the agent, which is not root, has no access.
    pub(crate) engines: SortedSet<ServiceKey>,
    /// An agent before this one left some of its locks.
    inherited: bool,
}

/// Who holds a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holder {
    /// The agent.
    Agent,
    /// The service, since that second of the wall clock.
    User(i64),
}

impl LockDir {
    /// The machine was rebooted.
    pub(crate) fn lose_tmpfs(&mut self) {
        *self = Self::default();
    }

    /// The agent that took some is gone.
    pub(crate) fn agent_died(&mut self) {
        self.inherited = self.are_taken();
    }

    /// Services whose lock the agent holds.
    pub(crate) fn of_agent(&self) -> impl Iterator<Item = &ServiceKey> {
        self.held.iter().filter(|(_, holder)| **holder == Holder::Agent).map(|(key, _)| key)
    }

    /// Whether the agent holds any.
    pub(crate) fn are_taken(&self) -> bool {
        self.of_agent().next().is_some()
    }

    /// The unit starts the agent, and hands over to it what the engine made.
    pub(crate) fn agent_starts(&mut self) {
        self.engines.clear();
    }

    /// The engine starts a container at boot, which is before the unit starts the agent.
    pub(crate) fn mounted_at_boot(&mut self, key: ServiceKey) {
        self.there.insert(key);
    }

    /// The engine starts a container.
    pub(crate) fn mounted(&mut self, key: ServiceKey) {
        if self.there.insert(key.clone()) {
            self.engines.insert(key);
        }
    }

    /// The first lock of an app that its services hold.
    pub(crate) fn users(&self, app: AppId) -> Option<HeldLock> {
        self.first(app, &LockHolders::All)
    }

    fn first(&self, app: AppId, holders: &LockHolders) -> Option<HeldLock> {
        self.held.iter().filter(|(key, _)| key.app == app && holders.may_hold(&key.service)).find_map(|(key, holder)| {
            match holder {
                Holder::User(since) => Some(self.held_lock(key, *since)),
                Holder::Agent => None,
            }
        })
    }

    /// Who holds the locks of these apps.
    pub(crate) fn seen(&self, apps: &SortedMap<AppId, LockHolders>) -> SortedMap<AppId, Held> {
        let of = |(app, holders): (&AppId, &LockHolders)| {
            let ours: SortedSet<_> = self.agents(*app).map(|key| key.service.clone()).collect();
            match self.first(*app, holders) {
                Some(held) if ours.is_empty() => Some((*app, Held::Held(held))),
                Some(held) => Some((*app, Held::Both(held))),
                None if ours.is_empty() => None,
                None => Some((*app, Held::Ours(ours))),
            }
        };
        apps.iter().filter_map(of).collect()
    }

    fn held_lock(&self, key: &ServiceKey, since_secs: i64) -> HeldLock {
        let file = self.files.get(key).map_or("updates.lock", String::as_str);
        let path = format!("/tmp/balena-supervisor/services/{}/{}/{file}", key.app, key.service);
        HeldLock { service: key.service.clone(), path, since_secs }
    }

    /// Releases the agent's locks of an app.
    fn release(&mut self, app: AppId) {
        self.held.retain(|key, holder| key.app != app || *holder != Holder::Agent);
    }

    fn agents(&self, app: AppId) -> impl Iterator<Item = &ServiceKey> {
        self.of_agent().filter(move |key| key.app == app)
    }

    fn take(&mut self, app: AppId, services: &SortedSet<String>, force: Force) -> Result<(), LockError> {
        if let Some(name) = services.iter().find(|it| ["", ".", ".."].contains(&it.as_str()) || it.contains('/')) {
            return Err(LockError::Failed(format!("`{name}` is no name of a directory")));
        }
        if let Some(closed) = self.engines.iter().find(|it| it.app == app) {
            return Err(LockError::Failed(format!("the directory of {closed}: Permission denied")));
        }
        let keys: Vec<_> = services.iter().map(|name| ServiceKey::new(app, name)).collect();
        self.there.extend(keys.iter().cloned());
        if force == Force::No {
            for key in &keys {
                if let Some(Holder::User(since)) = self.held.get(key) {
                    let held = self.held_lock(key, *since);
                    self.release(app);
                    return Err(LockError::Held(held));
                }
            }
        }
        self.held.extend(keys.into_iter().map(|key| (key, Holder::Agent)));
        Ok(())
    }
}

impl Model {
    /// What runs is disturbed under the update lock of its service only, so that the service can prevent it.
    pub(super) fn check_lock(&mut self, action: &EngineAction, which: &ContainerRef) {
        let alive = self.engine.containers.get(&which.id).is_some_and(|it| it.view.phase.is_alive());
        if alive && !matches!(self.locks.held.get(&which.key), Some(Holder::Agent)) {
            self.violation(format_args!("{action}, without its update lock"));
        }
        if alive {
            self.check_lease(&action.to_string(), which.key.app, Duration::ZERO);
            if !matches!(action, EngineAction::Rename(..)) {
                self.check_window(&action.to_string(), which);
            }
            self.checker.disturbed.insert(which.key.clone());
        }
    }

    /// Rolls for an error of the file system under the locks.
    fn stuck(&mut self, what: &str, app: AppId) -> Result<(), LockError> {
        if !self.roll(self.rates.faults / 4, Mark::LockFails) {
            return Ok(());
        }
        self.note(format_args!("{what} {app}: the file system says no"));
        Err(LockError::Failed("input/output error".into()))
    }

    /// A new container of a service says that it is ready to take over.
    pub(crate) fn becomes_ready(&mut self, key: ServiceKey) {
        self.locks.ready.insert(key);
        self.notifiers.ready.send_modify(|count| *count += 1);
    }

    /// A service releases its lock.
    pub(crate) fn unlock(&mut self, key: &ServiceKey) {
        if matches!(self.locks.held.get(key), Some(Holder::User(_))) {
            self.locks.held.remove(key);
            self.note(format_args!("{key} gives its lock back"));
            self.notifiers.unlocked.send_modify(|count| *count += 1);
        }
    }
}

/// Locks being taken. If it is dropped before it is done, some may be left.
struct Taking<'a>(&'a Sim, AppId, Option<SortedSet<String>>);

impl Drop for Taking<'_> {
    fn drop(&mut self) {
        let (Some(services), Ok(mut model)) = (self.2.take(), self.0.0.try_borrow_mut()) else { return };
        let some: SortedSet<_> = services.into_iter().filter(|_| model.rngs.partial.happens(500)).collect();
        if !some.is_empty() {
            model.hit(Mark::LockHalfTaken);
        }
        // If a service holds one of them, none is taken.
        let _ = model.locks.take(self.1, &some, Force::No);
    }
}

impl Locks for Sim {
    async fn observe(&self, apps: &SortedMap<AppId, LockHolders>) -> Result<SortedMap<AppId, Held>, LockError> {
        self.pass(1, 20).await;
        self.with(|model| {
            model.stuck("look at the locks of", AppId(0))?;
            if model.locks.unreadable {
                return Err(LockError::Failed("input/output error".into()));
            }
            Ok(model.locks.seen(apps))
        })
    }

    async fn apps(&self) -> Result<SortedSet<AppId>, LockError> {
        self.pass(1, 20).await;
        self.with(|model| {
            model.stuck("look for directories of locks", AppId(0))?;
            Ok(model.locks.held.keys().chain(&model.locks.there).map(|it| it.app).collect())
        })
    }

    async fn take(&self, app: AppId, services: &SortedSet<String>, force: Force) -> Result<(), LockError> {
        self.with(|model| model.check_force(app, force));
        let mut taking = Taking(self, app, Some(services.clone()));
        self.pass(1, 20).await;
        taking.2 = None;
        self.with(|model| {
            model.stuck("lock", app)?;
            let over = force == Force::Yes && model.locks.users(app).is_some();
            let taken = model.locks.take(app, services, force);
            match &taken {
                Ok(()) if over => model.hit(Mark::LockForced),
                Err(LockError::Held(_)) => model.hit(Mark::LockRefused),
                Ok(()) | Err(LockError::Failed(_) | LockError::File(_)) => (),
            }
            let names: Vec<_> = services.iter().map(String::as_str).collect();
            let how = if force == Force::Yes { " by force" } else { "" };
            let came = taken.as_ref().map_or_else(ToString::to_string, |()| "ok".to_owned());
            model.note(format_args!("lock {app} ({}){how}: {came}", names.join(" ")));
            taken
        })
    }

    async fn release(&self, app: AppId) -> Result<(), LockError> {
        self.pass(1, 20).await;
        self.with(|model| {
            model.stuck("unlock", app)?;
            model.note(format_args!("unlock {app}"));
            model.check_unlock(app);
            if model.locks.inherited && model.locks.agents(app).next().is_some() {
                model.hit(Mark::LockGivenBack);
                model.locks.inherited = false;
            }
            model.locks.release(app);
            Ok(())
        })
    }

    async fn prepare(&self, key: &ServiceKey) -> Result<(), LockError> {
        // On a tmpfs, creating a directory fails only for reasons that would stop the engine too.
        self.pass(1, 20).await;
        self.with(|model| model.locks.there.insert(key.clone()));
        Ok(())
    }

    async fn expect_hand_over(&self, key: &ServiceKey) -> Result<(), LockError> {
        self.pass(1, 20).await;
        self.with(|model| {
            model.stuck("expect a hand-over in", key.app)?;
            model.locks.ready.remove(key);
            Ok(())
        })
    }

    async fn handed_over(&self, key: &ServiceKey) -> Result<(), LockError> {
        self.pass(1, 20).await;
        let mut notifier = self.with(|model| model.notifiers.ready.subscribe());
        while !self.with(|model| model.locks.ready.contains(key)) {
            notifier.changed().await.expect("the world outlives its agents");
        }
        self.note(format_args!("{key} is ready to take over"));
        Ok(())
    }

    fn changes(&self) -> impl Stream<Item = ()> {
        let notifier = self.with(|model| model.notifiers.unlocked.subscribe());
        stream::unfold(notifier, async |mut notifier| {
            let changed = pin!(notifier.changed()).await;
            changed.expect("the world outlives its agents");
            Some(((), notifier))
        })
    }
}
