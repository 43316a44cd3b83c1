//! Crash loop guard: every start of the agent with a target that was never reached counts. When the agent ends again and
//! again, it rolls back to the last good target.
//!
//! What counts is a start that ended abnormally: a crash, a watchdog, a board that reboots in a loop. An orderly stop of the
//! agent does not count, nor does a long uptime. Nothing is counted for a target that was reached once, and at most
//! [`StartCount::MAX_STARTS`] plus one starts are ever written, so a loop does not wear the flash.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;
use tracing::error;

use crate::port::{Record, World};
use crate::reconcile::Reconciler;
use crate::reconcile::persistence::save;
use crate::state::service::Strategy;
use crate::state::{AppId, ImageRef, StartCount, Target};

/// After this uptime the target is not what kills the agent.
const LASTS: Duration = Duration::from_secs(10 * 60);

/// Start counter of a target that was never reached.
#[derive(Debug)]
pub(super) struct CrashLoopGuard {
    /// As stored on disk.
    pub(super) trial: Option<StartCount>,
    /// A target that was rejected, kept so that it can be tried once more.
    refused: Option<Target>,
    born: Instant,
}

impl CrashLoopGuard {
    pub(super) fn new(trial: Option<StartCount>) -> Self {
        Self { trial, refused: None, born: Instant::now() }
    }
}

impl<W: World> Reconciler<'_, W> {
    /// Counts this start, and rolls back to the last good target if there were too many.
    pub(super) async fn count_start(&mut self) {
        let Some(wanted) = self.targets.wanted.as_ref().filter(|_| !self.reached) else { return };
        let document = wanted.fingerprint();
        let before = self.crash_loop.trial.as_ref().filter(|it| it.document == document).map_or(0, |it| it.starts);
        let trial = StartCount { document, starts: (before + 1).min(StartCount::MAX_STARTS + 1) };
        if trial.starts != before {
            // If the disk does not take the record, this start is not counted, and nothing worse follows.
            save(self.world, &Record::Trial(Some(trial.clone()))).await;
        }
        if trial.is_over() {
            self.crash_loop.refused = self.targets.wanted.take();
            self.targets.wanted.clone_from(&self.targets.good);
            self.reached = self.targets.wanted.is_some();
            self.say_refused();
        }
        self.set_trial(Some(trial));
    }

    /// Whether a target is the one that was rejected for its crash loop.
    pub(super) fn refuses(&mut self, target: &Target) -> bool {
        let over = self.crash_loop.trial.as_ref().is_some_and(|it| it.is_over() && it.document == target.fingerprint());
        if over {
            self.crash_loop.refused = Some(target.clone());
            self.say_refused();
        }
        over
    }

    /// Stops counting: the target was reached, or another one replaces it.
    pub(super) async fn reset_start_count(&mut self) {
        self.crash_loop.refused = None;
        if self.crash_loop.trial.is_some() && save(self.world, &Record::Trial(None)).await {
            self.set_trial(None);
        }
    }

    /// After ten minutes of uptime the target is not what kills the agent: reset the crash-loop counter.
    pub(super) async fn mark_stable(&mut self) {
        let lasted = self.crash_loop.born.elapsed() >= LASTS;
        if lasted && self.crash_loop.trial.as_ref().is_some_and(|it| !it.is_over()) {
            self.reset_start_count().await;
        }
    }

    /// Images to delete once no app wants them. Those of the last good target stay until the new one is reached, so that a
    /// rollback needs no network; unless the space is needed, or a service has the strategy `delete-then-download`.
    pub(super) fn removable_images(&self) -> BTreeSet<ImageRef> {
        let mut ours = self.targets.pulled.clone();
        let good = self.targets.good.iter().filter(|_| !self.reached && !self.retries.is_out_of_space());
        let makes_room = |app: AppId, name: &String| {
            let wanted = self.targets.wanted.as_ref().and_then(|it| it.apps.get(&app)?.services.get(name));
            wanted.is_some_and(|it| it.strategy == Strategy::DeleteThenDownload)
        };
        for (app, name, service) in good.flat_map(Target::services) {
            if !makes_room(app.id, name) {
                ours.remove(&service.image);
            }
        }
        ours
    }

    /// A requested update tries the rejected target once more.
    pub(super) async fn retry_refused_target(&mut self) {
        if let Some(target) = self.crash_loop.refused.take() {
            self.reset_start_count().await;
            self.set_target(target).await;
        }
    }

    fn set_trial(&mut self, trial: Option<StartCount>) {
        self.publish.send_modify(|it| it.trial.clone_from(&trial));
        self.crash_loop.trial = trial;
    }

    fn say_refused(&self) {
        let kept = match &self.targets.wanted {
            Some(good) => {
                let apps: Vec<_> = good.apps.values().map(|it| it.name.as_str()).collect();
                format!("the last good one is kept ({})", apps.join(", "))
            }
            None => "there is no good one, so containers stay as they are".to_owned(),
        };
        let why = format!(
            "the agent ended {} times in a row with this target before it was reached; {kept}. Change the target, or ask for an \
             update (POST /v1/update) to try it once more",
            StartCount::MAX_STARTS
        );
        error!("{why}");
        self.publish.send_modify(|it| it.rejected = Some(why));
    }
}
