//! The last good release of each app, and the apps that went back to it.

use std::sync::Arc;

use tracing::warn;

use super::TargetTracker;
use crate::reconcile::releases::ReleaseTracker;
use crate::sorted::{SortedMap, SortedSet};
use crate::state::release::{ROLLBACK_LABEL, ROLLBACK_SETTING};
use crate::state::snapshot::SNAPSHOT_LABEL;
use crate::state::{App, AppId, FailedRelease, ReleaseTrial, Service, Target};

impl TargetTracker {
    /// The same, with the releases that failed, as stored.
    pub(in crate::reconcile) fn with_failed_releases(self, failed: SortedMap<AppId, FailedRelease>) -> Self {
        Self { releases: self.releases.with_failed(failed), ..self }
    }

    /// The releases on trial, and those that failed.
    pub(in crate::reconcile) const fn releases(&self) -> &ReleaseTracker {
        &self.releases
    }

    /// As [`TargetTracker::releases`], to remember more of them.
    pub(in crate::reconcile) const fn releases_mut(&mut self) -> &mut ReleaseTracker {
        &mut self.releases
    }

    /// Whether an app of the owner's target goes back to its last good release when a new one fails: the labels of its services
    /// say, then the target's variable, then the agent's configuration.
    pub(super) fn rolls_back(&self, app: AppId) -> bool {
        // A target on trial is returned from as a whole.
        let Some(app) = self.wanted_app(app).filter(|_| !self.is_on_trial()) else { return false };
        let mut labels = app.services.values().filter_map(|it| it.trial.rollback).peekable();
        if labels.peek().is_some() {
            return labels.any(|it| it);
        }
        let says = self.wanted().is_some_and(|it| it.config.contains_key(ROLLBACK_SETTING));
        if says { self.setting(ROLLBACK_SETTING) } else { self.releases.is_rollback_configured() }
    }

    /// Warns of volumes whose data is to go back in apps that do not go back.
    pub(super) fn warn_of_vain_snapshots(&self) {
        let apps = self.stored.wanted.iter().flat_map(|it| it.apps.values());
        for app in apps.filter(|it| !it.snapshots.is_empty() && !self.rolls_back(it.id)) {
            let names = app.snapshots.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
            warn!(
                app = app.name,
                "the label {SNAPSHOT_LABEL} of volume {names} is of no use: the app does not go back when a release fails; see \
                 {ROLLBACK_LABEL}"
            );
        }
    }

    fn wanted_app(&self, app: AppId) -> Option<&App> {
        self.wanted()?.apps.get(&app)
    }

    /// The last release of an app that proved good.
    fn good_app(&self, app: AppId) -> Option<&App> {
        let good = self.stored.good_apps.get(&app).or(self.stored.last_good.as_ref());
        good?.apps.get(&app)
    }

    /// The last good target, with each app as it proved good last.
    pub(super) fn good_target(&self) -> Option<Target> {
        let mut target = self.stored.last_good.clone()?;
        let newer = self.stored.good_apps.keys().filter_map(|it| self.good_app(*it));
        target.apps.extend(newer.map(|app| (app.id, app.clone())));
        Some(target)
    }

    /// The fingerprint of the last release of an app that proved good.
    pub(in crate::reconcile) fn good_fingerprint(&self, app: AppId) -> Option<String> {
        self.good_app(app).map(App::fingerprint)
    }

    /// The fingerprint of the release of an app that is in force: the wanted one, or the good one that it went back to.
    pub(in crate::reconcile) fn fingerprint_in_force(&self, app: AppId) -> Option<String> {
        self.rollback_of(app).or_else(|| self.wanted_app(app)).map(App::fingerprint)
    }

    /// The services of every app's last good release.
    pub(super) fn good_services(&self) -> impl Iterator<Item = (&App, &String, &Service)> {
        let last_good = self.stored.last_good.iter().flat_map(|it| it.apps.keys());
        let apps = last_good.filter(|it| !self.stored.good_apps.contains_key(it)).chain(self.stored.good_apps.keys());
        let good = apps.filter_map(|it| self.good_app(*it));
        good.flat_map(|app| app.services.iter().map(move |(name, service)| (app, name, service)))
    }

    /// How the wanted release of an app failed, if it did.
    pub(in crate::reconcile) fn failure_of(&self, app: AppId) -> Option<&Arc<FailedRelease>> {
        self.releases.failure(self.wanted_app(app)?)
    }

    /// The release that an app went back to because the wanted one failed.
    pub(in crate::reconcile) fn rollback_of(&self, app: AppId) -> Option<&App> {
        let failed = self.failure_of(app).filter(|_| self.rolls_back(app))?;
        self.good_app(app).filter(|it| it.fingerprint() != failed.fingerprint)
    }

    /// Whether any app of the target went back to its last good release.
    pub(super) fn is_rolled_back(&self) -> bool {
        let mut apps = self.wanted().into_iter().flat_map(|it| it.apps.keys());
        apps.any(|app| self.rollback_of(*app).is_some())
    }

    /// Apps that go back to what ran before: to their last good release, or after a trial.
    pub(in crate::reconcile) fn going_back(&self) -> SortedSet<AppId> {
        let apps = self.wanted().into_iter().flat_map(|it| it.apps.keys());
        apps.filter(|it| self.is_returning || self.rollback_of(**it).is_some()).copied().collect()
    }

    /// The wanted target, with the last good release of each app whose wanted one failed.
    pub(in crate::reconcile) fn with_rollbacks(&self) -> Option<Target> {
        let mut target = self.wanted()?.clone();
        for (id, app) in &mut target.apps {
            if let Some(good) = self.rollback_of(*id) {
                app.clone_from(good);
            }
        }
        Some(target)
    }

    /// The wanted releases that are neither proven good nor given up.
    pub(in crate::reconcile) fn on_trial(&self) -> Vec<App> {
        self.unproven().cloned().collect()
    }

    fn unproven(&self) -> impl Iterator<Item = &App> {
        let apps = self.wanted().into_iter().flat_map(|it| it.apps.values());
        apps.filter(|app| self.rolls_back(app.id) && !self.is_proven(app) && self.rollback_of(app.id).is_none())
    }

    fn is_proven(&self, app: &App) -> bool {
        self.good_app(app.id).is_some_and(|it| it.fingerprint() == app.fingerprint())
    }

    /// The releases that fail when the agent or the board ends again and again: those that are not proven, and can go back.
    pub(in crate::reconcile) fn suspects(&self) -> Vec<App> {
        self.unproven().filter(|it| self.good_app(it.id).is_some()).cloned().collect()
    }

    /// Whether something of the target in force was never proven: a release, or the device's configuration.
    pub(super) fn has_unproven(&self) -> bool {
        let Some(target) = self.with_rollbacks() else { return false };
        let mut good = self.stored.last_good.iter().chain(self.stored.good_apps.values());
        !good.any(|it| it.config == target.config) || !target.apps.values().all(|it| self.is_proven(it))
    }

    /// Apps went back, and the device is as the rest of the target wants it: the releases of the other apps count as good, as
    /// they do once a whole target is reached. `None`: a release is still on trial, or nothing is left to be proven. Otherwise
    /// whether the targets must be saved.
    pub(in crate::reconcile) fn prove_what_stayed(&mut self) -> Option<bool> {
        if self.unproven().next().is_some() || !self.has_unproven() {
            return None;
        }
        let wanted = self.wanted()?.clone();
        let stayed: Vec<AppId> = wanted.apps.keys().filter(|it| self.rollback_of(**it).is_none()).copied().collect();
        self.stored.good_apps.extend(stayed.iter().map(|it| (*it, wanted.clone())));
        Some(!stayed.is_empty())
    }

    /// Whether a release is on trial: it is not proven good, nor given up.
    pub(in crate::reconcile) fn has_trials(&self) -> bool {
        !self.is_local_mode() && self.unproven().next().is_some()
    }

    /// Whether no release is on trial, and none failed.
    pub(in crate::reconcile) fn are_releases_proven(&self) -> bool {
        self.unproven().next().is_none() && !self.is_rolled_back()
    }

    /// The wanted release of an app is proven good: the targets must be saved. Returns whether a failure is forgotten for it.
    pub(in crate::reconcile) fn prove(&mut self, app: AppId) -> bool {
        if let Some(wanted) = self.wanted().cloned() {
            self.stored.good_apps.insert(app, wanted);
        }
        self.releases.forget_except(|id, _| id != app)
    }

    /// Forgets the failures of releases that are not wanted any more. Returns whether there was one.
    pub(in crate::reconcile) fn forget_other_failures(&mut self) -> bool {
        // Those of the targets beneath a trial too, or its end would begin them once more.
        let kept = self.trial.kept.as_ref().map(|it| &it.target);
        let wanted: Vec<&Target> = self.stored.wanted.iter().chain(kept).collect();
        let is_wanted = |app: AppId, failed: &FailedRelease| {
            wanted.iter().any(|it| it.apps.get(&app).is_some_and(|it| it.fingerprint() == failed.fingerprint))
        };
        self.releases.forget_except(is_wanted)
    }

    /// What is known of the release of each app that goes back when a new one fails. `None`: it is on trial.
    pub(in crate::reconcile) fn trials(&self) -> SortedMap<AppId, Option<ReleaseTrial>> {
        let apps = self.wanted().into_iter().flat_map(|it| it.apps.values()).filter(|it| self.rolls_back(it.id));
        let trial = |app: &App| match (self.failure_of(app.id), self.rollback_of(app.id)) {
            (Some(failed), Some(good)) => Some(ReleaseTrial::RolledBack(Arc::clone(failed), good.commit.clone())),
            (Some(failed), None) => Some(ReleaseTrial::Failed(Arc::clone(failed))),
            (None, _) if self.is_proven(app) => Some(ReleaseTrial::Good),
            (None, _) => None,
        };
        apps.map(|app| (app.id, trial(app))).collect()
    }
}

#[cfg(test)]
mod tests;
