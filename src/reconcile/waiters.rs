//! Requests that are not answered yet: what each waits for.

use futures_util::StreamExt;
use futures_util::future::LocalBoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::time::Instant;

use crate::port::World;
use crate::reconcile::Reconciler;
use crate::reconcile::host::JobOutcome;
use crate::request::{NotStarted, Refusal, Reply, Request, respond};
use crate::sorted::SortedSet;
use crate::state::{AppId, ContainerId, ServiceKey};

/// A request that waits for an outcome. The requester may hang up; the request is carried out all the same.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) app: AppId,
    pub(super) goal: Goal,
    /// When the request arrived.
    pub(super) since: Instant,
}

/// What a response waits for, and where it goes.
#[derive(Debug)]
pub(super) enum Goal {
    /// Everything requested of the app is done, and the app has all that it can have now.
    Settled(Reply<NotStarted>),
    /// The same, after a purge that cannot delete everything: says which data stays where, and what to do.
    Purged(String, Reply<NotStarted>),
    /// None of these volumes is left that is to be removed.
    CleanedUp(SortedSet<String>, Reply<()>),
    /// The service's container does not run.
    Stopped(ServiceKey, Reply<ContainerId>),
    /// The service's container runs, or has run.
    Started(ServiceKey, Reply<ContainerId>),
    /// The same, of a container that a restart of the service created.
    Restarted(ServiceKey, Reply<ContainerId>),
}

impl Waiter {
    /// The service that the request stops, if it stops one.
    pub(super) const fn stops(&self) -> Option<&ServiceKey> {
        match &self.goal {
            Goal::Stopped(key, _) => Some(key),
            Goal::Settled(_) | Goal::Purged(..) | Goal::CleanedUp(..) | Goal::Started(..) | Goal::Restarted(..) => None,
        }
    }

    /// Answers the request with an error.
    pub(super) fn reject(self, why: Refusal) {
        self.goal.reject(why);
    }
}

impl Goal {
    fn reject(self, why: Refusal) {
        match self {
            Self::Settled(reply) | Self::Purged(_, reply) => respond(reply, Err(why)),
            Self::CleanedUp(_, reply) => respond(reply, Err(why)),
            Self::Stopped(_, reply) | Self::Started(_, reply) | Self::Restarted(_, reply) => respond(reply, Err(why)),
        }
    }

    fn is_closed(&self) -> bool {
        match self {
            Self::Settled(reply) | Self::Purged(_, reply) => reply.is_closed(),
            Self::CleanedUp(_, reply) => reply.is_closed(),
            Self::Stopped(_, reply) | Self::Started(_, reply) | Self::Restarted(_, reply) => reply.is_closed(),
        }
    }

    /// Equal for equal goals of one app.
    fn identity(&self) -> (&'static str, String) {
        let (kind, about) = match self {
            Self::Settled(_) => ("settled", ""),
            Self::Purged(stays, _) => ("purged", stays.as_str()),
            // Requests for different volumes are the same goal: all of them are pursued.
            Self::CleanedUp(..) => ("cleaned up", ""),
            Self::Stopped(key, _) => ("stopped", key.service.as_str()),
            Self::Started(key, _) => ("started", key.service.as_str()),
            Self::Restarted(key, _) => ("restarted", key.service.as_str()),
        };
        (kind, about.to_owned())
    }
}

/// Requests that are not answered yet.
pub(super) struct PendingRequests<'w> {
    waiters: Vec<Waiter>,
    /// Requests that arrived before the first observation or while locks are being released: handled after the next
    /// observation. The API admits no more of them than it has connections.
    deferred: Vec<Request>,
    /// Jobs that run beside the steps, each with the reply channel of its requester.
    jobs: FuturesUnordered<LocalBoxFuture<'w, JobOutcome>>,
}

impl<'w> PendingRequests<'w> {
    /// No requests.
    pub(super) fn new() -> Self {
        Self { waiters: Vec::new(), deferred: Vec::new(), jobs: FuturesUnordered::new() }
    }

    /// A request arrived too early: keeps it until the next observation.
    pub(super) fn defer(&mut self, request: Request) {
        self.deferred.push(request);
    }

    /// The requests that arrived too early.
    pub(super) fn take_deferred(&mut self) -> Vec<Request> {
        std::mem::take(&mut self.deferred)
    }

    /// Runs a job beside the steps.
    pub(super) fn start_job(&mut self, job: LocalBoxFuture<'w, JobOutcome>) {
        self.jobs.push(job);
    }

    /// Whether a job runs.
    pub(super) fn has_jobs(&self) -> bool {
        !self.jobs.is_empty()
    }

    /// The next job to end. `None`: none runs. Cancel-safe.
    pub(super) async fn next_job(&mut self) -> Option<JobOutcome> {
        self.jobs.next().await
    }

    /// A request waits for an outcome.
    pub(super) fn wait(&mut self, app: AppId, goal: Goal) {
        self.waiters.push(Waiter { app, goal, since: Instant::now() });
    }

    /// Keeps a waiter that has to wait on.
    pub(super) fn keep(&mut self, waiter: Waiter) {
        self.waiters.push(waiter);
    }

    /// Every waiter, to answer it or to keep it.
    pub(super) fn take_waiters(&mut self) -> Vec<Waiter> {
        std::mem::take(&mut self.waiters)
    }

    /// The waiters.
    pub(super) fn waiters(&self) -> &[Waiter] {
        &self.waiters
    }

    /// Whether a request waits for an app.
    pub(super) fn has_waiter(&self, app: AppId) -> bool {
        self.waiters.iter().any(|it| it.app == app)
    }

    /// Whether a restart of a whole app is waited for.
    pub(super) fn has_restart(&self, app: AppId) -> bool {
        self.waiters.iter().any(|it| it.app == app && matches!(it.goal, Goal::Settled(_)))
    }

    /// Whether a restart of a service is waited for.
    pub(super) fn has_restart_of(&self, key: &ServiceKey) -> bool {
        self.waiters.iter().any(|it| matches!(&it.goal, Goal::Restarted(of, _) if of == key))
    }

    /// Of several waiters with the same goal whose requesters hung up, one is enough: the request is still being carried out.
    pub(super) fn drop_repeated_hang_ups(&mut self) {
        let mut gone = SortedSet::new();
        self.waiters.retain(|it| !it.goal.is_closed() || gone.insert((it.app, it.goal.identity())));
    }

    /// Answers waiters of such apps with a failure. What they requested is still pursued.
    pub(super) fn fail(&mut self, concerns: impl Fn(AppId) -> bool, why: &str) {
        for waiter in self.take_waiters() {
            if concerns(waiter.app) {
                waiter.reject(Refusal::Failed(why.to_owned()));
            } else {
                self.keep(waiter);
            }
        }
    }
}

impl<W: World> Reconciler<'_, W> {
    /// Answers the waiters whose goal was reached, or cannot be reached.
    pub(super) fn answer_waiters(&mut self) {
        self.reject_kept();
        for waiter in self.requests.take_waiters() {
            if let Some(refusal) = self.goal_check().lock_against(&waiter) {
                self.overrides.withdraw(waiter.app, waiter.stops(), self.observed.current());
                self.request_resync();
                waiter.reject(refusal);
            } else if let Some(waiting) = self.goal_check().answer(waiter) {
                self.requests.keep(waiting);
            }
        }
        self.requests.drop_repeated_hang_ups();
    }

    pub(super) fn expire_forced_requests(&mut self) {
        self.overrides.expire_forced_requests(self.observed.current(), |app| self.requests.has_waiter(app));
    }
}

#[cfg(test)]
mod tests;
