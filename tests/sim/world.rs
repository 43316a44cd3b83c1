//! A world made of a seed: everything `port::World` asks for, and what goes wrong with it.
//!
//! ```text
//! dice       chance, one set of dice for each concern
//! machine    what an engine has and does; no time passes there
//! engine     how it is reached: late, twice, half-way or not at all
//! store      a disk that keeps what it said it kept, and little else
//! leds       an LED that fails, and goes away
//! locks      update locks, hand-over signals
//! outside    networks, the host
//! owner      target documents
//! nature     what happens by itself
//! judge      what must never happen
//! power      who can end the machine, and says so
//! ending     how the machine's end comes, or does not
//! ```

// Named by path, so that a suite elsewhere can take this file in by its path too.
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
#[path = "world/nature.rs"]
pub(crate) mod nature;
#[path = "world/outside.rs"]
mod outside;
#[path = "world/owner.rs"]
pub(crate) mod owner;
#[path = "world/power.rs"]
pub(crate) mod power;
#[path = "world/store.rs"]
pub(crate) mod store;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Display, Write as _};
use std::future::pending;
use std::rc::Rc;
use std::time::Duration;

use boardkeeper::port;
use boardkeeper::state::{Current, Status};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep};

use dice::Dice;
use judge::Judge;
use leds::Lamp;
use locks::LockDir;
use machine::Machine;
use nature::Job;
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
    /// The agent is to fall over at this call to the world.
    pub(crate) fall_at: Option<(u64, Cut)>,
    /// Calls to the world so far.
    pub(crate) calls: u64,
    born: Instant,
    booted: Instant,
    skew_secs: i64,
    /// Who can end the machine, and says so.
    pub(crate) power: power::Power,
    /// Since when the machine is about to end.
    pub(crate) ends_since: Option<Instant>,
    /// How often it was started.
    boots: u32,
    jobs: BTreeMap<(Instant, u64), Job>,
    job_count: u64,
    cut: Option<Cut>,
    trace: String,
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
    keys: RefCell<Dice>,
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
    /// What nature may do.
    pub(crate) whims: Vec<nature::Whim>,
}

/// How the agent's life ends, for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// It is killed; the machine goes on.
    Crash,
    /// The board loses its power.
    Power,
    /// The machine reboots in good order.
    Reboot,
}

/// Who is woken by what.
pub(crate) struct Bells {
    events: watch::Sender<u64>,
    documents: watch::Sender<u64>,
    unlocked: watch::Sender<u64>,
    cut: Rc<Notify>,
    job: Rc<Notify>,
    over: Rc<Notify>,
}

impl Sim {
    /// A world that has just begun. Within a runtime with paused time.
    pub(crate) fn new(seed: u64, weather: Weather) -> Self {
        let of = |concern| Dice::of(seed, concern);
        let fates = Fates {
            calls: of("calls"),
            nature: of("nature"),
            containers: of("containers"),
            people: of("people"),
            halves: of("halves"),
            keys: RefCell::new(of("keys")),
        };
        let bell = || watch::channel(0).0;
        let bells = Bells {
            events: bell(),
            documents: bell(),
            unlocked: bell(),
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
            fall_at: None,
            calls: 0,
            born: now,
            booted: now,
            skew_secs: 0,
            power: power::Power::new(),
            ends_since: None,
            boots: 1,
            jobs: BTreeMap::new(),
            job_count: 0,
            cut: None,
            trace: String::new(),
            bells,
        })))
    }

    /// Looks at the world, or changes it. Never across an await.
    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut Model) -> T) -> T {
        act(&mut self.0.borrow_mut())
    }

    /// Writes down what happened.
    pub(crate) fn note(&self, what: impl Display) {
        self.with(|model| model.note(what));
    }

    /// Time passes on the way to the world and back; and sometimes the agent does not live to see the end of it.
    pub(crate) async fn pass(&self, least_ms: u64, most_ms: u64) {
        let (wait, fall) = self.with(|model| {
            model.calls += 1;
            let cut = match model.fall_at {
                Some((at, cut)) if at == model.calls => Some(cut),
                Some(_) | None => model.fates.calls.happens(model.weather.falls).then_some(Cut::Crash),
            };
            (model.fates.calls.millis(least_ms, most_ms), cut)
        });
        if let Some(cut) = fall {
            self.with(|model| model.fall(cut));
            pending::<()>().await;
        }
        sleep(wait).await;
    }

    /// Waits until the agent has to die, and says how.
    pub(crate) async fn cut(&self) -> Cut {
        loop {
            let bell = self.with(|model| Rc::clone(&model.bells.cut));
            if let Some(cut) = self.with(|model| model.cut.take()) {
                return cut;
            }
            bell.notified().await;
        }
    }

    /// Waits until something happened that must never happen.
    pub(crate) async fn over(&self) {
        let bell = self.with(|model| Rc::clone(&model.bells.over));
        while self.with(|model| model.judge.wrongs.is_empty()) {
            bell.notified().await;
        }
    }

    /// What became of the world after the agent died so.
    pub(crate) fn aftermath(&self, cut: Cut) {
        self.with(|model| {
            model.note(format_args!("the agent dies: {cut:?}"));
            model.judge.agent_died();
            model.owner.forget_given();
            model.status = None;
            if cut != Cut::Crash {
                model.machine.die();
                model.lamp.lose_power();
                model.locks.lose_tmpfs();
                model.jobs.retain(|_, job| job.outlives_power());
                model.booted = Instant::now();
                model.boots += 1;
                model.call_off();
                let back = model.fates.nature.secs(5, 30);
                model.schedule(back, Job::EngineBack);
            }
        });
    }

    /// Everything that happened so far.
    pub(crate) fn trace(&self) -> String {
        self.with(|model| model.trace.clone())
    }
}

impl Model {
    /// Writes down what happened.
    pub(crate) fn note(&mut self, what: impl Display) {
        let at = self.born.elapsed().as_millis();
        writeln!(self.trace, "{at:>9} {what}").unwrap();
    }

    /// Writes down that something happened that must never happen, and ends the world.
    pub(crate) fn wrong(&mut self, what: impl Display) {
        self.note(format_args!("WRONG: {what}"));
        let inventory = self.machine.inventory();
        self.trace.push_str(&inventory);
        self.judge.wrongs.push(what.to_string());
        self.bells.over.notify_one();
    }

    /// The agent is to die now.
    pub(crate) fn fall(&mut self, cut: Cut) {
        self.cut = Some(cut);
        self.bells.cut.notify_one();
    }

    /// Something is to happen later.
    pub(crate) fn schedule(&mut self, after: Duration, job: Job) {
        self.job_count += 1;
        self.jobs.insert((Instant::now() + after, self.job_count), job);
        self.bells.job.notify_one();
    }

    /// The engine's event stream says something, if it is not lost.
    pub(crate) fn event(&mut self) {
        if !self.fates.calls.happens(self.weather.lost_events) {
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

    /// When the machine was started. Kernels count it back from now, so it moves with the clock.
    pub(crate) fn booted_secs(&self) -> i64 {
        self.now_secs() - i64::try_from(self.booted.elapsed().as_secs()).unwrap()
    }

    /// What a perfect look at everything would give.
    pub(crate) fn truth(&self) -> Current {
        let seen = self.machine.seen();
        let apps: BTreeSet<_> = self.owner.wanted.apps.keys().copied().collect();
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
            boot_wanted: None,
        };
        let all = current.containers.iter().map(|it| it.key.app).chain(apps).collect();
        current.locks = self.locks.seen(&all);
        current
    }
}

impl port::World for Sim {
    type Engine = Self;
    type Store = Self;
    type Locks = Self;
    type Targets = Self;
    type Power = Self;
    type Leds = Self;
    type Clock = Self;
    type Chance = Self;
    type Net = Self;
    type Host = Self;

    fn engine(&self) -> &Self {
        self
    }

    fn store(&self) -> &Self {
        self
    }

    fn locks(&self) -> &Self {
        self
    }

    fn targets(&self) -> &Self {
        self
    }

    fn power(&self) -> &Self {
        self
    }

    fn leds(&self) -> &Self {
        self
    }

    fn clock(&self) -> &Self {
        self
    }

    fn chance(&self) -> &Self {
        self
    }

    fn net(&self) -> &Self {
        self
    }

    fn host(&self) -> &Self {
        self
    }
}

impl port::Clock for Sim {
    fn now_secs(&self) -> i64 {
        self.with(|model| model.now_secs())
    }

    fn booted_secs(&self) -> i64 {
        self.with(|model| model.booted_secs())
    }

    fn boot_id(&self) -> String {
        self.with(|model| model.boot_id())
    }
}

impl port::Chance for Sim {
    fn bytes(&self) -> [u8; 32] {
        self.with(|model| model.fates.keys.borrow_mut().bytes())
    }
}
