//! What the reconciler tells everybody else.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::time::Instant;

use crate::state::host::HostMetrics;
use crate::state::{
    Access, Connectivity, ConnectivityCheck, Current, Device, ImageRef, Overrides, ServiceKey, ShutdownStatus, StartCount,
    Target,
};

/// Everything that may be read of the agent. The API, the LED and the reports make their own pictures of it. What is large in it
/// is shared with the reconciler and with whoever keeps a copy, not copied at every step.
#[derive(Debug, Clone, Default)]
pub struct Status {
    /// The device.
    pub device: Device,
    /// Whose key opens what.
    pub access: Access,
    /// What is wanted, completed with what every container is given. `None`: nobody has said yet.
    pub target: Option<Arc<Target>>,
    /// What people asked for on top.
    pub overrides: Overrides,
    /// What is, as last seen.
    pub current: Arc<Current>,
    /// Whether the engine answers.
    pub engine: EngineState,
    /// When the reconciler last finished looking, whatever it saw. It does at least every few minutes.
    pub looked: Option<Instant>,
    /// What the reconciler is doing.
    pub activity: Activity,
    /// Whether the machine is about to end.
    pub shutdown: ShutdownStatus,
    /// Steps being taken.
    pub doing: Vec<StepInProgress>,
    /// What the plan waits for, each in words.
    pub waiting: Vec<String>,
    /// Services that are not started because of others that they depend on, each with what it waits for and why that does not come.
    pub held_back: BTreeMap<ServiceKey, String>,
    /// What went wrong and is not yet mended, newest last.
    pub troubles: Vec<Trouble>,
    /// Why the last document was not accepted. The last good target stays.
    pub rejected: Option<String>,
    /// The target that was not reached yet, and how often the agent was started with it; or the one that is refused.
    pub trial: Option<StartCount>,
    /// What was saved and could not be read at start, and where it was put.
    pub complaints: Vec<String>,
    /// How far each pull is, in per cent over all its layers.
    pub progress: BTreeMap<ImageRef, u8>,
    /// There is an update that is not applied yet.
    pub update_pending: bool,
    /// Every image of that update is here.
    pub update_downloaded: bool,
    /// It was tried and is held up by a lock; or a step that an app needs fails, or a dependency does not become what a service waits for, whether
    /// or not that belongs to an update.
    pub update_failed: bool,
    /// Whether the device reaches its cloud. Told by `connectivity`, and by nobody else.
    pub connectivity: Connectivity,
    /// Whether that is checked.
    pub check: ConnectivityCheck,
    /// What the host measures, as of the last look.
    pub figures: HostMetrics,
}

/// A step being taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepInProgress {
    /// What it does.
    pub kind: StepKind,
    /// What it does, and to what, in words.
    pub what: String,
    /// The service it concerns, when it concerns one.
    pub service: Option<ServiceKey>,
}

/// The kinds of step the device's one-word status tells apart.
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
    /// Not asked yet.
    #[default]
    Unknown,
    /// It answers.
    Up,
    /// It does not.
    Down {
        /// Why, in words.
        why: String,
        /// Since when.
        since: Instant,
    },
}

/// What the reconciler is doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Activity {
    /// Nobody has said yet what is wanted.
    #[default]
    Waiting,
    /// It makes steps towards the target, or waits to make one.
    Applying,
    /// What is, is what is wanted.
    Settled,
}

/// Something that went wrong and is tried again, or that waits for its owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// What the step does.
    pub kind: StepKind,
    /// The step that failed, in words.
    pub what: String,
    /// Why, and what to do about it.
    pub why: String,
    /// How often in a row.
    pub failures: u32,
    /// When it is tried again. `None`: it is for its owner to change.
    pub again: Option<Instant>,
}
