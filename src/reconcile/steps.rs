//! Steps: launched from the plan, and what follows when each ends.

use futures_util::FutureExt;
use futures_util::future::{Aborted, LocalBoxFuture};
use futures_util::stream::FuturesUnordered;
use tracing::{info, warn};

use crate::port::{EngineError, Locks, World};
use crate::reconcile::Reconciler;
use crate::reconcile::conflicts::conflicts;
use crate::reconcile::execute::{StepEnded, StepFailure, Updates, execute, make_lock_directory};
use crate::reconcile::goals::is_left_over;
use crate::reconcile::persistence::RecordKind;
use crate::sorted::SortedSet;
use crate::state::history::HistoryOutcome;
use crate::state::{AppId, DeviceEvent, EngineAction, ServiceKey, Step, Target};

/// The steps that run, each on the real ports.
pub(super) type StepsInFlight<'w> = FuturesUnordered<LocalBoxFuture<'w, StepEnded>>;

impl<'w, W: World> Reconciler<'w, W> {
    /// Starts every step of the plan that is not backing off, does not conflict with work in flight, and whose subject no
    /// other step is working on.
    pub(super) async fn launch(&mut self, steps: &mut StepsInFlight<'w>) {
        self.observed.set_plan_ready(false);
        if self.shutdown.is_in_progress() {
            return self.publish_status();
        }
        let target = self.target();
        let plan = &self.observed.plan().steps;
        let held_back = |step: &Step| conflicts(step, plan, &self.work, self.observed.locks(), target);
        let is_unsaved = self.records.is_dirty(RecordKind::KeptData);
        let held_back =
            |step: &Step| held_back(step) || is_unsaved && matches!(step, Step::Engine(EngineAction::PutDataBack(_)));
        let startable = self.work.startable(plan, held_back);
        if self.targets.record_pulls(&startable) {
            // Before an image is pulled it is recorded as ours, so that it can be garbage-collected whatever happens
            // afterwards. Saving may take a while: events that arrived meanwhile are handled first.
            self.save(RecordKind::Targets).await;
            return self.observed.set_plan_ready(true);
        }
        if self.record_putting_back(&startable).await {
            return self.observed.set_plan_ready(true);
        }
        let (world, publish) = (self.context.world, self.context.publish);
        let updates = Updates::new(world, &self.observed.plan().updates);
        for step in startable {
            if step == Step::Reboot {
                self.begin_planned_reboot();
                continue;
            }
            info!(%step, "executing");
            self.on_step_launched(&step);
            self.context.announce(DeviceEvent::Begun(step.clone()));
            let cancelled = self.work.launch(&step);
            let updates = updates.begun_by(&step);
            steps.push(execute(world, publish, step, updates, cancelled).boxed_local());
        }
        self.publish_status();
    }

    /// A step ended.
    pub(super) async fn on_step_ended(&mut self, (step, result): StepEnded) {
        self.work.remove(&step);
        if let Step::ReleaseLocks(app) = &step {
            // Even if it failed: locks not known to be ours are taken again.
            self.observed.forget_ours(|it| it == *app);
        }
        match result {
            Ok(Ok(())) => {
                self.context.announce(DeviceEvent::Succeeded(step.clone()));
                self.note_step(&step, HistoryOutcome::Done);
                self.on_step_succeeded(&step).await;
            }
            Ok(Err(failure)) => {
                self.context.announce(DeviceEvent::Failed { step: step.clone(), why: failure.to_string() });
                self.note_step(&step, HistoryOutcome::Failed(failure.to_string()));
                self.on_step_failed(&step, &failure);
            }
            Err(Aborted) => {
                info!(%step, "cancelled: the target no longer needs it");
                self.context.announce(DeviceEvent::Cancelled(step.clone()));
                self.note_step(&step, HistoryOutcome::Cancelled);
            }
        }
        if let Step::Engine(EngineAction::Pull(image)) = &step {
            self.context.publish.send_if_modified(|it| it.progress.remove(image).is_some());
        }
        self.work.on_ended(step);
        self.release_inhibitor_if_idle();
        self.request_resync();
    }

    /// A step succeeded: drops the overrides it fulfilled.
    async fn on_step_succeeded(&mut self, step: &Step) {
        self.work.succeed(step);
        match step {
            // Known without an observation, in case locks are not readable just now. A host configuration job that started
            // meanwhile releases them.
            Step::TakeLocks(app, services, _) if !self.observed.locks().is_lent(*app) => {
                self.observed.add_ours(*app, services);
            }
            Step::Engine(EngineAction::Start(which)) => {
                let stopped = self.overrides.on_started(&which.id, &which.key);
                self.save_stopped(stopped).await;
            }
            // The override of a killed container is dropped once the container is seen to be gone: until then it must not
            // count as wanted.
            Step::Engine(EngineAction::Restart(which)) => self.overrides.on_restarted(&which.id),
            Step::Engine(EngineAction::RemoveImage(image)) => self.targets.forget_pulled(image),
            Step::Engine(EngineAction::RunHook(which, run)) => self.hooks.succeed(which.id.clone(), run.wanted.clone()),
            Step::Engine(action @ (EngineAction::KeepData(_) | EngineAction::PutDataBack(_))) => {
                self.on_data_copied(action).await;
            }
            Step::Engine(_) | Step::TakeLocks(..) | Step::ReleaseLocks(_) | Step::HandOver { .. } | Step::Reboot => (),
        }
    }

    /// A step failed: schedules a retry, and answers the waiters of its app.
    pub(super) fn on_step_failed(&mut self, step: &Step, failure: &StepFailure) {
        if let (Step::Engine(EngineAction::RemoveImage(image)), StepFailure::Engine(EngineError::InUse(why))) = (step, failure)
            && self.work.retries().has_failed(step)
        {
            // At the first failure a container of ours may just have been created from it. An observation since then found
            // none: a foreign container uses the image, so we do not delete it.
            info!(%image, why, "another program's container uses the image; keeping it");
            self.targets.forget_pulled(image);
            self.work.succeed(step);
            return;
        }
        if let (Step::Engine(EngineAction::RemoveVolume(name, _)), StepFailure::Engine(EngineError::InUse(why))) =
            (step, failure)
            && self.overrides.keep_volume(name)
        {
            info!(volume = name, why, "a container has the volume; keeping it");
            return self.work.succeed(step);
        }
        if let (Step::Engine(EngineAction::RunHook(which, run)), StepFailure::Engine(EngineError::Refused(why))) =
            (step, failure)
        {
            // It waits, and takes no step meanwhile: the app's update locks are released.
            let again = self.hooks.fail(which.id.clone(), run.wanted.clone(), why.clone());
            return warn!(service = %which.key, why, ?again, "the hook before the update failed; the update waits");
        }
        let again = self.work.fail(step, failure);
        warn!(error = %failure, %step, ?again, "step failed");
        if let Some(app) = step.app().filter(|_| !is_left_over(self.target(), step)) {
            self.requests.fail(|it| it == app, &format!("{step}: {failure}"));
        }
    }

    /// Releases the locks that were taken, except those that host configuration or a shutdown relies on. The last observation
    /// of these apps' locks is out of date, and a plan made from it did not take the release into account.
    pub(super) async fn release_locks(&mut self, apps: &SortedSet<AppId>, taken: impl IntoIterator<Item = AppId>) {
        if apps.is_empty() {
            return;
        }
        self.observed.locks_mut().on_released();
        self.observed.set_plan_ready(false);
        self.observed.forget_ours(|app| apps.contains(&app));
        for app in taken {
            if self.observed.locks().is_lent(app) || self.shutdown.has_locked(app) {
                continue;
            }
            if let Err(error) = self.context.world.locks().release(app).await {
                warn!(%app, %error, "cannot release the app's update locks; retrying");
            }
        }
    }

    /// An engine that starts after us mounts these directories, and would create the missing ones itself.
    pub(super) async fn make_lock_directories(&self) {
        for (app, name, _) in self.target().into_iter().flat_map(Target::services) {
            make_lock_directory(self.context.world, &ServiceKey::new(app.id, name)).await;
        }
    }
}
