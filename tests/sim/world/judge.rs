//! The invariants: what must never happen, whatever else does.
//!
//! An agent's *decisions* are checked when it requests them, against what it had been sent by then; the *effects* of its
//! actions are checked when they occur. An agent cannot know at once what it is sent, so a rule about targets is broken only
//! if every target it may still have in memory says so.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use boardkeeper::port::{Record, StoredTargets};
use boardkeeper::state::config::RestartPolicy;
use boardkeeper::state::service::Strategy;
use boardkeeper::state::{
    AppId, ContainerId, ContainerPhase, ContainerRef, EngineAction, Force, HeldLock, Identity, ImageRef, Keys, Service,
    ServiceKey, ShutdownStatus, Step, Subject, Target,
};
use tokio::time::Instant;

use super::Model;
use super::locks::Holder;
use super::machine::Owned;
use super::met::Met;
use super::nature::Job;

/// What the judge remembers.
#[derive(Debug, Default)]
pub(crate) struct Judge {
    /// What happened that must never happen.
    pub(crate) wrongs: Vec<String>,
    /// Services a person stopped, and was told that they are stopped.
    pub(crate) stopped: BTreeSet<ServiceKey>,
    /// Apps whose locks a person asked to override.
    pub(crate) forced: BTreeSet<AppId>,
    /// A person asked to override every lock.
    pub(crate) forced_all: bool,
    /// Apps that a person asked to restart or purge.
    pub(crate) restarted: BTreeSet<AppId>,
    /// Apps of which a person ever asked to stop something: after a boot that is owed a start.
    pub(crate) owed: BTreeSet<AppId>,
    /// Apps that a person asked to purge.
    pub(crate) purged: BTreeSet<AppId>,
    /// A person asked for a new key.
    pub(crate) renewed: bool,
    /// What hands other than the agent's removed, and when.
    pub(crate) by_hand: BTreeMap<String, Instant>,
    /// How often each deed was begun.
    pub(crate) begun: BTreeMap<String, u32>,
    told: VecDeque<Target>,
    /// What the agent started with.
    kept: Vec<Target>,
    underway: BTreeSet<Subject>,
    /// What runs and is being disturbed.
    disturbed: BTreeSet<ServiceKey>,
    /// What is being killed or stopped.
    pub(super) leaving: BTreeSet<ContainerId>,
    recent: VecDeque<(Instant, String)>,
    pulled: BTreeSet<ImageRef>,
    identity: Option<Identity>,
    keys: Option<Keys>,
    reboots: u32,
    /// Ends of the machine that people asked for.
    pub(crate) ends_asked: u64,
    /// When the agent last told its manager that it gets on.
    pub(crate) alive: Option<Instant>,
    pub(crate) reboot_reasons: u32,
}

/// The API said that the machine ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Promise {
    asked: u64,
    agents: u64,
}

/// Who has not heard from the agent for so long starts it again.
pub(crate) const WATCHDOG: Duration = Duration::from_secs(90);
/// An agent may still act on what it saw so long ago.
pub(super) const IN_MIND: Duration = Duration::from_secs(120);
/// The same deed more often than this within a minute is a loop that does nothing else.
const TIGHT: usize = 40;

impl Judge {
    /// The agent was told this.
    pub(crate) fn told(&mut self, target: &Target) {
        self.stopped.retain(|key| service(target, key).is_some());
        self.told.push_back(target.clone());
        if self.told.len() > 2 {
            self.told.pop_front();
        }
    }

    /// The agent starts with what it kept: it acts on that until a document comes, and falls back to it from what ends it again and
    /// again.
    pub(crate) fn starts_with(&mut self, kept: &StoredTargets) {
        self.kept = [&kept.wanted, &kept.good].into_iter().flatten().cloned().collect();
    }

    /// A person was told that these are stopped. What the newest target does not have any more is stopped for good.
    pub(crate) fn stopped(&mut self, keys: impl IntoIterator<Item = ServiceKey>) {
        let newest = self.told.back();
        let known = |key: &ServiceKey| newest.is_some_and(|it| service(it, key).is_some());
        self.stopped.extend(keys.into_iter().filter(known));
    }

    /// What it had in mind is gone with it.
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

    /// A deed is no longer under way.
    pub(crate) fn ended(&mut self, deed: &EngineAction) {
        let subject = subject(deed);
        if let Subject::Service(key) = &subject {
            self.disturbed.remove(key);
        }
        if let EngineAction::Kill(which) | EngineAction::Stop(which) = deed {
            self.leaving.remove(&which.id);
        }
        self.underway.remove(&subject);
    }

    /// Whether something that runs is being disturbed.
    pub(crate) fn disturbs(&self) -> bool {
        !self.disturbed.is_empty()
    }

    /// The store said that it kept this.
    pub(crate) fn kept(&mut self, record: &Record) {
        match record {
            Record::Identity(identity) => self.identity = Some(identity.clone()),
            Record::Keys(keys) => self.keys = Some(keys.clone()),
            Record::Targets(_) | Record::Stopped(_) | Record::Awaiting(_) | Record::Trial(_) | Record::Proved(_) => (),
        }
    }

    /// Whether a deed is under way.
    pub(crate) fn is_at_work(&self) -> bool {
        !self.underway.is_empty()
    }

    pub(super) fn lately_by_hand(&self, what: &str) -> bool {
        self.by_hand.get(what).is_some_and(|at| at.elapsed() < IN_MIND)
    }
}

fn subject(deed: &EngineAction) -> Subject {
    Step::Engine(deed.clone()).subject()
}

pub(super) fn service<'a>(target: &'a Target, key: &ServiceKey) -> Option<&'a Service> {
    target.apps.get(&key.app)?.services.get(&key.service)
}

impl Model {
    /// Looks at every target the agent may have in mind.
    fn in_mind(&self, mut look: impl FnMut(&Target)) {
        self.judge.told.iter().for_each(&mut look);
        if let Some(status) = &self.status {
            status.borrow().target.as_deref().into_iter().for_each(look);
        }
    }

    /// Whether every target in mind says so; false where there is none.
    pub(crate) fn all_say(&self, rule: impl Fn(&Target) -> bool) -> bool {
        let (mut some, mut all) = (false, true);
        self.in_mind(|it| (some, all) = (true, all && rule(it)));
        some && all
    }

    /// Whether a target in mind says so.
    fn one_says(&self, rule: impl Fn(&Target) -> bool) -> bool {
        let mut one = self.judge.kept.iter().any(&rule);
        self.in_mind(|it| one = one || rule(it));
        one
    }

    /// The agent asks for a deed.
    pub(crate) fn judge_deed(&mut self, deed: &EngineAction) {
        if !self.judge.underway.insert(subject(deed)) {
            self.wrong(format_args!("{deed}, while another deed is done to the same"));
        }
        if self.ends_since.is_some_and(|it| it.elapsed() > Duration::from_secs(1)) {
            self.wrong(format_args!("{deed}, while the machine is about to end"));
        }
        *self.judge.begun.entry(deed.to_string()).or_default() += 1;
        self.judge_pace(deed);
        if let EngineAction::Kill(which) | EngineAction::Stop(which) = deed {
            self.judge.leaving.insert(which.id.clone());
        }
        match deed {
            EngineAction::Pull(reference) => drop(self.judge.pulled.insert(reference.clone())),
            EngineAction::Create(spec) => {
                let reboots = self.one_says(|it| service(it, &spec.key).is_some_and(|it| it.requires_reboot));
                self.judge.reboot_reasons += u32::from(reboots);
            }
            EngineAction::Start(which) => {
                self.judge_whose(deed, which);
                self.judge_done(which);
                self.judge_stopped(which);
                self.judge_dependencies(which);
            }
            // What runs already may be restarted while what it depends on is being replaced.
            EngineAction::Restart(which) => {
                self.judge_whose(deed, which);
                self.judge_stopped(which);
                self.judge_lock(deed, which);
            }
            EngineAction::Kill(which) => {
                self.judge_whose(deed, which);
                self.judge_kill(which);
                self.judge_refused(which);
                self.judge_lock(deed, which);
            }
            EngineAction::Stop(which) | EngineAction::Rename(which, _) | EngineAction::Retire(which, _) => {
                self.judge_whose(deed, which);
                self.judge_lock(deed, which);
            }
            EngineAction::RemoveNetwork(name, ..) => {
                if self.machine.networks.get(name) == Some(&Owned::Foreign) {
                    self.wrong(format_args!("{deed}, which is not ours"));
                }
            }
            EngineAction::RemoveVolume(name, app) => self.judge_remove_volume(name, *app),
            EngineAction::RemoveImage(reference) => {
                if !self.judge.pulled.contains(reference) {
                    self.wrong(format_args!("{deed}, which is not ours"));
                }
            }
            // To take it from the network it is on, and put it on another of that name, disturbs it.
            EngineAction::Connect(which, networks) => {
                self.judge_whose(deed, which);
                if networks.iter().any(|it| it.instead_of.is_some()) {
                    self.judge_lock(deed, which);
                }
            }
            EngineAction::CreateNetwork(_) | EngineAction::CreateVolume(_) => (),
        }
    }

    fn judge_pace(&mut self, deed: &EngineAction) {
        let now = Instant::now();
        self.judge.recent.push_back((now, deed.to_string()));
        while self.judge.recent.front().is_some_and(|(at, _)| now - *at > Duration::from_secs(60)) {
            self.judge.recent.pop_front();
        }
        let text = deed.to_string();
        if self.judge.recent.iter().filter(|(_, it)| *it == text).count() > TIGHT {
            self.wrong(format_args!("{deed}, more than {TIGHT} times in a minute"));
        }
    }

    fn judge_whose(&mut self, deed: &EngineAction, which: &ContainerRef) {
        if self.machine.containers.get(&which.id).is_some_and(|it| it.foreign) {
            self.wrong(format_args!("{deed}, which is not ours"));
        }
    }

    /// A job that came to its end by itself is done, unless somebody asks for it again.
    fn judge_done(&mut self, which: &ContainerRef) {
        let done = self.machine.containers.get(&which.id).is_some_and(|it| {
            it.face.phase == ContainerPhase::Exited(0)
                && it.face.restart == RestartPolicy::No
                && !it.stopped
                && it.face.error.is_none()
        });
        let asked = self.judge.restarted.contains(&which.key.app) || self.judge.owed.contains(&which.key.app);
        if done && !asked {
            self.wrong(format_args!("start {}, which is done", which.key));
        }
    }

    /// What runs is disturbed under the update lock of its service only, so that the service can tell.
    fn judge_lock(&mut self, deed: &EngineAction, which: &ContainerRef) {
        let alive = self.machine.containers.get(&which.id).is_some_and(|it| it.face.phase.is_alive());
        if alive && !matches!(self.locks.held.get(&which.key), Some(Holder::Agent)) {
            self.wrong(format_args!("{deed}, without its update lock"));
        }
        if alive {
            self.judge.disturbed.insert(which.key.clone());
        }
    }

    fn judge_stopped(&mut self, which: &ContainerRef) {
        if self.judge.stopped.contains(&which.key) {
            self.wrong(format_args!("start {}, which a person stopped", which.key));
        }
    }

    fn judge_kill(&mut self, which: &ContainerRef) {
        let alive = |it: &&super::machine::Crate| it.face.phase.is_alive() && it.face.key == which.key;
        let same: Vec<_> = self.machine.ours().filter(alive).map(|it| it.face.id.clone()).collect();
        if same != [which.id.clone()] || self.judge.restarted.contains(&which.key.app) {
            return;
        }
        let here = |image: &ImageRef| self.machine.image(image).is_some() || self.judge.lately_by_hand(image.as_str());
        let early = |target: &Target| {
            let waits = service(target, &which.key).is_some_and(|it| it.strategy == Strategy::DownloadThenKill);
            let app = target.apps.get(&which.key.app);
            waits && app.is_some_and(|app| app.services.values().any(|it| !here(&it.image)))
        };
        if self.all_say(early) {
            self.wrong(format_args!("kill {}, before the images are here", which.key));
        }
        // Of every kind of update: what the new container is attached to is there before the old one goes.
        let missing = |target: &Target| {
            let app = target.apps.get(&which.key.app);
            app.is_some_and(|app| app.services.get(&which.key.service).is_some_and(|it| self.machine.lacks_network(app, it)))
        };
        if self.all_say(missing) && !self.judge.purged.contains(&which.key.app) {
            self.wrong(format_args!("kill {}, before the networks of the new one are there", which.key));
        }
    }

    fn judge_remove_volume(&mut self, name: &str, app: AppId) {
        if self.machine.volumes.get(name) == Some(&Owned::Foreign) {
            self.wrong(format_args!("remove volume {name}, which is not ours"));
        }
        let config = match self.machine.volumes.get(name) {
            Some(Owned::Ours((_, config))) => Some(config.clone()),
            Some(Owned::Foreign) | None => None,
        };
        let bare = name.split_once('_').map_or(name, |(_, bare)| bare);
        let wanted = |target: &Target| {
            let app = target.apps.get(&app);
            let other = app.and_then(|app| app.volumes.get(bare)).is_some_and(|it| Some(it) != config.as_ref());
            app.is_some() && !other
        };
        if config.is_some() && self.all_say(wanted) && !self.judge.purged.contains(&app) {
            self.wrong(format_args!("remove volume {name}, whose app is wanted"));
        }
    }

    /// A container is about to be sent its stop signal.
    pub(crate) fn judge_stop(&mut self, which: &ContainerRef) {
        let alive = self.machine.containers.get(&which.id).is_some_and(|it| it.face.phase.is_alive());
        let app = which.key.app;
        let there = |held: &HeldLock| self.machine.ours().any(|it| it.face.key == ServiceKey::new(app, &held.service));
        if let Some(held) = self.locks.users(app).filter(|held| alive && there(held)) {
            self.wrong(format_args!("{} is stopped under the lock of {}", which.key, held.service));
        }
    }

    /// A container was started, on the agent's word.
    pub(crate) fn judge_alive(&mut self, id: &ContainerId) {
        let Some(key) = self.machine.containers.get(id).map(|it| it.face.key.clone()) else { return };
        let alive = self.machine.ours().filter(|it| it.face.key == key && it.face.phase.is_alive()).count();
        let hands_over = |it: &Target| service(it, &key).is_some_and(|it| it.strategy == Strategy::HandOver);
        if alive > 1 && !self.one_says(hands_over) {
            self.wrong(format_args!("{alive} containers of {key} run"));
        }
    }

    /// The agent gives back the locks of an app.
    pub(crate) fn judge_unlock(&mut self, app: AppId) {
        if let Some(key) = self.judge.disturbed.iter().find(|it| it.app == app).cloned() {
            self.wrong(format_args!("the locks of {app} are given back while {key} is being disturbed"));
        }
    }

    /// The agent takes locks.
    pub(crate) fn judge_force(&mut self, app: AppId, force: Force) {
        if force == Force::Yes && !self.may_force(app) {
            self.wrong(format_args!("the locks of {app} are overridden, and nobody asked for it"));
        }
    }

    /// Somebody asked for the locks of an app to be overridden.
    fn may_force(&self, app: AppId) -> bool {
        let overridden = |it: &Target| it.config.contains_key("SUPERVISOR_OVERRIDE_LOCK");
        self.judge.forced_all || self.judge.forced.contains(&app) || self.one_says(overridden)
    }

    /// The agent asks for a reboot.
    pub(crate) fn judge_reboot(&mut self) {
        let old = |holder: &Holder| match holder {
            Holder::User(since) => self.now_secs() - since > i64::try_from(IN_MIND.as_secs()).unwrap(),
            Holder::Agent => false,
        };
        // A lock whose service has no container any more keeps nobody from anything.
        let there = |key: &ServiceKey| self.machine.ours().any(|it| it.face.key == *key);
        let held = self.locks.held.iter().find(|(key, holder)| old(holder) && there(key)).map(|(key, _)| key.clone());
        if let Some(key) = held.filter(|key| !self.may_force(key.app)) {
            self.wrong(format_args!("reboot under the lock of {key}"));
        }
        self.judge.reboots += 1;
        let (reboots, reasons) = (self.judge.reboots, self.judge.reboot_reasons);
        if reboots > 2 * reasons + 5 {
            self.wrong(format_args!("{reboots} reboots for {reasons} reasons"));
        }
    }

    /// Somebody was told that the machine ends.
    pub(crate) fn promised(&mut self) {
        let promise = Promise { asked: self.judge.ends_asked, agents: self.machine.agents };
        self.schedule(Duration::from_secs(25), Job::Truth(promise));
    }

    /// Whether it did, or somebody says that it does not.
    pub(crate) fn judge_promise(&mut self, promise: Promise) {
        let same = promise == Promise { asked: self.judge.ends_asked, agents: self.machine.agents };
        let Some(status) = self.status.as_ref().filter(|_| same) else { return };
        let shutdown = status.borrow().shutdown.clone();
        match shutdown {
            ShutdownStatus::Failed { .. } => self.met(Met::GoesOn),
            ShutdownStatus::UnderWay { .. } if self.ends_since.is_some() => (),
            // A disk that takes its time keeps the agent from hearing at once.
            ShutdownStatus::UnderWay { .. } if self.called_off.is_some_and(|at| at.elapsed() < Duration::from_secs(30)) => (),
            ShutdownStatus::UnderWay { .. } => self.wrong("the state says that the machine ends, and nothing comes"),
            ShutdownStatus::No => self.wrong("a person was told that the machine ends, and nothing is known of it"),
        }
    }

    /// Why nobody hears from the agent any more, if so.
    pub(crate) fn still(&self) -> Option<String> {
        let late = self.judge.alive.map_or(Duration::ZERO, |it| it.elapsed());
        (late > WATCHDOG).then(|| format!("no sign of life for {late:?}"))
    }

    /// The agent says that it gets on.
    pub(crate) fn judge_alive_again(&mut self) {
        let before = self.judge.alive.replace(Instant::now());
        if let Some(late) = before.map(|it| it.elapsed()).filter(|it| *it > WATCHDOG) {
            self.wrong(format_args!("no sign of life for {late:?}"));
        }
    }

    /// The agent has something kept.
    pub(crate) fn judge_save(&mut self, record: &Record) {
        let broken = match record {
            Record::Identity(identity) => self.judge.identity.as_ref().is_some_and(|it| it != identity),
            Record::Keys(keys) => self.judge.keys.as_ref().is_some_and(|it| {
                let renewed = it.device != keys.device || it.generations != keys.generations;
                it.root != keys.root || (renewed && !self.judge.renewed)
            }),
            Record::Targets(_) | Record::Stopped(_) | Record::Awaiting(_) | Record::Trial(_) | Record::Proved(_) => false,
        };
        if broken {
            self.wrong("the device becomes another, or has other keys");
        }
    }
}
