//! Spontaneous events: containers exit, engines die, disks fill up, users bypass the agent.

use std::future::pending;
use std::rc::Rc;
use std::time::Duration;

use boardkeeper::port::ToolLock;
use boardkeeper::state::{ContainerId, ContainerPhase, EngineAction, EngineTime, ServiceKey};
use tokio::time::{Instant, sleep, sleep_until};

use super::engine_model::EngineModel;
use super::invariants::Promise;
use super::locks::Holder;
use super::marks::Mark;
use super::rng::Rng;
use super::{CrashKind, FaultRates, Model, Sim};

/// Something that is scheduled.
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
    /// A container prints, if it still is in the run that began then.
    Print(ContainerId, EngineTime),
    /// The engine has removed a container.
    Gone(ContainerId),
    /// A container says that it is ready to take over.
    Ready(ServiceKey, ContainerId),
    /// A service releases its lock.
    Unlock(ServiceKey),
    /// The engine finishes an action whose agent is gone.
    FinishAction(Box<EngineAction>),
    /// The agent crashes.
    Crash(CrashKind),
    /// The disk works again.
    DiskBack,
    /// The shutdown is cancelled.
    CancelShutdown,
    /// The host's system is no longer being updated.
    HostUpdated,
    /// The LED tool releases its lock.
    ToolLockFree,
    /// The cloud is reached again.
    Online,
    /// The engine creates containers of a service again.
    Accepts(ServiceKey),
    /// By now the machine must shut down, or the status must report that it does not: a client was promised that.
    CheckPromise(Promise),
}

/// An event that no request of the agent or of a client causes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
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
    /// A user removes a container, bypassing the agent.
    RemovesByHand,
    /// A user stops a container, bypassing the agent.
    StopsByHand,
    /// A user deletes an image, bypassing the agent.
    DeletesByHand,
    /// A foreign container, network and volume appear.
    Stranger,
    /// A foreign container takes a name that a container of ours will need.
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
    /// There is another target document.
    Document,
    /// Another program shuts the machine down.
    Ends,
    /// The host's system is being updated for a while.
    UpdatesHost,
    /// Another program configures the host, which needs a reboot.
    WantsBoot,
    /// The cloud cannot be reached for a while.
    Offline,
    /// The VPN comes up, or goes down.
    Vpn,
    /// The device's address changes.
    Moves,
    /// Another program sets the LED's trigger.
    TakesLed,
    /// The LED tool takes its lock.
    Bench,
    /// The engine refuses to create containers of a service for a while.
    Refuses,
}

const EVENTS: [Event; 26] = [
    Event::Crash,
    Event::PowerCut,
    Event::EngineDies,
    Event::EngineUpdated,
    Event::Exits,
    Event::OutOfMemory,
    Event::RemovesByHand,
    Event::StopsByHand,
    Event::DeletesByHand,
    Event::Stranger,
    Event::Squatter,
    Event::Tight,
    Event::DiskFull,
    Event::ReadOnly,
    Event::ClockJumps,
    Event::Lock,
    Event::Document,
    Event::Ends,
    Event::UpdatesHost,
    Event::WantsBoot,
    Event::Offline,
    Event::Vpn,
    Event::Moves,
    Event::TakesLed,
    Event::Bench,
    Event::Refuses,
];

impl FaultRates {
    /// Random rates. Each life has some of the faults, not all, so that one does not hide what another would show.
    pub(crate) fn any(seed: u64) -> Self {
        let mut rng = Rng::of(seed, "weather");
        let mut some = |most: u64| if rng.happens(600) { rng.below(most) } else { 0 };
        let (faults, hangs, lost_events, crashes_in_calls) = (some(150), some(20), some(500), some(4));
        let crashes = some(600);
        let mut events: Vec<_> = EVENTS.into_iter().filter(|_| rng.happens(500)).collect();
        events.extend([Event::Document, Event::Document, Event::Exits]);
        Self { faults, hangs, lost_events, crashes_in_calls, crashes, events }
    }
}

impl Job {
    /// Whether a power cut leaves it as it was.
    pub(crate) const fn outlives_power(&self) -> bool {
        matches!(self, Self::DiskBack | Self::Online)
    }
}

impl Sim {
    /// Runs every job at its time, for ever.
    pub(crate) async fn jobs(&self) {
        loop {
            let (notifier, next) =
                self.with(|model| (Rc::clone(&model.notifiers.job), model.jobs.keys().next().map(|(at, _)| *at)));
            tokio::select! {
                biased;
                () = notifier.notified() => (),
                () = until(next) => self.with(|model| {
                    if let Some((_, job)) = model.jobs.pop_first() {
                        model.job(job);
                    }
                }),
            }
        }
    }

    /// Lets random events occur for that long, and ends all faults then.
    pub(crate) async fn random_events(&self, time: Duration) {
        let end = Instant::now() + time;
        loop {
            let wait = self.with(|model| model.rngs.events.secs(1, 90));
            sleep(wait).await;
            if Instant::now() >= end {
                return self.with(Model::end_faults);
            }
            self.with(|model| {
                if let Some(event) = model.rngs.events.pick(&model.rates.events).copied() {
                    model.occur(event);
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
            Job::Print(id, run) => self.prints(&id, run),
            Job::Gone(id) => {
                if self.engine.containers.get(&id).is_some_and(|it| it.view.phase == ContainerPhase::Removing) {
                    self.engine.containers.remove(&id);
                    self.event();
                }
            }
            Job::Ready(key, id) => {
                if self.engine.containers.get(&id).is_some_and(|it| it.view.phase.is_alive()) {
                    self.becomes_ready(key);
                }
            }
            Job::Unlock(key) => self.unlock(&key),
            Job::Accepts(key) => drop(self.engine.refuses.remove(&key)),
            Job::FinishAction(action) => {
                let done = if self.engine.up { self.apply(&action).is_ok() } else { false };
                if done {
                    self.hit(Mark::DeedDoneLate);
                    if let EngineAction::Kill(which) = &*action {
                        self.checker.by_hand.insert(which.key.to_string(), Instant::now());
                    }
                }
                self.note(format_args!("late, {action}: {done}"));
            }
            Job::Crash(cut) => self.crash(cut),
            Job::CheckPromise(promise) => self.check_promise(promise),
            Job::HostUpdated => self.update_host(None),
            Job::ToolLockFree => self.set_tool_lock(ToolLock::Free),
            Job::Online => self.go_offline(false),
            Job::CancelShutdown => {
                self.note("the end is called off");
                self.cancel_shutdown();
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
        self.hit(Mark::EngineBack);
        for id in self.engine.rise() {
            if let Some(it) = self.engine.containers.get(&id) {
                self.locks.mounted_at_boot(it.view.key.clone());
            }
            self.started(&id);
        }
        self.event();
    }

    /// A container was just started: schedules what it does next.
    pub(crate) fn started(&mut self, id: &ContainerId) {
        let Some(it) = self.engine.containers.get(id) else { return };
        let (key, brief) = (it.view.key.clone(), it.brief);
        self.check_later(id);
        self.prints_later(id);
        if brief {
            let after = self.rngs.containers.secs(1, 10);
            self.schedule(after, Job::Exit(id.clone(), 0));
        }
        if self.rngs.containers.happens(600) {
            let after = self.rngs.containers.secs(1, 100);
            self.schedule(after, Job::Ready(key, id.clone()));
        }
    }

    pub(crate) fn exits(&mut self, id: &ContainerId, code: i32) {
        let Some(it) = self.engine.containers.get(id).filter(|it| it.view.phase == ContainerPhase::Running) else { return };
        let again = EngineModel::starts_again(it, code);
        let key = it.view.key.clone();
        let wait = Duration::from_millis(100 << it.restarts.min(9));
        self.note(format_args!("{key} ends with {code}"));
        self.prints_last(id);
        let it = self.engine.containers.get_mut(id).unwrap();
        it.view.phase = if again { ContainerPhase::Restarting } else { ContainerPhase::Exited(code) };
        it.ended(code);
        it.restarts += 1;
        if again {
            self.schedule(wait, Job::Revive(id.clone()));
        }
        self.event();
    }

    fn revives(&mut self, id: &ContainerId) {
        let waits = self.engine.containers.get(id).is_some_and(|it| it.view.phase == ContainerPhase::Restarting);
        if !waits || !self.engine.up {
            return;
        }
        if self.engine.start(id).is_ok() {
            self.started(id);
            self.event();
        } else if let Some(it) = self.engine.containers.get_mut(id) {
            // An engine that gives up sends no event.
            it.view.phase = ContainerPhase::Exited(1);
        }
    }

    fn occur(&mut self, event: Event) {
        self.note(format_args!("nature: {event:?}"));
        self.see_windows();
        let some = self.some_container();
        match event {
            Event::Crash => self.crash(CrashKind::Crash),
            Event::PowerCut => self.crash(CrashKind::Power),
            Event::EngineDies => self.engine_dies(),
            Event::EngineUpdated => {
                self.engine.api += 1;
                self.engine_dies();
            }
            Event::Exits => {
                let code = i32::try_from(self.rngs.events.below(3)).unwrap();
                if let Some((_, id)) = some {
                    self.hit(Mark::Exits);
                    self.exits(&id, code);
                }
            }
            Event::OutOfMemory => {
                if let Some((_, id)) = some {
                    self.hit(Mark::OutOfMemory);
                    self.exits(&id, 137);
                }
            }
            Event::RemovesByHand | Event::StopsByHand => self.stop_by_hand(some, event),
            Event::DeletesByHand => self.deletes_by_hand(),
            Event::Stranger => {
                self.hit(Mark::Stranger);
                let id = self.rngs.events.id();
                self.engine.create_foreign_container(&format!("foreign{}", &id[..4]), id);
            }
            Event::Squatter => self.squats(),
            Event::Tight => self.engine.room_bytes = 100_000_000 * self.rngs.events.between(2, 12),
            Event::DiskFull | Event::ReadOnly => {
                self.disk.full |= event == Event::DiskFull;
                self.disk.read_only |= event == Event::ReadOnly;
                let after = self.rngs.events.secs(5, 300);
                self.schedule(after, Job::DiskBack);
            }
            Event::ClockJumps => {
                let before = self.skew_secs;
                let secs = i64::try_from(self.rngs.events.below(7200)).unwrap() - 3600;
                self.skew(secs);
                self.hit(if self.skew_secs < before { Mark::ClockBack } else { Mark::ClockAhead });
            }
            Event::Lock => self.locks_itself(),
            Event::Refuses => self.refuses_some(),
            Event::Ends => {
                self.hit(Mark::EndByOthers);
                self.begin_shutdown();
            }
            Event::UpdatesHost
            | Event::WantsBoot
            | Event::Offline
            | Event::Vpn
            | Event::Moves
            | Event::TakesLed
            | Event::Bench => {
                self.occur_on_host(event);
            }
            Event::Document => {
                let (what, lie) = self.targets.change();
                if let Some(lie) = lie {
                    self.hit(lie);
                }
                self.note(format_args!("the owner writes: {what}"));
                self.notify_documents();
            }
        }
    }

    /// An event that concerns neither engine nor disk.
    fn occur_on_host(&mut self, event: Event) {
        match event {
            Event::UpdatesHost => {
                self.update_host(Some("/tmp/resin-supervisor/update-lock"));
                let after = self.rngs.events.secs(5, 600);
                self.schedule(after, Job::HostUpdated);
            }
            Event::Offline => {
                self.go_offline(true);
                let after = self.rngs.host.secs(5, 600);
                self.schedule(after, Job::Online);
            }
            Event::WantsBoot => self.want_boot(),
            Event::Vpn => self.turn_vpn(),
            Event::Moves => self.move_away(),
            Event::TakesLed => self.set_led_by_another(),
            Event::Bench => {
                self.set_tool_lock(ToolLock::Taken);
                let after = self.rngs.host.secs(5, 300);
                self.schedule(after, Job::ToolLockFree);
            }
            _ => (),
        }
    }

    fn some_container(&mut self) -> Option<(ServiceKey, ContainerId)> {
        let all: Vec<_> = self.engine.ours().map(|it| (it.view.key.clone(), it.view.id.clone())).collect();
        self.rngs.events.pick(&all).cloned()
    }

    /// The engine dies, and is started again a little later.
    pub(crate) fn engine_dies(&mut self) {
        if self.engine.up {
            self.hit(Mark::EngineDies);
            self.engine.die();
            let after = self.rngs.events.secs(1, 60);
            self.schedule(after, Job::EngineBack);
        }
    }

    fn stop_by_hand(&mut self, some: Option<(ServiceKey, ContainerId)>, event: Event) {
        let Some((key, id)) = some.filter(|_| self.engine.up) else { return };
        // What the engine refuses a user, too, is not done.
        let _ = self.engine.exit(&id, 137, true);
        self.hit(if event == Event::RemovesByHand { Mark::RemovedByHand } else { Mark::StoppedByHand });
        if event == Event::RemovesByHand {
            let _ = self.engine.remove(&id);
            self.checker.by_hand.insert(key.to_string(), Instant::now());
        }
        self.event();
    }

    fn deletes_by_hand(&mut self) {
        let names: Vec<_> = self.engine.images.values().flat_map(|it| it.names.iter().cloned()).collect();
        if let Some(name) = self.rngs.events.pick(&names).cloned().filter(|_| self.engine.up) {
            // An image in use stays.
            if self.engine.remove_image(&name).is_ok() {
                self.hit(Mark::ImageByHand);
            }
            self.checker.by_hand.insert(name.to_string(), Instant::now());
            self.event();
        }
    }

    fn squats(&mut self) {
        let names = self.targets.wanted.apps.values().flat_map(|app| {
            let commit = app.commit.clone().unwrap_or_default();
            app.services.iter().map(move |(name, it)| format!("{name}_{}_{}_{commit}", it.image_id, app.release_id))
        });
        let names: Vec<_> = names.collect();
        let free = |name: &&String| self.engine.containers.values().all(|it| it.view.name != **name);
        let free: Vec<_> = names.iter().filter(free).cloned().collect();
        if let Some(name) = self.rngs.events.pick(&free).cloned() {
            let id = self.rngs.events.id();
            self.engine.create_foreign_container(&name, id);
            self.hit(Mark::Squatter);
        }
    }

    fn locks_itself(&mut self) {
        let alive = self.engine.ours().filter(|it| it.view.phase == ContainerPhase::Running).map(|it| it.view.key.clone());
        let free: Vec<_> = alive.filter(|key| !self.locks.held.contains_key(key)).collect();
        if let Some(key) = self.rngs.events.pick(&free).cloned() {
            let since = self.now_secs();
            self.note(format_args!("{key} takes its lock"));
            self.hit(Mark::LockedByUser);
            self.locks.held.insert(key.clone(), Holder::User(since));
            let after = self.rngs.events.secs(10, 900);
            self.schedule(after, Job::Unlock(key));
        }
    }

    /// Ends all faults: disk, host, network and locks are good, and foreign containers hold no name of ours.
    pub(crate) fn end_faults(&mut self) {
        self.note("the weather clears");
        self.rates = FaultRates::default();
        self.engine.room_bytes = u64::MAX;
        self.engine.refuses.clear();
        self.engine.containers.retain(|_, it| !it.foreign || it.view.name.starts_with("foreign"));
        self.disk.full = false;
        self.disk.read_only = false;
        self.skew(0);
        let held: Vec<_> = self.locks.held.keys().cloned().collect();
        for key in &held {
            self.unlock(key);
        }
        self.update_host(None);
        self.set_tool_lock(ToolLock::Free);
        self.net.offline = false;
        self.cloud.clear();
        self.targets.nonsense = false;
        self.targets.publish();
        self.notify_documents();
    }
}
