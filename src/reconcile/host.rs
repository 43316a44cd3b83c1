//! The host: its figures, its addresses, and its configuration, which is read and changed beside everything else.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use tracing::{info, warn};

use crate::intent::{Answer, Refusal, Reply};
use crate::port::{Host, HostError, LockError, Locks, World};
use crate::reconcile::Keeper;
use crate::state::host::{Addresses, HostPatch};
use crate::state::{AppId, Force, Locks as LockState};

/// Figures are not read more often, however often the engine is looked at.
const FIGURES_EVERY: Duration = Duration::from_secs(5);
/// Characters of the uuid that name a host that has no name.
const NAME: usize = 7;

/// Something that is done while everything else goes on, and what is answered then.
pub(super) type Errand<'w> = LocalBoxFuture<'w, Answer>;

impl<'w, W: World> Keeper<'w, W> {
    /// What the host measures now.
    pub(super) fn measure(&self) {
        let fresh = self.publish.borrow().figures.up.is_some_and(|(_, at)| at.elapsed() < FIGURES_EVERY);
        if !fresh {
            let figures = self.world.host().figures();
            self.publish.send_modify(|it| it.figures = figures);
        }
    }

    /// The device is found elsewhere.
    pub(super) fn moved(&mut self, Addresses { ips, macs }: Addresses) {
        info!(addresses = ips.join(" "), "the device's addresses");
        self.device.ip_addresses = ips;
        self.device.mac_address = macs;
        self.publish.send_modify(|it| it.device.clone_from(&self.device));
    }

    pub(super) fn read_host(&self) -> Errand<'w> {
        let world = self.world;
        let read = async move { world.host().config().await.map(|it| Reply::Host(Box::new(it))).map_err(refused) };
        read.boxed_local()
    }

    /// Under the update locks of every app, so that none is surprised by another network.
    pub(super) fn configure_host(&mut self, mut patch: HostPatch, force: Force) -> Result<Errand<'w>, Refusal> {
        if !self.errands.is_empty() {
            let why = "the host's configuration is in use by another request; nothing was changed, ask again";
            return Err(Refusal::Failed(why.to_owned()));
        }
        if let Some(name) = patch.hostname.as_mut().filter(|it| it.is_empty()) {
            *name = self.device.uuid.chars().take(NAME).collect();
        }
        let forced = if self.force() == Force::Yes { Force::Yes } else { force };
        let (world, apps) = (self.world, self.lockable());
        self.lent = apps.keys().copied().collect();
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
            let done = match locked {
                Ok(()) => world.host().configure(&patch).await.map(|()| Reply::Done).map_err(refused),
                Err(LockError::Held(held)) => Err(Refusal::Locked(held)),
                Err(LockError::Failed(why)) => Err(Refusal::Failed(why)),
            };
            for app in taken {
                if let Err(error) = world.locks().release(app).await {
                    warn!(%error, %app, "an update lock of ours cannot be given back; it is tried again");
                }
            }
            done
        };
        Ok(deed.boxed_local())
    }

    /// An errand gave back the locks it took: what was seen of them is out of date.
    pub(super) fn errand_ended(&mut self) {
        self.lent.clear();
        self.gave_back = true;
        self.locks().retain(|_, locks| matches!(locks, LockState::Held(_)));
        self.look_now();
    }

    /// Services whose locks are not ours already, by app.
    fn lockable(&self) -> BTreeMap<AppId, BTreeSet<String>> {
        let mut apps: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        for container in &self.current.containers {
            let ours = matches!(self.current.locks.get(&container.key.app), Some(LockState::Ours(_)));
            if !ours {
                apps.entry(container.key.app).or_default().insert(container.key.service.clone());
            }
        }
        apps
    }
}

fn refused(HostError(why): HostError) -> Refusal {
    Refusal::Failed(why)
}
