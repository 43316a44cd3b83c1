//! Crash loop guard: every start of the agent with a target that was never reached counts. When the agent ends again and
//! again, the releases have failed that were never proven and can go back; where there is none, the last good target takes the
//! place of the whole target.
//!
//! Which app ends the agent is not known, so every unproven release that can go back fails at once. If the agent goes on ending
//! with what is left (an app without rollbacks, a new app, the device's configuration), that is refused as a whole after as
//! many starts again.
//!
//! What counts is a start that ended abnormally: a crash, a watchdog, a board that reboots in a loop. An orderly stop of the
//! agent does not count, nor does a long uptime. Nothing is counted for a target that was reached once, and at most
//! [`StartCount::MAX_STARTS`] plus one starts are ever written, so a loop does not wear the flash.

use std::time::Duration;

use tokio::time::Instant;

use crate::port::{Clock, Record, World};
use crate::reconcile::persistence::{RecordKind, save};
use crate::reconcile::{Context, Reconciler};
use crate::state::{FailedRelease, StartCount, Target};

/// After this uptime the target is not what kills the agent.
const STABLE_AFTER: Duration = Duration::from_secs(10 * 60);

/// Start counter of a target that was never reached.
#[derive(Debug)]
pub(super) struct CrashLoopGuard {
    /// As stored on disk.
    trial: Option<StartCount>,
    /// A target that was rejected, kept so that it can be tried once more.
    refused: Option<Target>,
    started: Instant,
}

impl CrashLoopGuard {
    /// The agent starts, with the counter as stored.
    pub(super) fn new(trial: Option<StartCount>) -> Self {
        Self { trial, refused: None, started: Instant::now() }
    }

    /// Counts this start with a target that was never reached. The target is refused if there were too many.
    pub(super) async fn count_start<W: World>(&mut self, target: &Target, context: &Context<'_, W>) {
        let document = target.fingerprint();
        let before = self.trial.as_ref().filter(|it| it.document == document).map_or(0, |it| it.starts);
        let trial = StartCount { document, starts: (before + 1).min(StartCount::MAX_STARTS + 1) };
        if trial.starts != before {
            // If the disk does not take the record, this start is not counted, and nothing worse follows.
            save(context.world, &Record::Trial(Some(trial.clone()))).await;
        }
        self.set_trial(Some(trial), context);
    }

    /// Keeps a target that is refused for its crash loop, for a request to try it once more.
    pub(super) fn refuse(&mut self, target: &Target) {
        self.refused = Some(target.clone());
    }

    /// Whether the agent was started too often with this target.
    pub(super) fn is_over(&self, target: &Target) -> bool {
        self.trial.as_ref().is_some_and(|it| it.is_over() && it.document == target.fingerprint())
    }

    /// Whether a target is refused.
    pub(super) const fn has_refused(&self) -> bool {
        self.refused.is_some()
    }

    /// The refused target, to be tried once more.
    pub(super) fn take_refused(&mut self) -> Option<Target> {
        self.refused.take()
    }

    /// Stops counting: the target was reached, or another one replaces it.
    pub(super) async fn reset<W: World>(&mut self, context: &Context<'_, W>) {
        self.refused = None;
        if self.trial.is_some() && save(context.world, &Record::Trial(None)).await {
            self.set_trial(None, context);
        }
    }

    /// After ten minutes of uptime the target is not what kills the agent: stops counting.
    pub(super) async fn on_uptime<W: World>(&mut self, context: &Context<'_, W>) {
        let is_stable = self.started.elapsed() >= STABLE_AFTER;
        if is_stable && self.trial.as_ref().is_some_and(|it| !it.is_over()) {
            self.reset(context).await;
        }
    }

    fn set_trial<W: World>(&mut self, trial: Option<StartCount>, context: &Context<'_, W>) {
        context.publish.send_modify(|it| it.start_count.clone_from(&trial));
        self.trial = trial;
    }
}

impl<W: World> Reconciler<'_, W> {
    /// The agent starts: counts it. After too many starts, gives up what ends the agent.
    pub(super) async fn guard_start(&mut self) {
        if !self.targets.count_start(&self.context).await {
            return;
        }
        let suspects = self.targets.suspects();
        if suspects.is_empty() {
            self.targets.refuse(self.context.publish);
            self.history.on_rollback(self.targets.refusal());
            return;
        }
        let starts = StartCount::MAX_STARTS;
        let cause = format!("the agent or the board ended {starts} times in a row before it was proven good");
        let at_secs = self.context.world.clock().now_secs();
        for app in &suspects {
            let (fingerprint, commit, cause) = (app.fingerprint(), app.commit.clone(), Some(cause.clone()));
            let failed = FailedRelease { fingerprint, commit, at_secs, cause, services: Vec::new() };
            self.targets.releases_mut().fail(app.id, failed);
        }
        // On the disk before anything follows from it, and before the count is deleted: a power cut must not begin them again.
        self.save(RecordKind::FailedReleases).await;
        if !self.records.is_dirty(RecordKind::FailedReleases) {
            // What is left of the target gets as many starts.
            self.targets.crash_loop().reset(&self.context).await;
        }
        for app in &suspects {
            self.announce_failure(app);
        }
    }

    /// Apps went back, and the rest of the target was reached: no start with that counts any more.
    pub(super) async fn prove_what_stayed(&mut self) {
        let Some(proven) = self.targets.prove_what_stayed() else { return };
        if proven {
            self.save(RecordKind::Targets).await;
        }
        self.targets.crash_loop().reset(&self.context).await;
    }
}

#[cfg(test)]
mod tests;
