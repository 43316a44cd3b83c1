//! Everything outside the process, as traits.
//!
//! The real ones are in `linux`, the simulated ones in `tests/sim`; `tests/port` holds both to the same contract. A port says
//! what the agent needs, in the agent's words; it does not say what the outside offers. If a trait here starts to look like the
//! Docker API, it is wrong.
//!
//! Futures are not `Send`: the agent is one thread.

#![expect(async_fn_in_trait, reason = "the agent is one thread, so nothing need be Send")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::Stream;
use tokio::time::Instant;

use crate::plan::EngineAction;
use crate::state::host::{HostAddresses, HostConfig, HostMetrics, HostPatch};
use crate::state::{
    AppId, Container, ContainerId, Force, HeldLock, Identity, Image, ImageRef, Keys, LedInfo, LedRef, LockHolders, LockState,
    Network, Pattern, Player, PowerAction, ServiceKey, StartCount, Target, Volume, VpnState,
};

/// Everything outside, behind one type parameter.
pub trait World {
    /// The container engine.
    type Engine: Engine;
    /// What outlives a power cut.
    type Store: Store;
    /// The update locks.
    type Locks: Locks;
    /// Where targets come from.
    type Targets: Targets;
    /// The machine's power.
    type Power: Power;
    /// The LED a person finds the device by.
    type Leds: Leds;
    /// Wall time.
    type Clock: Clock;
    /// Chance.
    type Random: Random;
    /// The networks the machine is in.
    type Net: Net;
    /// The host.
    type Host: Host;

    /// The container engine.
    fn engine(&self) -> &Self::Engine;
    /// What outlives a power cut.
    fn store(&self) -> &Self::Store;
    /// The update locks.
    fn locks(&self) -> &Self::Locks;
    /// Where targets come from.
    fn targets(&self) -> &Self::Targets;
    /// The machine's power.
    fn power(&self) -> &Self::Power;
    /// The LED a person finds the device by.
    fn leds(&self) -> &Self::Leds;
    /// Wall time.
    fn clock(&self) -> &Self::Clock;
    /// Chance.
    fn chance(&self) -> &Self::Random;
    /// The networks the machine is in.
    fn net(&self) -> &Self::Net;
    /// The host.
    fn host(&self) -> &Self::Host;
}

/// A container engine.
///
/// # Guarantees
/// - [`Engine::observe`] tells of supervised containers, networks and volumes only, and of every image.
/// - [`Engine::take`] may be dropped at any await: then the deed was done, or not, or half, and the next look tells which.
/// - A deed that finds its work done already is done: starting what runs, removing what is gone, creating what is there *with
///   the same label and hash*. Creating under a name that somebody else's container has is refused.
/// - Every call ends, however the engine hangs.
///
/// # Assumptions
/// - No two deeds with one [`crate::plan::Step::subject`] are under way together.
pub trait Engine {
    /// Looks at everything we made.
    async fn observe(&self) -> Result<EngineSnapshot, EngineError>;

    /// Refuses images with [`EngineError::Full`] that are of use only together, and are known not to fit beside each other. What is not
    /// known is no hindrance.
    async fn fit(&self, images: &BTreeSet<ImageRef>) -> Result<(), EngineError>;

    /// Does one thing. A pull tells how far it is in per cent over all layers.
    async fn take(&self, deed: &EngineAction, progress: &dyn Fn(u8)) -> Result<(), EngineError>;

    /// An item whenever something of ours may have changed, and when the engine came back. Never ends.
    fn events(&self) -> impl Stream<Item = ()>;
}

/// What an engine has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EngineSnapshot {
    /// Supervised containers.
    pub containers: Vec<Container>,
    /// Every image.
    pub images: Vec<Image>,
    /// Supervised networks.
    pub networks: Vec<Network>,
    /// Supervised volumes.
    pub volumes: Vec<Volume>,
}

/// Why the engine did not do as told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// It did not answer. Ask again later.
    #[error("the container engine does not answer: {0}")]
    Unreachable(String),
    /// It answered, and said no. Says why, where and what to do.
    #[error("{0}")]
    Refused(String),
    /// Somebody else uses what was to be removed. Says who, where the engine does.
    #[error("{0}")]
    InUse(String),
    /// There is no room. Nothing was begun, or it was given up. Says how much is missing where.
    #[error("{0}")]
    Full(String),
}

/// What outlives a power cut.
///
/// # Guarantees
/// - After [`Store::save`] returned, a power cut keeps the new record; before, the old one or the new one. [`Record::Proved`] alone
///   may be lost by a power cut within seconds.
/// - A record that cannot be read is put aside under a new name and complained of; the others are not affected.
pub trait Store {
    /// Everything that was saved.
    async fn load(&self) -> Result<StoredState, StoreError>;
    /// Keeps a record, in place of the one of its kind.
    async fn save(&self, record: &Record) -> Result<(), StoreError>;
}

/// What was saved.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoredState {
    /// Who the device is.
    pub identity: Option<Identity>,
    /// The keys to its API.
    pub keys: Option<Keys>,
    /// Targets.
    pub targets: StoredTargets,
    /// Services that a person stopped.
    pub stopped: BTreeSet<ServiceKey>,
    /// Containers that wait for a boot, and the boot in which that was seen first.
    pub awaiting: BTreeMap<ContainerId, String>,
    /// A target that was never reached, and how often the agent was started with it.
    pub trial: Option<StartCount>,
    /// What could not be read and was put aside, in words.
    pub complaints: Vec<String>,
}

/// The targets worth remembering.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoredTargets {
    /// The last one accepted.
    pub wanted: Option<Target>,
    /// The last one that was reached. The same as `wanted`, most of the time.
    pub good: Option<Target>,
    /// Images that were pulled for a target, or were about to be.
    pub pulled: BTreeSet<ImageRef>,
}

/// One thing to be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// Who the device is.
    Identity(Identity),
    /// The keys to its API.
    Keys(Keys),
    /// The targets.
    Targets(Box<StoredTargets>),
    /// Services that a person stopped.
    Stopped(BTreeSet<ServiceKey>),
    /// Containers that wait for a boot, and the boot in which that was seen first.
    Awaiting(BTreeMap<ContainerId, String>),
    /// A target that was never reached, and how often the agent was started with it.
    Trial(Option<StartCount>),
    /// The wanted target was reached: the good one is the one with this fingerprint. It costs no sync, so that a release costs
    /// few; where it is lost, the target proves itself again at the next start.
    Proved(String),
}

/// Why something could not be kept or read. Says what, where and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct StoreError(pub String);

/// The update locks of apps: files in a directory that each service shares with us.
///
/// # Guarantees
/// - Taking is all or nothing: where one lock is held by somebody else, none of ours is left behind.
/// - A lock that is not ours is never removed, but with [`Force::Yes`].
/// - Nothing is read or written outside the lock directories, whatever a container puts there.
/// - Whatever a service does to its directory holds up its own app, and no other.
/// - What a service makes is never taken for ours, whichever user it runs as. What a supervisor before us left behind is, and is given
///   back with ours.
pub trait Locks {
    /// Who holds the locks of these apps, where only these services of each can hold one. Apps that have none are left out. Locks
    /// of ours are told of every service.
    async fn observe(&self, apps: &BTreeMap<AppId, LockHolders>) -> Result<BTreeMap<AppId, LockState>, LockError>;
    /// Apps whose services have directories for locks, whether there is one in them or not.
    async fn apps(&self) -> Result<BTreeSet<AppId>, LockError>;
    /// Takes the locks of these services of an app.
    async fn take(&self, app: AppId, services: &BTreeSet<String>, force: Force) -> Result<(), LockError>;
    /// Gives back every lock of ours of an app.
    async fn release(&self, app: AppId) -> Result<(), LockError>;
    /// Makes the directory of a service's locks, where it is not there. Where the engine is first, it is the engine's, and we may
    /// not be let into it.
    async fn prepare(&self, key: &ServiceKey) -> Result<(), LockError>;
    /// Forgets that a service ever said it is ready to take over.
    async fn expect_hand_over(&self, key: &ServiceKey) -> Result<(), LockError>;
    /// Waits until a new container of the service says that it is ready to take over.
    async fn handed_over(&self, key: &ServiceKey) -> Result<(), LockError>;
    /// An item whenever a lock may have been given back. Never ends.
    fn changes(&self) -> impl Stream<Item = ()>;
}

/// Why a lock could not be taken or given back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LockError {
    /// Somebody holds it.
    #[error("Lockfile exists for {{ service: {} }} at {}", .0.service, .0.path)]
    Held(HeldLock),
    /// The file system said no. Says what, where and what to do.
    #[error("{0}")]
    Failed(String),
}

/// Where targets come from: a file, a cloud.
pub trait Targets {
    /// Waits for a document that is not the one it gave last, and gives what it says. The first one comes at once.
    ///
    /// May be dropped at any await, and loses no document.
    async fn next(&self) -> Result<Target, TargetError>;
    /// Lets [`Targets::next`] look again now, where it would wait.
    fn look_again(&self);
}

/// Why a document is not accepted: where it is, the path in it, and what was expected there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TargetError(pub String);

/// The machine's power.
///
/// # Guarantees
/// - Every call ends within five seconds, however whoever is asked hangs.
/// - Nothing is done by a call but by [`Power::end`], and that does nothing unless it is accepted.
/// - [`Power::notices`] tells of every end, whoever wants it, and of one that was under way before anybody listened. After
///   [`InhibitorNotice::ShutdownBegins`] comes [`InhibitorNotice::ShutdownCancelled`], or the end; where nobody can say any more, it counts as called off.
/// - While somebody listens, an end that is announced waits for the [`Power::Inhibition`] to be dropped, for as long as the machine
///   grants. It may grant nothing: then the hold is empty, and nothing waits.
///
/// # Caveats
/// - Between asking whether it can be and asking for it, anything may change.
/// - An error of [`Power::end`] where the answer was lost may be wrong: then the notices tell.
pub trait Power {
    /// Keeps an announced end waiting until it is dropped.
    type Inhibition;

    /// Whether the machine would end so if asked by us, or who says no.
    async fn can(&self, ending: PowerAction) -> Result<(), PowerError>;
    /// Everybody who holds up an end of the machine, and is not us.
    async fn inhibitors(&self) -> Result<Vec<Inhibitor>, PowerError>;
    /// The file that says that the host's operating system is being updated, if there is one.
    async fn host_update(&self) -> Option<String>;
    /// The file that says that the host was configured anew and that this counts from its next boot, if there is one and that boot
    /// has not been.
    async fn boot_wanted(&self) -> Option<String>;
    /// Asks for the end. `Ok`: it was accepted.
    async fn end(&self, ending: PowerAction) -> Result<(), PowerError>;
    /// What is heard of ends. It never ends by itself.
    fn notices(&self) -> impl Stream<Item = InhibitorNotice<Self::Inhibition>>;
}

/// Something heard of the machine's end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InhibitorNotice<H> {
    /// It is announced. Dropping the hold says that we are ready for it.
    ShutdownBegins(H),
    /// It does not happen, and why.
    ShutdownCancelled(String),
}

/// Somebody who holds up an end of the machine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{who} (uid {uid}, process {pid}) holds it up: {why}")]
pub struct Inhibitor {
    /// What they call themselves.
    pub who: String,
    /// Why, in their words.
    pub why: String,
    /// Whether they forbid it, or only want some time.
    pub mode: InhibitorMode,
    /// Whose process it is.
    pub uid: u32,
    /// The process.
    pub pid: u32,
}

/// How somebody holds up an end of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InhibitorMode {
    /// It is not to happen.
    Block,
    /// It is to wait a few seconds.
    Delay,
}

/// Why the machine will not do as asked: who refused, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PowerError(pub String);

/// The networks the machine is in.
///
/// # Caveats
/// - [`Net::dial`] may take as long as the kernel and the name servers do. Whoever waits says how long.
pub trait Net {
    /// Makes a TCP connection, and closes it. `host` is a name or an address; any address of it will do.
    ///
    /// May be dropped at any await.
    async fn dial(&self, host: &str, port: u16) -> Result<(), NetError>;
    /// Whether the VPN is up: at once, and whenever that may have changed. Never ends.
    fn vpn(&self) -> impl Stream<Item = VpnState>;
    /// Has the VPN's service run or not. A host that has none is as it should be.
    async fn steer_vpn(&self, to: VpnState) -> Result<UnitChange, NetError>;
}

/// What became of a service that should run, or should not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnitChange {
    /// It was so already.
    Already,
    /// It was told to.
    Now,
}

/// Why something on the network did not work. Says what, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NetError(pub String);

/// The host: what it says of itself, and what of it can be changed.
pub trait Host {
    /// Under which addresses the device is found: at once, and whenever that changes. Never ends.
    fn addresses(&self) -> impl Stream<Item = HostAddresses>;
    /// What changes all the time. Reads memory, not disks, so it does not wait.
    fn figures(&self) -> HostMetrics;
    /// The host's configuration.
    async fn config(&self) -> Result<HostConfig, HostError>;
    /// Changes it, and lets the host use it. Each file is the old one or the new one, also after a power cut.
    ///
    /// Not to be called twice at once. May be dropped at any await: then some of it was done.
    async fn configure(&self, patch: &HostPatch) -> Result<(), HostError>;
}

/// Why the host's configuration could not be read or changed. Says what, where and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct HostError(pub String);

/// The board's LEDs.
///
/// # Guarantees
/// - How an LED was is kept where a crash does not lose it, before the first change; [`Leds::put_back`] brings exactly that
///   back, and [`Leds::restore`] does so for all of them, whoever made the change, this process or one that was killed. What
///   somebody else set meanwhile stays.
/// - Every call may be dropped at any await, and the next one finds things in order.
/// - An LED that must not be driven, or that a driver or another program holds, is not touched.
///
/// # Caveats
/// - Success says that the driver took it. Whether there is light, only a person can see.
pub trait Leds {
    /// Which LED it is. Looked up anew each time, for LEDs come and go.
    async fn find(&self, which: &LedRef) -> Result<LedInfo, LedError>;
    /// Every LED that may be driven but the one to find the device by.
    async fn others(&self) -> Vec<LedInfo>;
    /// Begins a pattern, from its start, in place of the one shown now. Says who plays it: where it is
    /// [`Player::Agent`], it shows nothing until it is played by [`Leds::play`]. `length`: when it will be over, if known.
    async fn show(&self, which: &LedRef, pattern: &Pattern, length: Option<Duration>) -> Result<Player, LedError>;
    /// Plays a pattern that began at `since`, change by change. Ends only when the LED does not do as told; who drops it stops
    /// it, and from then on it changes nothing.
    async fn play(&self, which: &LedRef, pattern: &Pattern, since: Instant) -> LedError;
    /// Puts back how the LED was that `show` or `play` changed. Nothing to put back is fine.
    async fn put_back(&self, which: &LedRef) -> Result<(), LedError>;
    /// Puts back how everything was that was ever changed. Nothing to put back is fine.
    async fn restore(&self) -> Result<(), LedError>;
    /// Waits until somebody tries LEDs out, or no longer does: the other than `now`.
    async fn bench(&self, now: ToolLock) -> ToolLock;
}

/// Whether somebody tries LEDs out, with a program of their own. Until they are done, the agent drives none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToolLock {
    /// Nobody does.
    Free,
    /// Somebody does.
    Taken,
}

/// Why an LED does not do as told. Each says what, where and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LedError {
    /// There is none that may be driven.
    #[error("{0}")]
    None(String),
    /// We may not write to it.
    #[error("{0}")]
    Permission(String),
    /// Its file system cannot be written.
    #[error("{0}")]
    ReadOnly(String),
    /// A driver or another program has it. Says who.
    #[error("{0}")]
    Busy(String),
    /// It went away.
    #[error("{0}")]
    Vanished(String),
    /// It is not to be driven: it is no LED, or somebody would miss what it shows.
    #[error("{0}")]
    Guarded(String),
    /// The kernel said no for another reason.
    #[error("{0}")]
    Failed(String),
}

/// Whoever started the agent and wants to hear of it: a service manager.
///
/// # Guarantees
/// - Telling never waits, and nothing depends on being heard.
pub trait ServiceManager {
    /// Tells it.
    fn notify(&self, word: &Notification);
    /// How long it waits for a sign of life before it starts the agent again. `None`: it does not wait for one.
    fn watchdog_timeout(&self) -> Option<Duration>;
}

/// What a service manager is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notification {
    /// The agent has begun, and the API answers.
    Ready,
    /// What it is doing.
    Doing(String),
    /// It gets on.
    Alive,
    /// It was told to stop, and does.
    Stopping,
}

/// Wall time. What is measured is measured with [`tokio::time`].
pub trait Clock {
    /// Seconds since 1970, as the engine counts them too.
    fn now_secs(&self) -> i64;
    /// When the machine was started, in the same seconds.
    fn booted_secs(&self) -> i64;
    /// What this run of the machine is called; no other has the name. Empty where nobody knows.
    fn boot_id(&self) -> String;
}

/// Chance, good enough for keys.
pub trait Random {
    /// Random bytes.
    fn bytes(&self) -> [u8; 32];
}
