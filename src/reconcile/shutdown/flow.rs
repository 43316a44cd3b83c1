//! The stages of a reboot or power-off. Every event leads to the next stage, and to what the reconciler does about it.
//!
//! ```text
//! Up ──request──▶ Checking ──possible──▶ Asked ──announced──▶ Announced ──▶ off
//!  ▲                  │ rejected           │ refused, timeout    │ cancelled
//!  └──────────────────┴────────────────────┴─────────────────────┘
//!  Up ──announced, not ours──▶ Announced
//! ```

use std::future::pending;
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use tokio::time::{Instant, sleep_until};
use tracing::info;

use crate::port::{InhibitorNotice, PowerError};
use crate::request::{Refusal, Reply, respond};
use crate::sorted::SortedSet;
use crate::state::{AppId, PowerAction, ShutdownOrigin};

/// From the accepted call to its announcement. logind announces before it answers the call, so silence means that no shutdown
/// follows. With the second before the call, all is resumed within five.
const ANNOUNCED_WITHIN: Duration = Duration::from_secs(3);
/// From the announcement until steps that cannot be cancelled are no longer waited for. logind itself waits five seconds
/// unless configured otherwise.
const STEPS_END_WITHIN: Duration = Duration::from_secs(3);
/// From the announcement to power-off. systemd enforces a shutdown half an hour after it began, so a machine that still runs
/// after that will not shut down at all.
const OFF_WITHIN: Duration = Duration::from_secs(31 * 60);

const NOT_ANNOUNCED: &str = "logind accepted it, and began nothing in 3 s; see `journalctl -u systemd-logind`";
const STILL_RUNS: &str = "the machine still runs 31 minutes after its end was announced; see `systemctl list-jobs`";

/// Progress of a reboot or power-off.
pub(in crate::reconcile) struct ShutdownFlow<'w, H> {
    stage: Stage<H>,
    /// The check or the logind call in flight.
    job: Option<LocalBoxFuture<'w, ShutdownEvent>>,
    /// Deadline of the current stage.
    deadline: Option<Instant>,
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
#[derive(Debug)]
pub(in crate::reconcile) struct OwnShutdown {
    /// Reboot or power-off.
    pub(in crate::reconcile) ending: PowerAction,
    /// Apps locked for the shutdown that were not locked before.
    pub(in crate::reconcile) locked: SortedSet<AppId>,
    /// Why.
    pub(in crate::reconcile) by: ShutdownOrigin,
}

/// Who requested a shutdown and waits for the result.
#[derive(Debug)]
pub(in crate::reconcile) enum ShutdownRequester {
    Caller(Reply<()>),
    Plan,
}

/// An event of the shutdown flow.
#[derive(Debug)]
pub(in crate::reconcile) enum ShutdownEvent {
    /// The check is done; if it passed, the locks are taken.
    Checked(Result<(), Refusal>),
    /// logind answered the call.
    Called(Result<(), PowerError>),
    /// The deadline passed.
    Late,
}

/// What the reconciler does about an event.
#[derive(Debug)]
pub(in crate::reconcile) enum ShutdownAction {
    /// Nothing.
    Wait,
    /// Quiesce, call logind, and answer the requester: the check passed.
    Call(PowerAction, ShutdownOrigin, ShutdownRequester),
    /// Publish that logind accepted the call.
    PublishAccepted(PowerAction, ShutdownOrigin),
    /// Quiesce: a shutdown was announced.
    Quiesce(Option<PowerAction>, ShutdownOrigin),
    /// Release the locks and reject the request: the check failed, and nothing was changed.
    Reject(OwnShutdown, ShutdownRequester, Refusal),
    /// Release the locks and resume: the shutdown failed or was cancelled, for this reason.
    Resume(Option<OwnShutdown>, String),
}

impl<'w, H> ShutdownFlow<'w, H> {
    pub(in crate::reconcile) const fn new() -> Self {
        Self { stage: Stage::Up, job: None, deadline: None }
    }

    /// Waits for the next event. Cancel-safe.
    pub(in crate::reconcile) async fn next(&mut self) -> ShutdownEvent {
        let late = async |deadline: Option<Instant>| match deadline {
            Some(deadline) => sleep_until(deadline).await,
            None => pending().await,
        };
        tokio::select! {
            biased;
            event = async { self.job.as_mut().expect("the arm is off without one").await }, if self.job.is_some() => {
                self.job = None;
                event
            }
            () = late(self.deadline) => {
                self.deadline = None;
                ShutdownEvent::Late
            }
        }
    }

    /// Whether no step may start.
    pub(in crate::reconcile) const fn is_in_progress(&self) -> bool {
        !matches!(self.stage, Stage::Up)
    }

    /// Whether the shutdown is certain enough that requests are rejected.
    pub(in crate::reconcile) const fn is_under_way(&self) -> bool {
        matches!(self.stage, Stage::Asked(_) | Stage::Announced(..))
    }

    /// Whether an app is locked for the shutdown.
    pub(in crate::reconcile) fn has_locked(&self, app: AppId) -> bool {
        match &self.stage {
            Stage::Checking(own, _) | Stage::Asked(own) | Stage::Announced(Some(own), _) => own.locked.contains(&app),
            Stage::Up | Stage::Announced(None, _) => false,
        }
    }

    /// A shutdown was requested: `check` says whether it is possible, and takes the locks.
    pub(in crate::reconcile) fn check(
        &mut self,
        own: OwnShutdown,
        requester: ShutdownRequester,
        check: LocalBoxFuture<'w, ShutdownEvent>,
    ) {
        self.job = Some(check);
        self.stage = Stage::Checking(own, requester);
    }

    /// The call to logind begins.
    pub(in crate::reconcile) fn call(&mut self, call: LocalBoxFuture<'w, ShutdownEvent>) {
        self.job = Some(call);
    }

    /// Advances by one event.
    pub(in crate::reconcile) fn on_event(&mut self, event: ShutdownEvent) -> ShutdownAction {
        match (event, self.take_stage()) {
            (ShutdownEvent::Checked(Ok(())), Stage::Checking(own, requester)) => {
                let action = ShutdownAction::Call(own.ending, own.by, requester);
                self.stage = Stage::Asked(own);
                action
            }
            (ShutdownEvent::Checked(Err(why)), Stage::Checking(own, requester)) => ShutdownAction::Reject(own, requester, why),
            (ShutdownEvent::Called(Ok(())), Stage::Asked(own)) => {
                let action = ShutdownAction::PublishAccepted(own.ending, own.by);
                self.deadline = Some(Instant::now() + ANNOUNCED_WITHIN);
                self.stage = Stage::Asked(own);
                action
            }
            (ShutdownEvent::Called(Err(why)), Stage::Asked(own)) => self.resume(Some(own), why.to_string()),
            (ShutdownEvent::Late, Stage::Asked(own)) => self.resume(Some(own), NOT_ANNOUNCED.to_owned()),
            (ShutdownEvent::Late, Stage::Announced(own, Some(inhibitor))) => {
                info!("releasing the inhibitor although steps still run");
                self.release(own, inhibitor);
                ShutdownAction::Wait
            }
            (ShutdownEvent::Late, Stage::Announced(own, None)) => self.resume(own, STILL_RUNS.to_owned()),
            // The announcement has already shown the call's outcome; the other stages have no deadline.
            (ShutdownEvent::Called(_) | ShutdownEvent::Checked(_) | ShutdownEvent::Late, stage) => self.stay(stage),
        }
    }

    /// Advances by a notice about the inhibitor: a shutdown began, or was cancelled.
    pub(in crate::reconcile) fn on_notice(&mut self, notice: InhibitorNotice<H>) -> ShutdownAction {
        match (notice, self.take_stage()) {
            (InhibitorNotice::ShutdownBegins(inhibitor), Stage::Announced(own, _)) => {
                self.stay(Stage::Announced(own, Some(inhibitor)))
            }
            (InhibitorNotice::ShutdownBegins(inhibitor), Stage::Up) => self.announced(None, inhibitor),
            (InhibitorNotice::ShutdownBegins(inhibitor), Stage::Asked(own)) => self.announced(Some(own), inhibitor),
            (InhibitorNotice::ShutdownBegins(inhibitor), Stage::Checking(own, requester)) => {
                requester.reject(Refusal::ShuttingDown);
                self.announced(Some(OwnShutdown { by: ShutdownOrigin::Others, ..own }), inhibitor)
            }
            (InhibitorNotice::ShutdownCancelled(why), Stage::Announced(own, _)) => self.resume(own, why),
            (InhibitorNotice::ShutdownCancelled(_), stage) => self.stay(stage),
        }
    }

    /// The last step has ended: releases the inhibitor, if it is held. Nothing else delays the shutdown.
    pub(in crate::reconcile) fn on_idle(&mut self) {
        match self.take_stage() {
            Stage::Announced(own, Some(inhibitor)) => {
                info!("all steps have ended; releasing the inhibitor");
                self.release(own, inhibitor);
            }
            stage => self.stage = stage,
        }
    }

    fn take_stage(&mut self) -> Stage<H> {
        std::mem::replace(&mut self.stage, Stage::Up)
    }

    fn stay(&mut self, stage: Stage<H>) -> ShutdownAction {
        self.stage = stage;
        ShutdownAction::Wait
    }

    fn announced(&mut self, own: Option<OwnShutdown>, inhibitor: H) -> ShutdownAction {
        let ending = own.as_ref().filter(|it| it.by != ShutdownOrigin::Others).map(|it| it.ending);
        let by = own.as_ref().map_or(ShutdownOrigin::Others, |it| it.by);
        if by == ShutdownOrigin::Others {
            info!("another program shuts the machine down");
            // Drops a check whose result is of no use any more; a call to logind goes on.
            self.job = None;
        }
        self.deadline = Some(Instant::now() + STEPS_END_WITHIN);
        self.stage = Stage::Announced(own, Some(inhibitor));
        ShutdownAction::Quiesce(ending, by)
    }

    fn release(&mut self, own: Option<OwnShutdown>, inhibitor: H) {
        drop(inhibitor);
        self.deadline = Some(Instant::now() + OFF_WITHIN);
        self.stage = Stage::Announced(own, None);
    }

    fn resume(&mut self, own: Option<OwnShutdown>, why: String) -> ShutdownAction {
        self.job = None;
        self.deadline = None;
        ShutdownAction::Resume(own, why)
    }
}

impl ShutdownRequester {
    /// Sends the requester the reason for the rejection.
    pub(in crate::reconcile) fn reject(self, why: Refusal) {
        match self {
            Self::Caller(reply) => respond(reply, Err(why)),
            Self::Plan => (),
        }
    }
}

#[cfg(test)]
mod tests;
