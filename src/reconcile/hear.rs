//! What an intent changes: the target or the demands, and nothing else. What to do about it is read off the machine.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::intent::{Ask, Intent, Refusal, Reply, Running};
use crate::plan::{Deed, Step};
use crate::port::{Chance, EngineError, Record, Targets, World};
use crate::reconcile::host::Errand;
use crate::reconcile::remember::{Unsaved, save};
use crate::reconcile::take::Failure;
use crate::reconcile::wait::{Goal, Waiter};
use crate::reconcile::{Aim, Keeper};
use crate::state::volume::Place;
use crate::state::{AppId, Caller, Check, ContainerId, EngineState, Force, Locks, Phase, Secret, ServiceKey, Target, Volume};

/// How long a forced update overrides locks at the least: the target it is about may still be on its way.
const FORCE_LASTS: Duration = Duration::from_secs(10);

impl<'w, W: World> Keeper<'w, W> {
    pub(super) async fn hear(&mut self, Ask { intent, reply }: Ask) {
        // What containers there are, and who locks them, is not known before the first look.
        let blind = matches!(self.publish.borrow().engine, EngineState::Unknown);
        // Locks that are being given back are neither ours nor free.
        let giving_back = self.running.iter().any(|(it, _)| matches!(it, Step::ReleaseLocks(_)));
        let too_early = match &intent {
            Intent::ConfigureHost(..) => blind || giving_back,
            Intent::End(..) => blind,
            other => blind && disturbs(other),
        };
        if too_early {
            return self.early.push(Ask { intent, reply });
        }
        if let Intent::End(ending, force) = intent {
            return self.end(ending, force, reply);
        }
        let answer = match self.change(intent).await {
            Ok(Change::Wait(app, goal)) => {
                self.waiters.push(Waiter { app, goal, reply, since: Instant::now() });
                return self.look_now();
            }
            Ok(Change::Errand(errand)) => return self.errands.push(errand.map(|outcome| (reply, outcome)).boxed_local()),
            Ok(Change::Answer(answer)) => Ok(answer),
            Err(refusal) => Err(refusal),
        };
        let _ = reply.send(answer); // Whoever asked may have hung up; that is their business.
    }

    async fn change(&mut self, intent: Intent) -> Result<Change<'w>, Refusal> {
        if self.halt.is_under_way() && disturbs(&intent) {
            return Err(Refusal::ShuttingDown);
        }
        match intent {
            Intent::Target(target) => self.aim(*target).await,
            Intent::Rejected(why) => self.publish.send_modify(|it| it.rejected = Some(why)),
            Intent::Update { locks, running } => self.update(locks, running).await,
            Intent::Restart(app, force) => return self.restart(app, force).await,
            Intent::Purge(app, force) => return self.purge(app, force).await,
            Intent::Stop(app, service, force) => return self.stop(app, service, force).await,
            Intent::Start(app, service) => return self.start(app, service).await,
            Intent::ReadHost => return Ok(Change::Errand(self.read_host())),
            Intent::ConfigureHost(patch, force) => return self.configure_host(*patch, force).map(Change::Errand),
            Intent::CheckConnectivity(check) => self.publish.send_modify(|it| it.check = check),
            // An end is no change; it was heard before.
            Intent::End(..) | Intent::Beat => (),
            Intent::RenewKey(caller) => return self.renew(caller).await.map(Change::Answer),
        }
        Ok(Change::Answer(Reply::Done))
    }

    /// A new target. What is under way and still wanted goes on.
    pub(super) async fn aim(&mut self, target: Target) {
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
        // Saved by the look that is due now, before it plans: it knows which images are to be pulled, so one record does.
        self.unsaved.insert(Unsaved::Targets);
        self.save_after = Instant::now();
        self.end_trial().await;
        self.aim_again();
    }

    /// What the target says of the connectivity check counts until somebody asks otherwise, or it says something else.
    pub(super) fn apply_check(&self, target: &Target) {
        if let Some(check) = Check::changed(self.targets.wanted.as_ref(), target) {
            self.publish.send_modify(|it| it.check = check);
        }
    }

    /// The completed target changed: forgets what only the old one wanted. Steps are dropped by the look that is due now.
    fn aim_again(&mut self) {
        self.complete();
        if let Some(target) = &self.target {
            let knows = |key: &ServiceKey| target.apps.get(&key.app).is_some_and(|it| it.services.contains_key(&key.service));
            self.demands.stopped.retain(knows);
            self.demands.purge.retain(|app| target.apps.contains_key(app));
        }
        self.aim = Aim::New;
        self.look_now();
    }

    async fn update(&mut self, locks: Force, running: Running) {
        self.try_again().await;
        self.world.targets().look_again();
        if locks == Force::Yes {
            self.demands.force.extend(self.known_apps());
            self.force_until = Instant::now() + FORCE_LASTS;
        }
        if running == Running::Cancelled {
            self.drop_unwanted(|_| false);
        }
        self.resting.wake();
        self.look_now();
    }

    async fn restart(&mut self, app: AppId, force: Force) -> Result<Change<'w>, Refusal> {
        self.may_disturb(app, force).await?;
        // A restart under way is the restart that is asked for: asked every second, it would never end otherwise.
        let under_way = self.waiters.iter().any(|it| it.app == app && matches!(it.goal, Goal::Settled));
        if !under_way && !self.is_asked(app) {
            let ids = self.current.containers.iter().filter(|it| it.key.app == app).map(|it| it.id.clone());
            self.demands.recreate.extend(ids);
        }
        self.let_run(app).await;
        Ok(Change::Wait(app, Goal::Settled))
    }

    async fn purge(&mut self, app: AppId, force: Force) -> Result<Change<'w>, Refusal> {
        self.may_disturb(app, force).await?;
        self.demands.purge.insert(app);
        self.let_run(app).await;
        Ok(Change::Wait(app, self.uncleared(app).map_or(Goal::Settled, Goal::Purged)))
    }

    /// What removing the app's volumes does not delete.
    fn uncleared(&self, app: AppId) -> Option<String> {
        let left = |it: &Volume| match it.config.place() {
            Place::Host(path) => Some(format!("{} (at {path} of the host)", it.name)),
            Place::Remote(path) => Some(format!("{} (at {path} of another machine)", it.name)),
            Place::Engine | Place::Memory => None,
        };
        let left: Vec<String> = self.current.volumes.iter().filter(|it| it.app == app).filter_map(left).collect();
        (!left.is_empty()).then(|| {
            format!(
                "purged, but the data of these volumes is not the engine's and is still there, delete it by hand: {}",
                left.join(", ")
            )
        })
    }

    async fn stop(&mut self, app: AppId, service: Option<String>, force: Force) -> Result<Change<'w>, Refusal> {
        let key = self.one_service(app, service)?;
        if !self.current.containers.iter().any(|it| it.key == key) {
            return Err(match &self.publish.borrow().engine {
                // Nobody knows.
                EngineState::Down { why, .. } => Refusal::Failed(why.clone()),
                EngineState::Unknown | EngineState::Up => Refusal::NoContainer,
            });
        }
        self.may_disturb(app, force).await?;
        if self.demands.stopped.insert(key.clone()) {
            self.owed.remove(&key);
            self.save_stopped().await;
        }
        Ok(Change::Wait(app, Goal::Stopped(key)))
    }

    async fn start(&mut self, app: AppId, service: Option<String>) -> Result<Change<'w>, Refusal> {
        let key = self.one_service(app, service)?;
        if self.target.as_ref().and_then(|it| it.apps.get(&app)?.services.get(&key.service)).is_some_and(|it| !it.running) {
            return Err(Refusal::NotToRun(key));
        }
        self.resting.wake_service(&key);
        if self.demands.stopped.remove(&key) {
            self.save_stopped().await;
        }
        let ids = self.current.containers.iter().filter(|it| it.key == key && may_be_asked(it.phase)).map(|it| it.id.clone());
        self.demands.start.extend(ids);
        Ok(Change::Wait(app, Goal::Started(key)))
    }

    /// Makes the caller's key anew. The old one is worth nothing once the new one is told.
    async fn renew(&mut self, caller: Caller) -> Result<Reply, Refusal> {
        let mut keys = self.keys.clone();
        let key = match caller {
            // Local mode ends; a key that it handed out would not.
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
            // The disk may have kept it all the same: then the old ones are to be written over it.
            self.unsaved.insert(Unsaved::Keys);
            return Err(Refusal::Failed("the new key cannot be saved, so the old one stays".to_owned()));
        }
        self.keys = keys;
        self.reached = false;
        self.aim_again();
        Ok(Reply::Key(key))
    }

    /// Whether an app may be disturbed now. Overriding its locks holds until it has settled.
    async fn may_disturb(&mut self, app: AppId, force: Force) -> Result<(), Refusal> {
        self.wanted_app(app)?;
        let forced = force == Force::Yes || self.force() == Force::Yes;
        if !forced {
            self.look_at_locks(app).await;
            if let Some(held) = self.current.locks.get(&app).and_then(Locks::held) {
                return Err(Refusal::Locked(held.clone()));
            }
        }
        if force == Force::Yes {
            // It ends with the deed: whoever locks the app afterwards is respected.
            self.forced.insert(app);
        }
        Ok(())
    }

    fn wanted_app(&self, app: AppId) -> Result<&crate::state::App, Refusal> {
        self.target.as_ref().and_then(|it| it.apps.get(&app)).ok_or(Refusal::UnknownApp(app))
    }

    /// The service that a request is about: the one it names, else the only one of its app. What has a container and is not in the
    /// target any more can neither be stopped nor started: the reconciler removes it.
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

    /// Whoever restarts or purges an app wants all of it to run.
    async fn let_run(&mut self, app: AppId) {
        let before = self.demands.stopped.len();
        self.demands.stopped.retain(|key| key.app != app);
        if self.demands.stopped.len() != before {
            self.save_stopped().await;
        }
    }

    /// A step worked: what was asked for and is done is not asked for again.
    pub(super) async fn succeeded(&mut self, step: &Step) {
        self.resting.succeed(step);
        match step {
            // Known without a look, should locks not be readable just now.
            // An errand that was let go ahead meanwhile gives them back.
            Step::TakeLocks(app, services, _) if !self.are_lent(*app) => {
                self.locks().insert(*app, Locks::Ours(services.clone()));
            }
            Step::Engine(Deed::Start(which)) => {
                self.demands.start.remove(&which.id);
                // One that exits at once is not owed another start.
                if self.owed.remove(&which.key) {
                    self.save_stopped().await;
                }
            }
            // One that was killed is forgotten once it is seen to be gone: until then nobody may take it for what is wanted.
            Step::Engine(Deed::Restart(which)) => {
                self.demands.recreate.remove(&which.id);
            }
            Step::Engine(Deed::RemoveImage(image)) => {
                self.targets.pulled.remove(image);
            }
            Step::Engine(_) | Step::TakeLocks(..) | Step::ReleaseLocks(_) | Step::HandOver { .. } | Step::Reboot => (),
        }
    }

    /// A step did not work.
    pub(super) fn failed(&mut self, step: &Step, failure: &Failure) {
        if let (Step::Engine(Deed::RemoveImage(image)), Failure::Engine(EngineError::InUse(why))) = (step, failure)
            && self.resting.has_failed(step)
        {
            // The first time a container of ours may have been made of it meanwhile. It was looked since, and there is none: somebody
            // else uses it, so it is not ours alone to delete.
            info!(%image, why, "the image stays");
            self.targets.pulled.remove(image);
            self.resting.succeed(step);
            return;
        }
        let again = self.resting.fail(step, failure);
        warn!(error = %failure, %step, ?again, "step failed");
        self.tell_failure(step, &failure.to_string());
    }

    /// Demands about what is no longer there are over.
    pub(super) async fn tidy_demands(&mut self) {
        let containers = &self.current.containers;
        let rests = |id: &ContainerId| containers.iter().any(|it| it.id == *id && may_be_asked(it.phase));
        self.demands.start.retain(rests);
        self.demands.recreate.retain(|id| containers.iter().any(|it| it.id == *id));
        let left = |app: &AppId| {
            containers.iter().any(|it| it.key.app == *app) || self.current.volumes.iter().any(|it| it.app == *app)
        };
        self.demands.purge.retain(left);
        self.pay_owed_starts().await;
    }

    /// Services stopped by a person before the agent was started again are started, whatever their restart policy.
    async fn pay_owed_starts(&mut self) {
        if self.owed.is_empty() {
            return;
        }
        let before = self.owed.len();
        for container in &self.current.containers {
            if !self.owed.contains(&container.key) || self.demands.start.contains(&container.id) {
                continue;
            }
            match container.phase {
                Phase::Exited(_) => drop(self.demands.start.insert(container.id.clone())),
                Phase::Running | Phase::Restarting | Phase::Paused => drop(self.owed.remove(&container.key)),
                Phase::Created | Phase::Removing | Phase::Dead => (),
            }
        }
        let there = |key: &ServiceKey| self.current.containers.iter().any(|it| it.key == *key);
        self.owed.retain(there);
        if self.owed.len() != before {
            self.save_stopped().await;
        }
    }
}

/// Whether a container is started only when asked for: it exited, or is paused.
const fn may_be_asked(phase: Phase) -> bool {
    match phase {
        Phase::Exited(_) | Phase::Paused => true,
        Phase::Created | Phase::Running | Phase::Restarting | Phase::Removing | Phase::Dead => false,
    }
}

/// Whether it would have steps taken that nothing else asks for.
const fn disturbs(intent: &Intent) -> bool {
    match intent {
        Intent::Restart(..) | Intent::Purge(..) | Intent::Stop(..) | Intent::Start(..) | Intent::ConfigureHost(..) => true,
        Intent::Target(_)
        | Intent::Rejected(_)
        | Intent::Update { .. }
        | Intent::RenewKey(_)
        | Intent::CheckConnectivity(_)
        | Intent::ReadHost
        | Intent::End(..)
        | Intent::Beat => false,
    }
}

/// What becomes of a request.
enum Change<'w> {
    /// It is answered when this is done.
    Errand(Errand<'w>),
    /// It is answered at once.
    Answer(Reply),
    /// It is answered when this has come to pass.
    Wait(AppId, Goal),
}
