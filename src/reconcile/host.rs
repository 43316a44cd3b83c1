//! The host: its metrics, and its configuration, which is read and changed beside the steps.

use std::time::Duration;

use futures_util::FutureExt;

use crate::port::{Host, HostError, LockError, Locks, World};
use crate::reconcile::{Context, Reconciler};
use crate::request::{Refusal, Reply, respond};
use crate::sorted::{SortedMap, SortedSet};
use crate::state::history::Requester;
use crate::state::host::{HostConfig, HostPatch};
use crate::state::target_trial::TargetTrialStatus;
use crate::state::{AppId, FailedRelease, Force, Target, TargetError};

/// Minimum interval between two readings of the host metrics, however often the engine is observed.
const METRICS_EVERY: Duration = Duration::from_secs(5);
/// Characters of the uuid that make the hostname when the requested one is empty.
const HOSTNAME_CHARS: usize = 7;

/// The outcome of a background job, and where its response goes.
pub(super) enum JobOutcome {
    /// The host's configuration was read.
    Read(Result<HostConfig, Refusal>, Reply<HostConfig>),
    /// The host was configured, under the locks of these apps, as far as they were taken.
    Configured(Result<(), Refusal>, Vec<AppId>, Reply<()>),
    /// A pushed document was parsed.
    Pushed(Result<Target, TargetError>, Force, Reply<()>),
    /// A document to be tried for so many seconds was parsed.
    Tried(Result<Target, TargetError>, u32, Option<Requester>, Reply<TargetTrialStatus>),
    /// It was found out what the failed services of an app's release logged.
    Diagnosed(AppId, FailedRelease),
}

impl<W: World> Reconciler<'_, W> {
    /// Refreshes the published host metrics.
    pub(super) fn refresh_host_metrics(&self) {
        let Context { world, publish, .. } = self.context;
        let fresh = publish.borrow().metrics.up.is_some_and(|(_, at)| at.elapsed() < METRICS_EVERY);
        if !fresh {
            let metrics = world.host().metrics();
            publish.send_modify(|it| it.metrics = metrics);
        }
    }

    /// Reads the host's configuration beside the steps.
    pub(super) fn read_host(&mut self, reply: Reply<HostConfig>) {
        let world = self.context.world;
        let read = async move { JobOutcome::Read(world.host().config().await.map_err(refused), reply) };
        self.requests.start_job(read.boxed_local());
    }

    /// Configures the host under the update locks of every app, so that no app is surprised by a changed network.
    pub(super) fn configure_host(&mut self, mut patch: HostPatch, force: Force, reply: Reply<()>) {
        if self.observed.locks().has_loan() {
            let why = "the host is being configured for another request; nothing was changed, ask again";
            return respond(reply, Err(Refusal::Failed(why.to_owned())));
        }
        if let Some(name) = patch.hostname.as_mut().filter(|it| it.is_empty()) {
            *name = self.targets.uuid().chars().take(HOSTNAME_CHARS).collect();
        }
        let forced = if self.targets.force() == Force::Yes { Force::Yes } else { force };
        let (world, apps) = (self.context.world, self.lockable());
        if forced == Force::No
            && let Some((app, lease)) = apps.keys().find_map(|app| Some((*app, self.lease_against(*app)?)))
        {
            return respond(reply, Err(Refusal::Leased(app, lease)));
        }
        self.observed.locks_mut().lend(apps.keys().copied().collect());
        let job = async move {
            let mut taken = Vec::new();
            let mut locked = Ok(());
            for (app, services) in &apps {
                locked = world.locks().take(*app, services, forced).await;
                match &locked {
                    Ok(()) => taken.push(*app),
                    Err(_) => break,
                }
            }
            let response = match locked {
                Ok(()) => world.host().configure(&patch).await.map_err(refused),
                Err(LockError::Held(held)) => Err(Refusal::Locked(held)),
                Err(error) => Err(Refusal::Failed(error.to_string())),
            };
            JobOutcome::Configured(response, taken, reply)
        };
        self.requests.start_job(job.boxed_local());
    }

    /// A background job is done: releases the locks it took and sends the response.
    pub(super) async fn on_job_ended(&mut self, outcome: JobOutcome) {
        match outcome {
            JobOutcome::Read(response, reply) => respond(reply, response),
            JobOutcome::Pushed(parsed, force, reply) => self.take_pushed(parsed, force, reply).await,
            JobOutcome::Tried(parsed, length_secs, by, reply) => self.begin_trial(parsed, length_secs, by, reply).await,
            JobOutcome::Diagnosed(app, failed) => self.on_diagnosed(app, failed).await,
            JobOutcome::Configured(response, taken, reply) => {
                let lent = self.observed.locks_mut().end_loan();
                self.release_locks(&lent, taken).await;
                self.request_resync();
                respond(reply, response);
            }
        }
    }

    /// Services whose locks are not ours already, by app.
    fn lockable(&self) -> SortedMap<AppId, SortedSet<String>> {
        let mut apps = self.observed.services();
        apps.retain(|app, _| !self.observed.are_ours(*app));
        apps
    }
}

fn refused(HostError(why): HostError) -> Refusal {
    Refusal::Failed(why)
}
