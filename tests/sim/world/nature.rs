//! Spontaneous events: containers exit, engines die, disks fill up, users bypass the agent.

use std::future::pending;
use std::rc::Rc;
use std::time::Duration;

use boardkeeper::port::ToolLock;
use boardkeeper::state::{ContainerId, ContainerPhase, EngineAction, ServiceKey};
use tokio::time::{Instant, sleep, sleep_until};

use super::dice::Dice;
use super::judge::Promise;
use super::locks::Holder;
use super::machine::Machine;
use super::met::Met;
use super::{Cut, Model, Sim, Weather};

/// Something that is to happen at its time.
#[derive(Debug)]
pub(crate) enum Job {
    /// The engine is started.
    EngineBack,
    /// A container's process ends.
    Exit(ContainerId, i32),
    /// A container's health check says something else.
    Health(ContainerId),
    /// The engine starts a container again.
    Revive(ContainerId),
    /// The engine has removed a container.
    Gone(ContainerId),
    /// A container says that it is ready to take over.
    Ready(ServiceKey, ContainerId),
    /// A service gives its lock back.
    Unlock(ServiceKey),
    /// The engine does what an agent asked for that is gone.
    Late(Box<EngineAction>),
    /// The agent dies.
    Fall(Cut),
    /// The disk works again.
    DiskBack,
    /// The end of the machine is called off.
    CallOff,
    /// The host's system is no longer being updated.
    HostUpdated,
    /// Nobody tries LEDs out any more.
    BenchFree,
    /// The cloud is reached again.
    Online,
    /// The engine creates containers of a service again.
    Accepts(ServiceKey),
    /// By now whoever was told that the machine ends must see it end, or be told that it does not.
    Truth(Promise),
}

/// What nature may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whim {
    /// The agent is killed.
    Crash,
    /// The board loses its power.
    PowerCut,
    /// The engine dies and is started again.
    EngineDies,
    /// The engine is another version now.
    EngineUpdated,
    /// A container ends by itself.
    Exits,
    /// A container is killed for its memory.
    OutOfMemory,
    /// Somebody removes a container by hand.
    RemovesByHand,
    /// Somebody stops a container by hand.
    StopsByHand,
    /// Somebody deletes an image by hand.
    DeletesByHand,
    /// Something that is not ours appears.
    Stranger,
    /// A stranger takes a name that will be wanted.
    Squatter,
    /// There is little room for images.
    Tight,
    /// The disk is full for a while.
    DiskFull,
    /// The disk cannot be written for a while.
    ReadOnly,
    /// The clock jumps.
    ClockJumps,
    /// A service takes its lock.
    Lock,
    /// The owner writes another document.
    Document,
    /// Somebody on the machine ends it.
    Ends,
    /// The host's system is being updated for a while.
    UpdatesHost,
    /// Somebody configures the host, and wants a boot for it.
    WantsBoot,
    /// The cloud cannot be reached for a while.
    Offline,
    /// The VPN comes up, or goes down.
    Vpn,
    /// The device's address changes.
    Moves,
    /// Somebody else sets the LED's trigger.
    TakesLed,
    /// Somebody tries LEDs out.
    Bench,
    /// The engine refuses to create containers of a service for a while.
    Refuses,
}

const WHIMS: [Whim; 26] = [
    Whim::Crash,
    Whim::PowerCut,
    Whim::EngineDies,
    Whim::EngineUpdated,
    Whim::Exits,
    Whim::OutOfMemory,
    Whim::RemovesByHand,
    Whim::StopsByHand,
    Whim::DeletesByHand,
    Whim::Stranger,
    Whim::Squatter,
    Whim::Tight,
    Whim::DiskFull,
    Whim::ReadOnly,
    Whim::ClockJumps,
    Whim::Lock,
    Whim::Document,
    Whim::Ends,
    Whim::UpdatesHost,
    Whim::WantsBoot,
    Whim::Offline,
    Whim::Vpn,
    Whim::Moves,
    Whim::TakesLed,
    Whim::Bench,
    Whim::Refuses,
];

impl Weather {
    /// Any weather. Each life has some of the plagues, not all, so that one does not hide what another would show.
    pub(crate) fn any(seed: u64) -> Self {
        let mut dice = Dice::of(seed, "weather");
        let mut some = |most: u64| if dice.happens(600) { dice.below(most) } else { 0 };
        let (faults, hangs, lost_events, falls) = (some(150), some(20), some(500), some(4));
        let cuts = some(600);
        let mut whims: Vec<_> = WHIMS.into_iter().filter(|_| dice.happens(500)).collect();
        whims.extend([Whim::Document, Whim::Document, Whim::Exits]);
        Self { faults, hangs, lost_events, falls, cuts, whims }
    }
}

impl Job {
    /// Whether a power cut leaves it as it was.
    pub(crate) const fn outlives_power(&self) -> bool {
        match self {
            Self::DiskBack | Self::Online => true,
            Self::EngineBack
            | Self::Exit(..)
            | Self::Health(_)
            | Self::Revive(_)
            | Self::Gone(_)
            | Self::Ready(..)
            | Self::Unlock(_)
            | Self::Accepts(_)
            | Self::Late(_)
            | Self::CallOff
            | Self::HostUpdated
            | Self::Truth(_)
            | Self::BenchFree
            | Self::Fall(_) => false,
        }
    }
}

impl Sim {
    /// Does every job at its time, for ever.
    pub(crate) async fn jobs(&self) {
        loop {
            let (bell, next) = self.with(|model| (Rc::clone(&model.bells.job), model.jobs.keys().next().map(|(at, _)| *at)));
            tokio::select! {
                biased;
                () = bell.notified() => (),
                () = until(next) => self.with(|model| {
                    if let Some((_, job)) = model.jobs.pop_first() {
                        model.job(job);
                    }
                }),
            }
        }
    }

    /// Follows nature's whims for so long, and clears up after it.
    pub(crate) async fn nature(&self, time: Duration) {
        let end = Instant::now() + time;
        loop {
            let wait = self.with(|model| model.fates.nature.secs(1, 90));
            sleep(wait).await;
            if Instant::now() >= end {
                return self.with(Model::clear_up);
            }
            self.with(|model| {
                if let Some(whim) = model.fates.nature.pick(&model.weather.whims).copied() {
                    model.whim(whim);
                }
            });
        }
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => pending().await,
    }
}

impl Model {
    fn job(&mut self, job: Job) {
        match job {
            Job::EngineBack => self.engine_back(),
            Job::Exit(id, code) => self.exits(&id, code),
            Job::Health(id) => self.checks(&id),
            Job::Revive(id) => self.revives(&id),
            Job::Gone(id) => {
                if self.machine.containers.get(&id).is_some_and(|it| it.face.phase == ContainerPhase::Removing) {
                    self.machine.containers.remove(&id);
                    self.event();
                }
            }
            Job::Ready(key, id) => {
                if self.machine.containers.get(&id).is_some_and(|it| it.face.phase.is_alive()) {
                    self.becomes_ready(key);
                }
            }
            Job::Unlock(key) => self.unlock(&key),
            Job::Accepts(key) => drop(self.machine.refuses.remove(&key)),
            Job::Late(deed) => {
                let done = if self.machine.up { self.obey(&deed).is_ok() } else { false };
                if done {
                    self.met(Met::DeedDoneLate);
                    if let EngineAction::Kill(which) = &*deed {
                        self.judge.by_hand.insert(which.key.to_string(), Instant::now());
                    }
                }
                self.note(format_args!("late, {deed}: {done}"));
            }
            Job::Fall(cut) => self.fall(cut),
            Job::Truth(promise) => self.judge_promise(promise),
            Job::HostUpdated => self.update_host(None),
            Job::BenchFree => self.bench(ToolLock::Free),
            Job::Online => self.go_offline(false),
            Job::CallOff => {
                self.note("the end is called off");
                self.call_off();
            }
            Job::DiskBack => {
                self.disk.full = false;
                self.disk.read_only = false;
            }
        }
    }

    /// The engine is started, and starts what its policies say.
    pub(crate) fn engine_back(&mut self) {
        self.note("the engine is back");
        self.met(Met::EngineBack);
        for id in self.machine.rise() {
            if let Some(it) = self.machine.containers.get(&id) {
                self.locks.mounted_at_boot(it.face.key.clone());
            }
            self.started(&id);
        }
        self.event();
    }

    /// A container was just started, by whomever: what will become of it.
    pub(crate) fn started(&mut self, id: &ContainerId) {
        let Some(it) = self.machine.containers.get(id) else { return };
        let (key, brief) = (it.face.key.clone(), it.brief);
        self.check_later(id);
        if brief {
            let after = self.fates.containers.secs(1, 10);
            self.schedule(after, Job::Exit(id.clone(), 0));
        }
        if self.fates.containers.happens(600) {
            let after = self.fates.containers.secs(1, 100);
            self.schedule(after, Job::Ready(key, id.clone()));
        }
    }

    pub(crate) fn exits(&mut self, id: &ContainerId, code: i32) {
        let Some(it) = self.machine.containers.get(id).filter(|it| it.face.phase == ContainerPhase::Running) else { return };
        let again = Machine::starts_again(it, code);
        let key = it.face.key.clone();
        let wait = Duration::from_millis(100 << it.restarts.min(9));
        self.note(format_args!("{key} ends with {code}"));
        let it = self.machine.containers.get_mut(id).unwrap();
        it.face.phase = if again { ContainerPhase::Restarting } else { ContainerPhase::Exited(code) };
        it.ended(code);
        it.restarts += 1;
        if again {
            self.schedule(wait, Job::Revive(id.clone()));
        }
        self.event();
    }

    fn revives(&mut self, id: &ContainerId) {
        let waits = self.machine.containers.get(id).is_some_and(|it| it.face.phase == ContainerPhase::Restarting);
        if !waits || !self.machine.up {
            return;
        }
        if self.machine.start(id).is_ok() {
            self.started(id);
            self.event();
        } else if let Some(it) = self.machine.containers.get_mut(id) {
            // An engine that gives up says so to nobody.
            it.face.phase = ContainerPhase::Exited(1);
        }
    }

    fn whim(&mut self, whim: Whim) {
        self.note(format_args!("nature: {whim:?}"));
        let some = self.some_container();
        match whim {
            Whim::Crash => self.fall(Cut::Crash),
            Whim::PowerCut => self.fall(Cut::Power),
            Whim::EngineDies => self.engine_dies(),
            Whim::EngineUpdated => {
                self.machine.api += 1;
                self.engine_dies();
            }
            Whim::Exits => {
                let code = i32::try_from(self.fates.nature.below(3)).unwrap();
                if let Some((_, id)) = some {
                    self.met(Met::Exits);
                    self.exits(&id, code);
                }
            }
            Whim::OutOfMemory => {
                if let Some((_, id)) = some {
                    self.met(Met::OutOfMemory);
                    self.exits(&id, 137);
                }
            }
            Whim::RemovesByHand | Whim::StopsByHand => {
                let Some((key, id)) = some.filter(|_| self.machine.up) else { return };
                // What cannot be done by hand either is not done.
                let _ = self.machine.exit(&id, 137, true);
                self.met(if whim == Whim::RemovesByHand { Met::RemovedByHand } else { Met::StoppedByHand });
                if whim == Whim::RemovesByHand {
                    let _ = self.machine.remove(&id);
                    self.judge.by_hand.insert(key.to_string(), Instant::now());
                }
                self.event();
            }
            Whim::DeletesByHand => self.deletes_by_hand(),
            Whim::Stranger => {
                self.met(Met::Stranger);
                let id = self.fates.nature.id();
                self.machine.stranger(&format!("foreign{}", &id[..4]), id);
            }
            Whim::Squatter => self.squats(),
            Whim::Tight => self.machine.room_bytes = 100_000_000 * self.fates.nature.between(2, 12),
            Whim::DiskFull | Whim::ReadOnly => {
                self.disk.full |= whim == Whim::DiskFull;
                self.disk.read_only |= whim == Whim::ReadOnly;
                let after = self.fates.nature.secs(5, 300);
                self.schedule(after, Job::DiskBack);
            }
            Whim::ClockJumps => {
                let before = self.skew_secs;
                self.skew_secs = i64::try_from(self.fates.nature.below(7200)).unwrap() - 3600;
                self.met(if self.skew_secs < before { Met::ClockBack } else { Met::ClockAhead });
            }
            Whim::Lock => self.locks_itself(),
            Whim::Refuses => self.refuses_some(),
            Whim::Ends => {
                self.met(Met::EndByOthers);
                self.begin_to_end();
            }
            Whim::UpdatesHost | Whim::WantsBoot | Whim::Offline | Whim::Vpn | Whim::Moves | Whim::TakesLed | Whim::Bench => {
                self.whim_outside(whim);
            }
            Whim::Document => {
                let (what, lie) = self.owner.change();
                if let Some(lie) = lie {
                    self.met(lie);
                }
                self.note(format_args!("the owner writes: {what}"));
                self.ring_documents();
            }
        }
    }

    /// A whim that concerns neither engine nor disk.
    fn whim_outside(&mut self, whim: Whim) {
        match whim {
            Whim::UpdatesHost => {
                self.update_host(Some("/tmp/resin-supervisor/update-lock"));
                let after = self.fates.nature.secs(5, 600);
                self.schedule(after, Job::HostUpdated);
            }
            Whim::Offline => {
                self.go_offline(true);
                let after = self.fates.outside.secs(5, 600);
                self.schedule(after, Job::Online);
            }
            Whim::WantsBoot => self.want_boot(),
            Whim::Vpn => self.turn_vpn(),
            Whim::Moves => self.move_away(),
            Whim::TakesLed => self.take_led(),
            Whim::Bench => {
                self.bench(ToolLock::Taken);
                let after = self.fates.outside.secs(5, 300);
                self.schedule(after, Job::BenchFree);
            }
            _ => (),
        }
    }

    fn some_container(&mut self) -> Option<(ServiceKey, ContainerId)> {
        let all: Vec<_> = self.machine.ours().map(|it| (it.face.key.clone(), it.face.id.clone())).collect();
        self.fates.nature.pick(&all).cloned()
    }

    /// The engine dies, and is started again a little later.
    pub(crate) fn engine_dies(&mut self) {
        if self.machine.up {
            self.met(Met::EngineDies);
            self.machine.die();
            let after = self.fates.nature.secs(1, 60);
            self.schedule(after, Job::EngineBack);
        }
    }

    fn deletes_by_hand(&mut self) {
        let names: Vec<_> = self.machine.images.values().flat_map(|it| it.names.iter().cloned()).collect();
        if let Some(name) = self.fates.nature.pick(&names).cloned().filter(|_| self.machine.up) {
            // An image in use stays.
            if self.machine.remove_image(&name).is_ok() {
                self.met(Met::ImageByHand);
            }
            self.judge.by_hand.insert(name.to_string(), Instant::now());
            self.event();
        }
    }

    fn squats(&mut self) {
        let names = self.owner.wanted.apps.values().flat_map(|app| {
            let commit = app.commit.clone().unwrap_or_default();
            app.services.iter().map(move |(name, it)| format!("{name}_{}_{}_{commit}", it.image_id, app.release_id))
        });
        let names: Vec<_> = names.collect();
        let free = |name: &&String| self.machine.containers.values().all(|it| it.face.name != **name);
        let free: Vec<_> = names.iter().filter(free).cloned().collect();
        if let Some(name) = self.fates.nature.pick(&free).cloned() {
            let id = self.fates.nature.id();
            self.machine.stranger(&name, id);
            self.met(Met::Squatter);
        }
    }

    fn locks_itself(&mut self) {
        let alive = self.machine.ours().filter(|it| it.face.phase == ContainerPhase::Running).map(|it| it.face.key.clone());
        let free: Vec<_> = alive.filter(|key| !self.locks.held.contains_key(key)).collect();
        if let Some(key) = self.fates.nature.pick(&free).cloned() {
            let since = self.now_secs();
            self.note(format_args!("{key} takes its lock"));
            self.met(Met::LockedByUser);
            self.locks.held.insert(key.clone(), Holder::User(since));
            let after = self.fates.nature.secs(10, 900);
            self.schedule(after, Job::Unlock(key));
        }
    }

    /// Fair weather: what was broken is mended, and who was in the way is gone.
    pub(crate) fn clear_up(&mut self) {
        self.note("the weather clears");
        self.weather = Weather::default();
        self.machine.room_bytes = u64::MAX;
        self.machine.refuses.clear();
        self.machine.containers.retain(|_, it| !it.foreign || it.face.name.starts_with("foreign"));
        self.disk.full = false;
        self.disk.read_only = false;
        self.skew_secs = 0;
        let held: Vec<_> = self.locks.held.keys().cloned().collect();
        for key in &held {
            self.unlock(key);
        }
        self.update_host(None);
        self.bench(ToolLock::Free);
        self.net.offline = false;
        self.owner.nonsense = false;
        self.owner.publish();
        self.ring_documents();
    }
}
