//! Whether the goal of a request was reached, and why waiting does not bring it closer.

use std::time::Duration;

use tokio::time::Instant;

use crate::reconcile::observed::Observed;
use crate::reconcile::overrides::ActiveOverrides;
use crate::reconcile::waiters::{Goal, Waiter};
use crate::reconcile::work::Work;
use crate::request::{Refusal, Reply, respond};
use crate::sorted::SortedSet;
use crate::state::{
    App, AppId, Container, ContainerId, ContainerPhase, EngineAction, ImageRef, Service, ServiceKey, Step, Subject, Target,
    Waiting,
};

/// How long a request waits for a dependency that is on its way: a program may take hours to complete.
pub(super) const DEPENDENCY_WAIT: Duration = Duration::from_secs(60);

/// What the goals of requests are checked against.
#[derive(Clone, Copy)]
pub(super) struct GoalCheck<'a> {
    pub(super) target: Option<&'a Target>,
    pub(super) observed: &'a Observed,
    pub(super) overrides: &'a ActiveOverrides,
    pub(super) work: &'a Work,
}

impl<'a> GoalCheck<'a> {
    /// The lock or lease for which a waiter is rejected, even if its goal seems to be reached: it was taken between the request
    /// and its first step, and counts as if it had been held all along.
    pub(super) fn lock_against(self, waiter: &Waiter) -> Option<Refusal> {
        match waiter.goal {
            Goal::Settled(_) | Goal::Purged(..) | Goal::Stopped(..) | Goal::Restarted(..) => {
                self.observed.blocking_lock(waiter.app)
            }
            Goal::Started(..) | Goal::CleanedUp(..) => None,
        }
    }

    /// Answers a waiter whose goal was reached or will not be reached, and returns any other.
    pub(super) fn answer(self, waiter: Waiter) -> Option<Waiter> {
        let nothing_runs = matches!(waiter.goal, Goal::Settled(_)).then(|| self.nothing_can_run(waiter.app)).flatten();
        if let Some(refusal) = nothing_runs {
            waiter.reject(refusal);
            return None;
        }
        let waiter = self.answer_reached(waiter)?;
        match self.failure(&waiter) {
            Some(refusal) => {
                waiter.reject(refusal);
                None
            }
            None => Some(waiter),
        }
    }

    /// The deadline of the first waiter to be answered with a failure because a dependency takes long.
    pub(super) fn next_deadline(self, waiters: &[Waiter]) -> Option<Instant> {
        let waits = |app: AppId| self.waiting().any(|it| matches!(it, Waiting::Dependency(key, _) if key.app == app));
        let waiters = waiters.iter().filter(|it| !is_out_of_patience(it.since) && waits(it.app));
        waiters.map(|it| it.since + DEPENDENCY_WAIT).min()
    }

    /// Answers a waiter whose goal was reached, and returns any other.
    fn answer_reached(self, Waiter { app, goal, since }: Waiter) -> Option<Waiter> {
        let is_done = || !self.is_restart_requested(app) && self.is_idle(app, since);
        let goal = match goal {
            Goal::Settled(reply) => respond_if(is_done().then(|| Ok(self.not_started(app))), reply).map(Goal::Settled),
            Goal::Purged(stays, reply) => {
                let failure = is_done().then(|| Err(Refusal::Failed(stays.clone())));
                respond_if(failure, reply).map(|reply| Goal::Purged(stays, reply))
            }
            Goal::CleanedUp(volumes, reply) => {
                let is_done = !self.overrides.removes_any_volume(&volumes);
                respond_if(is_done.then_some(Ok(())), reply).map(|reply| Goal::CleanedUp(volumes, reply))
            }
            Goal::Stopped(key, reply) => respond_if(self.stopped(&key), reply).map(|reply| Goal::Stopped(key, reply)),
            Goal::Started(key, reply) => respond_if(self.started(&key), reply).map(|reply| Goal::Started(key, reply)),
            Goal::Restarted(key, reply) => respond_if(self.restarted(&key), reply).map(|reply| Goal::Restarted(key, reply)),
        };
        goal.map(|goal| Waiter { app, goal, since })
    }

    fn stopped(self, key: &ServiceKey) -> Option<Result<ContainerId, Refusal>> {
        let busy = self.is_unlocking(key.app) || self.observed.containers(key).any(|it| it.phase.is_alive());
        let id = self.observed.containers(key).next().map(|it| it.id.clone());
        (!busy).then(|| id.ok_or(Refusal::NoContainer))
    }

    fn started(self, key: &ServiceKey) -> Option<Result<ContainerId, Refusal>> {
        let started = |it: &&Container| match it.phase {
            ContainerPhase::Created | ContainerPhase::Dead => false,
            ContainerPhase::Exited(_) => !self.observed.plan().busy.contains(&key.app),
            ContainerPhase::Running | ContainerPhase::Restarting | ContainerPhase::Paused | ContainerPhase::Removing => true,
        };
        let starts_anew = |it: &&Container| self.overrides.is_start_requested(&it.id);
        self.observed.containers(key).find(|it| started(it) && !starts_anew(it)).map(|it| Ok(it.id.clone()))
    }

    fn restarted(self, key: &ServiceKey) -> Option<Result<ContainerId, Refusal>> {
        let is_recreated = self.overrides.is_recreate_requested(key, self.observed.current());
        // An exited container counts as one that has run, unless another request stopped it.
        let pending = is_recreated || self.overrides.has_stopped(key) || self.is_unlocking(key.app);
        if pending { None } else { self.started(key) }
    }

    /// Whether locks of the app are still to be released. A requester may take them as soon as it is answered.
    fn is_unlocking(self, app: AppId) -> bool {
        self.steps().any(|step| *step == Step::ReleaseLocks(app))
    }

    /// Whether the app has all that it can have now. It may still wait for an update's images, or for a reboot.
    fn is_idle(self, app: AppId, since: Instant) -> bool {
        let waits = self.waiting().any(|it| match it {
            Waiting::Dependency(key, _) => key.app == app && !is_out_of_patience(since),
            Waiting::Resource(key, _) | Waiting::Engine(key) | Waiting::Containers(key) => key.app == app,
            Waiting::Lock(..)
            | Waiting::Lease(..)
            | Waiting::Window(..)
            | Waiting::Hook(..)
            | Waiting::Images(_)
            | Waiting::Predecessor(..)
            | Waiting::Paused(_)
            | Waiting::StoppedByHand(_)
            | Waiting::Boot(_)
            | Waiting::Configured(_) => false,
        });
        let is_there = |(name, service): (&String, &Service)| {
            // A service that never was here yet is not what the request is about.
            let on_its_way = !service.strategy.makes_way_first() && !self.observed.current().has_image(&service.image);
            on_its_way || self.observed.has_container(&ServiceKey::new(app, name))
        };
        !self.is_at_work(app) && !waits && self.app(app).is_none_or(|it| it.services.iter().all(is_there))
    }

    /// Services of an app that do not run although a restart or a purge is done, each with the reason.
    fn not_started(self, app: AppId) -> Vec<(String, &'static str)> {
        let services = self.app(app).into_iter().flat_map(|it| &it.services);
        let why = |(name, service): (&String, &Service)| {
            let key = ServiceKey::new(app, name);
            let reason = if !service.running {
                "not-to-run"
            } else if self.waits_for_boot(&key) {
                "next-boot"
            } else if self.waits_for_dependency(&key).is_some() {
                "dependency"
            } else {
                return None;
            };
            Some((name.clone(), reason))
        };
        services.filter_map(why).collect()
    }

    /// Why a waiter's goal will not be reached, where that is known. It is still pursued where it is still wanted.
    fn failure(self, waiter: &Waiter) -> Option<Refusal> {
        match &waiter.goal {
            Goal::Settled(_) | Goal::Purged(..) => self.cannot_settle(waiter.app),
            Goal::CleanedUp(volumes, _) => self.cannot_clean_up(volumes),
            Goal::Stopped(key, _) => self.cannot_stop(key),
            Goal::Started(key, _) => self.cannot_start(key).or_else(|| self.starts_too_late(key, waiter.since)),
            Goal::Restarted(key, _) => self.cannot_restart(key).or_else(|| self.starts_too_late(key, waiter.since)),
        }
    }

    /// The engine rejects a container or its network, and nothing is killed before they are created; or the image of a
    /// service that has no container cannot be pulled.
    fn cannot_settle(self, app: AppId) -> Option<Refusal> {
        let concerns = |step: &Step| match step {
            Step::Engine(EngineAction::Pull(image)) => {
                let wanted = self.app(app).into_iter().flat_map(|it| &it.services).filter(|(_, it)| it.image == *image);
                wanted.map(|(name, _)| ServiceKey::new(app, name)).any(|key| !self.observed.has_container(&key))
            }
            _ => false,
        };
        let created = self.creation_refused(app, |_| true);
        created.or_else(|| self.failure_backing_off(concerns)).or_else(|| self.unmet_for_ever(app, |_| true))
    }

    /// The engine rejects a container or a network of the app, for which such a service of it waits.
    fn creation_refused(self, app: AppId, such: impl Fn(&ServiceKey) -> bool) -> Option<Refusal> {
        let waits = self.waiting().any(|it| matches!(it, Waiting::Containers(key) if key.app == app && such(key)));
        let concerns = |step: &Step| match step {
            Step::Engine(EngineAction::Create(spec)) => spec.key.app == app,
            Step::Engine(EngineAction::CreateNetwork(network)) => network.app == Some(app),
            _ => false,
        };
        if waits { self.failure_backing_off(concerns) } else { None }
    }

    /// The app has no container, and an image of it cannot be pulled: nothing was restarted, and a success would say that it
    /// runs.
    fn nothing_can_run(self, app: AppId) -> Option<Refusal> {
        let has_image = |image: &ImageRef| self.app(app).is_some_and(|it| it.services.values().any(|it| it.image == *image));
        let pulls = |step: &Step| matches!(step, Step::Engine(EngineAction::Pull(image)) if has_image(image));
        let empty = !self.is_restart_requested(app) && !self.observed.current().containers.iter().any(|it| it.key.app == app);
        empty.then(|| self.work.retries().last_failure(pulls)).flatten().map(Refusal::Failed)
    }

    fn cannot_clean_up(self, volumes: &SortedSet<String>) -> Option<Refusal> {
        let removes = |step: &Step| matches!(step, Step::Engine(EngineAction::RemoveVolume(name, _)) if volumes.contains(name));
        self.failure_backing_off(removes)
    }

    fn cannot_stop(self, key: &ServiceKey) -> Option<Refusal> {
        if self.service(key).is_none() {
            return Some(Refusal::NotInTarget);
        }
        if !self.overrides.has_stopped(key) {
            let why = format!("{key} was started again by another request, so it does not stay stopped");
            return Some(Refusal::Failed(why));
        }
        let stops =
            |step: &Step| matches!(step, Step::Engine(EngineAction::Stop(it) | EngineAction::Kill(it)) if it.key == *key);
        self.failure_backing_off(stops)
    }

    fn cannot_restart(self, key: &ServiceKey) -> Option<Refusal> {
        if !self.observed.has_container(key) {
            return self.cannot_start(key);
        }
        // An update's image that cannot be pulled does not hold up a restart of the container that is there.
        let of_service = |step: &Step| step.subject() == Subject::Service(key.clone());
        let created = || self.creation_refused(key.app, |it| it == key);
        let refused = self.service_to_run(key).err().or_else(created).or_else(|| self.failure_backing_off(of_service));
        refused.or_else(|| self.next_boot(key)).or_else(|| self.unmet_for_ever(key.app, |it| it == key))
    }

    /// The service is started by the next boot only.
    fn next_boot(self, key: &ServiceKey) -> Option<Refusal> {
        let why = || format!("{key} is started by the next boot, as its label io.balena.update.requires-reboot asks");
        self.waits_for_boot(key).then(|| Refusal::Failed(why()))
    }

    /// The service as the target has it, if it is to run.
    fn service_to_run(self, key: &ServiceKey) -> Result<&'a Service, Refusal> {
        let service = self.service(key).ok_or(Refusal::NotInTarget)?;
        if !service.running {
            return Err(Refusal::NotToRun(key.clone()));
        }
        if self.overrides.has_stopped(key) {
            return Err(Refusal::Failed(format!("{key} was stopped by another request")));
        }
        Ok(service)
    }

    fn cannot_start(self, key: &ServiceKey) -> Option<Refusal> {
        let service = match self.service_to_run(key) {
            Ok(service) => service,
            Err(why) => return Some(why),
        };
        if let Some(why) = self.next_boot(key) {
            return Some(why);
        }
        let needs_no_other = self.observed.has_container(key) && self.waits_for_dependency(key).is_none();
        let concerns = |step: &Step| match step.subject() {
            Subject::Service(it) if it == *key => true,
            Subject::Image(image) => {
                let pulls = |it: &Service| it.image == image && matches!(step, Step::Engine(EngineAction::Pull(_)));
                pulls(service) || !needs_no_other && self.app(key.app).is_some_and(|it| it.services.values().any(pulls))
            }
            _ => !needs_no_other && step.app() == Some(key.app),
        };
        let blocked = self.lock_against_start(key);
        blocked.or_else(|| self.failure_backing_off(concerns)).or_else(|| self.unmet_for_ever(key.app, |it| it == key))
    }

    /// A start waits for a dependency that is on its way but takes longer than a request waits.
    fn starts_too_late(self, key: &ServiceKey, since: Instant) -> Option<Refusal> {
        let waiting = self.waits_for_dependency(key).filter(|_| is_out_of_patience(since))?;
        Some(Refusal::Failed(format!("{waiting}; it is started as soon as that is so")))
    }

    /// A service is not started because of a dependency that does not become what it has to be, while no step of the app
    /// changes that.
    fn unmet_for_ever(self, app: AppId, concerns: impl Fn(&ServiceKey) -> bool) -> Option<Refusal> {
        let never = |it: &&Waiting| matches!(it, Waiting::Dependency(key, unmet) if key.app == app && unmet.never.is_some() && concerns(key));
        let waiting = self.waiting().find(never).filter(|_| !self.is_restart_requested(app) && !self.is_at_work(app))?;
        Some(Refusal::Failed(waiting.to_string()))
    }

    /// The lock that holds up what a start waits for. Merely starting an existing container needs no lock.
    fn lock_against_start(self, key: &ServiceKey) -> Option<Refusal> {
        let goes_on = self.steps().any(|step| step.subject() == Subject::Service(key.clone()));
        self.observed.blocking_lock(key.app).filter(|_| !goes_on)
    }

    fn failure_backing_off(self, such: impl Fn(&Step) -> bool) -> Option<Refusal> {
        self.work.retries().failure_backing_off(such).map(Refusal::Failed)
    }

    fn waits_for_boot(self, key: &ServiceKey) -> bool {
        self.waiting().any(|it| matches!(it, Waiting::Boot(it) if it == key))
    }

    fn waits_for_dependency(self, key: &ServiceKey) -> Option<&'a Waiting> {
        self.waiting().find(|it| matches!(it, Waiting::Dependency(it, _) if it == key))
    }

    fn waiting(self) -> impl Iterator<Item = &'a Waiting> {
        self.observed.plan().waiting.iter()
    }

    /// Whether a restart or a purge of the app is not done yet.
    fn is_restart_requested(self, app: AppId) -> bool {
        self.overrides.is_restart_requested(app, self.observed.current())
    }

    /// Whether a step of an app is in flight or planned, other than to remove what nothing of it uses any more.
    fn is_at_work(self, app: AppId) -> bool {
        self.steps().any(|step| step.app() == Some(app) && !is_left_over(self.target, step))
    }

    /// Steps in flight, and those of the plan.
    fn steps(self) -> impl Iterator<Item = &'a Step> {
        self.work.in_flight().chain(&self.observed.plan().steps)
    }

    fn app(self, app: AppId) -> Option<&'a App> {
        self.target?.apps.get(&app)
    }

    fn service(self, key: &ServiceKey) -> Option<&'a Service> {
        self.target?.service(key)
    }
}

/// Whether a step removes a network that the target no longer has. No request waits for that: an engine may keep such a network
/// for as long as it takes something to be connected to it.
pub(super) fn is_left_over(target: Option<&Target>, step: &Step) -> bool {
    let Step::Engine(EngineAction::RemoveNetwork(name, _, Some(app))) = step else { return false };
    target.and_then(|it| it.apps.get(app)).is_none_or(|it| !it.has_engine_network(name))
}

/// Whether a request has waited for a dependency as long as it may.
fn is_out_of_patience(since: Instant) -> bool {
    since.elapsed() >= DEPENDENCY_WAIT
}

/// Sends the response if there is one; otherwise returns its channel.
fn respond_if<T>(response: Option<Result<T, Refusal>>, reply: Reply<T>) -> Option<Reply<T>> {
    match response {
        Some(response) => {
            respond(reply, response);
            None
        }
        None => Some(reply),
    }
}

#[cfg(test)]
mod tests;
