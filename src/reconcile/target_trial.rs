//! A target on trial, and one that was kept after its trial: which target results, and when the device returns.
//!
//! What is tried or kept takes the place of the sources' target, which goes on being received and saved beneath it. Beginning,
//! keeping and ending are one save of one record each, and what they change follows from the record alone.

use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::plan::check_contracts;
use crate::port::{Clock, Record, Targets, World};
use crate::reconcile::Reconciler;
use crate::reconcile::host::JobOutcome;
use crate::reconcile::persistence::{RecordKind, save};
use crate::request::{Refusal, Reply, respond};
use crate::state::history::{Cause, HistoryAction, HistoryObject, HistoryOutcome, Requester};
use crate::state::target_trial::{BootTime, KeptTarget, TargetTrialRecord, TargetTrialStatus, TrialTime, TriedTarget};
use crate::state::{StartCount, Target, TargetError};

impl<W: World> Reconciler<'_, W> {
    /// The agent starts: ends a trial whose time is over, or whose target ends the agent again and again.
    pub(super) async fn resume_trial(&mut self) {
        self.targets.count_trial_start(&self.context).await;
        let why = if self.targets.is_trial_refused() {
            let starts = StartCount::MAX_STARTS;
            Some(format!("the agent or the board ended {starts} times in a row with it"))
        } else {
            self.trial_over()
        };
        match why {
            Some(why) => {
                self.targets.end_trial(self.context.publish);
                self.targets.crash_loop().reset(&self.context).await;
                self.note_trial_end(&why, None);
                self.save(RecordKind::TargetTrial).await;
            }
            None => self.note_trial_time().await,
        }
        self.publish_trial_status();
    }

    /// An observation: whether the trial is over.
    pub(super) async fn follow_trial(&mut self) {
        if let Some(why) = self.trial_over() {
            self.targets.end_trial(self.context.publish);
            self.after_trial(&why, None).await;
            self.save(RecordKind::TargetTrial).await;
            return;
        }
        self.note_trial_time().await;
        let now = self.boot_time();
        if let Some(tried) = &self.targets.trial().tried {
            let next = Duration::from_secs(tried.time.next_secs(&now).max(1));
            self.observed.schedule().resync_by(Instant::now() + next);
            self.publish_trial_status();
        }
    }

    /// Publishes what is on trial or kept, before the target changes for it.
    pub(super) fn publish_trial_status(&self) {
        let status = self.targets.trial_status(&self.boot_time());
        self.context.publish.send_if_modified(|it| {
            let differs = it.target_trial != status;
            it.target_trial = status;
            differs
        });
    }

    /// A document is to be tried: it is parsed beside the steps.
    pub(super) fn try_target(
        &mut self,
        document: String,
        length_secs: u32,
        by: Option<Requester>,
        reply: Reply<TargetTrialStatus>,
    ) {
        let world = self.context.world;
        let uuid = self.targets.uuid().to_owned();
        let parse = async move {
            let parsed = world.targets().parse_kept(document, &uuid).await;
            JobOutcome::Tried(parsed, length_secs, by, reply)
        };
        self.requests.start_job(parse.boxed_local());
    }

    /// A document to be tried was parsed. It is answered once it is saved; what it wants is done afterwards.
    pub(super) async fn begin_trial(
        &mut self,
        parsed: Result<Target, TargetError>,
        length_secs: u32,
        by: Option<Requester>,
        reply: Reply<TargetTrialStatus>,
    ) {
        let target = match self.triable(parsed) {
            Ok(target) => target,
            Err(why) => return respond(reply, Err(why)),
        };
        for warning in &target.warnings {
            warn!("{warning}");
        }
        let now = self.boot_time();
        let over = self.targets.beneath().unwrap_or_default();
        let tried = TriedTarget { target, time: TrialTime::begin(length_secs, &now), over };
        let record = TargetTrialRecord { tried: Some(tried), kept: self.targets.trial().kept.clone() };
        if let Err(why) = self.change_trial(record).await {
            return respond(reply, Err(why));
        }
        info!(seconds = length_secs, "a target is on trial; the device returns to the present one unless it is kept");
        self.history.on_trial(by.clone());
        let cause = Cause { asked_by: by, ..Cause::default() };
        self.note_event(HistoryAction::TrialBegan, HistoryObject::TargetTrial, cause, HistoryOutcome::Done);
        self.targets.crash_loop().reset(&self.context).await;
        self.on_target_changed();
        self.work.retries_mut().retry_now();
        self.answer_trial(reply);
    }

    /// The target on trial is kept, for as long as the sources give what they give now.
    pub(super) async fn keep_target(&mut self, by: Option<Requester>, reply: Reply<TargetTrialStatus>) {
        let Some(tried) = self.targets.trial().tried.clone() else {
            let why = if self.targets.trial().kept.is_some() { "the target is kept already" } else { NO_TRIAL };
            return respond(reply, Err(Refusal::Trial(why.to_owned())));
        };
        let TriedTarget { target, over, .. } = tried;
        if self.targets.beneath().as_ref() != Some(&over) {
            return respond(reply, Err(Refusal::Trial(NEWER.to_owned())));
        }
        let record = TargetTrialRecord { tried: None, kept: Some(KeptTarget { target, over }) };
        if let Err(why) = self.change_trial(record).await {
            return respond(reply, Err(why));
        }
        info!("the target on trial is kept until the device is given another one");
        let cause = Cause { asked_by: by, ..Cause::default() };
        self.note_event(HistoryAction::TrialKept, HistoryObject::TargetTrial, cause, HistoryOutcome::Done);
        self.on_target_changed();
        self.answer_trial(reply);
    }

    /// A person ends the trial, or goes back from a target that was kept.
    pub(super) async fn return_from_trial(&mut self, by: Option<Requester>, reply: Reply<()>) {
        let before = self.targets.trial();
        let record = match (&before.tried, &before.kept) {
            (None, None) => return respond(reply, Err(Refusal::Trial(NO_TRIAL.to_owned()))),
            (Some(_), kept) => TargetTrialRecord { tried: None, kept: kept.clone() },
            (None, Some(_)) => TargetTrialRecord::default(),
        };
        if let Err(why) = self.change_trial(record).await {
            return respond(reply, Err(why));
        }
        self.after_trial("a person ended it", by).await;
        respond(reply, Ok(()));
    }

    /// The target of a document that can be put on trial now.
    fn triable(&self, parsed: Result<Target, TargetError>) -> Result<Target, Refusal> {
        if self.targets.is_local_mode() {
            return Err(Refusal::Trial("local mode keeps the owner's apps stopped; leave local mode first".to_owned()));
        }
        if self.targets.beneath().is_none() {
            let why = "the device has no target yet, and so none to return to; give it one (--target, or a cloud) first";
            return Err(Refusal::Trial(why.to_owned()));
        }
        let target = parsed.map_err(|error| Refusal::Document(error.0))?;
        let device = self.context.publish.borrow().device.clone();
        check_contracts(&target, &device).map_err(|error| Refusal::Document(error.to_string()))?;
        Ok(target)
    }

    /// Changes what is on trial or kept, and saves it. If that fails, nothing changes: a client must not be answered what a
    /// power cut takes back.
    async fn change_trial(&mut self, record: TargetTrialRecord) -> Result<(), Refusal> {
        if save(self.context.world, &Record::TargetTrial(Box::new(record.clone()))).await {
            self.targets.set_trial(record, self.context.publish);
            return Ok(());
        }
        // The disk may hold the new record all the same: the old one must be written over it.
        self.records.mark(RecordKind::TargetTrial);
        Err(Refusal::Failed("it cannot be saved, so nothing was changed; look at the disk of the state directory".to_owned()))
    }

    /// The device returns to the target beneath.
    async fn after_trial(&mut self, why: &str, by: Option<Requester>) {
        self.targets.crash_loop().reset(&self.context).await;
        self.note_trial_end(why, by);
        self.on_target_changed();
        self.work.retries_mut().retry_now();
    }

    fn note_trial_end(&mut self, why: &str, by: Option<Requester>) {
        let beneath = if self.targets.trial().kept.is_some() { "the kept target" } else { "the target of its source" };
        info!(why, "the trial of a target ended; the device returns to {beneath}");
        self.history.on_trial_end(why);
        let cause = Cause { asked_by: by, ..Cause::from_why(why) };
        self.note_event(HistoryAction::TrialEnded, HistoryObject::TargetTrial, cause, HistoryOutcome::Done);
    }

    /// Why the trial is over, if its time is.
    fn trial_over(&self) -> Option<String> {
        let time = &self.targets.trial().tried.as_ref()?.time;
        let is_over = time.left_secs(&self.boot_time()) <= 0;
        is_over.then(|| format!("it was not kept within {} s", time.length_secs))
    }

    /// Saves how long the trial still takes, now and then, so that a reboot neither ends it nor makes it endless.
    async fn note_trial_time(&mut self) {
        let now = self.boot_time();
        if self.targets.note_trial_time(&now) {
            self.save(RecordKind::TargetTrial).await;
        }
    }

    fn answer_trial(&self, reply: Reply<TargetTrialStatus>) {
        let status = self.targets.trial_status(&self.boot_time());
        respond(reply, status.ok_or_else(|| Refusal::Trial(NO_TRIAL.to_owned())));
    }

    fn boot_time(&self) -> BootTime {
        let clock = self.context.world.clock();
        BootTime { boot_id: clock.boot_id(), up_secs: i64::try_from(clock.up().as_secs()).unwrap_or(i64::MAX) }
    }
}

const NO_TRIAL: &str = "no target is on trial, or kept after a trial; `boardkeeper target try FILE` tries one";

const NEWER: &str = "since the trial began the device was given another target, which it applies when the trial ends, so the \
                     one on trial cannot be kept; put it where the device's targets come from, or try it again";
