//! The host: its metrics, its addresses, and its configuration, which is read and changed beside the steps.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use tokio::sync::oneshot;
use tracing::info;

use crate::port::{Host, HostError, LockError, Locks, World};
use crate::reconcile::Reconciler;
use crate::request::{Refusal, RequestResult, Response};
use crate::state::host::{HostAddresses, HostPatch};
use crate::state::{AppId, Force};

/// Minimum interval between two readings of the host metrics, however often the engine is observed.
const FIGURES_EVERY: Duration = Duration::from_secs(5);
/// Characters of the uuid that make the hostname when the requested one is empty.
const NAME: usize = 7;

/// A job that runs beside the steps, and its outcome.
pub(super) type BackgroundJob<'w> = LocalBoxFuture<'w, JobOutcome>;

/// The outcome of a background job.
pub(super) struct JobOutcome {
    answer: RequestResult,
    /// Apps whose locks the job took. `None`: it needs no locks.
    taken: Option<Vec<AppId>>,
}

impl<'w, W: World> Reconciler<'w, W> {
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

    pub(super) fn read_host(&self) -> BackgroundJob<'w> {
        let world = self.world;
        let read = async move {
            let answer = world.host().config().await.map(|it| Response::Host(Box::new(it))).map_err(refused);
            JobOutcome { answer, taken: None }
        };
        read.boxed_local()
    }

    /// Configures the host under the update locks of every app, so that no app is surprised by a changed network.
    pub(super) fn configure_host(&mut self, mut patch: HostPatch, force: Force) -> Result<BackgroundJob<'w>, Refusal> {
        if self.host_config_lease.is_some() {
            let why = "the host is being configured for another request; nothing was changed, ask again";
            return Err(Refusal::Failed(why.to_owned()));
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
            let answer = match locked {
                Ok(()) => world.host().configure(&patch).await.map(|()| Response::Done).map_err(refused),
                Err(LockError::Held(held)) => Err(Refusal::Locked(held)),
                Err(LockError::Failed(why)) => Err(Refusal::Failed(why)),
            };
            JobOutcome { answer, taken: Some(taken) }
        };
        Ok(deed.boxed_local())
    }

    /// A background job is done: releases the locks it took and sends the response.
    pub(super) async fn on_job_ended(
        &mut self,
        reply: oneshot::Sender<RequestResult>,
        JobOutcome { answer, taken }: JobOutcome,
    ) {
        if let Some(taken) = taken {
            let lent = self.host_config_lease.take().unwrap_or_default();
            self.give_back(&lent, taken).await;
            self.request_resync();
        }
        let _ = reply.send(answer); // The requester may have hung up; the response is then of no use.
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
