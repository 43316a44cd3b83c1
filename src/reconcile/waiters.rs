//! Requests that wait for an outcome, and what each waits for.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use crate::plan::{Step, Waiting};
use crate::port::World;
use crate::reconcile::{Reconciler, app_of};
use crate::request::{NotStarted, Refusal, Reply, respond};
use crate::state::{AppId, Container, ContainerId, ContainerPhase, Service, ServiceKey};

/// A request that waits for its response. The requester may hang up; the request is carried out all the same.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) app: AppId,
    pub(super) goal: Goal,
    /// When the request arrived.
    pub(super) since: Instant,
}

/// How long a request waits for a dependency that is on its way: a program may take hours to complete.
const DEPENDENCY_WAIT: Duration = Duration::from_secs(60);

/// What a response waits for, and where it goes.
#[derive(Debug)]
pub(super) enum Goal {
    /// Everything requested of the app is done, and the app has all that it can have now.
    Settled(Reply<NotStarted>),
    /// The same, after a purge that cannot delete everything: says which data stays where, and what to do.
    Purged(String, Reply<NotStarted>),
    /// The service's container does not run.
    Stopped(ServiceKey, Reply<ContainerId>),
    /// The service's container runs, or has run.
    Started(ServiceKey, Reply<ContainerId>),
}

impl Goal {
    fn reject(self, why: Refusal) {
        match self {
            Self::Settled(reply) | Self::Purged(_, reply) => respond(reply, Err(why)),
            Self::Stopped(_, reply) | Self::Started(_, reply) => respond(reply, Err(why)),
        }
    }

    fn is_closed(&self) -> bool {
        match self {
            Self::Settled(reply) | Self::Purged(_, reply) => reply.is_closed(),
            Self::Stopped(_, reply) | Self::Started(_, reply) => reply.is_closed(),
        }
    }

    /// Equal for equal goals of one app.
    fn identity(&self) -> (&'static str, String) {
        let (kind, about) = match self {
            Self::Settled(_) => ("settled", ""),
            Self::Purged(stays, _) => ("purged", stays.as_str()),
            Self::Stopped(key, _) => ("stopped", key.service.as_str()),
            Self::Started(key, _) => ("started", key.service.as_str()),
        };
        (kind, about.to_owned())
    }
}

impl<W: World> Reconciler<'_, W> {
    /// Answers the waiters whose goal was reached, or cannot be reached.
    pub(super) fn answer_waiters(&mut self) {
        for waiter in std::mem::take(&mut self.waiters) {
            let waiting = self.answer(waiter);
            self.waiters.extend(waiting);
        }
        // Of several waiters with the same goal that hung up, one is enough: the request is still being carried out.
        let mut gone = BTreeSet::new();
        self.waiters.retain(|it| !it.goal.is_closed() || gone.insert((it.app, it.goal.identity())));
    }

    /// Answers a waiter, or returns it if it has to wait on.
    fn answer(&mut self, waiter: Waiter) -> Option<Waiter> {
        if let Some(refusal) = self.rejection(&waiter) {
            waiter.goal.reject(refusal);
            return None;
        }
        let waiter = self.answer_reached(waiter)?;
        match self.hopeless(&waiter) {
            Some(refusal) => {
                waiter.goal.reject(refusal);
                None
            }
            None => Some(waiter),
        }
    }

    /// Why a waiter is rejected even if its goal seems to be reached.
    fn rejection(&mut self, waiter: &Waiter) -> Option<Refusal> {
        let lock = self.plan.waiting.iter().find_map(|it| match it {
            Waiting::Lock(app, held) if *app == waiter.app && !self.locks_checked_since_observe.contains(app) => {
                Some(held.clone())
            }
            _ => None,
        });
        if let (Some(held), Goal::Settled(_) | Goal::Purged(..) | Goal::Stopped(..)) = (lock, &waiter.goal) {
            // The lock was taken between the request and its first step: the request is rejected as if it had been held all
            // along.
            self.withdraw(waiter);
            return Some(Refusal::Locked(held));
        }
        if matches!(waiter.goal, Goal::Settled(_)) { self.nothing_can_run(waiter.app) } else { None }
    }

    /// Answers a waiter whose goal was reached, and returns any other.
    fn answer_reached(&self, Waiter { app, goal, since }: Waiter) -> Option<Waiter> {
        let goal = match goal {
            Goal::Settled(reply) => {
                let through = self.is_through(app, since);
                respond_if(through.then(|| Ok(self.not_started(app))), reply).map(Goal::Settled)
            }
            Goal::Purged(stays, reply) => {
                let through = self.is_through(app, since);
                let failure = through.then(|| Err(Refusal::Failed(stays.clone())));
                respond_if(failure, reply).map(|reply| Goal::Purged(stays, reply))
            }
            Goal::Stopped(key, reply) => respond_if(self.stopped(&key), reply).map(|reply| Goal::Stopped(key, reply)),
            Goal::Started(key, reply) => respond_if(self.started(&key), reply).map(|reply| Goal::Started(key, reply)),
        };
        goal.map(|goal| Waiter { app, goal, since })
    }

    fn stopped(&self, key: &ServiceKey) -> Option<Result<ContainerId, Refusal>> {
        let busy = self.containers(key).any(|(_, phase)| phase.is_alive()) || self.is_unlocking(key.app);
        let id = self.containers(key).next().map(|(id, _)| id);
        (!busy).then(|| id.ok_or(Refusal::NoContainer))
    }

    fn started(&self, key: &ServiceKey) -> Option<Result<ContainerId, Refusal>> {
        let asked = |id: &ContainerId| self.overrides.start.contains(id);
        let started = |(id, phase): &(ContainerId, ContainerPhase)| {
            *phase != ContainerPhase::Created && !asked(id) && *phase != ContainerPhase::Dead
        };
        let exited = |(_, phase): &(ContainerId, ContainerPhase)| {
            matches!(phase, ContainerPhase::Exited(_)) && self.plan.busy.contains(&key.app)
        };
        self.containers(key).find(|it| started(it) && !exited(it)).map(|(id, _)| Ok(id))
    }

    /// Whether everything requested of the whole app is done.
    fn is_through(&self, app: AppId, since: Instant) -> bool {
        !self.is_asked(app) && self.is_idle(app, since)
    }

    /// Whether a restart or a purge of the app is not done yet.
    pub(super) fn is_asked(&self, app: AppId) -> bool {
        let anew = |it: &Container| it.key.app == app && self.overrides.recreate.contains(&it.id);
        self.overrides.purge.contains(&app) || self.current.containers.iter().any(anew)
    }

    /// Whether a step of an app is in flight or planned.
    pub(super) fn is_at_work(&self, app: AppId) -> bool {
        self.running.iter().map(|(step, _)| step).chain(&self.plan.steps).any(|step| app_of(step) == Some(app))
    }

    /// Whether a request has waited for a dependency as long as it may.
    pub(super) fn is_out_of_patience(since: Instant) -> bool {
        since.elapsed() >= DEPENDENCY_WAIT
    }

    /// Schedules an observation at the deadline of requests that wait for a dependency, so that they are answered even if
    /// nothing happens by then.
    pub(super) fn look_for_waiters(&mut self) {
        let held_back =
            |app: AppId| self.plan.waiting.iter().any(|it| matches!(it, Waiting::Dependency(key, _) if key.app == app));
        let waiters = self.waiters.iter().filter(|it| !Self::is_out_of_patience(it.since) && held_back(it.app));
        if let Some(soonest) = waiters.map(|it| it.since + DEPENDENCY_WAIT).min() {
            self.next_observe = self.next_observe.min(soonest);
        }
    }

    /// Whether the app has all that it can have now. It may still wait for an update's images, or for a reboot.
    fn is_idle(&self, app: AppId, since: Instant) -> bool {
        let waits = self.plan.waiting.iter().any(|it| match it {
            Waiting::Dependency(key, _) => key.app == app && !Self::is_out_of_patience(since),
            Waiting::Resource(key, _) | Waiting::Engine(key) | Waiting::Containers(key) => key.app == app,
            Waiting::Lock(..) | Waiting::Images(_) | Waiting::Paused(_) | Waiting::Boot(_) | Waiting::Configured(_) => false,
        });
        let wanted = self.target.as_ref().and_then(|it| it.apps.get(&app));
        let there = |(name, service): (&String, &Service)| {
            // A service that never was here yet is not what the request is about.
            let on_its_way = !service.strategy.makes_way_first() && !self.current.has_image(&service.image);
            on_its_way || self.containers(&ServiceKey::new(app, name)).next().is_some()
        };
        !self.is_at_work(app) && !waits && wanted.is_none_or(|it| it.services.iter().all(there))
    }

    /// Whether our locks of the app are about to be released: a requester may take them as soon as it is answered.
    fn is_unlocking(&self, app: AppId) -> bool {
        let steps = self.running.iter().map(|(step, _)| step).chain(&self.plan.steps);
        steps.into_iter().any(|step| *step == Step::ReleaseLocks(app))
    }

    fn containers(&self, key: &ServiceKey) -> impl Iterator<Item = (ContainerId, ContainerPhase)> {
        self.current.containers.iter().filter(move |it| it.key == *key).map(|it| (it.id.clone(), it.phase))
    }

    /// Drops the overrides of a request that was rejected.
    fn withdraw(&mut self, waiter: &Waiter) {
        self.overrides.purge.remove(&waiter.app);
        let theirs = |id: &ContainerId| self.current.containers.iter().any(|it| it.key.app == waiter.app && it.id == *id);
        self.overrides.recreate.retain(|id| !theirs(id));
        if let Goal::Stopped(key, _) = &waiter.goal {
            self.overrides.stopped.remove(key);
        }
        self.request_resync();
    }

    /// Answers the waiters of an app with a failure. What they requested is still pursued.
    pub(super) fn fail_waiters(&mut self, concerns: impl Fn(AppId) -> bool, why: &str) {
        for waiter in std::mem::take(&mut self.waiters) {
            if concerns(waiter.app) {
                waiter.goal.reject(Refusal::Failed(why.to_owned()));
            } else {
                self.waiters.push(waiter);
            }
        }
    }

    /// A step failed: answers the waiters of its app.
    pub(super) fn answer_failed_step(&mut self, step: &Step, why: &str) {
        if let Some(app) = app_of(step) {
            self.fail_waiters(|it| it == app, &format!("{step}: {why}"));
        }
    }
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
