//! The ports: everything outside the process, as traits.
//!
//! The real implementations are in `linux`, the simulated ones in `tests/sim`; `tests/port` holds both to the same contract.
//! A port says what the agent needs, in the agent's terms; it does not say what the outside offers. If a trait here starts to
//! look like the Docker API, it is wrong.
//!
//! Futures are not `Send`: the agent is one thread.

#![expect(async_fn_in_trait, reason = "the agent is one thread, so nothing need be Send")]

mod clock;
mod cloud;
mod engine;
mod file_error;
mod history;
mod host;
mod leds;
mod locks;
mod manager;
mod net;
mod power;
mod store;
mod targets;

pub use clock::{Clock, Random};
pub use cloud::{Cloud, CloudError, TargetAnswer};
pub use engine::{Engine, EngineError, EngineSnapshot};
pub use file_error::FileError;
pub use history::HistoryStore;
pub use host::{Host, HostError, JournalChange};
pub use leds::{LedError, Leds, ToolLock};
pub use locks::{LockError, Locks};
pub use manager::{Notification, ServiceManager};
pub use net::{Net, NetError, UnitChange};
pub use power::{Inhibitor, InhibitorMode, InhibitorNotice, Power, PowerError};
pub use store::{BootWindow, CursorCopy, Record, Store, StoreError, StoredLeases, StoredState, StoredTargets, TargetTag};
pub use targets::Targets;

/// All ports, behind one type parameter.
pub trait World {
    /// The container engine.
    type Engine: Engine;
    /// The store of records that survive a power cut, and of the history.
    type Store: Store + HistoryStore;
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
    /// The cloud.
    type Cloud: Cloud;

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
    fn random(&self) -> &Self::Random;
    /// The machine's networks.
    fn net(&self) -> &Self::Net;
    /// The host.
    fn host(&self) -> &Self::Host;
    /// The cloud.
    fn cloud(&self) -> &Self::Cloud;
}
