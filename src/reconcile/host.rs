//! The host: its figures, its addresses, and its configuration, which is read and changed beside everything else.

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

/// Figures are not read more often, however often the engine is looked at.
const FIGURES_EVERY: Duration = Duration::from_secs(5);
/// Characters of the uuid that name a host that has no name.
const NAME: usize = 7;

/// Something that is done while everything else goes on, and what comes of it.
pub(super) type BackgroundJob<'w> = LocalBoxFuture<'w, JobOutcome>;

/// What comes of an errand.
pub(super) struct JobOutcome {
    answer: RequestResult,
    /// Apps whose locks it took. `None`: it needs none.
    taken: Option<Vec<AppId>>,
}

impl<'w, W: World> Reconciler<'w, W> {
    /// What the host measures now.
    pub(super) fn refresh_host_metrics(&self) {
        let fresh = self.publish.borrow().figures.up.is_some_and(|(_, at)| at.elapsed() < FIGURES_EVERY);
        if !fresh {
            let figures = self.world.host().figures();
            self.publish.send_modify(|it| it.figures = figures);
        }
    }

    /// The device is found elsewhere.
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

    /// Under the update locks of every app, so that none is surprised by another network.
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

    /// An errand is done: it gives back the locks it took.
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
        let _ = reply.send(answer); // Whoever asked may have hung up; that is their business.
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
