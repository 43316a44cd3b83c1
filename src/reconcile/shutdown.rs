//! Reboot and power-off: requested, announced by logind (`PrepareForShutdown`), cancelled.
//!
//! Before anything changes, it is checked whether the machine can shut down at all; then the update locks of every app are
//! taken. From the response on nothing changes: cancellable steps are cancelled, the others finish, and no step starts. If
//! the shutdown fails or is cancelled, for whatever reason, the locks are released and reconciliation resumes.
//!
//! ```text
//! Up ──request──▶ Checking ──possible──▶ Asked ──announced──▶ Announced ──▶ off
//!  ▲                  │ rejected           │ refused, timeout    │ cancelled
//!  └──────────────────┴────────────────────┴─────────────────────┘
//!  Up ──announced, not ours──▶ Announced
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{info, warn};

use crate::plan::Step;
use crate::port::{InhibitorMode, InhibitorNotice, LockError, Locks, Power, PowerError, World};
use crate::reconcile::Reconciler;
use crate::reconcile::execute::StepFailure;
use crate::request::{Refusal, Reply, respond};
use crate::state::{self, AppId, Force, LockHolders, PowerAction, ShutdownOrigin, ShutdownProgress, ShutdownStatus};

/// From the response to the logind call: time for the response to reach the requester. Earlier supervisors waited as long.
const ANSWER_LEAVES: Duration = Duration::from_secs(1);
/// From the accepted call to its announcement. logind announces before it answers the call, so silence means that no shutdown
/// follows. With the second before the call, all is resumed within five.
const ANNOUNCED_WITHIN: Duration = Duration::from_secs(3);
/// From the announcement until steps that cannot be cancelled are no longer waited for. logind itself waits five seconds
/// unless configured otherwise.
const REST_WITHIN: Duration = Duration::from_secs(3);
/// From the announcement until a hanging disk is no longer waited for.
const SAVE_WITHIN: Duration = Duration::from_secs(1);
/// From the announcement to power-off. systemd enforces a shutdown half an hour after it began, so a machine that still runs
/// after that will not shut down at all.
const ENDS_WITHIN: Duration = Duration::from_secs(31 * 60);

/// The services of apps whose locks are to be taken, and whether locks held by a service are overridden.
type AppLocks = BTreeMap<AppId, (BTreeSet<String>, Force)>;

/// Apps under whose locks the host is being configured, and the services that can hold a lock of them.
type HostConfigLease = BTreeMap<AppId, LockHolders>;

/// Progress of a reboot or power-off.
pub(super) struct ShutdownFlow<'w, H> {
    stage: Stage<H>,
    /// The check or the logind call in flight.
    job: Option<LocalBoxFuture<'w, ShutdownEvent>>,
    /// Deadline of the current stage.
    until: Option<Instant>,
}

enum Stage<H> {
    /// No shutdown is in progress.
    Up,
    /// The check whether the machine can shut down runs, and the locks are being taken.
    Checking(OwnShutdown, ShutdownRequester),
    /// The check passed. The call to logind is in flight, or logind accepted it.
    Asked(OwnShutdown),
    /// logind announced the shutdown. The inhibitor is held until the steps in flight are done.
    Announced(Option<OwnShutdown>, Option<H>),
}

/// A shutdown that this agent requests.
struct OwnShutdown {
    ending: PowerAction,
    /// Apps locked for the shutdown that were not locked before.
    locked: BTreeSet<AppId>,
    by: ShutdownOrigin,
}

/// Who requested a shutdown and waits for the result.
enum ShutdownRequester {
    Person(Reply<()>),
    Plan,
}

/// An event of the shutdown flow.
pub(super) enum ShutdownEvent {
    /// The check is done; if it passed, the locks are taken.
    Checked(Result<(), Refusal>),
    /// logind answered the call.
    Called(Result<(), PowerError>),
    /// The deadline passed.
    Late,
}

impl<H> ShutdownFlow<'_, H> {
    pub(super) const fn new() -> Self {
        Self { stage: Stage::Up, job: None, until: None }
    }

    /// Waits for the next event. Cancel-safe.
    pub(super) async fn next(&mut self) -> ShutdownEvent {
        let late = async |until: Option<Instant>| match until {
            Some(until) => sleep_until(until).await,
            None => pending().await,
        };
        tokio::select! {
            biased;
            event = async { self.job.as_mut().expect("the arm is off without one").await }, if self.job.is_some() => {
                self.job = None;
                event
            }
            () = late(self.until) => {
                self.until = None;
                ShutdownEvent::Late
            }
        }
    }

    /// Whether no step may start.
    pub(super) const fn is_in_progress(&self) -> bool {
        !matches!(self.stage, Stage::Up)
    }

    /// Whether an app is locked for the shutdown.
    pub(super) fn has_locked(&self, app: AppId) -> bool {
        match &self.stage {
            Stage::Checking(ask, _) | Stage::Asked(ask) | Stage::Announced(Some(ask), _) => ask.locked.contains(&app),
            Stage::Up | Stage::Announced(None, _) => false,
        }
    }

    /// Whether the shutdown is certain enough that requests are rejected.
    pub(super) const fn is_under_way(&self) -> bool {
        matches!(self.stage, Stage::Asked(_) | Stage::Announced(..))
    }
}

impl<W: World> Reconciler<'_, W> {
    /// Starts a requested reboot or power-off.
    pub(super) fn begin_shutdown(&mut self, ending: PowerAction, force: Force, reply: Reply<()>) {
        if self.shutdown.is_in_progress() {
            let why =
                if self.shutdown.is_under_way() { Refusal::ShuttingDown } else { Refusal::Failed(BEING_ASKED.to_owned()) };
            return respond(reply, Err(why));
        }
        let force = if self.force() == Force::Yes { Force::Yes } else { force };
        info!(%ending, ?force, "asked for; looking whether it can be");
        self.check(ending, force, ShutdownRequester::Person(reply), ShutdownOrigin::Request);
    }

    /// Starts a reboot that a release or the host's configuration requires. It overrides only the locks that the plan may
    /// override.
    pub(super) fn begin_planned_reboot(&mut self) {
        if !self.shutdown.is_in_progress() {
            let by = if self.current.boot_wanted.is_some() { ShutdownOrigin::Configuration } else { ShutdownOrigin::Release };
            info!(%by, "a reboot is waited for; looking whether it can be");
            self.check(PowerAction::Reboot, self.force(), ShutdownRequester::Plan, by);
        }
    }

    fn check(&mut self, ending: PowerAction, force: Force, asker: ShutdownRequester, by: ShutdownOrigin) {
        let mut services = self.services();
        for (app, locks) in &self.current.locks {
            if let Some(held) = locks.held() {
                services.entry(*app).or_default().insert(held.service.clone());
            }
        }
        let locked = services.keys().copied().filter(|app| !self.are_ours(*app)).collect();
        let overridden =
            if matches!(asker, ShutdownRequester::Plan) { self.effective_overrides().force } else { BTreeSet::new() };
        let force_of = |app: &AppId| if overridden.contains(app) { Force::Yes } else { force };
        let apps: AppLocks = services.into_iter().map(|(app, services)| (app, (services, force_of(&app)))).collect();
        let lent =
            self.host_config_lease.iter().flatten().map(|app| (*app, self.holders().remove(app).unwrap_or_default())).collect();
        self.shutdown.job = Some(look(self.world, ending, apps, lent, force).map(ShutdownEvent::Checked).boxed_local());
        self.shutdown.stage = Stage::Checking(OwnShutdown { ending, locked, by }, asker);
    }

    /// Advances the shutdown flow by one event.
    pub(super) async fn on_shutdown_event(&mut self, event: ShutdownEvent) {
        let stage = std::mem::replace(&mut self.shutdown.stage, Stage::Up);
        match (event, stage) {
            (ShutdownEvent::Checked(Ok(())), Stage::Checking(ask, asker)) => self.stop_launching(ask, asker),
            (ShutdownEvent::Checked(Err(why)), Stage::Checking(ask, asker)) => self.cannot(ask, asker, why).await,
            (ShutdownEvent::Called(Ok(())), Stage::Asked(ask)) => {
                info!(ending = %ask.ending, "accepted");
                self.tell_progress(Some(ask.ending), ask.by, ShutdownProgress::Accepted);
                self.shutdown.until = Some(Instant::now() + ANNOUNCED_WITHIN);
                self.shutdown.stage = Stage::Asked(ask);
            }
            (ShutdownEvent::Called(Err(why)), Stage::Asked(ask)) => self.resume(Some(ask), why.0).await,
            (ShutdownEvent::Late, Stage::Asked(ask)) => self.resume(Some(ask), NOTHING_CAME.to_owned()).await,
            (ShutdownEvent::Late, Stage::Announced(ask, Some(hold))) => {
                info!("letting the machine end although steps are not done");
                drop(hold);
                self.rested(ask);
            }
            (ShutdownEvent::Late, Stage::Announced(ask, None)) => self.resume(ask, STILL_RUNS.to_owned()).await,
            // The announcement has already shown the call's outcome; the other stages have no deadline.
            (ShutdownEvent::Called(_) | ShutdownEvent::Checked(_) | ShutdownEvent::Late, stage) => self.shutdown.stage = stage,
        }
    }

    /// Handles a notice about the inhibitor: a shutdown began, or was cancelled.
    pub(super) async fn on_inhibitor_notice(&mut self, notice: InhibitorNotice<<W::Power as Power>::Inhibition>) {
        let stage = std::mem::replace(&mut self.shutdown.stage, Stage::Up);
        match (notice, stage) {
            (InhibitorNotice::ShutdownBegins(hold), Stage::Announced(ask, _)) => {
                self.shutdown.stage = Stage::Announced(ask, Some(hold));
            }
            (InhibitorNotice::ShutdownBegins(hold), Stage::Up) => self.announced(None, hold),
            (InhibitorNotice::ShutdownBegins(hold), Stage::Asked(ask)) => self.announced(Some(ask), hold),
            (InhibitorNotice::ShutdownBegins(hold), Stage::Checking(ask, asker)) => {
                asker.hears(Refusal::ShuttingDown);
                self.announced(Some(OwnShutdown { by: ShutdownOrigin::Others, ..ask }), hold);
            }
            (InhibitorNotice::ShutdownCancelled(why), Stage::Announced(ask, _)) => self.resume(ask, why).await,
            (InhibitorNotice::ShutdownCancelled(_), stage) => self.shutdown.stage = stage,
        }
        // Records that could not be saved are tried once more; on a disk that hangs they are lost anyway.
        if self.shutdown.is_in_progress() && timeout(SAVE_WITHIN, self.save_before_shutdown()).await.is_err() {
            warn!("the disk does not answer, and the machine ends; what could not be saved is lost");
        }
        self.release_inhibitor_if_idle();
    }

    /// Releases the inhibitor once the last step has ended: nothing else delays the shutdown.
    pub(super) fn release_inhibitor_if_idle(&mut self) {
        if !self.running.is_empty() {
            return;
        }
        match std::mem::replace(&mut self.shutdown.stage, Stage::Up) {
            Stage::Announced(ask, Some(hold)) => {
                info!("ready for the end of the machine");
                drop(hold);
                self.rested(ask);
            }
            stage => self.shutdown.stage = stage,
        }
    }

    fn rested(&mut self, ask: Option<OwnShutdown>) {
        self.shutdown.until = Some(Instant::now() + ENDS_WITHIN);
        self.shutdown.stage = Stage::Announced(ask, None);
    }

    /// The check passed, and the locks are taken: from here on nothing changes.
    fn stop_launching(&mut self, ask: OwnShutdown, asker: ShutdownRequester) {
        let world = self.world;
        let ending = ask.ending;
        let call = async move {
            sleep(ANSWER_LEAVES).await;
            ShutdownEvent::Called(world.power().end(ending).await)
        };
        self.shutdown.job = Some(call.boxed_local());
        self.quiesce(Some(ending), ask.by, ShutdownProgress::Asked);
        self.shutdown.stage = Stage::Asked(ask);
        if let ShutdownRequester::Person(reply) = asker {
            respond(reply, Ok(()));
        }
    }

    fn announced(&mut self, ask: Option<OwnShutdown>, hold: <W::Power as Power>::Inhibition) {
        let ending = ask.as_ref().filter(|it| it.by != ShutdownOrigin::Others).map(|it| it.ending);
        let by = ask.as_ref().map_or(ShutdownOrigin::Others, |it| it.by);
        if by == ShutdownOrigin::Others {
            info!("another program shuts the machine down");
            // Drops a check whose result is of no use any more; a call to logind goes on.
            self.shutdown.job = None;
        }
        self.quiesce(ending, by, ShutdownProgress::Accepted);
        self.shutdown.until = Some(Instant::now() + REST_WITHIN);
        self.shutdown.stage = Stage::Announced(ask, Some(hold));
    }

    /// Cancels what may be cancelled, fails the waiters and publishes the progress.
    fn quiesce(&mut self, ending: Option<PowerAction>, by: ShutdownOrigin, progress: ShutdownProgress) {
        self.drop_unwanted(|_| false);
        self.fail_waiters(|_| true, &Refusal::ShuttingDown.to_string());
        self.tell_progress(ending, by, progress);
    }

    fn tell_progress(&self, ending: Option<PowerAction>, by: ShutdownOrigin, progress: ShutdownProgress) {
        self.publish.send_modify(|status| {
            let since = match &status.shutdown {
                ShutdownStatus::UnderWay { since, .. } => *since,
                ShutdownStatus::No | ShutdownStatus::Failed { .. } => Instant::now(),
            };
            status.shutdown = ShutdownStatus::UnderWay { ending, by, since, progress };
        });
    }

    /// The check failed. Nothing was changed, and no lock taken for it remains.
    async fn cannot(&mut self, ask: OwnShutdown, asker: ShutdownRequester, why: Refusal) {
        info!(ending = %ask.ending, %why, "refused");
        self.unlock(&ask).await;
        match asker {
            ShutdownRequester::Person(_) => asker.hears(why),
            ShutdownRequester::Plan => self.failed(&Step::Reboot, &StepFailure::Power(PowerError(why.to_string()))),
        }
        self.request_resync();
    }

    /// The shutdown failed or was cancelled: reconciliation resumes, and the status says why.
    async fn resume(&mut self, ask: Option<OwnShutdown>, why: String) {
        warn!(%why, "the machine does not end; everything goes on");
        self.shutdown.job = None;
        self.shutdown.until = None;
        if let Some(ask) = &ask {
            self.unlock(ask).await;
            if matches!(ask.by, ShutdownOrigin::Release | ShutdownOrigin::Configuration) {
                self.failed(&Step::Reboot, &StepFailure::Power(PowerError(why.clone())));
            }
        }
        let ending = ask.filter(|it| it.by != ShutdownOrigin::Others).map(|it| it.ending);
        self.publish.send_modify(|it| it.shutdown = ShutdownStatus::Failed { ending, why, since: Instant::now() });
        self.request_resync();
    }

    /// Releases the locks that were taken for a shutdown.
    async fn unlock(&mut self, ask: &OwnShutdown) {
        self.give_back(&ask.locked, ask.locked.iter().copied()).await;
    }
}

const BEING_ASKED: &str = "a reboot or shutdown is being asked for already";
const NOTHING_CAME: &str = "logind accepted it, and began nothing in 3 s; see `journalctl -u systemd-logind`";
const STILL_RUNS: &str = "the machine still runs 31 minutes after its end was announced; see `systemctl list-jobs`";

impl ShutdownRequester {
    /// Sends the requester the reason for the rejection.
    fn hears(self, why: Refusal) {
        match self {
            Self::Person(reply) => respond(reply, Err(why)),
            Self::Plan => (),
        }
    }
}

/// Checks whether the machine can shut down, and takes every lock. If it cannot, no lock stays taken that was not ours
/// before.
async fn look<W: World>(
    world: &W,
    ending: PowerAction,
    apps: AppLocks,
    lent: HostConfigLease,
    force: Force,
) -> Result<(), Refusal> {
    let power = world.power();
    let failed = |why: PowerError| Refusal::Failed(why.0);
    let inhibitors = power.inhibitors().await.map_err(failed)?;
    if let Some(it) = inhibitors.iter().find(|it| it.mode == InhibitorMode::Block) {
        return Err(Refusal::Failed(format!("no {ending} now: {it}")));
    }
    power.can(ending).await.map_err(failed)?;
    if force == Force::No
        && let Some(file) = power.host_update().await
    {
        return Err(Refusal::HostUpdate(file));
    }
    for (app, (services, overrides)) in &apps {
        let locked = match lent.get(app) {
            Some(holders) if *overrides == Force::No => none_held(world, *app, holders).await,
            Some(_) | None => world.locks().take(*app, services, *overrides).await,
        };
        match locked {
            Ok(()) => {}
            Err(LockError::Held(held)) => return Err(Refusal::LockedApp(*app, held)),
            // A forced shutdown goes on: a card that is no longer writable may be the reason for the shutdown.
            Err(LockError::Failed(why)) if force == Force::Yes => warn!(%app, why, "it is not locked, and ends all the same"),
            Err(LockError::Failed(why)) => return Err(Refusal::Failed(why)),
        }
    }
    Ok(())
}

/// While the host is being configured under an app's locks, taking them again would release them on failure. They are only
/// read.
async fn none_held<W: World>(world: &W, app: AppId, holders: &LockHolders) -> Result<(), LockError> {
    let seen = world.locks().observe(&BTreeMap::from([(app, holders.clone())])).await?;
    let held = seen.values().find_map(state::LockState::held);
    held.map_or(Ok(()), |held| Err(LockError::Held(held.clone())))
}
