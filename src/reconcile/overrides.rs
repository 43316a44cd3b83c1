//! What users requested on top of the target, and until when each request holds.

use std::time::Duration;

use tokio::time::Instant;

use crate::sorted::SortedSet;
use crate::state::{AppId, Container, ContainerId, ContainerPhase, Current, Overrides, ServiceKey, Target, Volume};

/// How long a forced update overrides locks at the least: the target it is meant for may not have arrived yet.
const FORCE_LASTS: Duration = Duration::from_secs(10);

/// What users requested on top of the target, and until when each request holds.
#[derive(Debug)]
pub(super) struct ActiveOverrides {
    requested: Overrides,
    /// Services the user had stopped when the agent last ended, and those that local mode interrupted. Each is started again
    /// once, whatever its restart policy.
    restart_after_stop: SortedSet<ServiceKey>,
    /// Apps of which a restart was requested. Done as soon as none of the app's containers is to be recreated.
    restarts: SortedSet<AppId>,
    /// Apps whose locks a restart, a purge or a stop overrides, until it is done.
    forced_once: SortedSet<AppId>,
    /// Until then forced apps stay forced, although they have settled.
    force_until: Instant,
}

/// Whether the record of stopped services changed and has to be saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(super) enum StoppedRecord {
    Changed,
    Same,
}

impl StoppedRecord {
    const fn if_changed(changed: bool) -> Self {
        if changed { Self::Changed } else { Self::Same }
    }
}

impl ActiveOverrides {
    /// No overrides. `stopped` are the services that the user had stopped when the agent last ended.
    pub(super) fn new(stopped: SortedSet<ServiceKey>) -> Self {
        Self {
            requested: Overrides::default(),
            restart_after_stop: stopped,
            restarts: SortedSet::new(),
            forced_once: SortedSet::new(),
            force_until: Instant::now(),
        }
    }

    /// The overrides that users requested.
    pub(super) const fn requested(&self) -> &Overrides {
        &self.requested
    }

    /// The overrides to plan with. `configured`: apps whose locks the configuration overrides.
    pub(super) fn effective(&self, configured: SortedSet<AppId>) -> Overrides {
        let mut effective = self.requested.clone();
        // Neither a forced restart nor locks that are always overridden say that an update may come at any time.
        effective.outside_windows.extend(self.requested.force.iter().copied());
        effective.force.extend(self.forced_once.iter().copied());
        effective.force.extend(configured);
        effective
    }

    /// The record of stopped services: those stopped now, and those still to be restarted.
    pub(super) fn stopped_record(&self) -> SortedSet<ServiceKey> {
        self.requested.stopped.iter().chain(&self.restart_after_stop).cloned().collect()
    }

    /// Whether the user stopped a service.
    pub(super) fn has_stopped(&self, key: &ServiceKey) -> bool {
        self.requested.stopped.contains(key)
    }

    /// Whether a user requested to start a container, and it was not started yet.
    pub(super) fn is_start_requested(&self, id: &ContainerId) -> bool {
        self.requested.start.contains(id)
    }

    /// Whether a restart of an app or of one of its services, or a purge, is not done yet.
    pub(super) fn is_restart_requested(&self, app: AppId, current: &Current) -> bool {
        self.requested.purge.contains(&app) || self.is_any_recreated(current, |key| key.app == app)
    }

    /// Whether a restart of a whole app, or a purge, is not done yet.
    pub(super) fn is_app_restart_requested(&self, app: AppId, current: &Current) -> bool {
        self.requested.purge.contains(&app)
            || self.restarts.contains(&app) && self.is_any_recreated(current, |key| key.app == app)
    }

    /// Whether a container of a service is still to be recreated.
    pub(super) fn is_recreate_requested(&self, key: &ServiceKey, current: &Current) -> bool {
        self.requested.purge.contains(&key.app) || self.is_any_recreated(current, |it| it == key)
    }

    fn is_any_recreated(&self, current: &Current, such: impl Fn(&ServiceKey) -> bool) -> bool {
        current.containers.iter().any(|it| such(&it.key) && self.requested.recreate.contains(&it.id))
    }

    /// A new target: drops the overrides that only the old one knows.
    pub(super) fn keep_only(&mut self, target: &Target) {
        self.requested.stopped.retain(|key| target.service(key).is_some());
        self.requested.purge.retain(|app| target.apps.contains_key(app));
        let is_named = |volume: &String| {
            target.apps.values().any(|app| app.volumes.keys().any(|name| Volume::engine_name(app.id, name) == *volume))
        };
        self.requested.unused_volumes.retain(|it| !is_named(it));
    }

    /// Requests that the locks of these apps are overridden until each has settled.
    pub(super) fn force_update(&mut self, apps: SortedSet<AppId>) {
        self.requested.force.extend(apps);
        self.force_until = Instant::now() + FORCE_LASTS;
    }

    /// Requests that the locks of an app are overridden until its restart, purge or stop is done.
    pub(super) fn force_once(&mut self, app: AppId) {
        self.forced_once.insert(app);
    }

    /// Requests that the containers of an app are recreated.
    pub(super) fn restart(&mut self, app: AppId, current: &Current) {
        self.restarts.insert(app);
        self.recreate(current, |key| key.app == app);
    }

    /// Requests that the containers of a service are recreated.
    pub(super) fn restart_service(&mut self, key: &ServiceKey, current: &Current) {
        self.recreate(current, |it| it == key);
    }

    /// A restart of a service starts it: a user's stop of it is dropped.
    pub(super) fn clear_stop(&mut self, key: &ServiceKey) -> StoppedRecord {
        StoppedRecord::if_changed(self.requested.stopped.remove(key))
    }

    /// Leaves out what was created beside another container: it takes the place of that one, and would be created over and
    /// over.
    fn recreate(&mut self, current: &Current, such: impl Fn(&ServiceKey) -> bool) {
        let is_older = |it: &Container, other: &Container| {
            it.key == other.key && (it.created_secs, &it.id) < (other.created_secs, &other.id)
        };
        let is_beside =
            |it: &Container| it.phase == ContainerPhase::Created && current.containers.iter().any(|other| is_older(other, it));
        let all = current.containers.iter().filter(|it| such(&it.key) && !is_beside(it));
        self.requested.recreate.extend(all.map(|it| it.id.clone()));
    }

    /// Requests that the volumes of an app are purged.
    pub(super) fn purge(&mut self, app: AppId) {
        self.requested.purge.insert(app);
    }

    /// Requests that volumes are removed which no container has and the target does not name.
    pub(super) fn remove_unused_volumes(&mut self, names: &SortedSet<String>) {
        self.requested.unused_volumes.extend(names.iter().cloned());
    }

    /// Whether one of these volumes is still to be removed.
    pub(super) fn removes_any_volume(&self, names: &SortedSet<String>) -> bool {
        !self.requested.unused_volumes.is_disjoint(names)
    }

    /// Whether a volume was to be removed as unused, and now stays.
    pub(super) fn keep_volume(&mut self, name: &str) -> bool {
        self.requested.unused_volumes.remove(name)
    }

    /// Requests that a service stays stopped.
    pub(super) fn stop(&mut self, key: &ServiceKey) -> StoppedRecord {
        let new = self.requested.stopped.insert(key.clone());
        if new {
            self.restart_after_stop.remove(key);
        }
        StoppedRecord::if_changed(new)
    }

    /// Requests that a service is started: those of its containers that start only on request.
    pub(super) fn start(&mut self, key: &ServiceKey, current: &Current) -> StoppedRecord {
        let ids = current.containers.iter().filter(|it| it.key == *key && starts_on_request(it.phase)).map(|it| it.id.clone());
        self.requested.start.extend(ids);
        StoppedRecord::if_changed(self.requested.stopped.remove(key))
    }

    /// A restart or a purge of an app starts all of its services: user stops are dropped.
    pub(super) fn clear_stops(&mut self, app: AppId) -> StoppedRecord {
        let before = self.requested.stopped.len();
        self.requested.stopped.retain(|key| key.app != app);
        StoppedRecord::if_changed(self.requested.stopped.len() != before)
    }

    /// Local mode was left: the services that it interrupted are started again, each once.
    pub(super) fn restart_interrupted(&mut self, services: SortedSet<ServiceKey>) -> StoppedRecord {
        let before = self.restart_after_stop.len();
        self.restart_after_stop.extend(services.into_iter().filter(|it| !self.requested.stopped.contains(it)));
        StoppedRecord::if_changed(self.restart_after_stop.len() != before)
    }

    /// Drops what a rejected request changed: `stop` is the service that it would have stopped.
    pub(super) fn withdraw(&mut self, app: AppId, stop: Option<&ServiceKey>, current: &Current) {
        self.requested.purge.remove(&app);
        let of_app = |id: &ContainerId| current.containers.iter().any(|it| it.key.app == app && it.id == *id);
        self.requested.recreate.retain(|id| !of_app(id));
        self.restarts.remove(&app);
        if let Some(key) = stop {
            self.requested.stopped.remove(key);
        }
    }

    /// A container was started.
    pub(super) fn on_started(&mut self, id: &ContainerId, key: &ServiceKey) -> StoppedRecord {
        self.requested.start.remove(id);
        // Dropped even if the container exits at once, or it would be started forever.
        StoppedRecord::if_changed(self.restart_after_stop.remove(key))
    }

    /// A container was restarted.
    pub(super) fn on_restarted(&mut self, id: &ContainerId) {
        self.requested.recreate.remove(id);
    }

    /// An observation: drops the overrides about containers and apps that no longer exist.
    pub(super) fn drop_fulfilled(&mut self, current: &Current) -> StoppedRecord {
        let containers = &current.containers;
        let waits = |id: &ContainerId| containers.iter().any(|it| it.id == *id && starts_on_request(it.phase));
        self.requested.start.retain(waits);
        self.requested.recreate.retain(|id| containers.iter().any(|it| it.id == *id));
        let exists =
            |app: &AppId| containers.iter().any(|it| it.key.app == *app) || current.volumes.iter().any(|it| it.app == *app);
        self.requested.purge.retain(exists);
        self.requested.unused_volumes.retain(|name| current.volumes.iter().any(|it| it.name == *name));
        let is_recreated =
            |app: &AppId| containers.iter().any(|it| it.key.app == *app && self.requested.recreate.contains(&it.id));
        self.restarts.retain(is_recreated);
        self.request_pending_restarts(containers)
    }

    /// Starts the services the user had stopped when the agent last ended, whatever their restart policy.
    fn request_pending_restarts(&mut self, containers: &[Container]) -> StoppedRecord {
        let before = self.restart_after_stop.len();
        for container in containers {
            if !self.restart_after_stop.contains(&container.key) || self.requested.start.contains(&container.id) {
                continue;
            }
            match container.phase {
                ContainerPhase::Exited(_) => drop(self.requested.start.insert(container.id.clone())),
                ContainerPhase::Running | ContainerPhase::Restarting | ContainerPhase::Paused => {
                    self.restart_after_stop.remove(&container.key);
                }
                ContainerPhase::Created | ContainerPhase::Removing | ContainerPhase::Dead => (),
            }
        }
        self.restart_after_stop.retain(|key| containers.iter().any(|it| it.key == *key));
        StoppedRecord::if_changed(self.restart_after_stop.len() != before)
    }

    /// A new plan: apps that have settled are no longer forced, once the time is over that a forced update lasts at the least.
    pub(super) fn expire_forced_update(&mut self, is_busy: impl Fn(AppId) -> bool) {
        let lasting = self.force_until > Instant::now();
        self.requested.force.retain(|app| lasting || is_busy(*app));
    }

    /// Requests were answered: apps without an unfinished one are no longer forced by it.
    pub(super) fn expire_forced_requests(&mut self, current: &Current, has_waiter: impl Fn(AppId) -> bool) {
        let mut forced = std::mem::take(&mut self.forced_once);
        forced.retain(|app| self.is_restart_requested(*app, current) || has_waiter(*app));
        self.forced_once = forced;
    }
}

/// Whether a container starts only on request: it exited, or is paused.
const fn starts_on_request(phase: ContainerPhase) -> bool {
    match phase {
        ContainerPhase::Exited(_) | ContainerPhase::Paused => true,
        ContainerPhase::Created
        | ContainerPhase::Running
        | ContainerPhase::Restarting
        | ContainerPhase::Removing
        | ContainerPhase::Dead => false,
    }
}

#[cfg(test)]
mod tests;
