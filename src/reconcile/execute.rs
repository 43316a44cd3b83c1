//! One step, on the real ports.

use std::cell::Cell;
use std::fmt;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{AbortRegistration, Abortable, Aborted, LocalBoxFuture, Shared};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tracing::{info, warn};

use crate::plan::AppUpdate;
use crate::port::{Engine, EngineError, LockError, Locks, World};
use crate::state::{DownloadProgress, EngineAction, ImageRef, ServiceKey, Status, Step};

/// How long the published progress of a pull stays, at least. Each is a message to every client that watches.
const PROGRESS_EVERY: Duration = Duration::from_millis(500);

/// Why a step failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum StepFailure {
    Engine(EngineError),
    Lock(LockError),
    /// The reboot that a release or the configuration requires did not happen, for this reason.
    Reboot(String),
}

/// A step, and its result unless it was cancelled.
pub(super) type StepEnded = (Step, Result<Result<(), StepFailure>, Aborted>);

/// Whether an update fits on the disk. Checked once, for all its steps that start together.
type Fits<'w> = Shared<LocalBoxFuture<'w, Result<(), EngineError>>>;

/// The plan's updates, and whether each fits.
pub(super) struct Updates<'w>(Vec<(AppUpdate, Fits<'w>)>);

impl<'w> Updates<'w> {
    pub(super) fn new<W: World>(world: &'w W, updates: &[AppUpdate]) -> Self {
        let fits = |AppUpdate { images, volumes, .. }: AppUpdate| {
            let checks = async move {
                world.engine().check_room(&images).await?;
                world.engine().check_copies(&volumes).await
            };
            checks.boxed_local().shared()
        };
        Self(updates.iter().map(|it| (it.clone(), fits(it.clone()))).collect())
    }

    /// The updates that a step begins.
    pub(super) fn begun_by(&self, step: &Step) -> Vec<Fits<'w>> {
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
    cancelled: AbortRegistration,
) -> StepEnded {
    let is_cancellable = step.is_cancellable();
    let first = async {
        one_fits(updates).await?;
        if is_cancellable { execute_now(world, publish, &step).await } else { Ok(()) }
    };
    let result = match Abortable::new(first, cancelled).await {
        Ok(Ok(())) if !is_cancellable => Ok(execute_now(world, publish, &step).await),
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

async fn execute_now<W: World>(world: &W, publish: &watch::Sender<Status>, step: &Step) -> Result<(), StepFailure> {
    match step {
        Step::Engine(action) => execute_action(world, publish, action).await,
        Step::TakeLocks(app, services, force) => world.locks().take(*app, services, *force).await.map_err(StepFailure::Lock),
        Step::ReleaseLocks(app) => world.locks().release(*app).await.map_err(StepFailure::Lock),
        Step::HandOver { old, timeout } => {
            // On the heap: else the future of each step would have room for it.
            Box::pin(wait_for_hand_over(world, &old.key, *timeout)).await?;
            world.engine().execute(&EngineAction::Kill(old.clone()), &|_| ()).await.map_err(StepFailure::Engine)
        }
        // The whole agent quiesces for a reboot, so it is not one step among others: see `shutdown`.
        Step::Reboot => Ok(()),
    }
}

async fn execute_action<W: World>(
    world: &W,
    publish: &watch::Sender<Status>,
    action: &EngineAction,
) -> Result<(), StepFailure> {
    if let EngineAction::Retire(which, _) = action {
        // A notification from an earlier hand-over must not count for this one.
        world.locks().expect_hand_over(&which.key).await.map_err(StepFailure::Lock)?;
    }
    match action {
        EngineAction::Create(spec) => make_lock_directory(world, &spec.key).await,
        EngineAction::Start(which) | EngineAction::Restart(which) => make_lock_directory(world, &which.key).await,
        _ => (),
    }
    let EngineAction::Pull(image) = action else {
        return world.engine().execute(action, &|_| ()).await.map_err(StepFailure::Engine);
    };
    let published = Cell::new(None);
    publish_progress(publish, &published, image, DownloadProgress::default());
    let progress = |now| publish_progress(publish, &published, image, now);
    world.engine().execute(action, &progress).await.map_err(StepFailure::Engine)
}

/// Publishes the progress of a pull, unless the last one was published just now. The first one above 0 is always published, and
/// the end.
fn publish_progress(
    publish: &watch::Sender<Status>,
    published: &Cell<Option<Instant>>,
    image: &ImageRef,
    now: DownloadProgress,
) {
    let is_soon = published.get().is_some_and(|at| at.elapsed() < PROGRESS_EVERY);
    if is_soon && now.percent < 100 {
        return;
    }
    let changes = publish.send_if_modified(|status| status.progress.insert(image.clone(), now) != Some(now));
    if changes && now != DownloadProgress::default() {
        published.set(Some(Instant::now()));
    }
}

/// Creates a service's lock directory before it is mounted, so that it is ours. It is gone after every boot.
pub(super) async fn make_lock_directory<W: World>(world: &W, service: &ServiceKey) {
    if let Err(error) = world.locks().prepare(service).await {
        // The engine creates it, or says why it cannot.
        warn!(%service, %error, "cannot create the directory of the service's update locks; the engine does");
    }
}

/// Waits up to `longest` for the new container's notification. If none comes, the old container is killed all the same.
async fn wait_for_hand_over<W: World>(world: &W, key: &ServiceKey, longest: Duration) -> Result<(), StepFailure> {
    match timeout(longest, world.locks().handed_over(key)).await {
        Ok(Ok(())) => info!(service = %key, "the new container has taken over"),
        Ok(Err(error)) => return Err(StepFailure::Lock(error)),
        Err(_) => {
            info!(service = %key, ?longest, "the new container did not report that it took over; killing the old one");
        }
    }
    Ok(())
}

impl fmt::Display for StepFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Engine(error) => error.fmt(f),
            Self::Lock(error) => error.fmt(f),
            Self::Reboot(why) => f.write_str(why),
        }
    }
}

#[cfg(test)]
mod tests;
