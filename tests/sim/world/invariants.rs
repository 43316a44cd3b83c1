//! The invariants: what must never happen, whatever else does.
//!
//! An agent's *decisions* are checked when it requests them, against what it had been sent by then; the *effects* of its
//! actions are checked when they occur. An agent cannot know at once what it is sent, so a rule about targets is broken only
//! if every target it may still have in memory says so.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use boardkeeper::port::Record;
use boardkeeper::state::config::RestartPolicy;
use boardkeeper::state::service::Strategy;
use boardkeeper::state::{
    AppId, ContainerId, ContainerPhase, ContainerRef, EngineAction, Force, HeldLock, Identity, ImageRef, Keys, Service,
    ServiceKey, ShutdownStatus, Step, Subject, Target, Volume,
};
use tokio::time::Instant;

use super::Model;
use super::engine_model::Owned;
use super::events::Job;
use super::kept::is_pushed;
use super::known::KnownTargets;
use super::locks::Holder;
use super::marks::Mark;

/// The state that the invariants are checked against.
#[derive(Debug, Default)]
pub(crate) struct Checker {
    /// Violations so far.
    pub(crate) violations: Vec<String>,
    /// The release of each app that is proven good, as it is kept on the disk.
    pub(crate) good: BTreeMap<AppId, String>,
    /// Volumes that were created since their app's good release was proven, or whose copy a purge took: none is put back.
    pub(crate) new_volumes: BTreeSet<String>,
    /// Services that a client stopped, and got a response for.
    pub(crate) stopped: BTreeSet<ServiceKey>,
    /// Apps whose locks a client asked to override.
    pub(crate) forced: BTreeSet<AppId>,
    /// A client asked to override every lock.
    pub(crate) forced_all: bool,
    /// Apps that a client asked to restart or purge.
    pub(crate) restarted: BTreeSet<AppId>,
    /// Apps of which a client ever stopped a service: the agent starts it again after its own restart.
    pub(crate) ever_stopped: BTreeSet<AppId>,
    /// Apps that a client asked to purge.
    pub(crate) purged: BTreeSet<AppId>,
    /// A client asked for local mode.
    pub(crate) developed: bool,
    /// Since when local mode is on, without an end.
    pub(crate) local_since: Option<Instant>,
    /// A client asked for a new key.
    pub(crate) renewed: bool,
    /// What was removed bypassing the agent, and when.
    pub(crate) by_hand: BTreeMap<String, Instant>,
    /// How often each action was begun.
    pub(crate) begun: BTreeMap<String, u32>,
    pub(super) targets: KnownTargets,
    underway: BTreeSet<Subject>,
    /// Running services that an action in progress disturbs.
    pub(super) disturbed: BTreeSet<ServiceKey>,
    /// Containers that are being killed or stopped.
    pub(super) leaving: BTreeSet<ContainerId>,
    recent: VecDeque<(Instant, String)>,
    pulled: BTreeSet<ImageRef>,
    identity: Option<Identity>,
    keys: Option<Keys>,
    reboots: u32,
    /// Shutdowns requested so far.
    pub(crate) shutdowns_requested: u64,
    /// When the agent last pinged the watchdog.
    pub(crate) alive: Option<Instant>,
    pub(crate) reboot_reasons: u32,
}

/// The API answered that the machine shuts down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Promise {
    asked: u64,
    agents: u64,
}

/// The service manager restarts an agent that sent no watchdog ping for this long.
pub(crate) const WATCHDOG: Duration = Duration::from_secs(90);
/// An agent may act on an observation up to this old.
pub(super) const MAX_STALENESS: Duration = Duration::from_secs(120);
/// The same action more often than this within a minute is a busy loop.
const MAX_PER_MINUTE: usize = 40;

impl Checker {
    /// A client got the response that these are stopped. A service that the newest target no longer has does not count.
    pub(crate) fn stopped(&mut self, keys: impl IntoIterator<Item = ServiceKey>) {
        let newest = self.targets.newest();
        let known = |key: &ServiceKey| newest.is_some_and(|it| service(it, key).is_some());
        self.stopped.extend(keys.into_iter().filter(known));
    }

    /// The agent's state in memory is gone.
    pub(crate) fn agent_died(&mut self) {
        self.stopped.clear();
        self.forced.clear();
        self.forced_all = false;
        self.restarted.clear();
        self.purged.clear();
        self.renewed = false;
        self.underway.clear();
        self.disturbed.clear();
        self.leaving.clear();
        self.alive = None;
    }

    /// An action is no longer in progress.
    pub(crate) fn ended(&mut self, action: &EngineAction) {
        let subject = subject(action);
        if let Subject::Service(key) = &subject {
            self.disturbed.remove(key);
        }
        if let EngineAction::Kill(which) | EngineAction::Stop(which) = action {
            self.leaving.remove(&which.id);
        }
        self.underway.remove(&subject);
    }

    /// Whether an action in progress disturbs a running service.
    pub(crate) fn disturbs(&self) -> bool {
        !self.disturbed.is_empty()
    }

    /// The store acknowledged this record.
    pub(crate) fn kept(&mut self, record: &Record) {
        match record {
            Record::Identity(identity) => self.identity = Some(identity.clone()),
            Record::Keys(keys) => self.keys = Some(keys.clone()),
            Record::Account(_)
            | Record::Pin(_)
            | Record::Targets(_)
            | Record::Stopped(_)
            | Record::Awaiting(_)
            | Record::Leases(_)
            | Record::BootWindow(_)
            | Record::Trial(_)
            | Record::FailedReleases(_)
            | Record::KeptData(_)
            | Record::BootConfig(_)
            | Record::LocalMode(_)
            | Record::TargetTrial(_)
            | Record::Proved(_)
            | Record::TargetTag(_) => (),
        }
    }

    /// Whether an action is in progress.
    pub(crate) fn is_at_work(&self) -> bool {
        !self.underway.is_empty()
    }

    pub(super) fn lately_by_hand(&self, what: &str) -> bool {
        self.by_hand.get(what).is_some_and(|at| at.elapsed() < MAX_STALENESS)
    }
}

fn subject(action: &EngineAction) -> Subject {
    Step::Engine(action.clone()).subject()
}

pub(super) fn service<'a>(target: &'a Target, key: &ServiceKey) -> Option<&'a Service> {
    target.apps.get(&key.app)?.services.get(&key.service)
}

impl Model {
    /// The agent requests an action.
    pub(crate) fn check_action(&mut self, action: &EngineAction) {
        if !self.checker.underway.insert(subject(action)) {
            self.violation(format_args!("{action}, while another deed is done to the same"));
        }
        if self.shutdown_since.is_some_and(|it| it.elapsed() > Duration::from_secs(1)) {
            self.violation(format_args!("{action}, while the machine is about to end"));
        }
        *self.checker.begun.entry(action.to_string()).or_default() += 1;
        self.check_rate(action);
        self.check_kept(action);
        if let EngineAction::Kill(which) | EngineAction::Stop(which) = action {
            self.checker.leaving.insert(which.id.clone());
        }
        match action {
            EngineAction::Pull(reference) => drop(self.checker.pulled.insert(reference.clone())),
            EngineAction::Create(spec) => {
                let reboots = self.any_target(|it| service(it, &spec.key).is_some_and(|it| it.requires_reboot));
                self.checker.reboot_reasons += u32::from(reboots);
            }
            EngineAction::Start(which) => {
                self.check_ownership(action, which);
                self.check_completed(which);
                self.check_stopped(which);
                self.check_dependencies(which);
            }
            // What runs already may be restarted while what it depends on is being replaced.
            EngineAction::Restart(which) => {
                self.check_ownership(action, which);
                self.check_stopped(which);
                self.check_lock(action, which);
            }
            EngineAction::Kill(which) => {
                self.check_ownership(action, which);
                self.check_kill(which);
                self.check_hook_ran(action, which);
                self.check_refused(which);
                self.check_lock(action, which);
            }
            EngineAction::Retire(which, _) => {
                self.check_ownership(action, which);
                self.check_hook_ran(action, which);
                self.check_lock(action, which);
            }
            EngineAction::Stop(which) | EngineAction::Rename(which, _) => {
                self.check_ownership(action, which);
                self.check_lock(action, which);
            }
            EngineAction::RunHook(which, _) => self.check_hook(action, which),
            EngineAction::RemoveNetwork(name, ..) => {
                if self.engine.networks.get(name) == Some(&Owned::Foreign) {
                    self.violation(format_args!("{action}, which is not ours"));
                }
            }
            EngineAction::RemoveVolume(name, app) => self.check_remove_volume(name, *app),
            EngineAction::RemoveImage(reference) => {
                if !self.checker.pulled.contains(reference) {
                    self.violation(format_args!("{action}, which is not ours"));
                }
            }
            // To take it from the network it is on, and put it on another of that name, disturbs it.
            EngineAction::Connect(which, networks) => {
                self.check_ownership(action, which);
                if networks.iter().any(|it| it.instead_of.is_some()) {
                    self.check_lock(action, which);
                }
            }
            EngineAction::CreateVolume(volume) => drop(self.checker.new_volumes.insert(volume.name.clone())),
            EngineAction::CreateNetwork(_) | EngineAction::KeepData(_) | EngineAction::PutDataBack(_) => (),
        }
    }

    fn check_rate(&mut self, action: &EngineAction) {
        let now = Instant::now();
        self.checker.recent.push_back((now, action.to_string()));
        while self.checker.recent.front().is_some_and(|(at, _)| now - *at > Duration::from_secs(60)) {
            self.checker.recent.pop_front();
        }
        let text = action.to_string();
        if self.checker.recent.iter().filter(|(_, it)| *it == text).count() > MAX_PER_MINUTE {
            self.violation(format_args!("{action}, more than {MAX_PER_MINUTE} times in a minute"));
        }
    }

    pub(super) fn check_ownership(&mut self, action: &EngineAction, which: &ContainerRef) {
        if self.engine.containers.get(&which.id).is_some_and(|it| it.foreign) {
            self.violation(format_args!("{action}, which is not ours"));
        }
    }

    /// A job that completed is not started again, unless a client requests it.
    fn check_completed(&mut self, which: &ContainerRef) {
        let done = self.engine.containers.get(&which.id).is_some_and(|it| {
            it.view.phase == ContainerPhase::Exited(0)
                && it.view.restart == RestartPolicy::No
                && !it.stopped
                && it.view.error.is_none()
        });
        let asked = self.checker.developed
            || self.checker.restarted.contains(&which.key.app)
            || self.checker.ever_stopped.contains(&which.key.app);
        if done && !asked {
            self.violation(format_args!("start {}, which is done", which.key));
        }
    }

    fn check_stopped(&mut self, which: &ContainerRef) {
        if self.checker.stopped.contains(&which.key) {
            self.violation(format_args!("start {}, which a person stopped", which.key));
        }
    }

    fn check_kill(&mut self, which: &ContainerRef) {
        let alive = |it: &&super::engine_model::SimContainer| it.view.phase.is_alive() && it.view.key == which.key;
        let same: Vec<_> = self.engine.ours().filter(alive).map(|it| it.view.id.clone()).collect();
        if same != [which.id.clone()] || self.checker.restarted.contains(&which.key.app) {
            return;
        }
        let here = |image: &ImageRef| self.engine.image(image).is_some() || self.checker.lately_by_hand(image.as_str());
        let early = |target: &Target| {
            let waits = service(target, &which.key).is_some_and(|it| it.strategy == Strategy::DownloadThenKill);
            let app = target.apps.get(&which.key.app);
            waits && app.is_some_and(|app| app.services.values().any(|it| !here(&it.image)))
        };
        if self.all_targets(early) {
            self.violation(format_args!("kill {}, before the images are here", which.key));
        }
        // Of every kind of update: what the new container is attached to is there before the old one goes.
        let missing = |target: &Target| {
            let app = target.apps.get(&which.key.app);
            app.is_some_and(|app| app.services.get(&which.key.service).is_some_and(|it| self.engine.lacks_network(app, it)))
        };
        if self.all_targets(missing) && !self.checker.purged.contains(&which.key.app) {
            self.violation(format_args!("kill {}, before the networks of the new one are there", which.key));
        }
    }

    fn check_remove_volume(&mut self, name: &str, app: AppId) {
        if self.engine.volumes.get(name) == Some(&Owned::Foreign) {
            self.violation(format_args!("remove volume {name}, which is not ours"));
        }
        let config = match self.engine.volumes.get(name) {
            Some(Owned::Ours((_, config))) => Some(config.clone()),
            Some(Owned::Foreign) | None => None,
        };
        let bare = name.split_once('_').map_or(name, |(_, bare)| bare);
        let wanted = |target: &Target| {
            let app = target.apps.get(&app);
            let other = app.and_then(|app| app.volumes.get(bare)).is_some_and(|it| Some(it) != config.as_ref());
            app.is_some() && !other
        };
        if config.is_some() && self.all_targets(wanted) && !self.checker.purged.contains(&app) {
            self.violation(format_args!("remove volume {name}, whose app is wanted"));
        }
        // A purge takes the copies first. If a crash ends it then, there is none to put back.
        if let Some(copy) = self.engine.snapshots.get(name).filter(|_| self.checker.purged.contains(&app)) {
            self.checker.new_volumes.insert(Volume::engine_name(copy.app, &copy.volume));
        }
    }

    /// A container is about to be sent its stop signal.
    pub(crate) fn check_stop(&mut self, which: &ContainerRef) {
        let alive = self.engine.containers.get(&which.id).is_some_and(|it| it.view.phase.is_alive());
        let app = which.key.app;
        let there = |held: &HeldLock| self.engine.ours().any(|it| it.view.key == ServiceKey::new(app, &held.service));
        if let Some(held) = self.locks.users(app).filter(|held| alive && there(held)) {
            self.violation(format_args!("{} is stopped under the lock of {}", which.key, held.service));
        }
    }

    /// The agent started a container: no second one of its service may run, except in a hand-over.
    pub(crate) fn check_single_instance(&mut self, id: &ContainerId) {
        let Some(key) = self.engine.containers.get(id).map(|it| it.view.key.clone()) else { return };
        let alive = self.engine.ours().filter(|it| it.view.key == key && it.view.phase.is_alive()).count();
        let hands_over = |it: &Target| service(it, &key).is_some_and(|it| it.strategy == Strategy::HandOver);
        if alive > 1 && !self.any_target(hands_over) {
            self.violation(format_args!("{alive} containers of {key} run"));
        }
    }

    /// The agent releases the locks of an app.
    pub(crate) fn check_unlock(&mut self, app: AppId) {
        if let Some(key) = self.checker.disturbed.iter().find(|it| it.app == app).cloned() {
            self.violation(format_args!("the locks of {app} are given back while {key} is being disturbed"));
        }
    }

    /// The agent takes locks.
    pub(crate) fn check_force(&mut self, app: AppId, force: Force) {
        if force == Force::Yes && !self.may_force(app) {
            self.violation(format_args!("the locks of {app} are overridden without a request"));
        }
    }

    /// Whether a client or a target permits to override the locks of an app.
    pub(super) fn may_force(&self, app: AppId) -> bool {
        let overridden = |it: &Target| it.config.contains_key("SUPERVISOR_OVERRIDE_LOCK");
        // What was pushed is removed whatever it locks.
        is_pushed(app) || self.checker.forced_all || self.checker.forced.contains(&app) || self.any_target(overridden)
    }

    /// The agent asks for a reboot.
    pub(crate) fn check_reboot(&mut self) {
        let old = |holder: &Holder| match holder {
            Holder::User(since) => self.now_secs() - since > i64::try_from(MAX_STALENESS.as_secs()).unwrap(),
            Holder::Agent => false,
        };
        // A lock whose service has no container any more does not block a reboot.
        let there = |key: &ServiceKey| self.engine.ours().any(|it| it.view.key == *key);
        let held = self.locks.held.iter().find(|(key, holder)| old(holder) && there(key)).map(|(key, _)| key.clone());
        if let Some(key) = held.filter(|key| !self.may_force(key.app)) {
            self.violation(format_args!("reboot under the lock of {key}"));
        }
        let alive: BTreeSet<_> = self.engine.ours().filter(|it| it.view.phase.is_alive()).map(|it| it.view.key.app).collect();
        for app in alive {
            self.check_lease("reboot", app, MAX_STALENESS);
        }
        self.checker.reboots += 1;
        let (reboots, reasons) = (self.checker.reboots, self.checker.reboot_reasons);
        if reboots > 2 * reasons + 5 {
            self.violation(format_args!("{reboots} reboots for {reasons} reasons"));
        }
    }

    /// The API answered a client that the machine shuts down.
    pub(crate) fn promised(&mut self) {
        let promise = Promise { asked: self.checker.shutdowns_requested, agents: self.engine.agents };
        self.schedule(Duration::from_secs(25), Job::CheckPromise(promise));
    }

    /// Checks that the machine did shut down, or that the status reports that it does not.
    pub(crate) fn check_promise(&mut self, promise: Promise) {
        let same = promise == Promise { asked: self.checker.shutdowns_requested, agents: self.engine.agents };
        let Some(status) = self.status.as_ref().filter(|_| same) else { return };
        let shutdown = status.borrow().shutdown.clone();
        match shutdown {
            ShutdownStatus::Failed { .. } => self.hit(Mark::GoesOn),
            ShutdownStatus::UnderWay { .. } if self.shutdown_since.is_some() => (),
            // A slow disk delays the agent's reaction.
            ShutdownStatus::UnderWay { .. } if self.cancelled_at.is_some_and(|at| at.elapsed() < Duration::from_secs(30)) => (),
            ShutdownStatus::UnderWay { .. } => self.violation("the state says that the machine ends, and nothing comes"),
            ShutdownStatus::No => self.violation("a person was told that the machine ends, and nothing is known of it"),
        }
    }

    /// Why the watchdog would have expired by now, if so.
    pub(crate) fn still(&self) -> Option<String> {
        let late = self.checker.alive.map_or(Duration::ZERO, |it| it.elapsed());
        (late > WATCHDOG).then(|| format!("no sign of life for {late:?}"))
    }

    /// The agent pings the watchdog.
    pub(crate) fn check_watchdog(&mut self) {
        let before = self.checker.alive.replace(Instant::now());
        if let Some(late) = before.map(|it| it.elapsed()).filter(|it| *it > WATCHDOG) {
            self.violation(format_args!("no sign of life for {late:?}"));
        }
    }

    /// The agent saves a record.
    pub(crate) fn check_save(&mut self, record: &Record) {
        let broken = match record {
            Record::Identity(identity) => self.checker.identity.as_ref().is_some_and(|it| it != identity),
            Record::Keys(keys) => self.checker.keys.as_ref().is_some_and(|it| {
                let renewed = it.device != keys.device || it.generations != keys.generations;
                it.root != keys.root || (renewed && !self.checker.renewed)
            }),
            Record::Account(_)
            | Record::Pin(_)
            | Record::Targets(_)
            | Record::Stopped(_)
            | Record::Awaiting(_)
            | Record::Leases(_)
            | Record::BootWindow(_)
            | Record::Trial(_)
            | Record::FailedReleases(_)
            | Record::KeptData(_)
            | Record::BootConfig(_)
            | Record::LocalMode(_)
            | Record::TargetTrial(_)
            | Record::Proved(_)
            | Record::TargetTag(_) => false,
        };
        if broken {
            self.violation("the device becomes another, or has other keys");
        }
    }
}
