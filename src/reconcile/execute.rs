//! One step, on the real ports.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{AbortRegistration, Abortable, Aborted, LocalBoxFuture, Shared};
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::{info, warn};

use crate::plan::AppUpdate;
use crate::port::{Engine, EngineError, LockError, Locks, PowerError, World};
use crate::state::{EngineAction, ImageRef, ServiceKey, Status, Step};

/// Why a step failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum StepFailure {
    Engine(EngineError),
    Lock(LockError),
    Power(PowerError),
}

/// A step, and its result unless it was cancelled.
pub(super) type StepEnded = (Step, Result<Result<(), StepFailure>, Aborted>);

/// Whether an update fits on the disk. Checked once, for all its steps that start together.
type Fits<'w> = Shared<LocalBoxFuture<'w, Result<(), EngineError>>>;

/// The plan's updates, and whether each fits.
pub(super) struct Updates<'w>(Vec<(AppUpdate, Fits<'w>)>);

impl<'w> Updates<'w> {
    pub(super) fn new<W: World>(world: &'w W, updates: &[AppUpdate]) -> Self {
        let fits = |images: BTreeSet<ImageRef>| async move { world.engine().fit(&images).await }.boxed_local().shared();
        Self(updates.iter().map(|it| (it.clone(), fits(it.images.clone()))).collect())
    }

    /// The updates that a step begins.
    pub(super) fn of(&self, step: &Step) -> Vec<Fits<'w>> {
        self.0.iter().filter(|(update, _)| update.begins_with(step)).map(|(_, fits)| fits.clone()).collect()
    }
}

/// Executes one step, unless it belongs to updates of which none fits. It can be cancelled until it begins; some steps also
/// half-way.
pub(super) async fn execute<W: World>(
    world: &W,
    publish: &watch::Sender<Status>,
    step: Step,
    updates: Vec<Fits<'_>>,
    dropped: AbortRegistration,
) -> StepEnded {
    let may_be_dropped = step.may_be_dropped();
    let first = async {
        one_fits(updates).await?;
        if may_be_dropped { now(world, publish, &step).await } else { Ok(()) }
    };
    let result = match Abortable::new(first, dropped).await {
        Ok(Ok(())) if !may_be_dropped => Ok(now(world, publish, &step).await),
        first => first,
    };
    (step, result)
}

/// A step may belong to several apps' updates: it starts if any of them fits on the disk.
async fn one_fits(updates: Vec<Fits<'_>>) -> Result<(), StepFailure> {
    let mut fits = Ok(());
    for update in updates {
        fits = update.await;
        if fits.is_ok() {
            break;
        }
    }
    fits.map_err(StepFailure::Engine)
}

async fn now<W: World>(world: &W, publish: &watch::Sender<Status>, step: &Step) -> Result<(), StepFailure> {
    match step {
        Step::Engine(deed) => engine(world, publish, deed).await,
        Step::TakeLocks(app, services, force) => world.locks().take(*app, services, *force).await.map_err(StepFailure::Lock),
        Step::ReleaseLocks(app) => world.locks().release(*app).await.map_err(StepFailure::Lock),
        Step::HandOver { old, timeout } => {
            word_of(world, &old.key, *timeout).await?;
            world.engine().take(&EngineAction::Kill(old.clone()), &|_| ()).await.map_err(StepFailure::Engine)
        }
        // The whole agent quiesces for a reboot, so it is not one step among others: see `shutdown`.
        Step::Reboot => Ok(()),
    }
}

async fn engine<W: World>(world: &W, publish: &watch::Sender<Status>, deed: &EngineAction) -> Result<(), StepFailure> {
    if let EngineAction::Retire(which, _) = deed {
        // A notification from an earlier hand-over must not count for this one.
        world.locks().expect_hand_over(&which.key).await.map_err(StepFailure::Lock)?;
    }
    match deed {
        EngineAction::Create(spec) => make_lock_directory(world, &spec.key).await,
        EngineAction::Start(which) | EngineAction::Restart(which) => make_lock_directory(world, &which.key).await,
        _ => (),
    }
    let progress = |percent: u8| {
        if let EngineAction::Pull(image) = deed {
            publish.send_if_modified(|status| status.progress.insert(image.clone(), percent) != Some(percent));
        }
    };
    if matches!(deed, EngineAction::Pull(_)) {
        progress(0);
    }
    world.engine().take(deed, &progress).await.map_err(StepFailure::Engine)
}

/// Creates a service's lock directory before it is mounted, so that it is ours. It is gone after every boot.
pub(super) async fn make_lock_directory<W: World>(world: &W, service: &ServiceKey) {
    if let Err(error) = world.locks().prepare(service).await {
        // The engine creates it, or says why it cannot.
        warn!(%service, %error, "the directory of its update locks is left to the engine");
    }
}

/// Waits up to `most` for the new container's notification. If none comes, the old container is killed all the same.
async fn word_of<W: World>(world: &W, key: &ServiceKey, most: Duration) -> Result<(), StepFailure> {
    match timeout(most, world.locks().handed_over(key)).await {
        Ok(Ok(())) => info!(service = %key, "the new container has taken over"),
        Ok(Err(error)) => return Err(StepFailure::Lock(error)),
        Err(_) => {
            info!(service = %key, ?most, "the new container did not say that it has taken over; the old one goes all the same");
        }
    }
    Ok(())
}

impl fmt::Display for StepFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Engine(error) => error.fmt(f),
            Self::Lock(error) => error.fmt(f),
            Self::Power(error) => error.fmt(f),
        }
    }
}
