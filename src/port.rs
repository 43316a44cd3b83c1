//! The ports: everything outside the process, as traits.
//!
//! The real implementations are in `linux`, the simulated ones in `tests/sim`; `tests/port` holds both to the same contract.
//! A port says what the agent needs, in the agent's terms; it does not say what the outside offers. If a trait here starts to
//! look like the Docker API, it is wrong.
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

/// All ports, behind one type parameter.
pub trait World {
    /// The container engine.
    type Engine: Engine;
    /// The store of records that survive a power cut.
    type Store: Store;
    /// The update locks.
    type Locks: Locks;
    /// The source of targets.
    type Targets: Targets;
    /// The machine's power.
    type Power: Power;
    /// The LEDs, among them the one that identifies the device.
    type Leds: Leds;
    /// Wall time.
    type Clock: Clock;
    /// Randomness.
    type Random: Random;
    /// The machine's networks.
    type Net: Net;
    /// The host.
    type Host: Host;

    /// The container engine.
    fn engine(&self) -> &Self::Engine;
    /// The store of records that survive a power cut.
    fn store(&self) -> &Self::Store;
    /// The update locks.
    fn locks(&self) -> &Self::Locks;
    /// The source of targets.
    fn targets(&self) -> &Self::Targets;
    /// The machine's power.
    fn power(&self) -> &Self::Power;
    /// The LEDs, among them the one that identifies the device.
    fn leds(&self) -> &Self::Leds;
    /// Wall time.
    fn clock(&self) -> &Self::Clock;
    /// Randomness.
    fn chance(&self) -> &Self::Random;
    /// The machine's networks.
    fn net(&self) -> &Self::Net;
    /// The host.
    fn host(&self) -> &Self::Host;
}

/// A container engine.
///
/// # Guarantees
/// - [`Engine::observe`] reports supervised containers, networks and volumes only, and every image.
/// - [`Engine::take`] is cancel-safe: the action was then done, or not, or half, and the next observation shows which.
/// - Actions are idempotent: starting what runs, removing what is gone, creating what exists *with the same label and hash*
///   succeed. Creating under a name that a foreign container has is rejected.
/// - Every call ends, even if the engine hangs.
///
/// # Assumptions
/// - No two actions with the same [`crate::plan::Step::subject`] are in flight at once.
pub trait Engine {
    /// Takes a snapshot of everything supervised.
    async fn observe(&self) -> Result<EngineSnapshot, EngineError>;

    /// Rejects images with [`EngineError::Full`] that are of use only together, and are known not to fit beside each other.
    /// If it is not known whether they fit, they are not rejected.
    async fn fit(&self, images: &BTreeSet<ImageRef>) -> Result<(), EngineError>;

    /// Performs one action. A pull reports its progress in per cent over all layers.
    async fn take(&self, deed: &EngineAction, progress: &dyn Fn(u8)) -> Result<(), EngineError>;

    /// An item whenever something of ours may have changed, and when the engine came back. Never ends.
    fn events(&self) -> impl Stream<Item = ()>;
}

/// The objects on an engine.
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

/// Why the engine did not perform an action.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// The engine did not answer. Retry later.
    #[error("the container engine does not answer: {0}")]
    Unreachable(String),
    /// The engine answered with an error. Says why, where and what to do.
    #[error("{0}")]
    Refused(String),
    /// A foreign container uses what was to be removed. Says which, where the engine does.
    #[error("{0}")]
    InUse(String),
    /// Not enough disk space. Nothing was begun, or it was given up. Says how much is missing where.
    #[error("{0}")]
    Full(String),
}

/// The store of records that survive a power cut.
///
/// # Guarantees
/// - After [`Store::save`] returned, a power cut keeps the new record; before, the old one or the new one. Only
///   [`Record::Proved`] may be lost by a power cut within seconds.
/// - A record that cannot be read is moved aside under a new name and reported; the others are not affected.
pub trait Store {
    /// Loads every stored record.
    async fn load(&self) -> Result<StoredState, StoreError>;
    /// Saves a record, replacing the one of its kind.
    async fn save(&self, record: &Record) -> Result<(), StoreError>;
}

/// The stored records.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoredState {
    /// The device's identity.
    pub identity: Option<Identity>,
    /// The API keys.
    pub keys: Option<Keys>,
    /// The targets.
    pub targets: StoredTargets,
    /// Services that the user stopped.
    pub stopped: BTreeSet<ServiceKey>,
    /// Containers that wait for a reboot, each with the boot id under which that was first seen.
    pub awaiting: BTreeMap<ContainerId, String>,
    /// The start counter of a target that was never reached.
    pub trial: Option<StartCount>,
    /// Records that could not be read and were moved aside, described in words.
    pub complaints: Vec<String>,
}

/// The targets to keep across restarts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoredTargets {
    /// The last accepted target.
    pub wanted: Option<Target>,
    /// The last target that was reached. The same as `wanted`, most of the time.
    pub good: Option<Target>,
    /// Images that were pulled for a target, or were about to be.
    pub pulled: BTreeSet<ImageRef>,
}

/// One record to be saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// The device's identity.
    Identity(Identity),
    /// The API keys.
    Keys(Keys),
    /// The targets.
    Targets(Box<StoredTargets>),
    /// Services that the user stopped.
    Stopped(BTreeSet<ServiceKey>),
    /// Containers that wait for a reboot, each with the boot id under which that was first seen.
    Awaiting(BTreeMap<ContainerId, String>),
    /// The start counter of a target that was never reached.
    Trial(Option<StartCount>),
    /// The wanted target was reached: the good one is the one with this fingerprint. It costs no sync, so that a release
    /// costs few; if it is lost, the target is marked as reached again after the next start.
    Proved(String),
}

/// Why a record could not be saved or loaded. Says what, where and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct StoreError(pub String);

/// The update locks of apps: files in a directory that each service shares with the agent.
///
/// # Guarantees
/// - Taking is all or nothing: where another program holds one lock, none of ours is left behind.
/// - A lock that is not ours is never removed, except with [`Force::Yes`].
/// - Nothing is read or written outside the lock directories, whatever a container puts there.
/// - Whatever a service does to its directory holds up its own app, and no other.
/// - A lock made by a service is never taken for ours, whichever user the service runs as. Locks left behind by an earlier
///   supervisor are, and are released with ours.
pub trait Locks {
    /// Who holds the locks of these apps, where only the given services of each app can hold one. Apps without locks are left
    /// out. Locks of ours are reported for every service.
    async fn observe(&self, apps: &BTreeMap<AppId, LockHolders>) -> Result<BTreeMap<AppId, LockState>, LockError>;
    /// Apps whose services have lock directories, whether there is a lock in them or not.
    async fn apps(&self) -> Result<BTreeSet<AppId>, LockError>;
    /// Takes the locks of these services of an app.
    async fn take(&self, app: AppId, services: &BTreeSet<String>, force: Force) -> Result<(), LockError>;
    /// Releases every lock of ours of an app.
    async fn release(&self, app: AppId) -> Result<(), LockError>;
    /// Creates a service's lock directory, if missing. If the engine creates it first, the directory is the engine's, and the
    /// agent may lack access.
    async fn prepare(&self, key: &ServiceKey) -> Result<(), LockError>;
    /// Forgets any earlier hand-over notification of a service.
    async fn expect_hand_over(&self, key: &ServiceKey) -> Result<(), LockError>;
    /// Waits until a new container of the service notifies that it is ready to take over.
    async fn handed_over(&self, key: &ServiceKey) -> Result<(), LockError>;
    /// An item whenever a lock may have been released. Never ends.
    fn changes(&self) -> impl Stream<Item = ()>;
}

/// Why a lock could not be taken or released.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LockError {
    /// Another program holds the lock.
    #[error("Lockfile exists for {{ service: {} }} at {}", .0.service, .0.path)]
    Held(HeldLock),
    /// The file system returned an error. Says what, where and what to do.
    #[error("{0}")]
    Failed(String),
}

/// A source of targets: a file, a cloud.
pub trait Targets {
    /// Waits for a document that differs from the one returned last, and returns its target. The first one comes at once.
    ///
    /// Cancel-safe: no document is lost.
    async fn next(&self) -> Result<Target, TargetError>;
    /// Makes a waiting [`Targets::next`] look for a document now.
    fn look_again(&self);
}

/// Why a document is rejected: where it is, the path in it, and what was expected there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TargetError(pub String);

/// The machine's power.
///
/// # Guarantees
/// - Every call ends within five seconds, even if the called service hangs.
/// - No call but [`Power::end`] changes anything, and [`Power::end`] does so only if it is accepted.
/// - [`Power::notices`] reports every shutdown, by any requester, also one already in progress when the stream starts.
///   After [`InhibitorNotice::ShutdownBegins`] comes [`InhibitorNotice::ShutdownCancelled`], or the power goes off; where no
///   notice can come any more, the shutdown counts as cancelled.
/// - While the stream is polled, an announced shutdown waits for the [`Power::Inhibition`] to be dropped, for as long as the
///   machine grants. It may grant nothing: then the inhibitor is empty, and nothing waits.
///
/// # Caveats
/// - Between [`Power::can`] and [`Power::end`] anything may change.
/// - An error of [`Power::end`] after a lost reply may be wrong: then the notices show what happened.
pub trait Power {
    /// An inhibitor: delays an announced shutdown until it is dropped.
    type Inhibition;

    /// Whether the machine would accept this action from us, or who rejects it.
    async fn can(&self, ending: PowerAction) -> Result<(), PowerError>;
    /// Every inhibitor of a shutdown that is not ours.
    async fn inhibitors(&self) -> Result<Vec<Inhibitor>, PowerError>;
    /// The file that says that a host OS update is in progress, if there is one.
    async fn host_update(&self) -> Option<String>;
    /// The file that says that the host was reconfigured with effect from the next boot, if there is one and that boot has
    /// not happened.
    async fn boot_wanted(&self) -> Option<String>;
    /// Requests the action. `Ok`: it was accepted.
    async fn end(&self, ending: PowerAction) -> Result<(), PowerError>;
    /// Shutdown notices. Never ends.
    fn notices(&self) -> impl Stream<Item = InhibitorNotice<Self::Inhibition>>;
}

/// A notice about a shutdown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InhibitorNotice<H> {
    /// The shutdown is announced. Dropping the inhibitor says that the agent is ready for it.
    ShutdownBegins(H),
    /// The shutdown does not happen, and why.
    ShutdownCancelled(String),
}

/// An inhibitor of a shutdown, held by another program.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{who} (uid {uid}, process {pid}) holds it up: {why}")]
pub struct Inhibitor {
    /// The name the holder gave.
    pub who: String,
    /// The reason the holder gave.
    pub why: String,
    /// Whether it blocks the shutdown, or only delays it.
    pub mode: InhibitorMode,
    /// User id of the holder's process.
    pub uid: u32,
    /// Process id of the holder.
    pub pid: u32,
}

/// How an inhibitor holds up a shutdown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InhibitorMode {
    /// Blocks it.
    Block,
    /// Delays it by a few seconds.
    Delay,
}

/// Why the machine rejected a power action: who rejected it, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PowerError(pub String);

/// The machine's networks.
///
/// # Caveats
/// - [`Net::dial`] may take as long as the kernel and the name servers do. The caller sets the timeout.
pub trait Net {
    /// Opens a TCP connection, and closes it. `host` is a name or an address; any address of a name will do.
    ///
    /// Cancel-safe.
    async fn dial(&self, host: &str, port: u16) -> Result<(), NetError>;
    /// The VPN's state: at once, and whenever it may have changed. Never ends.
    fn vpn(&self) -> impl Stream<Item = VpnState>;
    /// Starts or stops the VPN service. A host without one needs no change.
    async fn steer_vpn(&self, to: VpnState) -> Result<UnitChange, NetError>;
}

/// The outcome of starting or stopping a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnitChange {
    /// The service was in that state already.
    Already,
    /// The start or stop was requested.
    Now,
}

/// Why a network operation failed. Says what, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NetError(pub String);

/// The host: its metrics, its addresses, and its configuration.
pub trait Host {
    /// The device's addresses: at once, and whenever they change. Never ends.
    fn addresses(&self) -> impl Stream<Item = HostAddresses>;
    /// The metrics that change all the time. Reads memory, not disks, so it does not block.
    fn figures(&self) -> HostMetrics;
    /// The host's configuration.
    async fn config(&self) -> Result<HostConfig, HostError>;
    /// Changes the configuration, and has the host use it. Each file is the old one or the new one, also after a power cut.
    ///
    /// Must not be called concurrently. May be dropped at any await: then part of the change was made.
    async fn configure(&self, patch: &HostPatch) -> Result<(), HostError>;
}

/// Why the host's configuration could not be read or changed. Says what, where and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct HostError(pub String);

/// The board's LEDs.
///
/// # Guarantees
/// - The original state of an LED is saved before the first change, where a crash does not lose it. [`Leds::put_back`] restores
///   exactly that, and [`Leds::restore`] does so for every LED, whether this process changed it or one that was killed. What
///   another program set meanwhile stays.
/// - Every call is cancel-safe, and the next one finds a consistent state.
/// - An LED that must not be driven, or that a driver or another program holds, is not touched.
///
/// # Caveats
/// - Success means that the driver accepted the change. Whether there is light, only a person can see.
pub trait Leds {
    /// Resolves a reference to an LED. Looked up again each time, for LEDs come and go.
    async fn find(&self, which: &LedRef) -> Result<LedInfo, LedError>;
    /// Every LED that may be driven except the one that identifies the device.
    async fn others(&self) -> Vec<LedInfo>;
    /// Begins a pattern, from its start, replacing the current one. Returns who plays it: with [`Player::Agent`], nothing
    /// shows until [`Leds::play`] plays it. `length`: when the pattern will be over, if known.
    async fn show(&self, which: &LedRef, pattern: &Pattern, length: Option<Duration>) -> Result<Player, LedError>;
    /// Plays a pattern that began at `since`, change by change. Returns only if the LED fails. Dropping it stops the pattern,
    /// and from then on it changes nothing.
    async fn play(&self, which: &LedRef, pattern: &Pattern, since: Instant) -> LedError;
    /// Restores an LED that `show` or `play` changed. Nothing to restore is fine.
    async fn put_back(&self, which: &LedRef) -> Result<(), LedError>;
    /// Restores every LED that was ever changed. Nothing to restore is fine.
    async fn restore(&self) -> Result<(), LedError>;
    /// Waits until the tool lock differs from `now`: a person tries LEDs out, or no longer does.
    async fn bench(&self, now: ToolLock) -> ToolLock;
}

/// Whether a person tries LEDs out, with a separate program. Until that ends, the agent drives none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToolLock {
    /// No such program runs.
    Free,
    /// Such a program runs.
    Taken,
}

/// Why an LED operation failed. Each says what, where and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LedError {
    /// There is no LED that may be driven.
    #[error("{0}")]
    None(String),
    /// The agent may not write to the LED.
    #[error("{0}")]
    Permission(String),
    /// The LED's file system is read-only.
    #[error("{0}")]
    ReadOnly(String),
    /// A driver or another program holds the LED. Says which.
    #[error("{0}")]
    Busy(String),
    /// The LED disappeared.
    #[error("{0}")]
    Vanished(String),
    /// The LED must not be driven: it is no LED, or what it shows would be missed.
    #[error("{0}")]
    Guarded(String),
    /// The kernel returned another error.
    #[error("{0}")]
    Failed(String),
}

/// The service manager (sd_notify).
///
/// # Guarantees
/// - Notifying never blocks, and nothing depends on its being received.
pub trait ServiceManager {
    /// Sends a notification.
    fn notify(&self, word: &Notification);
    /// The watchdog timeout, after which the manager restarts the agent. `None`: there is no watchdog.
    fn watchdog_timeout(&self) -> Option<Duration>;
}

/// A notification to the service manager.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notification {
    /// The agent has started, and the API answers.
    Ready,
    /// The current activity.
    Doing(String),
    /// Watchdog heartbeat.
    Alive,
    /// The agent was told to stop, and is stopping.
    Stopping,
}

/// Wall time. Durations are measured with [`tokio::time`].
pub trait Clock {
    /// Seconds since 1970, on the same clock as the engine's timestamps.
    fn now_secs(&self) -> i64;
    /// When the machine booted, in the same seconds.
    fn booted_secs(&self) -> i64;
    /// The boot id: no other boot has the same. Empty if unknown.
    fn boot_id(&self) -> String;
}

/// Randomness, good enough for keys.
pub trait Random {
    /// Random bytes.
    fn bytes(&self) -> [u8; 32];
}
