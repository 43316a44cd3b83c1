//! The reconciler: the only writer. It brings the current state to the target state.
//!
//! It observes the engine and the update locks, plans, and launches every step that may start now. It observes again whenever
//! a step ends, something changes or a request arrives. It is level-triggered: a request only changes the target or the
//! overrides, and the next action always follows from an observation, not from an event.
//!
//! Steps run concurrently, but never two with the same subject. A step that fails is retried with a growing backoff and holds
//! up no other step. A new target cancels only the downloads and waits that it does not need.
//!
//! ```text
//! requests        what a request changes               retries         failed steps, and when they are retried
//! observe         the engine and the update locks      hopeless        failures that end a wait early
//! execute         one step, on the real ports          waiters         requests that wait for an outcome
//! persistence     what survives a power cut            shutdown        reboot and power-off
//! host            addresses, metrics, configuration    crash_loop      rolls back a target in a crash loop
//! conflicts       steps held back by work in flight    publish_status  the status that other tasks read
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{AbortHandle, Aborted, LocalBoxFuture};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use crate::backoff::Backoff;
use crate::plan::{ConfigHashes, Plan, Step, Subject, changes, grants, inject_supervisor_env, plan_with};
use crate::port::{Clock, Engine, EngineError, EngineSnapshot, Host, Locks, Power, StoredTargets, World};
use crate::reconcile::conflicts::app_of;
use crate::reconcile::crash_loop::CrashLoopGuard;
use crate::reconcile::execute::{StepEnded, Updates, execute};
use crate::reconcile::host::BackgroundJob;
use crate::reconcile::observe::{Observation, observe};
use crate::reconcile::retries::Retries;
use crate::reconcile::shutdown::ShutdownFlow;
use crate::reconcile::waiters::Waiter;
use crate::request::Request;
use crate::state::keys::DeviceAction;
use crate::state::{
    AppId, ContainerId, Current, Device, EngineAction, EngineState, Force, Keys, Overrides, Secret, ServiceKey, Status, Target,
};

mod conflicts;
mod crash_loop;
mod execute;
mod hopeless;
mod host;
mod observe;
mod persistence;
mod publish_status;
mod requests;
mod retries;
mod shutdown;
mod waiters;

/// What the reconciler needs before it starts.
#[derive(Debug, Clone)]
pub struct ReconcilerSettings {
    /// Full resync interval, when nothing triggers an earlier observation.
    pub observe_every: Duration,
    /// Facts about the device. Its uuid is replaced by the stored one.
    pub device: Device,
    /// The uuid for a device that has none yet. `None`: a random one is generated.
    pub uuid: Option<String>,
    /// The key for a device that has none yet. `None`: a random one is generated.
    pub device_key: Option<Secret>,
    /// Whether update locks are always overridden, as configured.
    pub force: Force,
    /// Device-wide actions that the services' API keys may be used for.
    pub service_verbs: BTreeSet<DeviceAction>,
}

/// Reconciles for as long as it is polled.
pub async fn run<W: World>(
    world: &W,
    inbox: mpsc::Receiver<Request>,
    publish: watch::Sender<Status>,
    settings: ReconcilerSettings,
) -> Infallible {
    let memory = persistence::load(world, &settings, &publish).await;
    let mut device = settings.device.clone();
    device.uuid.clone_from(&memory.identity.uuid);
    let mut keeper = Reconciler {
        world,
        publish: &publish,
        settings,
        device,
        keys: memory.keys,
        targets: memory.targets,
        reached: memory.reached,
        target: None,
        hashes: ConfigHashes::default(),
        overrides: Overrides::default(),
        restart_after_stop: memory.stopped,
        awaiting_reboot: memory.awaiting,
        crash_loop: CrashLoopGuard::new(memory.trial),
        shutdown: ShutdownFlow::new(),
        target_change: TargetChange::Planned,
        dirty: memory.unsaved,
        save_after: Instant::now(),
        current: Arc::default(),
        plan: Plan::default(),
        running: Vec::new(),
        ended: Vec::new(),
        locks_released_since_observe: false,
        locks_checked_since_observe: BTreeSet::new(),
        plan_ready: false,
        retries: Retries::default(),
        waiters: Vec::new(),
        deferred_requests: Vec::new(),
        background_jobs: FuturesUnordered::new(),
        host_config_lease: None,
        engine_backoff: Backoff::new(Duration::from_millis(200), Duration::from_secs(5)),
        next_observe: Instant::now(),
        observe_started: Instant::now(),
        min_observe_interval: observe::LOOKS_APART,
        forced_once: BTreeSet::new(),
        force_until: Instant::now(),
    };
    keeper.count_start().await;
    if let Some(target) = keeper.targets.wanted.take() {
        keeper.apply_check(&target);
        keeper.targets.wanted = Some(target);
    }
    keeper.complete();
    keeper.make_lock_directories().await;
    keeper.run(inbox).await
}

struct Reconciler<'w, W: World> {
    world: &'w W,
    publish: &'w watch::Sender<Status>,
    settings: ReconcilerSettings,
    device: Device,
    keys: Keys,
    /// The targets as stored: the wanted one, the last good one, and the images pulled for them.
    targets: StoredTargets,
    /// The wanted target was reached once.
    reached: bool,
    /// The wanted target, with the supervisor's environment injected. `None` until a target is known.
    target: Option<Arc<Target>>,
    /// Configuration hashes of `target`.
    hashes: ConfigHashes,
    overrides: Overrides,
    /// Services the user had stopped when the agent last ended. Each is started again once, whatever its restart policy.
    restart_after_stop: BTreeSet<ServiceKey>,
    /// Containers that wait for a reboot, each with the boot id under which that was first seen.
    awaiting_reboot: BTreeMap<ContainerId, String>,
    /// Start counter of a target that was never reached.
    crash_loop: CrashLoopGuard,
    /// Progress of a reboot or power-off.
    shutdown: ShutdownFlow<'w, <W::Power as Power>::Inhibition>,
    /// Whether the target changed since the last plan.
    target_change: TargetChange,
    /// Records that could not be saved yet.
    dirty: BTreeSet<persistence::DirtyRecord>,
    save_after: Instant,
    current: Arc<Current>,
    plan: Plan,
    running: Vec<(Step, AbortHandle)>,
    /// Steps that ended while an observation was in flight: what it saw of their subjects may be out of date.
    ended: Vec<Step>,
    /// Locks of ours were released while an observation was in flight: it may have seen locks that are gone.
    locks_released_since_observe: bool,
    /// Apps whose locks a request has read since the observation in flight began: what that observation sees of them rejects
    /// no request.
    locks_checked_since_observe: BTreeSet<AppId>,
    /// `plan` was recomputed; `launch` has not run on it yet.
    plan_ready: bool,
    retries: Retries,
    waiters: Vec<Waiter>,
    /// Requests that arrived before the first observation or while locks are being released: handled after the next
    /// observation. The API admits no more of them than it has connections.
    deferred_requests: Vec<Request>,
    /// Jobs that run beside the steps, each with the reply channel of its requester.
    background_jobs: FuturesUnordered<BackgroundJob<'w>>,
    /// Apps whose update locks host configuration holds or is acquiring. `None` when none is in progress.
    host_config_lease: Option<BTreeSet<AppId>>,
    engine_backoff: Backoff,
    next_observe: Instant,
    /// When the last observation began.
    observe_started: Instant,
    /// How long after `observe_started` engine and lock events may trigger the next observation.
    min_observe_interval: Duration,
    /// Apps whose locks a restart, a purge or a stop overrides, until it is done.
    forced_once: BTreeSet<AppId>,
    /// Until then forced apps stay forced, although they have settled.
    force_until: Instant,
}

/// Whether the target is already planned for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TargetChange {
    New,
    Planned,
}

type StepsInFlight<'w> = FuturesUnordered<LocalBoxFuture<'w, StepEnded>>;

impl<'w, W: World> Reconciler<'w, W> {
    async fn run(&mut self, mut inbox: mpsc::Receiver<Request>) -> Infallible {
        let mut events = std::pin::pin!(self.world.engine().events());
        let mut unlocked = std::pin::pin!(self.world.locks().changes());
        let mut addresses = std::pin::pin!(self.world.host().addresses());
        let mut notices = std::pin::pin!(self.world.power().notices());
        let mut running = StepsInFlight::new();
        let mut looking: Option<LocalBoxFuture<'w, Observation>> = None;
        loop {
            // Biased, so that a simulation is reproducible. Shutdown notices come first, before a step continues that a slow
            // disk held up. Ended steps come before requests, so that no flood of requests keeps a step from ending. Every
            // arm is cancel-safe: streams, channels and futures kept elsewhere.
            tokio::select! {
                biased;
                Some(notice) = notices.next() => self.on_inhibitor_notice(notice).await,
                Some(ended) = running.next(), if !running.is_empty() => self.ended(ended).await,
                look = async { looking.as_mut().expect("the arm is off without one").await }, if looking.is_some() => {
                    looking = None;
                    self.pace_resyncs();
                    self.refresh_host_metrics();
                    self.on_observed(look).await;
                    for ask in std::mem::take(&mut self.deferred_requests) {
                        self.handle_request(ask).await;
                    }
                }
                event = self.shutdown.next() => self.on_shutdown_event(event).await,
                () = async {}, if self.plan_ready => self.launch(&mut running).await,
                ask = inbox.recv() => match ask {
                    Some(ask) => self.handle_request(ask).await,
                    None => pending().await,
                },
                Some(outcome) = self.background_jobs.next(), if !self.background_jobs.is_empty() =>
                    self.on_job_ended(outcome).await,
                Some(addresses) = addresses.next() => self.set_addresses(addresses),
                Some(()) = events.next() => self.request_resync_soon(),
                Some(()) = unlocked.next() => self.request_resync_soon(),
                () = sleep_until(self.next_observe), if looking.is_none() => {
                    self.ended.clear();
                    self.locks_released_since_observe = false;
                    self.observe_started = Instant::now();
                    self.locks_checked_since_observe.clear();
                    looking = Some(observe(self.world, self.holders(), self.knows_containers()).boxed_local());
                    self.next_observe = Instant::now() + self.settings.observe_every;
                }
            }
        }
    }

    /// A step ended.
    async fn ended(&mut self, (step, result): StepEnded) {
        self.running.retain(|(it, _)| *it != step);
        if let Step::ReleaseLocks(app) = &step {
            // Even if it failed: locks not known to be ours are taken again.
            self.forget_ours(|it| it == app);
        }
        match result {
            Ok(Ok(())) => self.succeeded(&step).await,
            Ok(Err(failure)) => self.failed(&step, &failure),
            Err(Aborted) => info!(%step, "cancelled: the target does not want it any more"),
        }
        if let Step::Engine(EngineAction::Pull(image)) = &step {
            self.publish.send_if_modified(|it| it.progress.remove(image).is_some());
        }
        self.ended.push(step);
        self.release_inhibitor_if_idle();
        self.request_resync();
    }

    /// Applies an observation: updates `current`, then plans from it.
    async fn on_observed(&mut self, (seen, locks, boot_wanted): Observation) {
        let locks = self.merge_observed_locks(locks);
        if let (TargetChange::New, Ok(seen)) = (self.target_change, &seen) {
            self.record_expected_pulls(&seen.images);
        }
        self.retry_saves().await;
        let seen = match seen {
            Ok(seen) => seen,
            // No step starts from an earlier snapshot: it may be done already.
            Err(error) => {
                // Locks hold up a reboot, also while the engine does not answer.
                if self.current.locks != locks {
                    *self.locks() = locks;
                }
                return self.engine_is_down(&error);
            }
        };
        self.engine_is_up();
        let EngineSnapshot { containers, images, networks, volumes } = seen;
        self.current = Arc::new(Current {
            containers,
            images,
            ours: self.removable_images(),
            networks,
            volumes,
            locks,
            booted_secs: self.world.clock().booted_secs(),
            now_secs: self.world.clock().now_secs(),
            awaiting: self.awaited_boots(),
            boot_wanted,
            lacks_room: self.retries.is_out_of_space(),
            failing: self.failing(),
        });
        self.drop_fulfilled_overrides().await;
        if let Some(target) = &self.target {
            self.plan = plan_with(target, &self.hashes, &self.effective_overrides(), &self.current);
            self.retries.keep_only(&self.plan.steps);
            let busy =
                |app: &AppId| self.plan.busy.contains(app) || self.running.iter().any(|(it, _)| app_of(it) == Some(*app));
            let lasting = self.force_until > Instant::now();
            self.overrides.force.retain(|app| lasting || busy(app));
        }
        if std::mem::replace(&mut self.target_change, TargetChange::Planned) == TargetChange::New {
            let steps = std::mem::take(&mut self.plan.steps);
            self.drop_unwanted(|step| steps.contains(step));
            self.plan.steps = steps;
        }
        self.record_awaiting_reboot().await;
        self.mark_reached().await;
        self.mark_stable().await;
        self.answer_waiters();
        let mut forced = std::mem::take(&mut self.forced_once);
        forced.retain(|app| self.is_asked(*app) || self.waiters.iter().any(|it| it.app == *app));
        self.forced_once = forced;
        self.plan_ready = true;
        if !self.ended.is_empty() || self.locks_released_since_observe || !self.locks_checked_since_observe.is_empty() {
            // State changed during this observation: it is valid for everything except what changed.
            self.request_resync();
        } else if let Some(again) = self.retries.next() {
            self.next_observe = self.next_observe.min(again);
        }
        if !self.dirty.is_empty() {
            self.next_observe = self.next_observe.min(self.save_after);
        }
        self.resync_while_restarting();
        self.look_for_waiters();
    }

    /// The overrides, plus those that configuration adds.
    fn effective_overrides(&self) -> Overrides {
        let mut demands = self.overrides.clone();
        demands.force.extend(&self.forced_once);
        if self.force() == Force::Yes {
            demands.force.extend(self.known_apps());
        }
        demands
    }

    /// Starts every step of the plan that is not backing off, does not conflict with work in flight, and whose subject no
    /// other step is working on.
    async fn launch(&mut self, running: &mut StepsInFlight<'w>) {
        self.plan_ready = false;
        if self.shutdown.is_in_progress() {
            return self.tell();
        }
        let mut busy: BTreeSet<Subject> = self.running.iter().map(|(it, _)| it.subject()).collect();
        busy.extend(self.ended.iter().map(Step::subject));
        let mut due = Vec::new();
        for step in &self.plan.steps {
            if !self.conflicts_with_work_in_flight(step) && !self.retries.is_backing_off(step) && busy.insert(step.subject()) {
                due.push(step.clone());
            }
        }
        if self.record_pulls(&due).await {
            // Saving may have taken a while: handle the events that arrived meanwhile first.
            self.plan_ready = true;
            return;
        }
        let updates = Updates::new(self.world, &self.plan.updates);
        for step in due {
            if step == Step::Reboot {
                self.begin_planned_reboot();
                continue;
            }
            info!(%step, "taking");
            let (handle, registration) = AbortHandle::new_pair();
            let updates = updates.of(&step);
            self.running.push((step.clone(), handle));
            running.push(execute(self.world, self.publish, step, updates, registration).boxed_local());
        }
        self.tell();
    }

    /// Cancels downloads and waits that the plan no longer has, and steps that have not begun.
    fn drop_unwanted(&mut self, keep: impl Fn(&Step) -> bool) {
        for (step, handle) in &self.running {
            if !keep(step) {
                handle.abort();
            }
        }
    }

    /// Recomputes the target with the environment this device gives its containers, and which API key grants what.
    fn complete(&mut self) {
        let before = self.target.take();
        self.target = self.targets.wanted.as_ref().map(|it| Arc::new(inject_supervisor_env(it, &self.device, &self.keys)));
        if let (Some(before), Some(now)) = (before, &self.target) {
            for (service, fields) in changes(&before, now) {
                info!(%service, fields, "its configuration changed");
            }
        }
        self.hashes = self.target.as_deref().map(ConfigHashes::of).unwrap_or_default();
        let services = self.target.as_deref().map(grants).unwrap_or_default();
        let mut access = self.keys.access(services);
        access.local_mode = self.setting("SUPERVISOR_LOCAL_MODE");
        access.service_verbs.clone_from(&self.settings.service_verbs);
        self.publish.send_modify(|status| {
            status.device.clone_from(&self.device);
            status.access = access;
            status.target.clone_from(&self.target);
        });
    }

    /// A device-wide boolean setting of the target. `1`, `true` and `on` are on, as in other supervisors.
    fn setting(&self, name: &str) -> bool {
        let value = self.targets.wanted.as_ref().and_then(|it| it.config.get(name));
        value.is_some_and(|it| matches!(it.to_lowercase().as_str(), "1" | "true" | "on"))
    }

    fn force(&self) -> Force {
        if self.setting("SUPERVISOR_OVERRIDE_LOCK") || self.setting("OVERRIDE_LOCK") { Force::Yes } else { self.settings.force }
    }

    fn known_apps(&self) -> BTreeSet<AppId> {
        let wanted = self.target.iter().flat_map(|it| it.apps.keys().copied());
        wanted.chain(self.current.containers.iter().map(|it| it.key.app)).chain(self.current.locks.keys().copied()).collect()
    }

    fn engine_is_up(&mut self) {
        self.engine_backoff.succeed();
        if matches!(self.publish.borrow().engine, EngineState::Down { .. }) {
            info!("the container engine answers again");
            self.retries.forget_unreachable();
        }
        self.publish.send_modify(|it| it.engine = EngineState::Up);
    }

    fn engine_is_down(&mut self, error: &EngineError) {
        self.next_observe = Instant::now() + self.engine_backoff.fail();
        let why = error.to_string();
        self.publish.send_modify(|status| {
            status.looked = Some(Instant::now());
            let since = match status.engine {
                EngineState::Down { since, .. } => since,
                EngineState::Up | EngineState::Unknown => {
                    warn!(error = %why, "no container engine; everything else goes on");
                    Instant::now()
                }
            };
            status.engine = EngineState::Down { why: why.clone(), since };
        });
        self.fail_waiters(|_| true, &why);
        self.tell();
    }
}
