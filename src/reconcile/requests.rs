//! What a request changes: the target or the overrides, and nothing else. The action to take follows from the next
//! observation.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use crate::plan::Step;
use crate::port::{EngineError, Random, Record, Targets, World};
use crate::reconcile::execute::StepFailure;
use crate::reconcile::persistence::{DirtyRecord, save};
use crate::reconcile::waiters::{Goal, Waiter};
use crate::reconcile::{Reconciler, TargetChange};
use crate::request::{InProgress, Refusal, Reply, Request, respond};
use crate::state::volume::VolumeLocation;
use crate::state::{
    AppId, Caller, ConnectivityCheck, ContainerId, ContainerPhase, EngineAction, EngineState, Force, LockState, Secret,
    ServiceKey, Target, Volume,
};

/// How long a forced update overrides locks at the least: the target it is meant for may not have arrived yet.
const FORCE_LASTS: Duration = Duration::from_secs(10);

impl<W: World> Reconciler<'_, W> {
    pub(super) async fn handle_request(&mut self, request: Request) {
        // Before the first observation it is not known which containers exist and who locks them.
        let blind = matches!(self.publish.borrow().engine, EngineState::Unknown);
        // Locks being released are neither ours nor free.
        let giving_back = self.running.iter().any(|(it, _)| matches!(it, Step::ReleaseLocks(_)));
        let too_early = match &request {
            Request::ConfigureHost { .. } => blind || giving_back,
            Request::Shutdown { .. } => blind,
            other => blind && changes_containers(other),
        };
        if too_early {
            return self.deferred_requests.push(request);
        }
        if self.shutdown.is_under_way() && changes_containers(&request) {
            return request.reject(Refusal::ShuttingDown);
        }
        match request {
            Request::Target(target) => self.set_target(*target).await,
            Request::Rejected(why) => self.publish.send_modify(|it| it.rejected = Some(why)),
            Request::Update { locks, running, reply } => {
                self.update(locks, running).await;
                respond(reply, Ok(()));
            }
            Request::Restart { app, force, reply } => {
                let begun = self.restart(app, force).await;
                self.wait_for(app, begun.map(|()| Goal::Settled), reply);
            }
            Request::Purge { app, force, reply } => match self.purge(app, force).await {
                Ok(Some(stays)) => self.wait_for(app, Ok(|reply| Goal::Purged(stays, reply)), reply),
                begun => self.wait_for(app, begun.map(|_| Goal::Settled), reply),
            },
            Request::Stop { app, service, force, reply } => {
                let key = self.stop(app, service, force).await;
                self.wait_for(app, key.map(|key| |reply| Goal::Stopped(key, reply)), reply);
            }
            Request::Start { app, service, reply } => {
                let key = self.start(app, service).await;
                self.wait_for(app, key.map(|key| |reply| Goal::Started(key, reply)), reply);
            }
            Request::RenewKey { caller, reply } => respond(reply, self.renew(caller).await),
            Request::CheckConnectivity { check, reply } => {
                self.publish.send_modify(|it| it.check = check);
                respond(reply, Ok(()));
            }
            Request::ReadHost(reply) => self.read_host(reply),
            Request::ConfigureHost { patch, force, reply } => self.configure_host(*patch, force, reply),
            Request::Shutdown { ending, force, reply } => self.begin_shutdown(ending, force, reply),
            Request::Probe(reply) => respond(reply, Ok(())),
        }
    }

    /// Responds when a goal is reached, or at once if the request was rejected.
    fn wait_for<T>(&mut self, app: AppId, goal: Result<impl FnOnce(Reply<T>) -> Goal, Refusal>, reply: Reply<T>) {
        match goal {
            Ok(goal) => {
                self.waiters.push(Waiter { app, goal: goal(reply), since: Instant::now() });
                self.request_resync();
            }
            Err(refusal) => respond(reply, Err(refusal)),
        }
    }

    /// Sets a new target. Work in flight that the new target still needs goes on.
    pub(super) async fn set_target(&mut self, target: Target) {
        if self.refuses(&target) {
            return;
        }
        self.publish.send_modify(|it| it.rejected = None);
        if self.targets.wanted.as_ref() == Some(&target) {
            return;
        }
        for warning in &target.warnings {
            warn!("{warning}");
        }
        let apps: Vec<String> =
            target.apps.values().map(|it| format!("{} ({} services)", it.name, it.services.len())).collect();
        info!(apps = apps.join(", "), "a new target");
        self.reached = self.targets.good.as_ref() == Some(&target);
        self.apply_check(&target);
        self.targets.wanted = Some(target);
        // Saved by the observation due now, before it plans: it knows which images are to be pulled, so one record is enough.
        self.dirty.insert(DirtyRecord::Targets);
        self.save_after = Instant::now();
        self.reset_start_count().await;
        self.target_changed();
    }

    /// The target's setting of the connectivity check holds until a request changes it, or a target with another setting
    /// arrives.
    pub(super) fn apply_check(&self, target: &Target) {
        if let Some(check) = ConnectivityCheck::changed(self.targets.wanted.as_ref(), target) {
            self.publish.send_modify(|it| it.check = check);
        }
    }

    /// The completed target changed: drops the overrides that only the old one knows. Steps are cancelled by the observation
    /// due now.
    fn target_changed(&mut self) {
        self.complete();
        if let Some(target) = &self.target {
            let knows = |key: &ServiceKey| target.apps.get(&key.app).is_some_and(|it| it.services.contains_key(&key.service));
            self.overrides.stopped.retain(knows);
            self.overrides.purge.retain(|app| target.apps.contains_key(app));
        }
        self.target_change = TargetChange::New;
        self.request_resync();
    }

    async fn update(&mut self, locks: Force, running: InProgress) {
        self.retry_refused_target().await;
        self.world.targets().look_again();
        if locks == Force::Yes {
            self.overrides.force.extend(self.known_apps());
            self.force_until = Instant::now() + FORCE_LASTS;
        }
        if running == InProgress::Cancel {
            self.drop_unwanted(|_| false);
        }
        self.retries.retry_now();
        self.request_resync();
    }

    async fn restart(&mut self, app: AppId, force: Force) -> Result<(), Refusal> {
        self.check_locks(app, force).await?;
        // Idempotent: a restart under way serves this request too. Requested every second, a restart would never end
        // otherwise.
        let under_way = self.waiters.iter().any(|it| it.app == app && matches!(it.goal, Goal::Settled(_)));
        if !under_way && !self.is_asked(app) {
            let ids = self.current.containers.iter().filter(|it| it.key.app == app).map(|it| it.id.clone());
            self.overrides.recreate.extend(ids);
        }
        self.clear_stops(app).await;
        Ok(())
    }

    /// Says which data it cannot delete, if any.
    async fn purge(&mut self, app: AppId, force: Force) -> Result<Option<String>, Refusal> {
        self.check_locks(app, force).await?;
        self.overrides.purge.insert(app);
        self.clear_stops(app).await;
        Ok(self.uncleared(app))
    }

    /// Volumes of the app whose data removing them does not delete.
    fn uncleared(&self, app: AppId) -> Option<String> {
        let left = |it: &Volume| match it.config.place() {
            VolumeLocation::Host(path) => Some(format!("{} (at {path} of the host)", it.name)),
            VolumeLocation::Remote(path) => Some(format!("{} (at {path} of another machine)", it.name)),
            VolumeLocation::Engine | VolumeLocation::Memory => None,
        };
        let left: Vec<String> = self.current.volumes.iter().filter(|it| it.app == app).filter_map(left).collect();
        (!left.is_empty()).then(|| {
            format!(
                "purged, but the data of these volumes is not the engine's and is still there, delete it by hand: {}",
                left.join(", ")
            )
        })
    }

    async fn stop(&mut self, app: AppId, service: Option<String>, force: Force) -> Result<ServiceKey, Refusal> {
        let key = self.one_service(app, service)?;
        if !self.current.containers.iter().any(|it| it.key == key) {
            return Err(match &self.publish.borrow().engine {
                // While the engine is down, it is not known whether there is a container.
                EngineState::Down { why, .. } => Refusal::Failed(why.clone()),
                EngineState::Unknown | EngineState::Up => Refusal::NoContainer,
            });
        }
        self.check_locks(app, force).await?;
        if self.overrides.stopped.insert(key.clone()) {
            self.restart_after_stop.remove(&key);
            self.save_stopped().await;
        }
        Ok(key)
    }

    async fn start(&mut self, app: AppId, service: Option<String>) -> Result<ServiceKey, Refusal> {
        let key = self.one_service(app, service)?;
        if self.target.as_ref().and_then(|it| it.apps.get(&app)?.services.get(&key.service)).is_some_and(|it| !it.running) {
            return Err(Refusal::NotToRun(key));
        }
        self.retries.retry_service_now(&key);
        if self.overrides.stopped.remove(&key) {
            self.save_stopped().await;
        }
        let ids = self.current.containers.iter().filter(|it| it.key == key && may_be_asked(it.phase)).map(|it| it.id.clone());
        self.overrides.start.extend(ids);
        Ok(key)
    }

    /// Regenerates the caller's API key. The old one is invalid once the response carries the new one.
    async fn renew(&mut self, caller: Caller) -> Result<Secret, Refusal> {
        let mut keys = self.keys.clone();
        let key = match caller {
            // Local mode ends; a key handed out by it would stay valid.
            Caller::Local => return Err(Refusal::UnknownKey),
            Caller::Device => {
                keys.device = Secret::from_bytes(self.world.chance().bytes());
                keys.device.clone()
            }
            Caller::Service { key, .. } => {
                let app = self.target.as_ref().and_then(|it| it.apps.get(&key.app)).ok_or(Refusal::UnknownKey)?;
                keys.renew(&key);
                keys.of(&key, &app.uuid)
            }
        };
        if !save(self.world, &Record::Keys(keys.clone())).await {
            // The disk may hold the new keys all the same: the old ones must be written over them.
            self.dirty.insert(DirtyRecord::Keys);
            return Err(Refusal::Failed("the new key cannot be saved, so the old one stays".to_owned()));
        }
        self.keys = keys;
        self.reached = false;
        self.target_changed();
        Ok(key)
    }

    /// Checks that an app may be disturbed now. An override of its locks holds until the app has settled.
    async fn check_locks(&mut self, app: AppId, force: Force) -> Result<(), Refusal> {
        self.wanted_app(app)?;
        let forced = force == Force::Yes || self.force() == Force::Yes;
        if !forced {
            self.refresh_locks(app).await;
            if let Some(held) = self.current.locks.get(&app).and_then(LockState::held) {
                return Err(Refusal::Locked(held.clone()));
            }
        }
        if force == Force::Yes {
            // The override ends with the action: a lock taken afterwards is respected.
            self.forced_once.insert(app);
        }
        Ok(())
    }

    fn wanted_app(&self, app: AppId) -> Result<&crate::state::App, Refusal> {
        self.target.as_ref().and_then(|it| it.apps.get(&app)).ok_or(Refusal::UnknownApp(app))
    }

    /// The service that a request is about: the one it names, else the only one of its app. A service that has a container
    /// but is no longer in the target can be neither stopped nor started: the reconciler removes it.
    fn one_service(&self, app: AppId, service: Option<String>) -> Result<ServiceKey, Refusal> {
        let containers = self.current.containers.iter().filter(|it| it.key.app == app);
        let present: BTreeSet<&str> = containers.map(|it| it.key.service.as_str()).collect();
        let wanted = self.target.iter().filter_map(|it| it.apps.get(&app)).flat_map(|it| it.services.keys());
        let wanted: BTreeSet<&str> = wanted.map(String::as_str).collect();
        let name = match service {
            Some(name) if wanted.contains(name.as_str()) => name,
            Some(name) if present.contains(name.as_str()) => return Err(Refusal::NotInTarget),
            Some(_) => {
                self.wanted_app(app)?;
                return Err(Refusal::NoContainer);
            }
            None if wanted.len() > 1 && !wanted.is_disjoint(&present) => return Err(Refusal::SeveralServices),
            None => match (wanted.first(), present.first()) {
                (Some(name), _) if wanted.len() == 1 && present.contains(name) => (*name).to_owned(),
                _ if present.len() > 1 => return Err(Refusal::SeveralServices),
                (_, Some(_)) => return Err(Refusal::NotInTarget),
                (Some(_), None) if wanted.len() > 1 => return Err(Refusal::SeveralServices),
                (Some(name), None) => (*name).to_owned(),
                (None, None) => return Err(Refusal::UnknownApp(app)),
            },
        };
        Ok(ServiceKey { app, service: name })
    }

    /// A restart or a purge of an app starts all of its services: user stops are dropped.
    async fn clear_stops(&mut self, app: AppId) {
        let before = self.overrides.stopped.len();
        self.overrides.stopped.retain(|key| key.app != app);
        if self.overrides.stopped.len() != before {
            self.save_stopped().await;
        }
    }

    /// A step succeeded: drops the overrides it fulfilled.
    pub(super) async fn succeeded(&mut self, step: &Step) {
        self.retries.succeed(step);
        match step {
            // Known without an observation, in case locks are not readable just now. A host configuration job that started
            // meanwhile releases them.
            Step::TakeLocks(app, services, _) if !self.is_leased(*app) => {
                self.locks().insert(*app, LockState::Ours(services.clone()));
            }
            Step::Engine(EngineAction::Start(which)) => {
                self.overrides.start.remove(&which.id);
                // Drop the request even if the container exits at once, or it would be started forever.
                if self.restart_after_stop.remove(&which.key) {
                    self.save_stopped().await;
                }
            }
            // The override of a killed container is dropped once the container is seen to be gone: until then it must not
            // count as wanted.
            Step::Engine(EngineAction::Restart(which)) => {
                self.overrides.recreate.remove(&which.id);
            }
            Step::Engine(EngineAction::RemoveImage(image)) => {
                self.targets.pulled.remove(image);
            }
            Step::Engine(_) | Step::TakeLocks(..) | Step::ReleaseLocks(_) | Step::HandOver { .. } | Step::Reboot => (),
        }
    }

    /// A step failed: schedules a retry.
    pub(super) fn failed(&mut self, step: &Step, failure: &StepFailure) {
        if let (Step::Engine(EngineAction::RemoveImage(image)), StepFailure::Engine(EngineError::InUse(why))) = (step, failure)
            && self.retries.has_failed(step)
        {
            // At the first failure a container of ours may just have been created from it. An observation since then found
            // none: a foreign container uses the image, so we do not delete it.
            info!(%image, why, "the image stays");
            self.targets.pulled.remove(image);
            self.retries.succeed(step);
            return;
        }
        let again = self.retries.fail(step, failure);
        warn!(error = %failure, %step, ?again, "step failed");
        self.answer_failed_step(step, &failure.to_string());
    }

    /// Drops the overrides about containers and apps that no longer exist.
    pub(super) async fn drop_fulfilled_overrides(&mut self) {
        let containers = &self.current.containers;
        let rests = |id: &ContainerId| containers.iter().any(|it| it.id == *id && may_be_asked(it.phase));
        self.overrides.start.retain(rests);
        self.overrides.recreate.retain(|id| containers.iter().any(|it| it.id == *id));
        let left = |app: &AppId| {
            containers.iter().any(|it| it.key.app == *app) || self.current.volumes.iter().any(|it| it.app == *app)
        };
        self.overrides.purge.retain(left);
        self.queue_pending_restarts().await;
    }

    /// Starts the services the user had stopped when the agent last ended, whatever their restart policy.
    async fn queue_pending_restarts(&mut self) {
        if self.restart_after_stop.is_empty() {
            return;
        }
        let before = self.restart_after_stop.len();
        for container in &self.current.containers {
            if !self.restart_after_stop.contains(&container.key) || self.overrides.start.contains(&container.id) {
                continue;
            }
            match container.phase {
                ContainerPhase::Exited(_) => drop(self.overrides.start.insert(container.id.clone())),
                ContainerPhase::Running | ContainerPhase::Restarting | ContainerPhase::Paused => {
                    self.restart_after_stop.remove(&container.key);
                }
                ContainerPhase::Created | ContainerPhase::Removing | ContainerPhase::Dead => (),
            }
        }
        let there = |key: &ServiceKey| self.current.containers.iter().any(|it| it.key == *key);
        self.restart_after_stop.retain(there);
        if self.restart_after_stop.len() != before {
            self.save_stopped().await;
        }
    }
}

/// Whether a container starts only on request: it exited, or is paused.
const fn may_be_asked(phase: ContainerPhase) -> bool {
    match phase {
        ContainerPhase::Exited(_) | ContainerPhase::Paused => true,
        ContainerPhase::Created
        | ContainerPhase::Running
        | ContainerPhase::Restarting
        | ContainerPhase::Removing
        | ContainerPhase::Dead => false,
    }
}

/// Whether a request causes steps that nothing else causes.
const fn changes_containers(request: &Request) -> bool {
    match request {
        Request::Restart { .. }
        | Request::Purge { .. }
        | Request::Stop { .. }
        | Request::Start { .. }
        | Request::ConfigureHost { .. } => true,
        Request::Target(_)
        | Request::Rejected(_)
        | Request::Update { .. }
        | Request::RenewKey { .. }
        | Request::CheckConnectivity { .. }
        | Request::ReadHost(_)
        | Request::Shutdown { .. }
        | Request::Probe(_) => false,
    }
}
