//! The reconciler: the only writer. It brings the current state to the target state.
//!
//! It observes the engine and the update locks, plans, and launches every step that may start now. It observes again whenever
//! a step ends, something changes or a request arrives. It is level-triggered: a request only changes the target or the
//! overrides, and the next action always follows from an observation, not from an event.
//!
//! Steps run concurrently, but never two with the same subject. A step that fails is retried with a growing backoff and holds
//! up no other step. A new target cancels only the downloads and waits that it does not need.
//!
//! Its parts own their state, and no part sees another's:
//!
//! ```text
//! targets        the wanted target and the last good one        crash_loop  gives up what ends the agent
//!                                                                local_mode  pushed apps beside it, in local mode
//! overrides      what users requested on top of the target
//! observed       the last observation, and the plan             locks       the update locks that count
//! windows        which update windows are closed
//! hooks          which hooks before updates succeeded
//! leases         update locks asked for over the API             schedule    when the next observation begins
//! work           steps in flight                                retries     failed steps, and when they are retried
//!                                                                conflicts   steps held back by work in flight
//! waiters        requests that are not answered yet             goals       whether what they wait for was reached
//!                                                                selection   which service a request is about
//! persistence    records that could not be saved yet
//! boot_config    the file of the firmware or boot loader
//! shutdown       reboot and power-off                            page_links  links that log in by themselves
//! target_trial   a target that a person tries or kept, in place of the wanted one
//! history        what was done and seen, and why                  snapshots   data of volumes, kept and put back
//! ```
//!
//! Between the parts: `requests` (what each request changes), `host` (metrics, and configuration under update locks),
//! `preview` (what would be done, for a user), `steps` (launched from the plan), `observe` and `execute` (the calls of the real
//! ports), `publish_status` (the status that other tasks read).

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use futures_util::{FutureExt, StreamExt};
use tokio::sync::{broadcast, mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use crate::plan::{Plan, plan_with};
use crate::port::{Clock, Engine, EngineError, EngineSnapshot, HistoryStore, Host, LockError, Locks, Power, World};
use crate::reconcile::boot_config::BootConfigTracker;
use crate::reconcile::goals::GoalCheck;
use crate::reconcile::history::HistoryTracker;
use crate::reconcile::hooks::HookTracker;
use crate::reconcile::leases::LeaseTracker;
use crate::reconcile::observe::{Observation, observe};
use crate::reconcile::observed::Observed;
use crate::reconcile::overrides::ActiveOverrides;
use crate::reconcile::persistence::{RecordKind, Records};
use crate::reconcile::schedule::Schedule;
use crate::reconcile::shutdown::flow::ShutdownFlow;
use crate::reconcile::snapshots::SnapshotTracker;
use crate::reconcile::steps::StepsInFlight;
use crate::reconcile::targets::TargetTracker;
use crate::reconcile::waiters::PendingRequests;
use crate::reconcile::windows::WindowTracker;
use crate::reconcile::work::Work;
use crate::request::Request;
use crate::sorted::{SortedMap, SortedSet};
use crate::state::history::History;
use crate::state::{
    AppId, ClosedWindows, ContainerPhase, Current, Device, DeviceEvent, EngineState, Force, LockState, Overrides, Status, Step,
    Target,
};

mod boot_config;
mod conflicts;
mod crash_loop;
mod execute;
mod goals;
mod history;
mod hooks;
mod host;
mod leases;
mod local_mode;
mod locks;
mod observe;
mod observed;
mod overrides;
mod page_links;
mod persistence;
pub mod preview;
mod publish_status;
mod releases;
mod requests;
mod retries;
mod schedule;
mod selection;
mod settings;
mod shutdown;
mod snapshots;
mod steps;
mod target_trial;
mod targets;
#[cfg(test)]
mod testing;
mod waiters;
mod windows;
mod work;

pub use settings::{ReconcilerPublishers, ReconcilerSettings};

/// Resync interval while the engine is about to restart a container: it sends no event when the restart fails.
const RESTARTING: Duration = Duration::from_secs(10);
/// Retry interval for locks that could not be read.
const LOCKS_AGAIN: Duration = Duration::from_secs(30);

/// Reconciles for as long as it is polled.
pub async fn run<W: World>(
    world: &W,
    inbox: mpsc::Receiver<Request>,
    publishers: ReconcilerPublishers,
    settings: ReconcilerSettings,
) -> Infallible {
    let ReconcilerPublishers { status: publish, events, history } = publishers;
    let kept = world.store().load_history().await;
    history.send_replace(history::started(world, kept, &settings.device.supervisor_version));
    let loaded = persistence::load(world, &settings, &publish).await;
    let device = Device { cloud_key: loaded.cloud_key, ..settings.device };
    let settings = ReconcilerSettings { device, ..settings };
    let mut reconciler = Reconciler {
        context: Context { world, publish: &publish, events: &events, history: &history },
        overrides: ActiveOverrides::new(loaded.stopped),
        observed: Observed::new(loaded.awaiting, Schedule::new(settings.observe_every)),
        leases: LeaseTracker::new(loaded.leases, &world.clock().boot_id()),
        windows: WindowTracker::new(settings.update_window.clone(), loaded.boot_window),
        work: Work::default(),
        requests: PendingRequests::new(),
        records: Records::new(loaded.unsaved),
        shutdown: ShutdownFlow::new(),
        boot_config: BootConfigTracker::new(loaded.boot_config),
        snapshots: SnapshotTracker::new(loaded.kept_data),
        history: HistoryTracker::default(),
        hooks: HookTracker::default(),
        targets: TargetTracker::new(settings, loaded.identity, loaded.keys, loaded.targets, loaded.trial)
            .with_local_mode(loaded.local_mode)
            .with_target_trial(loaded.target_trial)
            .with_failed_releases(loaded.failed_releases),
    };
    reconciler.resume_trial().await;
    reconciler.guard_start().await;
    reconciler.targets.start(reconciler.context.publish);
    reconciler.boot_config.start(&reconciler.context).await;
    reconciler.make_lock_directories().await;
    reconciler.open_boot_window().await;
    reconciler.run(inbox).await
}

/// The reconciler: the parts that own its state.
struct Reconciler<'w, W: World> {
    context: Context<'w, W>,
    targets: TargetTracker,
    overrides: ActiveOverrides,
    observed: Observed,
    leases: LeaseTracker,
    windows: WindowTracker,
    work: Work,
    requests: PendingRequests<'w>,
    records: Records,
    shutdown: ShutdownFlow<'w, <W::Power as Power>::Inhibition>,
    boot_config: BootConfigTracker,
    snapshots: SnapshotTracker,
    history: HistoryTracker,
    hooks: HookTracker,
}

/// The ports, and the channels that other tasks read.
struct Context<'w, W: World> {
    world: &'w W,
    /// How things are.
    publish: &'w watch::Sender<Status>,
    /// What happened.
    events: &'w broadcast::Sender<Arc<DeviceEvent>>,
    /// What was done and seen, and why.
    history: &'w watch::Sender<History>,
}

impl<W: World> Context<'_, W> {
    /// Publishes what happened. Where no task listens, nothing becomes of it.
    fn announce(&self, event: DeviceEvent) {
        let _ = self.events.send(Arc::new(event));
    }
}

impl<'w, W: World> Reconciler<'w, W> {
    async fn run(&mut self, mut inbox: mpsc::Receiver<Request>) -> Infallible {
        let world = self.context.world;
        let mut events = std::pin::pin!(world.engine().events());
        let mut unlocked = std::pin::pin!(world.locks().changes());
        let mut addresses = std::pin::pin!(world.host().addresses());
        let mut notices = std::pin::pin!(world.power().notices());
        let mut jumps = std::pin::pin!(world.clock().jumps());
        let mut steps = StepsInFlight::new();
        let mut observing: Option<LocalBoxFuture<'w, Observation>> = None;
        loop {
            // Biased, so that a simulation is reproducible. Shutdown notices come first, before a step continues that a slow
            // disk held up. Ended steps come before requests, so that no flood of requests keeps a step from ending. Every
            // arm is cancel-safe: streams, channels and futures kept elsewhere.
            tokio::select! {
                biased;
                Some(notice) = notices.next() => self.on_inhibitor_notice(notice).await,
                Some(ended) = steps.next(), if !steps.is_empty() => self.on_step_ended(ended).await,
                observation = async { observing.as_mut().expect("the arm is off without one").await }, if observing.is_some() => {
                    observing = None;
                    self.observed.schedule().on_ended();
                    self.refresh_host_metrics();
                    self.on_observed(observation).await;
                    for request in self.requests.take_deferred() {
                        self.handle_request(request).await;
                    }
                }
                event = self.shutdown.next() => self.on_shutdown_event(event).await,
                () = async {}, if self.observed.is_plan_ready() => self.launch(&mut steps).await,
                request = inbox.recv() => match request {
                    Some(request) => self.handle_request(request).await,
                    None => pending().await,
                },
                Some(outcome) = self.requests.next_job(), if self.requests.has_jobs() => self.on_job_ended(outcome).await,
                Some(addresses) = addresses.next() => self.targets.set_addresses(addresses, self.context.publish),
                Some(()) = events.next() => self.observed.schedule().request_resync_soon(),
                // Windows may have opened or closed, and leases end at another time of the day.
                Some(()) = jumps.next() => self.request_resync(),
                Some(()) = unlocked.next() => self.observed.schedule().request_resync_soon(),
                () = sleep_until(self.observed.schedule().next()), if observing.is_none() => {
                    observing = Some(self.begin_observation().boxed_local());
                }
            }
        }
    }

    fn begin_observation(&mut self) -> impl Future<Output = Observation> + use<'w, W> {
        self.work.on_observation_begins();
        self.observed.locks_mut().on_observation_begins();
        self.observed.schedule().on_begins();
        let holders = self.observed.lock_holders(self.target());
        observe(self.context.world, holders, self.observed.knows_containers())
    }

    /// Applies an observation: updates what is known, plans from it, and settles what follows. The order matters: each phase
    /// relies on those before it.
    async fn on_observed(&mut self, observation: Observation) {
        let locks = self.merge_locks(observation.locks);
        self.refresh_leases();
        self.record_expected_pulls(&observation.engine);
        // Before the plan: the target must be on the disk before steps follow from it.
        self.save_dirty_records().await;
        self.follow_trial().await;
        self.apply_boot_config().await;
        let snapshot = match observation.engine {
            Ok(snapshot) => snapshot,
            // No step starts from an earlier snapshot: it may be done already.
            Err(error) => return self.on_engine_down(locks, &error),
        };
        self.on_engine_up();
        self.update_current(snapshot, locks, observation.boot_wanted);
        self.follow_local_mode().await;
        self.refresh_rules().await;
        self.publish_engine_up();
        self.drop_fulfilled_overrides().await;
        self.replan();
        self.cancel_unwanted_steps();
        self.record_awaiting_reboot().await;
        self.judge_releases();
        self.mark_reached_target().await;
        self.targets.crash_loop().on_uptime(&self.context).await;
        // After the plan: it says what every request still waits for.
        self.answer_waiters();
        self.expire_forced_requests();
        self.observed.set_plan_ready(true);
        self.schedule_next_observation();
    }

    /// The locks that count, of those observed.
    fn merge_locks(&mut self, seen: Result<SortedMap<AppId, LockState>, LockError>) -> SortedMap<AppId, LockState> {
        if let Err(error) = &seen {
            warn!(%error, "cannot read the update locks; using those last known");
            self.observed.schedule().resync_by(Instant::now() + LOCKS_AGAIN);
        }
        let is_releasing = |app| self.work.under_way().any(|step| *step == Step::ReleaseLocks(app));
        self.observed.merged_locks(seen.ok(), is_releasing)
    }

    /// For a new target: records which images it will pull, before the target is saved.
    fn record_expected_pulls(&mut self, seen: &Result<EngineSnapshot, EngineError>) {
        if let (true, Ok(seen)) = (self.targets.has_changed(), seen)
            && self.targets.record_expected_pulls(&seen.images, |image| self.work.is_pulling(image))
        {
            // The target's own record may have been saved before the engine's images were known.
            self.records.mark(RecordKind::Targets);
        }
    }

    fn on_engine_up(&mut self) {
        self.observed.schedule().on_engine_up();
        if matches!(self.context.publish.borrow().engine, EngineState::Down { .. }) {
            info!("the container engine answers again");
            self.note_engine_back();
            self.work.retries_mut().forget_unreachable();
        }
    }

    /// The engine and its containers are published together: an engine that answers and has no containers would mean that they
    /// were removed.
    fn publish_engine_up(&self) {
        self.context.publish.send_modify(|status| {
            status.engine = EngineState::Up;
            status.observed_at = Some(Instant::now());
            status.current.clone_from(self.observed.current());
        });
    }

    /// The engine does not answer: nothing is planned, and waiters are answered with the reason.
    fn on_engine_down(&mut self, locks: SortedMap<AppId, LockState>, error: &EngineError) {
        self.observed.update_locks(locks);
        self.observed.schedule().on_engine_down();
        let why = error.to_string();
        if !matches!(self.context.publish.borrow().engine, EngineState::Down { .. }) {
            self.note_engine_lost(&why);
        }
        self.context.publish.send_modify(|status| {
            status.observed_at = Some(Instant::now());
            let since = match status.engine {
                EngineState::Down { since, .. } => since,
                EngineState::Up | EngineState::Unknown => {
                    warn!(error = %why, "the container engine does not answer; retrying");
                    Instant::now()
                }
            };
            status.engine = EngineState::Down { why: why.clone(), since };
        });
        self.requests.fail(|_| true, &why);
        self.publish_status();
    }

    fn update_current(&mut self, snapshot: EngineSnapshot, locks: SortedMap<AppId, LockState>, boot_wanted: Option<String>) {
        let EngineSnapshot { containers, images, mut networks, volumes, snapshots } = snapshot;
        // What a plan before removes is no ground for this one: a container that gives way must find the next one's networks.
        networks.retain(|it| !self.work.is_removing(it));
        let clock = self.context.world.clock();
        let lacks_room = self.work.retries().is_out_of_space();
        let current = Current {
            containers,
            images,
            removable_images: self.targets.removable_images(lacks_room),
            networks,
            volumes,
            snapshots,
            data: SortedMap::new(),
            locks,
            leases: self.leases.all().clone(),
            windows: ClosedWindows::default(),
            booted_secs: clock.booted_secs(),
            now_secs: clock.now_secs(),
            boot_waits: self.observed.awaited_boots(&clock.boot_id()),
            reboot_request_file: boot_wanted.or_else(|| self.boot_config.awaits_boot()),
            out_of_space: lacks_room,
            failing: self.failing_services(),
            stopped_lately: SortedSet::new(),
            hooks: self.hooks.outcomes(),
        };
        self.hooks.keep_only(&current);
        self.note_seen(&current);
        self.observed.set_current(current);
    }

    /// Finds out which windows are closed, and what is to be done with data. The target that is in force decides, so local mode
    /// is followed before.
    async fn refresh_rules(&mut self) {
        let current = Arc::clone(self.observed.current());
        self.refresh_windows(&current.containers).await;
        self.refresh_snapshots(&current).await;
        drop(current);
        self.observed.set_rules(self.windows.closed().clone(), self.snapshots.plans().clone());
    }

    async fn drop_fulfilled_overrides(&mut self) {
        let stopped = self.overrides.drop_fulfilled(self.observed.current());
        self.save_stopped(stopped).await;
    }

    /// Computes the plan. Retries and forced updates that it no longer needs expire.
    fn replan(&mut self) {
        let Some(target) = self.targets.completed() else {
            // What was pushed in local mode was removed, and the owner has no target: the last plan must not be launched again.
            return self.observed.set_plan(Plan::default());
        };
        let plan = plan_with(target, self.targets.hashes(), &self.effective_overrides(), self.observed.current());
        self.work.retries_mut().keep_only(&plan.steps);
        self.overrides.expire_forced_update(|app| plan.busy.contains(&app) || self.work.concerns(app));
        windows::log_new_waits(&self.observed.plan().waiting, &plan.waiting);
        self.history.on_plan(&plan.waiting);
        self.observed.set_plan(plan);
    }

    /// For a new target: cancels downloads and waits that the plan no longer has, and steps that have not begun.
    fn cancel_unwanted_steps(&mut self) {
        if self.targets.take_changed() {
            self.work.cancel_except(|step| self.observed.plan().steps.contains(step));
        }
        self.work.cancel_except(|step| !hooks::is_hook(step) || self.observed.plan().steps.contains(step));
    }

    async fn record_awaiting_reboot(&mut self) {
        if self.observed.record_awaiting_reboot(&self.context.world.clock().boot_id()) {
            self.save(RecordKind::Awaiting).await;
        }
    }

    /// Records that the target was reached, if nothing is left to do.
    async fn mark_reached_target(&mut self) {
        let plan = self.observed.plan();
        let settled = plan.busy.is_empty() && plan.steps.is_empty() && self.work.is_idle();
        if settled && self.targets.completed().is_some() {
            self.targets.on_returned();
            self.history.on_settled();
            self.close_boot_window().await;
            self.boot_config.on_good(&self.context).await;
        }
        let is_owners = self.targets.completed().is_some_and(|it| it.local.is_none());
        if !settled || self.targets.is_reached() || !is_owners {
            return;
        }
        if !self.targets.are_releases_proven() {
            return self.prove_what_stayed().await;
        }
        // Images kept for a rollback may now go.
        self.request_resync();
        if self.targets.mark_reached(self.records.is_dirty(RecordKind::Targets), &self.context).await {
            self.save(RecordKind::Targets).await;
        }
        self.targets.crash_loop().reset(&self.context).await;
    }

    fn schedule_next_observation(&mut self) {
        let next_retry = self.work.retries().next();
        if self.work.has_ended_steps() || self.observed.locks().changed_since_observation() {
            // State changed during this observation: it is valid for everything except what changed.
            self.request_resync();
        } else if let Some(next) = next_retry {
            self.observed.schedule().resync_by(next);
        }
        let restarting = self.observed.current().containers.iter().any(|it| it.phase == ContainerPhase::Restarting);
        let latest = [
            self.records.next_retry(),
            self.hooks.next(),
            restarting.then(|| Instant::now() + RESTARTING),
            self.goal_check().next_deadline(self.requests.waiters()),
        ];
        for latest in latest.into_iter().flatten() {
            self.observed.schedule().resync_by(latest);
        }
    }

    fn request_resync(&mut self) {
        self.observed.schedule().request_resync();
    }

    fn goal_check(&self) -> GoalCheck<'_> {
        GoalCheck { target: self.target(), observed: &self.observed, overrides: &self.overrides, work: &self.work }
    }

    fn target(&self) -> Option<&Target> {
        self.targets.completed().map(AsRef::as_ref)
    }

    /// The overrides, plus those that configuration adds.
    fn effective_overrides(&self) -> Overrides {
        let configured = if self.targets.force() == Force::Yes { self.known_apps() } else { self.targets.leaving() };
        Overrides { without_hooks: self.targets.going_back(), ..self.overrides.effective(configured) }
    }

    fn known_apps(&self) -> SortedSet<AppId> {
        self.observed.known_apps(self.target())
    }
}
