//! Reboot and power-off: requested, announced by logind (`PrepareForShutdown`), cancelled.
//!
//! Before anything changes, it is checked whether the machine can shut down at all; then the update locks of every app are
//! taken. From the response on nothing changes: cancellable steps are cancelled, the others finish, and no step starts. If
//! the shutdown fails or is cancelled, for whatever reason, the locks are released and reconciliation resumes.
//!
//! ```text
//! flow    the stages, and which event leads to which
//! check   whether the machine can shut down, and the locks
//! ```

use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use crate::port::{InhibitorNotice, Power, World};
use crate::reconcile::Reconciler;
use crate::reconcile::execute::StepFailure;
use crate::request::{Refusal, Reply, respond};
use crate::sorted::SortedSet;
use crate::state::history::{Cause, HistoryOutcome};
use crate::state::lease::last_of;
use crate::state::{AppId, Force, PowerAction, ShutdownOrigin, ShutdownProgress, ShutdownStatus, Step};
use check::AppLocks;
use flow::{OwnShutdown, ShutdownAction, ShutdownEvent, ShutdownRequester};

mod check;
pub(super) mod flow;

/// From the response to the logind call: time for the response to reach the requester. Earlier supervisors waited as long.
const CALL_DELAY: Duration = Duration::from_secs(1);
/// From the announcement until a hanging disk is no longer waited for.
const SAVE_WITHIN: Duration = Duration::from_secs(1);

const BEING_CHECKED: &str = "a reboot or shutdown is being asked for already";

impl<W: World> Reconciler<'_, W> {
    /// Starts a requested reboot or power-off.
    pub(super) fn begin_shutdown(&mut self, ending: PowerAction, force: Force, reply: Reply<()>) {
        if self.shutdown.is_in_progress() {
            let under_way = self.shutdown.is_under_way();
            let why = if under_way { Refusal::ShuttingDown } else { Refusal::Failed(BEING_CHECKED.to_owned()) };
            return respond(reply, Err(why));
        }
        let force = if self.targets.force() == Force::Yes { Force::Yes } else { force };
        info!(%ending, ?force, "requested; checking whether the machine can shut down");
        self.check_shutdown(ending, force, ShutdownRequester::Caller(reply), ShutdownOrigin::Request);
    }

    /// Starts a reboot that a release or the host's configuration requires. It overrides only the locks that the plan may
    /// override.
    pub(super) fn begin_planned_reboot(&mut self) {
        if !self.shutdown.is_in_progress() {
            let by = match self.observed.current().reboot_request_file {
                Some(_) => ShutdownOrigin::Configuration,
                None => ShutdownOrigin::Release,
            };
            info!(%by, "a reboot is required; checking whether the machine can shut down");
            self.check_shutdown(PowerAction::Reboot, self.targets.force(), ShutdownRequester::Plan, by);
        }
    }

    fn check_shutdown(&mut self, ending: PowerAction, force: Force, requester: ShutdownRequester, by: ShutdownOrigin) {
        self.refresh_leases();
        let mut services = self.observed.services();
        for (app, locks) in &self.observed.current().locks {
            if let Some(held) = locks.held() {
                services.entry(*app).or_default().insert(held.service.clone());
            }
        }
        let locked = services.keys().copied().filter(|app| !self.observed.are_ours(*app)).collect();
        let overridden =
            if matches!(requester, ShutdownRequester::Plan) { self.effective_overrides().force } else { SortedSet::new() };
        let force_of = |app: AppId| if overridden.contains(&app) { Force::Yes } else { force };
        let leases = self.leases.all();
        // A lease of an app that has no container holds up nothing.
        let is_there = |app: &AppId| services.contains_key(app) || !self.observed.knows_containers();
        let respected = leases.keys().find(|app| is_there(app) && force_of(**app) == Force::No);
        let lease = respected.and_then(|app| Some((*app, last_of(leases, *app)?.clone())));
        let apps: AppLocks = services.into_iter().map(|(app, services)| (app, (services, force_of(app)))).collect();
        let mut lent = self.observed.lock_holders(self.target());
        lent.retain(|app, _| self.observed.locks().is_lent(*app));
        let check = check::check(self.context.world, ending, apps, lent, force);
        let check = async move {
            ShutdownEvent::Checked(match lease {
                Some((app, lease)) => Err(Refusal::Leased(app, lease)),
                None => check.await,
            })
        };
        self.shutdown.check(OwnShutdown { ending, locked, by }, requester, check.boxed_local());
    }

    /// Handles an event of the shutdown flow.
    pub(super) async fn on_shutdown_event(&mut self, event: ShutdownEvent) {
        let action = self.shutdown.on_event(event);
        self.act_on_shutdown(action).await;
    }

    /// Handles a notice about the inhibitor: a shutdown began, or was cancelled.
    pub(super) async fn on_inhibitor_notice(&mut self, notice: InhibitorNotice<<W::Power as Power>::Inhibition>) {
        let action = self.shutdown.on_notice(notice);
        self.act_on_shutdown(action).await;
        // Records that could not be saved are tried once more; on a disk that hangs they are lost anyway.
        if self.shutdown.is_in_progress() && timeout(SAVE_WITHIN, self.save_before_shutdown()).await.is_err() {
            warn!("the disk does not answer before the shutdown; records that could not be saved are lost");
        }
        self.release_inhibitor_if_idle();
    }

    /// Releases the inhibitor once the last step has ended.
    pub(super) fn release_inhibitor_if_idle(&mut self) {
        if self.work.is_idle() {
            self.shutdown.on_idle();
        }
    }

    async fn act_on_shutdown(&mut self, action: ShutdownAction) {
        match action {
            ShutdownAction::Wait => (),
            ShutdownAction::Call(ending, by, requester) => {
                self.call_logind(ending);
                self.quiesce();
                self.note_shutdown(Some(ending), Cause::from_why(shutdown_why(by)), HistoryOutcome::Done);
                self.publish_shutdown(Some(ending), by, ShutdownProgress::Asked);
                if let ShutdownRequester::Caller(reply) = requester {
                    respond(reply, Ok(()));
                }
            }
            ShutdownAction::PublishAccepted(ending, by) => {
                info!(%ending, "logind accepted the shutdown");
                self.publish_shutdown(Some(ending), by, ShutdownProgress::Accepted);
            }
            ShutdownAction::Quiesce(ending, by) => {
                self.quiesce();
                self.note_shutdown(ending, Cause::from_why(shutdown_why(by)), HistoryOutcome::Seen);
                self.publish_shutdown(ending, by, ShutdownProgress::Accepted);
            }
            ShutdownAction::Reject(own, requester, why) => self.reject_shutdown(own, requester, why).await,
            ShutdownAction::Resume(own, why) => self.resume(own, why).await,
        }
    }

    fn call_logind(&mut self, ending: PowerAction) {
        let world = self.context.world;
        let call = async move {
            sleep(CALL_DELAY).await;
            ShutdownEvent::Called(world.power().shut_down(ending).await)
        };
        self.shutdown.call(call.boxed_local());
    }

    /// From here on nothing changes: cancels what may be cancelled, and fails the waiters.
    fn quiesce(&mut self) {
        self.work.cancel_except(|_| false);
        self.requests.fail(|_| true, &Refusal::ShuttingDown.to_string());
    }

    fn publish_shutdown(&self, ending: Option<PowerAction>, by: ShutdownOrigin, progress: ShutdownProgress) {
        self.context.publish.send_modify(|status| {
            let since = match &status.shutdown {
                ShutdownStatus::UnderWay { since, .. } => *since,
                ShutdownStatus::No | ShutdownStatus::Failed { .. } => Instant::now(),
            };
            status.shutdown = ShutdownStatus::UnderWay { ending, by, since, progress };
        });
    }

    /// The check failed. Nothing was changed, and no lock taken for it remains.
    async fn reject_shutdown(&mut self, own: OwnShutdown, requester: ShutdownRequester, why: Refusal) {
        info!(ending = %own.ending, %why, "the shutdown is rejected");
        self.release_locks(&own.locked, own.locked.iter().copied()).await;
        match requester {
            ShutdownRequester::Caller(_) => requester.reject(why),
            ShutdownRequester::Plan => self.on_step_failed(&Step::Reboot, &StepFailure::Reboot(why.to_string())),
        }
        self.request_resync();
    }

    /// The shutdown failed or was cancelled: reconciliation resumes, and the status says why.
    async fn resume(&mut self, own: Option<OwnShutdown>, why: String) {
        warn!(%why, "the shutdown failed or was cancelled; reconciliation resumes");
        let ending = own.as_ref().map(|it| it.ending);
        self.note_shutdown(ending, Cause::default(), HistoryOutcome::Failed(why.clone()));
        if let Some(own) = &own {
            self.release_locks(&own.locked, own.locked.iter().copied()).await;
            if matches!(own.by, ShutdownOrigin::Release | ShutdownOrigin::Configuration) {
                self.on_step_failed(&Step::Reboot, &StepFailure::Reboot(why.clone()));
            }
        }
        let ending = own.filter(|it| it.by != ShutdownOrigin::Others).map(|it| it.ending);
        self.context.publish.send_modify(|it| it.shutdown = ShutdownStatus::Failed { ending, why, since: Instant::now() });
        self.request_resync();
    }
}

/// Why the machine goes down, for the history.
const fn shutdown_why(by: ShutdownOrigin) -> &'static str {
    match by {
        ShutdownOrigin::Request => "it was requested",
        ShutdownOrigin::Release => "a release requires it",
        ShutdownOrigin::Configuration => "the host's configuration requires it",
        ShutdownOrigin::Others => "another program asked logind for it",
    }
}
