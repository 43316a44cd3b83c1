//! Looks at the engine and at the locks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use crate::plan::Step;
use crate::port::{Engine, EngineError, LockError, Locks, Power, Seen, World};
use crate::reconcile::Keeper;
use crate::reconcile::take::make_lock_directory;
use crate::state::{self, AppId, ServiceKey};

/// How soon locks are looked at again that could not be read.
const LOCKS_AGAIN: Duration = Duration::from_secs(30);

/// What was seen.
pub(super) type Look = (Result<Seen, EngineError>, Result<BTreeMap<AppId, state::Locks>, LockError>, Option<String>);

/// Looks at the engine, at the locks of every app there is, and whether the host is to be booted.
pub(super) async fn look<W: World>(world: &W, mut apps: BTreeSet<AppId>) -> Look {
    let seen = world.engine().observe().await;
    match &seen {
        Ok(seen) => apps.extend(seen.containers.iter().map(|it| it.key.app)),
        // An app that is to go may still have containers, and a lock that holds up a reboot. What cannot be read here is told below.
        Err(_) => apps.extend(world.locks().apps().await.unwrap_or_default()),
    }
    let locks = world.locks().observe(&apps).await;
    (seen, locks, world.power().boot_wanted().await)
}

impl<W: World> Keeper<'_, W> {
    /// What was seen of the locks; where they cannot be read, what is known of them. One of ours counts only where it cannot have
    /// been given back since: to take it again costs little, to disturb a service without it might cost the service its data.
    pub(super) fn see_locks(
        &mut self,
        seen: Result<BTreeMap<AppId, state::Locks>, LockError>,
    ) -> BTreeMap<AppId, state::Locks> {
        let mut locks = seen.unwrap_or_else(|error| {
            warn!(%error, "update locks cannot be read; they count as they were last known");
            self.next_look = self.next_look.min(Instant::now() + LOCKS_AGAIN);
            self.current.locks.clone()
        });
        let given_back = |app: &AppId| self.under_way().any(|step| *step == Step::ReleaseLocks(*app));
        let counts = |app: &AppId| !self.gave_back && !given_back(app) && !self.are_lent(*app);
        locks.retain(|app, it| matches!(it, state::Locks::Held(_)) || counts(app));
        locks
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
        matches!(self.current.locks.get(&app), Some(state::Locks::Ours(_)))
    }

    /// Gives back the locks that were taken, but for those that the host's configuration or the end of the machine counts on. What was
    /// seen of these apps' locks is out of date, and what was planned meanwhile did not reckon with that.
    pub(super) async fn give_back(&mut self, apps: &BTreeSet<AppId>, taken: impl IntoIterator<Item = AppId>) {
        if apps.is_empty() {
            return;
        }
        self.gave_back = true;
        self.due = false;
        self.locks().retain(|app, it| matches!(it, state::Locks::Held(_)) || !apps.contains(app));
        for app in taken {
            if self.are_lent(app) || self.halt.has_locked(app) {
                continue;
            }
            if let Err(error) = self.world.locks().release(app).await {
                warn!(%app, %error, "its update locks cannot be given back; this is tried again");
            }
        }
    }

    /// What is known of the locks, to be changed. Whoever looks at what was published keeps that.
    pub(super) fn locks(&mut self) -> &mut BTreeMap<AppId, state::Locks> {
        &mut Arc::make_mut(&mut self.current).locks
    }
}
