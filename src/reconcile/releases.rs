//! Releases on trial: each is judged until it is proven good or has failed, and an app whose release failed goes back to its
//! last good one.
//!
//! Only apps that ask for it are on trial: by a label of their services, by the target's variable, or by the agent's flag.
//! A release that failed is remembered on the disk before its app goes back, so that it is begun once. What runs when the
//! agent is restarted is judged anew, with the same deadlines.
//!
//! ```text
//! judge   what proves a release good or failed
//! ```

use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use tokio::time::{Instant, timeout};
use tracing::{info, warn};

use crate::plan::{Plan, containers_as_wanted};
use crate::port::{Clock, Engine, World};
use crate::reconcile::Reconciler;
use crate::reconcile::host::JobOutcome;
use crate::reconcile::persistence::RecordKind;
use crate::sorted::SortedMap;
use crate::state::history::{Cause, HistoryAction, HistoryNote, HistoryObject, HistoryOutcome, short};
use crate::state::release::{MOST_FAILURES, trial_text};
use crate::state::{
    App, AppId, ContainerId, EngineAction, FailedRelease, FailedService, ImageRef, LogCursor, ReleaseTrial, Service,
    ServiceKey, Step, StepFault, Trouble, Waiting,
};
use judge::{ReleaseEvidence, ReleaseVerdict, ServiceFailure, TrialMemory};

mod judge;

/// How many lines of a failed service are kept.
const LINES: u32 = 20;
/// The most characters of a line that is kept.
const LINE_CHARS: usize = 500;
/// How long the engine may take to say what a failed service logged. The app does not wait longer to go back.
const DIAGNOSIS: Duration = Duration::from_secs(5);

/// The releases that failed, and what is remembered of those on trial.
#[derive(Debug, Default)]
pub(super) struct ReleaseTracker {
    /// Whether apps go back to their last good release where neither their labels nor the target say, as configured.
    rollback: bool,
    failed: SortedMap<AppId, Arc<FailedRelease>>,
    /// By app: the fingerprint of the release on trial, and what is remembered of it.
    trials: SortedMap<AppId, (String, TrialMemory)>,
    /// Apps of which is being found out what their failed services logged.
    diagnosing: SortedMap<AppId, String>,
}

impl ReleaseTracker {
    /// None failed. `rollback`: whether apps go back where neither their labels nor the target say.
    pub(super) fn new(rollback: bool) -> Self {
        Self { rollback, ..Self::default() }
    }

    /// The same, with the releases that failed, as stored.
    pub(super) fn with_failed(self, failed: SortedMap<AppId, FailedRelease>) -> Self {
        Self { failed: failed.into_iter().map(|(app, it)| (app, Arc::new(it))).collect(), ..self }
    }

    /// Whether apps go back where neither their labels nor the target say.
    pub(super) const fn is_rollback_configured(&self) -> bool {
        self.rollback
    }

    /// The releases that failed, for their record.
    pub(super) fn record(&self) -> SortedMap<AppId, FailedRelease> {
        self.failed.iter().map(|(app, it)| (*app, FailedRelease::clone(it))).collect()
    }

    /// How the release of an app failed, if it is this one.
    pub(super) fn failure(&self, app: &App) -> Option<&Arc<FailedRelease>> {
        self.failed.get(&app.id).filter(|it| it.fingerprint == app.fingerprint())
    }

    /// A release failed.
    pub(super) fn fail(&mut self, app: AppId, failed: FailedRelease) {
        self.trials.remove(&app);
        self.failed.insert(app, Arc::new(failed));
    }

    /// Forgets failures, but those to keep. Returns whether there was one.
    pub(super) fn forget_except(&mut self, keep: impl Fn(AppId, &FailedRelease) -> bool) -> bool {
        let before = self.failed.len();
        self.failed.retain(|app, it| keep(*app, it));
        self.failed.len() != before
    }

    /// What is remembered of the trial of a release.
    fn memory(&mut self, app: AppId, fingerprint: &str) -> &mut TrialMemory {
        let trial = self.trials.entry(app).or_default();
        if trial.0 != fingerprint {
            *trial = (fingerprint.to_owned(), TrialMemory::default());
        }
        &mut trial.1
    }
}

impl<W: World> Reconciler<'_, W> {
    /// Judges the releases that are on trial, and publishes what is known of each.
    pub(super) fn judge_releases(&mut self) {
        if self.targets.has_changed() {
            return;
        }
        if self.targets.is_local_mode() {
            // The owner's apps stand still: nothing is proven of them.
            self.context.publish.send_if_modified(|it| !std::mem::take(&mut it.releases).is_empty());
            return;
        }
        for app in self.targets.on_trial() {
            let verdict = self.judge(&app);
            match verdict {
                ReleaseVerdict::Good => {
                    info!(app = app.name, commit = app.commit, "the release is proven good");
                    self.records.mark(RecordKind::Targets);
                    if self.targets.prove(app.id) {
                        self.records.mark(RecordKind::FailedReleases);
                    }
                    self.note_judgement(&app, HistoryOutcome::Done);
                }
                ReleaseVerdict::Failed(failures) => self.diagnose(&app, failures),
                ReleaseVerdict::Open(mut reasons, again) => {
                    if copies_data(self.observed.plan(), app.id) {
                        reasons.push("the data of its volumes is copied first".to_owned());
                    }
                    if let Some(again) = again {
                        self.observed.schedule().resync_by(again.max(Instant::now()));
                    }
                    self.publish_open_trial(app.id, reasons);
                }
            }
        }
        self.publish_trials();
    }

    fn judge(&mut self, wanted: &App) -> ReleaseVerdict {
        // As it runs here: without optional services that this device cannot run, which would be waited for in vain.
        let Some(target) = self.targets.completed().map(Arc::clone) else { return ReleaseVerdict::Open(Vec::new(), None) };
        let Some(app) = target.apps.get(&wanted.id) else { return ReleaseVerdict::Open(Vec::new(), None) };
        let current = Arc::clone(self.observed.current());
        let plan = self.observed.plan();
        let evidence = ReleaseEvidence {
            app,
            containers: containers_as_wanted(app, self.targets.hashes(), &current),
            stopped: app
                .services
                .keys()
                .map(String::as_str)
                .filter(|it| self.overrides.has_stopped(&ServiceKey::new(app.id, it)))
                .collect(),
            refused: refused_services(app, self.work.retries().troubles()),
            is_busy: plan.busy.contains(&app.id),
            holds: holds(plan, app.id),
        };
        self.targets.releases_mut().memory(app.id, &wanted.fingerprint()).judge(&evidence)
    }

    /// Finds out what the failed services logged, before their containers are removed.
    fn diagnose(&mut self, app: &App, failures: Vec<ServiceFailure>) {
        let fingerprint = app.fingerprint();
        let releases = self.targets.releases_mut();
        if releases.failure(app).is_some() || releases.diagnosing.get(&app.id) == Some(&fingerprint) {
            return;
        }
        releases.diagnosing.insert(app.id, fingerprint.clone());
        let world = self.context.world;
        let (id, commit, at_secs) = (app.id, app.commit.clone(), world.clock().now_secs());
        let job = async move {
            let mut services = Vec::new();
            for failure in failures {
                services.push(diagnosed(world, failure).await);
            }
            JobOutcome::Diagnosed(id, FailedRelease { fingerprint, commit, at_secs, cause: None, services })
        };
        self.requests.start_job(job.boxed_local());
    }

    /// A release has failed: its app goes back to the last good one, if there is one.
    pub(super) async fn on_diagnosed(&mut self, id: AppId, failed: FailedRelease) {
        self.targets.releases_mut().diagnosing.remove(&id);
        let Some(app) = self.targets.on_trial().into_iter().find(|it| it.id == id && it.fingerprint() == failed.fingerprint)
        else {
            // Meanwhile another release is wanted.
            return;
        };
        self.targets.releases_mut().fail(id, failed);
        // On the disk before anything follows from it: a power cut must not begin the release once more.
        self.save(RecordKind::FailedReleases).await;
        if self.targets.rollback_of(id).is_some() {
            self.on_target_changed();
        }
        self.announce_failure(&app);
    }

    /// Says that a release has failed: in the history, in the state and in the log.
    pub(super) fn announce_failure(&self, app: &App) {
        let Some(why) = self.targets.failure_of(app.id).map(|it| it.why()) else { return };
        self.note_judgement(app, HistoryOutcome::Failed(why));
        self.publish_trials();
        if let Some(text) = self.context.publish.borrow().releases.get(&app.id).and_then(|it| trial_text(&app.name, app.id, it))
        {
            warn!("{text}");
        }
    }

    /// Tries the releases that failed once more, as a request asks. The starts with them are counted anew.
    pub(super) async fn retry_failed_releases(&mut self) {
        if self.targets.releases_mut().forget_except(|_, _| false) {
            self.save(RecordKind::FailedReleases).await;
            self.targets.crash_loop().reset(&self.context).await;
            self.on_target_changed();
            self.publish_trials();
        }
    }

    fn publish_open_trial(&self, app: AppId, reasons: Vec<String>) {
        if self.targets.failure_of(app).is_none() {
            let trial = ReleaseTrial::OnTrial(reasons);
            self.context.publish.send_if_modified(|it| it.releases.insert(app, trial.clone()).as_ref() != Some(&trial));
        }
    }

    /// Publishes what became of the releases that are not on trial any more.
    pub(super) fn publish_trials(&self) {
        let trials = self.targets.trials();
        self.context.publish.send_if_modified(|status| {
            let before = status.releases.clone();
            status.releases.retain(|app, _| trials.contains_key(app));
            for (app, trial) in trials {
                match trial {
                    Some(trial) => drop(status.releases.insert(app, trial)),
                    None => drop(status.releases.entry(app).or_insert_with(|| ReleaseTrial::OnTrial(Vec::new()))),
                }
            }
            status.releases != before
        });
    }

    /// Enters into the history that a release was proven good, or has failed.
    fn note_judgement(&self, app: &App, outcome: HistoryOutcome) {
        self.note(HistoryNote {
            at_ms: self.now_ms(),
            action: HistoryAction::Proved,
            object: HistoryObject::Release,
            name: app.commit.clone().unwrap_or_default(),
            app: Some(app.id),
            service: None,
            cause: Cause::default(),
            outcome,
            millis: None,
        });
    }
}

/// Services of which a step failed again and again, for a reason that waiting does not mend.
fn refused_services(app: &App, troubles: impl Iterator<Item = Trouble>) -> SortedMap<String, String> {
    let mut refused = SortedMap::new();
    for trouble in troubles {
        let Trouble::Step { step, why, failures, .. } = trouble else { continue };
        let (why, is_missing) = match why {
            StepFault::Failed(why) => (why, false),
            StepFault::Missing(why) => (why, true),
            // Services stand still while their data is copied: that cannot wait for room.
            StepFault::OutOfSpace(why) if matches!(*step, Step::Engine(EngineAction::KeepData(_))) => {
                refused.extend(services_with(app, &step).map(|it| (it, why.clone())));
                continue;
            }
            StepFault::OutOfSpace(_) | StepFault::Unreachable(_) => continue,
        };
        if failures < MOST_FAILURES {
            continue;
        }
        let pulls = |image: &ImageRef| {
            let of_image = app.services.iter().filter(|(_, it)| it.image == *image);
            of_image.map(|(name, _)| name.clone()).collect()
        };
        let services: Vec<String> = match &*step {
            Step::Engine(EngineAction::Pull(image)) if is_missing => pulls(image),
            Step::Engine(EngineAction::Create(spec)) if spec.key.app == app.id => vec![spec.key.service.clone()],
            Step::Engine(EngineAction::Start(which)) if which.key.app == app.id => vec![which.key.service.clone()],
            Step::Engine(EngineAction::KeepData(_)) => services_with(app, &step).collect(),
            _ => Vec::new(),
        };
        refused.extend(services.into_iter().map(|it| (it, why.clone())));
    }
    refused
}

/// The services that have the volume which a step copies.
fn services_with(app: &App, step: &Step) -> impl Iterator<Item = String> {
    let volume = match step {
        Step::Engine(EngineAction::KeepData(copy)) if copy.volume.app == app.id => Some(copy.volume.name.clone()),
        _ => None,
    };
    let has = move |service: &Service| {
        let mut mounted = service.config.mounts.iter().filter_map(|it| it.engine_volume(app.id));
        volume.as_ref().is_some_and(|volume| mounted.any(|it| it == *volume))
    };
    app.services.iter().filter(move |(_, it)| has(it)).map(|(name, _)| name.clone())
}

/// Whether data of an app is copied, either way.
fn copies_data(plan: &Plan, app: AppId) -> bool {
    plan.steps.iter().any(|step| match step {
        Step::Engine(EngineAction::KeepData(copy) | EngineAction::PutDataBack(copy)) => copy.volume.app == app,
        _ => false,
    })
}

/// Whether an app waits for something that may take as long as it likes.
fn holds(plan: &Plan, app: AppId) -> bool {
    copies_data(plan, app)
        || plan.waiting.iter().any(|it| match it {
            Waiting::Lock(of, _) | Waiting::Lease(of, _) => *of == app,
            Waiting::Window(Some(key), _)
            | Waiting::Hook(key, _)
            | Waiting::Images(key)
            | Waiting::Boot(key)
            | Waiting::Paused(key) => key.app == app,
            _ => false,
        })
}

/// A failed service, with what it logged last and what its health check says.
async fn diagnosed<W: World>(world: &W, failure: ServiceFailure) -> FailedService {
    let ServiceFailure { service, why, container, is_unhealthy } = failure;
    let (mut lines, mut health_output) = (Vec::new(), None);
    if let Some(container) = container {
        lines = timeout(DIAGNOSIS, last_lines(world, &container)).await.unwrap_or_default();
        if is_unhealthy {
            health_output = timeout(DIAGNOSIS, world.engine().health_output(&container)).await.ok().flatten();
        }
    }
    FailedService { service, why, lines, health_output: health_output.map(|it| short(it, LINE_CHARS)) }
}

async fn last_lines<W: World>(world: &W, container: &ContainerId) -> Vec<String> {
    let lines = world.engine().past_logs(container.clone(), LogCursor::default(), Some(LINES));
    let read = lines.filter_map(async |it| it.ok().map(|it| short(it.text, LINE_CHARS)));
    read.collect().await
}
