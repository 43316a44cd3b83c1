//! A world generated from a seed: everything `port::World` requires, and its faults.
//!
//! ```text
//! dice       randomness, one generator for each concern
//! machine    what an engine has and does; no time passes there
//! networks   the engine's networks, and what becomes of them
//! engine     how the agent reaches it: late, twice, half-way or not at all
//! store      a disk that keeps what it acknowledged, and little else
//! leds       a LED that fails, and goes away
//! locks      update locks, hand-over signals
//! outside    networks, the host
//! owner      target documents
//! nature     spontaneous events
//! judge      the invariants
//! power      who can shut the machine down, and announces it
//! ending     how a shutdown proceeds, or does not
//! cuts       how the agent's life ends: killed, without power, at any await
//! depends    health checks, jobs, and what waits for them
//! met        what lives really met, counted
//! ports      all this as `port::World`
//! ```

// Named by path, so that a suite elsewhere can take this file in by its path too.
#[path = "world/cuts.rs"]
pub(crate) mod cuts;
#[path = "world/depends.rs"]
pub(crate) mod depends;
#[path = "world/dice.rs"]
pub(crate) mod dice;
#[path = "world/ending.rs"]
mod ending;
#[path = "world/engine.rs"]
mod engine;
#[path = "world/judge.rs"]
pub(crate) mod judge;
#[path = "world/leds.rs"]
pub(crate) mod leds;
#[path = "world/locks.rs"]
pub(crate) mod locks;
#[path = "world/machine.rs"]
pub(crate) mod machine;
#[path = "world/met.rs"]
pub(crate) mod met;
#[path = "world/nature.rs"]
pub(crate) mod nature;
#[path = "world/networks.rs"]
mod networks;
#[path = "world/outside.rs"]
mod outside;
#[path = "world/owner.rs"]
pub(crate) mod owner;
#[path = "world/ports.rs"]
mod ports;
#[path = "world/power.rs"]
pub(crate) mod power;
#[path = "world/refuses.rs"]
mod refuses;
#[path = "world/store.rs"]
pub(crate) mod store;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Display, Write as _};
use std::rc::Rc;
use std::time::Duration;

use boardkeeper::state::{AppId, Connectivity, Current, EngineTime, LockHolders, Status};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

pub(crate) use cuts::Cut;
use cuts::Doom;
use dice::Dice;
use judge::Judge;
use leds::Lamp;
use locks::LockDir;
use machine::Machine;
use met::{Met, Tally};
use nature::Job;
use outside::Net;
use owner::Owner;
use store::Disk;

/// A handle to one world; clones see the same one.
#[derive(Clone)]
pub(crate) struct Sim(pub(crate) Rc<RefCell<Model>>);

/// Everything in it.
pub(crate) struct Model {
    /// Chance.
    pub(crate) fates: Fates,
    /// What goes wrong.
    pub(crate) weather: Weather,
    /// The engine.
    pub(crate) machine: Machine,
    /// The disk.
    pub(crate) disk: Disk,
    /// The LED.
    pub(crate) lamp: Lamp,
    /// Update locks.
    pub(crate) locks: LockDir,
    /// Who writes the target documents.
    pub(crate) owner: Owner,
    /// What must never happen.
    pub(crate) judge: Judge,
    /// What the agent says of itself.
    pub(crate) status: Option<watch::Receiver<Status>>,
    pub(crate) connectivity: Option<watch::Receiver<Connectivity>>,
    /// When the agent is to fall over.
    pub(crate) doom: Doom,
    /// Calls to the world so far.
    pub(crate) calls: u64,
    /// How often an agent was polled so far.
    pub(crate) polls: u64,
    /// What was met so far.
    pub(crate) tally: Tally,
    /// The agent knows what was saved.
    pub(crate) loaded: bool,
    /// The networks.
    pub(crate) net: Net,
    /// The registry's tokens are good for one layer.
    pub(crate) brief_tokens: bool,
    born: Instant,
    booted: Instant,
    skew_secs: i64,
    /// Who can end the machine, and says so.
    pub(crate) power: power::Power,
    /// Since when the machine is about to end.
    pub(crate) ends_since: Option<Instant>,
    /// When that was last called off.
    pub(crate) called_off: Option<Instant>,
    /// How often it was started.
    boots: u32,
    jobs: BTreeMap<(Instant, u64), Job>,
    job_count: u64,
    cut: Option<Cut>,
    /// `None`: nobody wants to read it, so it is not written.
    trace: Option<String>,
    bells: Bells,
}

/// Dice for each concern.
pub(crate) struct Fates {
    /// How long calls take, and how they fail.
    pub(crate) calls: Dice,
    /// What happens by itself.
    pub(crate) nature: Dice,
    /// What containers do.
    pub(crate) containers: Dice,
    /// What people do.
    pub(crate) people: Dice,
    /// What becomes of a half-done deed.
    pub(crate) halves: Dice,
    /// Where the agent falls.
    pub(crate) cuts: Dice,
    /// What becomes of networks and of the host.
    pub(crate) outside: Dice,
    keys: RefCell<Dice>,
}

/// Whether what happens is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Telling {
    /// All of it.
    Everything,
    /// Nothing but how it ends.
    Nothing,
}

/// What goes wrong in a life, each so many times in a thousand calls.
#[derive(Debug, Clone, Default)]
pub(crate) struct Weather {
    /// Calls that fail before or after having their effect.
    pub(crate) faults: u64,
    /// Calls that hang, up to a minute.
    pub(crate) hangs: u64,
    /// Events that are lost.
    pub(crate) lost_events: u64,
    /// Calls within which the agent dies.
    pub(crate) falls: u64,
    /// Agents that die at any await.
    pub(crate) cuts: u64,
    /// What nature may do.
    pub(crate) whims: Vec<nature::Whim>,
}

/// Who is woken by what.
pub(crate) struct Bells {
    events: watch::Sender<u64>,
    documents: watch::Sender<u64>,
    unlocked: watch::Sender<u64>,
    outside: watch::Sender<u64>,
    ready: watch::Sender<u64>,
    moment: watch::Sender<u64>,
    cut: Rc<Notify>,
    job: Rc<Notify>,
    over: Rc<Notify>,
}

impl Sim {
    /// A world that has just begun. Within a runtime with paused time.
    pub(crate) fn new(seed: u64, weather: Weather, telling: Telling) -> Self {
        let of = |concern| Dice::of(seed, concern);
        let fates = Fates {
            calls: of("calls"),
            nature: of("nature"),
            containers: of("containers"),
            people: of("people"),
            halves: of("halves"),
            cuts: of("cuts"),
            outside: of("outside"),
            keys: RefCell::new(of("keys")),
        };
        let bell = || watch::channel(0).0;
        let bells = Bells {
            events: bell(),
            documents: bell(),
            unlocked: bell(),
            outside: bell(),
            ready: bell(),
            moment: bell(),
            cut: Rc::default(),
            job: Rc::default(),
            over: Rc::default(),
        };
        let now = Instant::now();
        Self(Rc::new(RefCell::new(Model {
            fates,
            weather,
            machine: Machine::new(u64::MAX),
            disk: Disk::default(),
            lamp: Lamp::new(of("leds")),
            locks: LockDir::default(),
            owner: Owner::new(of("owner")),
            judge: Judge::default(),
            status: None,
            connectivity: None,
            doom: Doom::None,
            calls: 0,
            polls: 0,
            tally: Tally::default(),
            loaded: false,
            net: Net::default(),
            brief_tokens: false,
            born: now,
            booted: now,
            skew_secs: 0,
            power: power::Power::new(),
            ends_since: None,
            called_off: None,
            boots: 1,
            jobs: BTreeMap::new(),
            job_count: 0,
            cut: None,
            trace: (telling == Telling::Everything).then(String::new),
            bells,
        })))
    }

    /// Looks at the world, or changes it. Never across an await.
    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut Model) -> T) -> T {
        let mut model = self.0.borrow_mut();
        model.machine.now = model.moment();
        act(&mut model)
    }

    /// Writes down what happened.
    pub(crate) fn note(&self, what: impl Display) {
        self.with(|model| model.note(what));
    }

    /// Waits until something happened that must never happen.
    pub(crate) async fn over(&self) {
        let bell = self.with(|model| Rc::clone(&model.bells.over));
        while self.with(|model| model.judge.wrongs.is_empty()) {
            bell.notified().await;
        }
    }

    /// Everything that happened so far.
    pub(crate) fn trace(&self) -> String {
        self.with(|model| model.trace.clone().unwrap_or_default())
    }
}

impl Model {
    /// Writes down what happened.
    pub(crate) fn note(&mut self, what: impl Display) {
        if let Some(trace) = &mut self.trace {
            let at = self.born.elapsed().as_millis();
            writeln!(trace, "{at:>9} {what}").unwrap();
        }
    }

    /// It was met once more.
    pub(crate) fn met(&mut self, what: Met) {
        self.tally.met(what);
    }

    /// Rolls for a fault, and counts it.
    pub(crate) fn befalls(&mut self, per_mille: u64, what: Met) -> bool {
        let so = self.fates.calls.happens(per_mille);
        if so {
            self.met(what);
        }
        so
    }

    /// Writes down that something happened that must never happen, and ends the world.
    pub(crate) fn wrong(&mut self, what: impl Display) {
        self.note(format_args!("WRONG: {what}"));
        if let Some(trace) = &mut self.trace {
            trace.push_str(&self.machine.inventory());
        }
        self.judge.wrongs.push(what.to_string());
        self.bells.over.notify_one();
    }

    /// Something is to happen later.
    pub(crate) fn schedule(&mut self, after: Duration, job: Job) {
        self.job_count += 1;
        self.jobs.insert((Instant::now() + after, self.job_count), job);
        self.bells.job.notify_one();
    }

    /// The engine's event stream says something, if it is not lost.
    pub(crate) fn event(&mut self) {
        if !self.befalls(self.weather.lost_events, Met::EventLost) {
            self.bells.events.send_modify(|count| *count += 1);
        }
    }

    /// There may be another document.
    pub(crate) fn ring_documents(&self) {
        self.bells.documents.send_modify(|count| *count += 1);
    }

    /// The clock is so far ahead, or behind.
    pub(crate) const fn skew(&mut self, secs: i64) {
        self.skew_secs = secs;
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

    /// When the machine was started. Kernels count it back from now, so it moves with the clock.
    pub(crate) fn booted_secs(&self) -> i64 {
        self.now_secs() - i64::try_from(self.booted.elapsed().as_secs()).unwrap()
    }

    /// What a perfect look at everything would give.
    pub(crate) fn truth(&self) -> Current {
        let seen = self.machine.seen();
        let mut current = Current {
            containers: seen.containers,
            images: seen.images,
            ours: self.disk.kept.targets.pulled.clone(),
            networks: seen.networks,
            volumes: seen.volumes,
            locks: BTreeMap::new(),
            booted_secs: self.booted_secs(),
            now_secs: self.now_secs(),
            awaiting: self.awaiting(),
            boot_wanted: self.power.with(|it| it.boot_wanted.clone()),
            lacks_room: false,
            failing: BTreeSet::new(),
        };
        let mut all: BTreeMap<AppId, LockHolders> =
            self.owner.wanted.apps.keys().map(|app| (*app, LockHolders::default())).collect();
        for (app, name, _) in self.owner.wanted.services() {
            all.entry(app.id).or_default().add(name);
        }
        for container in &current.containers {
            all.entry(container.key.app).or_default().add(&container.key.service);
        }
        current.locks = self.locks.seen(&all);
        current
    }
}
