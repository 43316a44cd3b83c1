//! What the reconciler publishes to the rest of the agent.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::time::Instant;

use crate::state::host::HostMetrics;
use crate::state::{
    Access, Connectivity, ConnectivityCheck, Current, Device, ImageRef, Overrides, ServiceKey, ShutdownStatus, StartCount,
    Target,
};

/// Everything that can be read of the agent. The API, the LED and the reports derive their own views from it. Its large parts
/// are shared with the reconciler and with readers that keep a copy, and not copied at every step.
#[derive(Debug, Clone, Default)]
pub struct Status {
    /// The device.
    pub device: Device,
    /// The API keys, and what each authorizes.
    pub access: Access,
    /// The target, completed with what every container is given. `None`: no target was received yet.
    pub target: Option<Arc<Target>>,
    /// What users requested on top of the target.
    pub overrides: Overrides,
    /// The last observation of the machine.
    pub current: Arc<Current>,
    /// Whether the engine answers.
    pub engine: EngineState,
    /// When the reconciler last finished an observation, even a failed one. It does so at least every few minutes.
    pub looked: Option<Instant>,
    /// What the reconciler is doing.
    pub activity: Activity,
    /// Whether a shutdown is in progress.
    pub shutdown: ShutdownStatus,
    /// Steps in flight.
    pub doing: Vec<StepInProgress>,
    /// What the plan waits for, in human-readable text.
    pub waiting: Vec<String>,
    /// Services that are held back by their dependencies, each with what it waits for and why that condition is not met.
    pub held_back: BTreeMap<ServiceKey, String>,
    /// Failures that are not resolved yet, newest last.
    pub troubles: Vec<Trouble>,
    /// Why the last document was rejected. The last good target stays in force.
    pub rejected: Option<String>,
    /// The target that was not reached yet, and how often the agent was started with it; or the one that is refused.
    pub trial: Option<StartCount>,
    /// Saved state that could not be read at startup, and where it was put.
    pub complaints: Vec<String>,
    /// Progress of each pull, in per cent over all its layers.
    pub progress: BTreeMap<ImageRef, u8>,
    /// There is an update that is not applied yet.
    pub update_pending: bool,
    /// Every image of that update is pulled.
    pub update_downloaded: bool,
    /// The update was tried and is blocked by a lock; or a step that an app needs fails, or a dependency does not meet the
    /// condition that a service waits for, whether or not that belongs to an update.
    pub update_failed: bool,
    /// Whether the device reaches its cloud. Written by `connectivity` only.
    pub connectivity: Connectivity,
    /// Whether connectivity is checked.
    pub check: ConnectivityCheck,
    /// Metrics of the host, as of the last observation.
    pub figures: HostMetrics,
}

/// A step in flight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepInProgress {
    /// The kind of step.
    pub kind: StepKind,
    /// What it does, and to what, in human-readable text.
    pub what: String,
    /// The service it concerns, when it concerns one.
    pub service: Option<ServiceKey>,
}

/// The kinds of step that the device's one-word status distinguishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepKind {
    /// An image is pulled.
    Downloading,
    /// A container, a network or a volume is created, or a container is renamed or connected.
    Installing,
    /// A container is started.
    Starting,
    /// A container is stopped or removed.
    Stopping,
    /// Networks, volumes, images, locks.
    Housekeeping,
}

/// Whether the engine answers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum EngineState {
    /// The engine was not asked yet.
    #[default]
    Unknown,
    /// The engine answers.
    Up,
    /// The engine does not answer.
    Down {
        /// The reason, in human-readable text.
        why: String,
        /// Since when.
        since: Instant,
    },
}

/// What the reconciler is doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Activity {
    /// No target was received yet.
    #[default]
    Waiting,
    /// It executes steps towards the target, or waits to execute one.
    Applying,
    /// The machine matches the target.
    Settled,
}

/// A failure that is retried, or that waits for the owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// The kind of the step that failed.
    pub kind: StepKind,
    /// The step that failed, in human-readable text.
    pub what: String,
    /// Why, and what to do about it.
    pub why: String,
    /// Failures in a row.
    pub failures: u32,
    /// When the step is retried. `None`: the owner has to change something.
    pub again: Option<Instant>,
}
