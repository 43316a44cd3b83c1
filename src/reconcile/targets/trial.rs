//! The target in force: the one on trial, else the one that was kept after its trial, else the one of the sources.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::{TargetTracker, publish_check};
use crate::port::{Record, World};
use crate::reconcile::Context;
use crate::sorted::SortedSet;
use crate::state::service::Strategy;
use crate::state::target_trial::{BootTime, TargetTrialRecord, TargetTrialStatus};
use crate::state::{AppId, ImageRef, Status, Target};

impl TargetTracker {
    /// The same, with what is remembered of trials.
    pub(in crate::reconcile) fn with_target_trial(mut self, record: TargetTrialRecord) -> Self {
        self.put_trial(record);
        self.drop_outdated_kept();
        self
    }

    /// The target in force, before it is completed.
    pub(super) fn wanted(&self) -> Option<&Target> {
        self.trial.in_force().or(self.stored.wanted.as_ref())
    }

    /// What is on trial or kept.
    pub(in crate::reconcile) const fn trial(&self) -> &TargetTrialRecord {
        &self.trial
    }

    /// The record of trials.
    pub(in crate::reconcile) fn trial_record(&self) -> Record {
        Record::TargetTrial(Box::new(self.trial.clone()))
    }

    /// Replaces what is on trial or kept. The target must be completed next.
    pub(in crate::reconcile) fn set_trial(&mut self, record: TargetTrialRecord, publish: &watch::Sender<Status>) {
        let before = self.wanted().cloned();
        self.is_returning = self.is_on_trial() && record.tried.is_none();
        self.put_trial(record);
        if let Some(target) = self.wanted() {
            publish_check(before.as_ref(), target, publish);
        }
    }

    fn put_trial(&mut self, record: TargetTrialRecord) {
        self.trial = record;
        self.reached = !self.is_on_trial() && self.wanted().is_some() && self.wanted() == self.stored.last_good.as_ref();
    }

    /// Ends the trial; if there is none, drops the target that was kept.
    pub(in crate::reconcile) fn end_trial(&mut self, publish: &watch::Sender<Status>) {
        let kept = self.trial.kept.clone().filter(|_| self.is_on_trial());
        self.set_trial(TargetTrialRecord { tried: None, kept }, publish);
    }

    /// Drops a kept target, if the sources give another one than when it was kept. Returns whether there was one.
    pub(in crate::reconcile) fn drop_outdated_kept(&mut self) -> bool {
        let beneath = self.beneath();
        let is_outdated = self.trial.kept.as_ref().is_some_and(|it| Some(&it.over) != beneath.as_ref());
        if is_outdated {
            let tried = self.trial.tried.take();
            self.put_trial(TargetTrialRecord { tried, kept: None });
        }
        is_outdated
    }

    /// The device is as it was before the trial.
    pub(in crate::reconcile) const fn on_returned(&mut self) {
        self.is_returning = false;
    }

    /// Whether a target is on trial.
    pub(in crate::reconcile) const fn is_on_trial(&self) -> bool {
        self.trial.tried.is_some()
    }

    /// The fingerprint of the sources' target.
    pub(in crate::reconcile) fn beneath(&self) -> Option<String> {
        self.stored.wanted.as_ref().map(Target::fingerprint)
    }

    /// What is published of trials.
    pub(in crate::reconcile) fn trial_status(&self, now: &BootTime) -> Option<TargetTrialStatus> {
        let beneath = self.beneath().unwrap_or_default();
        let warnings = self.trial.in_force()?.warnings.clone();
        let Some(tried) = &self.trial.tried else {
            return Some(TargetTrialStatus { ends: None, beneath, has_newer: false, warnings });
        };
        let left = u64::try_from(tried.time.left_secs(now)).unwrap_or_default();
        let ends = Some(Instant::now() + Duration::from_secs(left));
        let has_newer = tried.over != beneath;
        Some(TargetTrialStatus { ends, beneath, has_newer, warnings })
    }

    /// Notes how long the trial still takes. Returns whether that has to be saved.
    pub(in crate::reconcile) fn note_trial_time(&mut self, now: &BootTime) -> bool {
        self.trial.tried.as_mut().is_some_and(|it| it.time.note(now))
    }

    /// Counts this start with a target on trial or kept that was never reached.
    pub(in crate::reconcile) async fn count_trial_start<W: World>(&mut self, context: &Context<'_, W>) {
        if let Some(target) = self.trial.in_force().filter(|_| !self.reached) {
            self.crash_loop.count_start(target, context).await;
        }
    }

    /// Whether the target on trial or kept has ended the agent too often.
    pub(in crate::reconcile) fn is_trial_refused(&self) -> bool {
        self.trial.in_force().is_some_and(|it| !self.reached && self.crash_loop.is_over(it))
    }

    /// The targets that the device may return to from the one on trial.
    fn targets_beneath(&self) -> impl Iterator<Item = &Target> {
        let kept = self.trial.kept.as_ref().map(|it| &it.target);
        self.stored.wanted.iter().chain(kept).filter(|_| self.is_on_trial())
    }

    /// The apps of those targets that have data put back when a release fails.
    pub(in crate::reconcile) fn keeping_data_beneath(&self) -> impl Iterator<Item = AppId> {
        let apps = self.targets_beneath().flat_map(|it| it.apps.values());
        apps.filter(|it| !it.snapshots.is_empty()).map(|it| it.id)
    }

    /// Images of those targets, but those that the one in force makes room for.
    pub(super) fn images_beneath(&self) -> SortedSet<ImageRef> {
        let services = self.targets_beneath().flat_map(Target::services);
        let stays = services.filter(|(app, name, _)| !self.makes_room(app.id, name));
        stays.map(|(.., it)| it.image.clone()).collect()
    }

    /// Whether the target in force has a service's old image deleted before the new one is pulled.
    pub(super) fn makes_room(&self, app: AppId, name: &str) -> bool {
        let wanted = self.wanted().and_then(|it| it.apps.get(&app)?.services.get(name));
        wanted.is_some_and(|it| it.strategy == Strategy::DeleteThenDownload)
    }
}

#[cfg(test)]
mod tests;
