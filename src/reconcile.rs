//! The one writer: makes what is into what is wanted.
//!
//! It looks at the engine and the locks, plans, takes every step that may be taken now, and looks again whenever one ends,
//! something changed, or somebody asked for something. It acts on how things are, not on what happened: an intent only changes
//! the target or the demands; what to do next is always read off the machine.
//!
//! Steps run side by side; two with one subject never do. A step that fails rests for a while that grows, and holds up nothing
//! else. A new target drops only the downloads and waits that nobody wants any more.
//!
//! ```text
//! hear      what an intent changes                    rest      steps that failed, and when they are tried again
//! look      at the engine and the locks               hopeless  what ends a wait badly
//! take      one step, on the real ports               wait      whoever asked, and what they wait for
//! remember  what outlives a power cut                 shutdown  the end of the machine
//! host      the host's addresses, figures and configuration      trial     a target that ends the agent again and again
//! timely    what waits for steps that are under way                tell      what everybody else is told
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{AbortHandle, Aborted, LocalBoxFuture};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use crate::backoff::Backoff;
use crate::plan::{ConfigHashes, Plan, Step, Subject, changes, grants, inject_supervisor_env, plan_with};
use crate::port::{Clock, Engine, EngineError, EngineSnapshot, Host, Locks, Power, StoredTargets, World};
use crate::reconcile::conflicts::app_of;
use crate::reconcile::crash_loop::CrashLoopGuard;
use crate::reconcile::execute::{StepEnded, Updates, execute};
use crate::reconcile::host::JobOutcome;
use crate::reconcile::observe::{Observation, observe};
use crate::reconcile::retries::Retries;
use crate::reconcile::shutdown::ShutdownFlow;
use crate::reconcile::waiters::Waiter;
use crate::request::{Request, RequestResult};
use crate::state::keys::DeviceAction;
use crate::state::{
    AppId, ContainerId, Current, Device, EngineState, Force, Keys, Overrides, Secret, ServiceKey, Status, Target,
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

/// What the reconciler must be told before it starts.
#[derive(Debug, Clone)]
pub struct ReconcilerSettings {
    /// Time between two looks at the engine when nothing happens.
    pub observe_every: Duration,
    /// Facts about the device. Its uuid is filled in from what was saved.
    pub device: Device,
    /// The uuid of a device that has none yet. `None`: one is made.
    pub uuid: Option<String>,
    /// The key of a device that has none yet. `None`: one is made.
    pub device_key: Option<Secret>,
    /// Whether update locks are overridden always, as configured.
    pub force: Force,
    /// What concerns the whole device and services' keys may be used for.
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
    /// What is remembered of targets.
    targets: StoredTargets,
    /// The wanted target was reached once.
    reached: bool,
    /// The wanted target, completed. `None` until somebody says.
    target: Option<Arc<Target>>,
    /// Its hashes.
    hashes: ConfigHashes,
    overrides: Overrides,
    /// Services a person stopped before the agent was started again: they are owed a start.
    restart_after_stop: BTreeSet<ServiceKey>,
    /// Containers that wait for a boot, and the boot in which that was seen first.
    awaiting_reboot: BTreeMap<ContainerId, String>,
    /// What is known of a target that was never reached.
    crash_loop: CrashLoopGuard,
    /// How far the end of the machine has come.
    shutdown: ShutdownFlow<'w, <W::Power as Power>::Inhibition>,
    /// Whether the target is another one than was planned for last.
    target_change: TargetChange,
    /// What could not be saved yet.
    dirty: BTreeSet<persistence::DirtyRecord>,
    save_after: Instant,
    current: Arc<Current>,
    plan: Plan,
    running: Vec<(Step, AbortHandle)>,
    /// Steps that ended while somebody was looking: what was seen of their subjects may be out of date.
    ended: Vec<Step>,
    /// Locks of ours were given back while somebody looked: those that were seen may be gone.
    locks_released_since_observe: bool,
    /// Apps whose locks a request looked at since the look under way began: what that look sees of them refuses no request.
    locks_checked_since_observe: BTreeSet<AppId>,
    /// The plan is new, and its steps are to be taken.
    plan_ready: bool,
    retries: Retries,
    waiters: Vec<Waiter>,
    /// What was asked before anything was seen, or in the midst of something: heard after the next look. The API lets no more in than
    /// it has connections.
    deferred_requests: Vec<Request>,
    /// What is done beside everything else, and who asked for it.
    background_jobs: FuturesUnordered<LocalBoxFuture<'w, (oneshot::Sender<RequestResult>, JobOutcome)>>,
    /// Apps whose locks are taken, or about to be, to configure the host. `None`: it is not being configured.
    host_config_lease: Option<BTreeSet<AppId>>,
    engine_backoff: Backoff,
    next_observe: Instant,
    /// When the last look began.
    observe_started: Instant,
    /// How long after it others may cause the next one.
    min_observe_interval: Duration,
    /// Apps whose locks are overridden by a restart, a purge or a stop, until it is done.
    forced_once: BTreeSet<AppId>,
    /// Until then what was forced stays forced, although it has settled.
    force_until: Instant,
}

/// Whether a target was planned for.
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
            // Biased, so that a simulation can repeat itself. First it is heard whether the machine ends, before a step goes on that a
            // slow disk kept from it. What ends comes before what is asked, so that no flood of questions keeps a step from
            // ending. Every arm may be dropped: streams, channels and futures kept elsewhere.
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
                Some((reply, outcome)) = self.background_jobs.next(), if !self.background_jobs.is_empty() => self.on_job_ended(reply, outcome).await,
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
            // Whatever came of it: what is not known to be ours is taken again.
            self.forget_ours(|it| it == app);
        }
        match result {
            Ok(Ok(())) => self.succeeded(&step).await,
            Ok(Err(failure)) => self.failed(&step, &failure),
            Err(Aborted) => info!(%step, "dropped: nobody wants it any more"),
        }
        if let Step::Engine(crate::plan::EngineAction::Pull(image)) = &step {
            self.publish.send_if_modified(|it| it.progress.remove(image).is_some());
        }
        self.ended.push(step);
        self.release_inhibitor_if_idle();
        self.request_resync();
    }

    /// What was seen becomes what is known, and the plan follows from it.
    async fn on_observed(&mut self, (seen, locks, boot_wanted): Observation) {
        let locks = self.merge_observed_locks(locks);
        if let (TargetChange::New, Ok(seen)) = (self.target_change, &seen) {
            self.record_expected_pulls(&seen.images);
        }
        self.retry_saves().await;
        let seen = match seen {
            Ok(seen) => seen,
            // Nothing is begun on what was seen before: it may be done already.
            Err(error) => {
                // They hold up a reboot, also where no engine answers.
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
            // Looked at while it changed; this look is good for all but what changed.
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

    /// Demands with what configuration adds to them.
    fn effective_overrides(&self) -> Overrides {
        let mut demands = self.overrides.clone();
        demands.force.extend(&self.forced_once);
        if self.force() == Force::Yes {
            demands.force.extend(self.known_apps());
        }
        demands
    }

    /// Begins every step of the plan that does not rest and whose subject nobody works on.
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
            // That may have taken a while: first it is heard what happened meanwhile.
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

    /// Drops downloads and waits that the plan no longer has, and what did not begin yet.
    fn drop_unwanted(&mut self, keep: impl Fn(&Step) -> bool) {
        for (step, handle) in &self.running {
            if !keep(step) {
                handle.abort();
            }
        }
    }

    /// The target, with what containers are given by this device; and whose keys open what.
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

    /// A device-wide setting of the target that is on or off. `1`, `true` and `on` are on, as in other supervisors.
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
