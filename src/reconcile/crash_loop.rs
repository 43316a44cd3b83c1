//! Crash loop guard: every start of the agent with a target that was never reached counts. When the agent ends again and
//! again, it rolls back to the last good target.
//!
//! What counts is a start that ended abnormally: a crash, a watchdog, a board that reboots in a loop. An orderly stop of the
//! agent does not count, nor does a long uptime. Nothing is counted for a target that was reached once, and at most
//! [`StartCount::MAX_STARTS`] plus one starts are ever written, so a loop does not wear the flash.

use std::time::Duration;

use tokio::time::Instant;

use crate::port::{Record, World};
use crate::reconcile::Context;
use crate::reconcile::persistence::save;
use crate::state::{StartCount, Target};

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

    /// Whether this target is refused for its crash loop. If so, it is kept for a request to try it once more.
    pub(super) fn refuses(&mut self, target: &Target) -> bool {
        let over = self.is_over(target);
        if over {
            self.refused = Some(target.clone());
        }
        over
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

#[cfg(test)]
mod tests;
