//! The host: its metrics, its addresses, and its configuration, which is read and changed beside the steps.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use tracing::info;

use crate::port::{Host, HostError, LockError, Locks, World};
use crate::reconcile::Reconciler;
use crate::request::{Refusal, Reply, respond};
use crate::state::host::{HostAddresses, HostConfig, HostPatch};
use crate::state::{AppId, Force};

/// Minimum interval between two readings of the host metrics, however often the engine is observed.
const FIGURES_EVERY: Duration = Duration::from_secs(5);
/// Characters of the uuid that make the hostname when the requested one is empty.
const NAME: usize = 7;

/// A job that runs beside the steps, and its outcome.
pub(super) type BackgroundJob<'w> = LocalBoxFuture<'w, JobOutcome>;

/// The outcome of a background job, and where its response goes.
pub(super) enum JobOutcome {
    /// The host's configuration was read.
    Read(Result<HostConfig, Refusal>, Reply<HostConfig>),
    /// The host was configured, under the locks of these apps, as far as they were taken.
    Configured(Result<(), Refusal>, Vec<AppId>, Reply<()>),
}

impl<W: World> Reconciler<'_, W> {
    /// Refreshes the published host metrics.
    pub(super) fn refresh_host_metrics(&self) {
        let fresh = self.publish.borrow().figures.up.is_some_and(|(_, at)| at.elapsed() < FIGURES_EVERY);
        if !fresh {
            let figures = self.world.host().figures();
            self.publish.send_modify(|it| it.figures = figures);
        }
    }

    /// The device's addresses changed.
    pub(super) fn set_addresses(&mut self, HostAddresses { ips, macs }: HostAddresses) {
        info!(addresses = ips.join(" "), "the device's addresses");
        self.device.ip_addresses = ips;
        self.device.mac_address = macs;
        self.publish.send_modify(|it| it.device.clone_from(&self.device));
    }

    pub(super) fn read_host(&self, reply: Reply<HostConfig>) {
        let world = self.world;
        let read = async move { JobOutcome::Read(world.host().config().await.map_err(refused), reply) };
        self.background_jobs.push(read.boxed_local());
    }

    /// Configures the host under the update locks of every app, so that no app is surprised by a changed network.
    pub(super) fn configure_host(&mut self, mut patch: HostPatch, force: Force, reply: Reply<()>) {
        if self.host_config_lease.is_some() {
            let why = "the host is being configured for another request; nothing was changed, ask again";
            return respond(reply, Err(Refusal::Failed(why.to_owned())));
        }
        if let Some(name) = patch.hostname.as_mut().filter(|it| it.is_empty()) {
            *name = self.device.uuid.chars().take(NAME).collect();
        }
        let forced = if self.force() == Force::Yes { Force::Yes } else { force };
        let (world, apps) = (self.world, self.lockable());
        self.host_config_lease = Some(apps.keys().copied().collect());
        let deed = async move {
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
                Err(LockError::Failed(why)) => Err(Refusal::Failed(why)),
            };
            JobOutcome::Configured(response, taken, reply)
        };
        self.background_jobs.push(deed.boxed_local());
    }

    /// A background job is done: releases the locks it took and sends the response.
    pub(super) async fn on_job_ended(&mut self, outcome: JobOutcome) {
        match outcome {
            JobOutcome::Read(response, reply) => respond(reply, response),
            JobOutcome::Configured(response, taken, reply) => {
                let lent = self.host_config_lease.take().unwrap_or_default();
                self.give_back(&lent, taken).await;
                self.request_resync();
                respond(reply, response);
            }
        }
    }

    /// Whether the locks of an app are those under which the host is configured.
    pub(super) fn is_leased(&self, app: AppId) -> bool {
        self.host_config_lease.as_ref().is_some_and(|it| it.contains(&app))
    }

    /// Services whose locks are not ours already, by app.
    fn lockable(&self) -> BTreeMap<AppId, BTreeSet<String>> {
        let mut apps = self.services();
        apps.retain(|app, _| !self.are_ours(*app));
        apps
    }
}

fn refused(HostError(why): HostError) -> Refusal {
    Refusal::Failed(why)
}
