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
use crate::intent::{Answer, Ask};
use crate::plan::{Hashes, Plan, Step, Subject, changes, complete, grants, plan_with};
use crate::port::{Clock, Engine, EngineError, Host, Locks, Power, Seen, Targeted, World};
use crate::reconcile::host::Outcome;
use crate::reconcile::look::{Look, look};
use crate::reconcile::rest::Resting;
use crate::reconcile::shutdown::Halt;
use crate::reconcile::take::{Ended, Updates, take};
use crate::reconcile::timely::app_of;
use crate::reconcile::trial::Court;
use crate::reconcile::wait::Waiter;
use crate::state::keys::DeviceVerb;
use crate::state::{
    AppId, ContainerId, Current, Demands, Device, EngineState, Force, Keys, Secret, ServiceKey, Status, Target,
};

mod hear;
mod hopeless;
mod host;
mod look;
mod remember;
mod rest;
mod shutdown;
mod take;
mod tell;
mod timely;
mod trial;
mod wait;

/// What the reconciler must be told before it starts.
#[derive(Debug, Clone)]
pub struct Settings {
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
    pub service_verbs: BTreeSet<DeviceVerb>,
}

/// Reconciles for as long as it is polled.
pub async fn run<W: World>(
    world: &W,
    inbox: mpsc::Receiver<Ask>,
    publish: watch::Sender<Status>,
    settings: Settings,
) -> Infallible {
    let memory = remember::load(world, &settings, &publish).await;
    let mut device = settings.device.clone();
    device.uuid.clone_from(&memory.identity.uuid);
    let mut keeper = Keeper {
        world,
        publish: &publish,
        settings,
        device,
        keys: memory.keys,
        targets: memory.targets,
        reached: memory.reached,
        target: None,
        hashes: Hashes::default(),
        demands: Demands::default(),
        owed: memory.stopped,
        awaiting: memory.awaiting,
        court: Court::new(memory.trial),
        halt: Halt::new(),
        aim: Aim::Planned,
        unsaved: memory.unsaved,
        save_after: Instant::now(),
        current: Arc::default(),
        plan: Plan::default(),
        running: Vec::new(),
        ended: Vec::new(),
        gave_back: false,
        fresh: BTreeSet::new(),
        due: false,
        resting: Resting::default(),
        waiters: Vec::new(),
        early: Vec::new(),
        errands: FuturesUnordered::new(),
        lent: None,
        unreachable: Backoff::new(Duration::from_millis(200), Duration::from_secs(5)),
        next_look: Instant::now(),
        looking_since: Instant::now(),
        looks_apart: look::LOOKS_APART,
        forced: BTreeSet::new(),
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

struct Keeper<'w, W: World> {
    world: &'w W,
    publish: &'w watch::Sender<Status>,
    settings: Settings,
    device: Device,
    keys: Keys,
    /// What is remembered of targets.
    targets: Targeted,
    /// The wanted target was reached once.
    reached: bool,
    /// The wanted target, completed. `None` until somebody says.
    target: Option<Arc<Target>>,
    /// Its hashes.
    hashes: Hashes,
    demands: Demands,
    /// Services a person stopped before the agent was started again: they are owed a start.
    owed: BTreeSet<ServiceKey>,
    /// Containers that wait for a boot, and the boot in which that was seen first.
    awaiting: BTreeMap<ContainerId, String>,
    /// What is known of a target that was never reached.
    court: Court,
    /// How far the end of the machine has come.
    halt: Halt<'w, <W::Power as Power>::Hold>,
    /// Whether the target is another one than was planned for last.
    aim: Aim,
    /// What could not be saved yet.
    unsaved: BTreeSet<remember::Unsaved>,
    save_after: Instant,
    current: Arc<Current>,
    plan: Plan,
    running: Vec<(Step, AbortHandle)>,
    /// Steps that ended while somebody was looking: what was seen of their subjects may be out of date.
    ended: Vec<Step>,
    /// Locks of ours were given back while somebody looked: those that were seen may be gone.
    gave_back: bool,
    /// Apps whose locks a request looked at since the look under way began: what that look sees of them refuses no request.
    fresh: BTreeSet<AppId>,
    /// The plan is new, and its steps are to be taken.
    due: bool,
    resting: Resting,
    waiters: Vec<Waiter>,
    /// What was asked before anything was seen, or in the midst of something: heard after the next look. The API lets no more in than
    /// it has connections.
    early: Vec<Ask>,
    /// What is done beside everything else, and who asked for it.
    errands: FuturesUnordered<LocalBoxFuture<'w, (oneshot::Sender<Answer>, Outcome)>>,
    /// Apps whose locks are taken, or about to be, to configure the host. `None`: it is not being configured.
    lent: Option<BTreeSet<AppId>>,
    unreachable: Backoff,
    next_look: Instant,
    /// When the last look began.
    looking_since: Instant,
    /// How long after it others may cause the next one.
    looks_apart: Duration,
    /// Apps whose locks are overridden by a restart, a purge or a stop, until it is done.
    forced: BTreeSet<AppId>,
    /// Until then what was forced stays forced, although it has settled.
    force_until: Instant,
}

/// Whether a target was planned for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Aim {
    New,
    Planned,
}

type Running<'w> = FuturesUnordered<LocalBoxFuture<'w, Ended>>;

impl<'w, W: World> Keeper<'w, W> {
    async fn run(&mut self, mut inbox: mpsc::Receiver<Ask>) -> Infallible {
        let mut events = std::pin::pin!(self.world.engine().events());
        let mut unlocked = std::pin::pin!(self.world.locks().changes());
        let mut addresses = std::pin::pin!(self.world.host().addresses());
        let mut notices = std::pin::pin!(self.world.power().notices());
        let mut running = Running::new();
        let mut looking: Option<LocalBoxFuture<'w, Look>> = None;
        loop {
            // Biased, so that a simulation can repeat itself. First it is heard whether the machine ends, before a step goes on that a
            // slow disk kept from it. What ends comes before what is asked, so that no flood of questions keeps a step from
            // ending. Every arm may be dropped: streams, channels and futures kept elsewhere.
            tokio::select! {
                biased;
                Some(notice) = notices.next() => self.heard(notice).await,
                Some(ended) = running.next(), if !running.is_empty() => self.ended(ended).await,
                look = async { looking.as_mut().expect("the arm is off without one").await }, if looking.is_some() => {
                    looking = None;
                    self.pace_looks();
                    self.measure();
                    self.looked(look).await;
                    for ask in std::mem::take(&mut self.early) {
                        self.hear(ask).await;
                    }
                }
                event = self.halt.next() => self.halts(event).await,
                () = async {}, if self.due => self.launch(&mut running).await,
                ask = inbox.recv() => match ask {
                    Some(ask) => self.hear(ask).await,
                    None => pending().await,
                },
                Some((reply, outcome)) = self.errands.next(), if !self.errands.is_empty() => self.errand_ended(reply, outcome).await,
                Some(addresses) = addresses.next() => self.moved(addresses),
                Some(()) = events.next() => self.look_soon(),
                Some(()) = unlocked.next() => self.look_soon(),
                () = sleep_until(self.next_look), if looking.is_none() => {
                    self.ended.clear();
                    self.gave_back = false;
                    self.looking_since = Instant::now();
                    self.fresh.clear();
                    looking = Some(look(self.world, self.holders(), self.knows_containers()).boxed_local());
                    self.next_look = Instant::now() + self.settings.observe_every;
                }
            }
        }
    }

    /// A step ended.
    async fn ended(&mut self, (step, result): Ended) {
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
        if let Step::Engine(crate::plan::Deed::Pull(image)) = &step {
            self.publish.send_if_modified(|it| it.progress.remove(image).is_some());
        }
        self.ended.push(step);
        self.rest_if_done();
        self.look_now();
    }

    /// What was seen becomes what is known, and the plan follows from it.
    async fn looked(&mut self, (seen, locks, boot_wanted): Look) {
        let locks = self.see_locks(locks);
        if let (Aim::New, Ok(seen)) = (self.aim, &seen) {
            self.foresee_pulls(&seen.images);
        }
        self.save_again().await;
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
        let Seen { containers, images, networks, volumes } = seen;
        self.current = Arc::new(Current {
            containers,
            images,
            ours: self.ours(),
            networks,
            volumes,
            locks,
            booted_secs: self.world.clock().booted_secs(),
            now_secs: self.world.clock().now_secs(),
            awaiting: self.boots(),
            boot_wanted,
            lacks_room: self.resting.lack_room(),
            failing: self.failing(),
        });
        self.tidy_demands().await;
        if let Some(target) = &self.target {
            self.plan = plan_with(target, &self.hashes, &self.demands(), &self.current);
            self.resting.keep_only(&self.plan.steps);
            let busy =
                |app: &AppId| self.plan.busy.contains(app) || self.running.iter().any(|(it, _)| app_of(it) == Some(*app));
            let lasting = self.force_until > Instant::now();
            self.demands.force.retain(|app| lasting || busy(app));
        }
        if std::mem::replace(&mut self.aim, Aim::Planned) == Aim::New {
            let steps = std::mem::take(&mut self.plan.steps);
            self.drop_unwanted(|step| steps.contains(step));
            self.plan.steps = steps;
        }
        self.remember_waiting().await;
        self.arrived().await;
        self.outlive_trial().await;
        self.answer_waiters();
        let mut forced = std::mem::take(&mut self.forced);
        forced.retain(|app| self.is_asked(*app) || self.waiters.iter().any(|it| it.app == *app));
        self.forced = forced;
        self.due = true;
        if !self.ended.is_empty() || self.gave_back || !self.fresh.is_empty() {
            // Looked at while it changed; this look is good for all but what changed.
            self.look_now();
        } else if let Some(again) = self.resting.next() {
            self.next_look = self.next_look.min(again);
        }
        if !self.unsaved.is_empty() {
            self.next_look = self.next_look.min(self.save_after);
        }
        self.look_at_restarts();
        self.look_for_waiters();
    }

    /// Demands with what configuration adds to them.
    fn demands(&self) -> Demands {
        let mut demands = self.demands.clone();
        demands.force.extend(&self.forced);
        if self.force() == Force::Yes {
            demands.force.extend(self.known_apps());
        }
        demands
    }

    /// Begins every step of the plan that does not rest and whose subject nobody works on.
    async fn launch(&mut self, running: &mut Running<'w>) {
        self.due = false;
        if self.halt.is_frozen() {
            return self.tell();
        }
        let mut busy: BTreeSet<Subject> = self.running.iter().map(|(it, _)| it.subject()).collect();
        busy.extend(self.ended.iter().map(Step::subject));
        let mut due = Vec::new();
        for step in &self.plan.steps {
            if !self.is_untimely(step) && !self.resting.rests(step) && busy.insert(step.subject()) {
                due.push(step.clone());
            }
        }
        if self.remember_pulls(&due).await {
            // That may have taken a while: first it is heard what happened meanwhile.
            self.due = true;
            return;
        }
        let updates = Updates::new(self.world, &self.plan.updates);
        for step in due {
            if step == Step::Reboot {
                self.reboot_as_planned();
                continue;
            }
            info!(%step, "taking");
            let (handle, registration) = AbortHandle::new_pair();
            let updates = updates.of(&step);
            self.running.push((step.clone(), handle));
            running.push(take(self.world, self.publish, step, updates, registration).boxed_local());
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
        self.target = self.targets.wanted.as_ref().map(|it| Arc::new(complete(it, &self.device, &self.keys)));
        if let (Some(before), Some(now)) = (before, &self.target) {
            for (service, fields) in changes(&before, now) {
                info!(%service, fields, "its configuration changed");
            }
        }
        self.hashes = self.target.as_deref().map(Hashes::of).unwrap_or_default();
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
        self.unreachable.succeed();
        if matches!(self.publish.borrow().engine, EngineState::Down { .. }) {
            info!("the container engine answers again");
            self.resting.forget_unreachable();
        }
        self.publish.send_modify(|it| it.engine = EngineState::Up);
    }

    fn engine_is_down(&mut self, error: &EngineError) {
        self.next_look = Instant::now() + self.unreachable.fail();
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
