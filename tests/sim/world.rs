//! A world generated from a seed: everything `port::World` requires, and its faults.
//!
//! ```text
//! rng           random numbers, one generator for each concern
//! engine_model  what an engine has and does; no time passes there
//! networks      the engine's networks, and what becomes of them
//! engine        how the agent reaches it: late, twice, half-way or not at all
//! refusals      containers that the engine refuses to create
//! store         a disk that keeps what it acknowledged, and little else
//! leds          a LED that fails, and goes away
//! gpio_line     a GPIO line on the header, which another program may hold
//! lines         what containers print by themselves, and what of it the cloud has
//! logs          what containers print
//! locks         update locks, hand-over signals
//! leases        what programs were granted: leases of apps
//! host          networks, the host
//! targets       target documents
//! signed        target documents that are signed, and may be old
//! cloud         the cloud, which lies
//! pin           a device that was preloaded, and is to be pinned on that release
//! reported      what the device reports to the cloud
//! document      target documents as the cloud writes them
//! events        random events: crashes, full disks, users that bypass the agent
//! invariants    what must never happen
//! power         logind, which accepts, refuses, hangs or goes away
//! shutdown      how a shutdown proceeds, or does not
//! crashes       how the agent's process ends: killed, without power, at any await
//! depends       health checks, jobs, and what waits for them
//! marks         coverage marks: the faults and recoveries that lives hit
//! boot          the boot configuration
//! kept          the apps that local mode keeps, and those that are pushed
//! windows       update windows, and what keeps to them
//! snapshots     the data of volumes, and copies of it
//! ports         all this as `port::World`
//! ```

// Named by path, so that a suite elsewhere can take this file in by its path too.
#[path = "world/boot.rs"]
mod boot;
#[path = "world/cloud.rs"]
pub(crate) mod cloud;
#[path = "world/crashes.rs"]
pub(crate) mod crashes;
#[path = "world/depends.rs"]
pub(crate) mod depends;
#[path = "world/document.rs"]
pub(crate) mod document;
#[path = "world/engine.rs"]
mod engine;
#[path = "world/engine_model.rs"]
pub(crate) mod engine_model;
#[path = "world/events.rs"]
pub(crate) mod events;
#[path = "world/gpio_line.rs"]
pub(crate) mod gpio_line;
#[path = "world/hooks.rs"]
pub(crate) mod hooks;
#[path = "world/host.rs"]
pub(crate) mod host;
#[path = "world/invariants.rs"]
pub(crate) mod invariants;
#[path = "world/kept.rs"]
mod kept;
#[path = "world/known.rs"]
pub(crate) mod known;
#[path = "world/leases.rs"]
pub(crate) mod leases;
#[path = "world/leds.rs"]
pub(crate) mod leds;
#[path = "world/lines.rs"]
mod lines;
#[path = "world/locks.rs"]
pub(crate) mod locks;
#[path = "world/logs.rs"]
pub(crate) mod logs;
#[path = "world/marks.rs"]
pub(crate) mod marks;
#[path = "world/networks.rs"]
mod networks;
#[path = "world/pin.rs"]
mod pin;
#[path = "world/ports.rs"]
mod ports;
#[path = "world/power.rs"]
pub(crate) mod power;
#[path = "world/refusals.rs"]
mod refusals;
#[path = "world/releases.rs"]
mod releases;
#[path = "world/reported.rs"]
mod reported;
#[path = "world/rng.rs"]
pub(crate) mod rng;
#[path = "world/shutdown.rs"]
mod shutdown;
#[path = "world/signed.rs"]
pub(crate) mod signed;
#[path = "world/snapshots.rs"]
pub(crate) mod snapshots;
#[path = "world/store.rs"]
pub(crate) mod store;
#[path = "world/targets.rs"]
pub(crate) mod targets;
#[path = "world/windows.rs"]
pub(crate) mod windows;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};
use std::rc::Rc;
use std::time::Duration;

use boardkeeper::sorted::{SortedMap, SortedSet};
use boardkeeper::state::{AppId, Connectivity, Current, EngineTime, LockHolders, Status};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use boot::BootDisk;
use cloud::CloudModel;
pub(crate) use crashes::CrashKind;
use crashes::CrashPoint;
use engine_model::EngineModel;
use events::Job;
use gpio_line::GpioLine;
use host::Net;
use invariants::Checker;
use leases::LeaseBook;
use leds::Led;
use lines::Lines;
use locks::LockDir;
use marks::{Mark, Tally};
use rng::Rng;
use store::Disk;
use targets::TargetSource;

/// A handle to one world; clones see the same one.
#[derive(Clone)]
pub(crate) struct Sim(pub(crate) Rc<RefCell<Model>>);

/// Everything in it.
pub(crate) struct Model {
    /// Random number generators.
    pub(crate) rngs: Rngs,
    /// What goes wrong.
    pub(crate) rates: FaultRates,
    /// The engine.
    pub(crate) engine: EngineModel,
    /// The disk.
    pub(crate) disk: Disk,
    /// The boot configuration.
    boot: BootDisk,
    /// What the agent remembered of the boot configuration could not be read once.
    boot_record_was_lost: bool,
    /// The LED.
    pub(crate) led: Led,
    pub(crate) gpio_line: GpioLine,
    /// Update locks.
    pub(crate) locks: LockDir,
    /// Leases.
    pub(crate) leases: LeaseBook,
    /// Where target documents come from.
    pub(crate) targets: TargetSource,
    /// The cloud.
    pub(crate) cloud: CloudModel,
    /// What containers print.
    pub(crate) lines: Lines,
    /// The invariants.
    pub(crate) checker: Checker,
    /// What the agent says of itself.
    pub(crate) status: Option<watch::Receiver<Status>>,
    pub(crate) connectivity: Option<watch::Receiver<Connectivity>>,
    /// When the agent is to crash.
    pub(crate) crash_point: CrashPoint,
    /// Calls to the world so far.
    pub(crate) calls: u64,
    /// How often an agent was polled so far.
    pub(crate) polls: u64,
    /// Coverage marks hit so far.
    pub(crate) tally: Tally,
    /// The agent has loaded what was saved.
    pub(crate) loaded: bool,
    /// The networks.
    pub(crate) net: Net,
    /// A developer works on the device.
    pub(crate) developer: Option<Rng>,
    /// Hooks before updates.
    pub(crate) hooks: hooks::HookBehaviour,
    /// A person tries targets.
    pub(crate) trier: Option<Rng>,
    /// The registry's tokens are good for one layer.
    pub(crate) brief_tokens: bool,
    born: Instant,
    booted: Instant,
    skew_secs: i64,
    /// When the clock was last set.
    jumped: Instant,
    /// logind.
    pub(crate) power: power::Power,
    /// Since when a shutdown is announced.
    pub(crate) shutdown_since: Option<Instant>,
    /// When that was last cancelled.
    pub(crate) cancelled_at: Option<Instant>,
    /// How often the machine was started.
    boots: u32,
    jobs: BTreeMap<(Instant, u64), Job>,
    job_count: u64,
    pending_crash: Option<CrashKind>,
    /// `None`: the trace is off.
    trace: Option<String>,
    notifiers: Notifiers,
}

/// A random number generator for each concern.
pub(crate) struct Rngs {
    /// How long calls take, and how they fail.
    pub(crate) calls: Rng,
    /// Spontaneous events.
    pub(crate) events: Rng,
    /// What containers do.
    pub(crate) containers: Rng,
    /// Requests of API clients.
    pub(crate) clients: Rng,
    /// How far a call that was dropped half-way got.
    pub(crate) partial: Rng,
    /// Where the agent crashes.
    pub(crate) crashes: Rng,
    /// Networks and the host.
    pub(crate) host: Rng,
    keys: RefCell<Rng>,
}

/// Whether to record a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trace {
    /// Record everything that happens.
    On,
    /// Record nothing: only the outcome counts.
    Off,
}

/// Fault rates of a life, each per thousand calls.
#[derive(Debug, Clone, Default)]
pub(crate) struct FaultRates {
    /// Calls that fail before or after having their effect.
    pub(crate) faults: u64,
    /// Calls that hang, up to a minute.
    pub(crate) hangs: u64,
    /// Events that are lost.
    pub(crate) lost_events: u64,
    /// Calls within which the agent is killed.
    pub(crate) crashes_in_calls: u64,
    /// Agents that are killed, or lose power, at any await.
    pub(crate) crashes: u64,
    /// Spontaneous events that may occur; one that is listed twice occurs twice as often.
    pub(crate) events: Vec<events::Event>,
}

/// Channels that wake the streams and futures of the simulated ports.
pub(crate) struct Notifiers {
    events: watch::Sender<u64>,
    documents: watch::Sender<u64>,
    unlocked: watch::Sender<u64>,
    host: watch::Sender<u64>,
    ready: watch::Sender<u64>,
    moment: watch::Sender<u64>,
    printed: watch::Sender<u64>,
    clock: watch::Sender<u64>,
    crash: Rc<Notify>,
    job: Rc<Notify>,
    over: Rc<Notify>,
}

impl Sim {
    /// A world that has just begun. Within a runtime with paused time.
    pub(crate) fn new(seed: u64, rates: FaultRates, trace: Trace) -> Self {
        let of = |concern| Rng::of(seed, concern);
        let rngs = Rngs {
            calls: of("calls"),
            events: of("nature"),
            containers: of("containers"),
            clients: of("people"),
            partial: of("halves"),
            crashes: of("cuts"),
            host: of("outside"),
            keys: RefCell::new(of("keys")),
        };
        let notifier = || watch::channel(0).0;
        let notifiers = Notifiers {
            events: notifier(),
            documents: notifier(),
            unlocked: notifier(),
            host: notifier(),
            ready: notifier(),
            moment: notifier(),
            printed: notifier(),
            clock: notifier(),
            crash: Rc::default(),
            job: Rc::default(),
            over: Rc::default(),
        };
        let now = Instant::now();
        Self(Rc::new(RefCell::new(Model {
            rngs,
            rates,
            engine: EngineModel::new(u64::MAX),
            disk: Disk::default(),
            boot: BootDisk::default(),
            boot_record_was_lost: false,
            led: Led::new(of("leds")),
            gpio_line: GpioLine::new(),
            locks: LockDir::default(),
            leases: LeaseBook::new(of("programs")),
            targets: TargetSource::new(of("owner")),
            cloud: CloudModel::new(of("cloud")),
            lines: Lines::new(of("lines")),
            checker: Checker::default(),
            status: None,
            connectivity: None,
            crash_point: CrashPoint::None,
            calls: 0,
            polls: 0,
            tally: Tally::default(),
            loaded: false,
            net: Net::default(),
            developer: None,
            hooks: hooks::HookBehaviour::default(),
            trier: None,
            brief_tokens: false,
            born: now,
            booted: now,
            skew_secs: 0,
            jumped: now,
            power: power::Power::new(),
            shutdown_since: None,
            cancelled_at: None,
            boots: 1,
            jobs: BTreeMap::new(),
            job_count: 0,
            pending_crash: None,
            trace: (trace == Trace::On).then(String::new),
            notifiers,
        })))
    }

    /// Looks at the world, or changes it. Never across an await.
    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut Model) -> T) -> T {
        let mut model = self.0.borrow_mut();
        model.engine.now = model.moment();
        act(&mut model)
    }

    /// Adds a line to the trace.
    pub(crate) fn note(&self, what: impl Display) {
        self.with(|model| model.note(what));
    }

    /// Waits until an invariant is violated.
    pub(crate) async fn over(&self) {
        let notifier = self.with(|model| Rc::clone(&model.notifiers.over));
        while self.with(|model| model.checker.violations.is_empty()) {
            notifier.notified().await;
        }
    }

    /// Everything that happened so far.
    pub(crate) fn trace(&self) -> String {
        self.with(|model| model.trace.clone().unwrap_or_default())
    }
}

impl Model {
    /// Adds a line to the trace.
    pub(crate) fn note(&mut self, what: impl Display) {
        if let Some(trace) = &mut self.trace {
            let at = self.born.elapsed().as_millis();
            writeln!(trace, "{at:>9} {what}").unwrap();
        }
    }

    /// Counts a coverage mark.
    pub(crate) fn hit(&mut self, what: Mark) {
        self.tally.hit(what);
    }

    /// Rolls for a fault, and counts it.
    pub(crate) fn roll(&mut self, per_mille: u64, what: Mark) -> bool {
        let so = self.rngs.calls.happens(per_mille);
        if so {
            self.hit(what);
        }
        so
    }

    /// Records that an invariant is violated, and ends the life.
    pub(crate) fn violation(&mut self, what: impl Display) {
        self.note(format_args!("WRONG: {what}"));
        if let Some(trace) = &mut self.trace {
            trace.push_str(&self.engine.inventory());
        }
        self.checker.violations.push(what.to_string());
        self.notifiers.over.notify_one();
    }

    /// Schedules a job.
    pub(crate) fn schedule(&mut self, after: Duration, job: Job) {
        self.job_count += 1;
        self.jobs.insert((Instant::now() + after, self.job_count), job);
        self.notifiers.job.notify_one();
    }

    /// Sends an event on the engine's event stream, unless it is lost.
    pub(crate) fn event(&mut self) {
        if !self.roll(self.rates.lost_events, Mark::EventLost) {
            self.notifiers.events.send_modify(|count| *count += 1);
        }
    }

    /// Wakes the agent's wait for the next document.
    pub(crate) fn notify_documents(&self) {
        self.notifiers.documents.send_modify(|count| *count += 1);
    }

    /// The clock is so far ahead, or behind.
    pub(crate) fn skew(&mut self, secs: i64) {
        if self.skew_secs != secs {
            self.skew_secs = secs;
            self.lines.clock_jumps();
            self.note_jump();
            self.notifiers.clock.send_modify(|count| *count += 1);
        }
    }

    /// Wall time, in seconds.
    pub(crate) fn now_secs(&self) -> i64 {
        1_800_000_000 + i64::try_from(self.born.elapsed().as_secs()).unwrap() + self.skew_secs
    }

    /// Wall time, as fine as an engine tells it.
    fn moment(&self) -> EngineTime {
        let nanos = i64::try_from(self.born.elapsed().as_nanos()).unwrap();
        EngineTime((1_800_000_000 + self.skew_secs) * 1_000_000_000 + nanos)
    }

    /// The time since the machine was started.
    pub(crate) fn up(&self) -> Duration {
        self.booted.elapsed()
    }

    /// When the machine was started. Kernels count it back from now, so it moves with the clock.
    pub(crate) fn booted_secs(&self) -> i64 {
        self.now_secs() - i64::try_from(self.booted.elapsed().as_secs()).unwrap()
    }

    /// What a perfect look at everything would give.
    pub(crate) fn truth(&self) -> Current {
        let seen = self.engine.seen();
        let mut current = Current {
            containers: seen.containers,
            images: seen.images,
            removable_images: self.disk.kept.targets.pulled.clone(),
            networks: seen.networks,
            volumes: seen.volumes,
            snapshots: seen.snapshots,
            data: self.kept_data(),
            locks: SortedMap::new(),
            leases: self.lasting_leases(),
            windows: boardkeeper::state::ClosedWindows::default(),
            booted_secs: self.booted_secs(),
            now_secs: self.now_secs(),
            boot_waits: self.awaiting(),
            reboot_request_file: self.power.with(|it| it.boot_wanted.clone()),
            out_of_space: false,
            failing: SortedSet::new(),
            stopped_lately: SortedSet::new(),
            hooks: SortedMap::new(),
        };
        let mut all: SortedMap<AppId, LockHolders> =
            self.targets.wanted.apps.keys().map(|app| (*app, LockHolders::default())).collect();
        for (app, name, _) in self.targets.wanted.services() {
            all.entry(app.id).or_default().add(name);
        }
        for container in &current.containers {
            all.entry(container.key.app).or_default().add(&container.key.service);
        }
        current.locks = self.locks.seen(&all);
        current
    }
}
