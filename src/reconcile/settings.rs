//! What the reconciler is started with.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{broadcast, watch};

use crate::sorted::SortedSet;
use crate::state::history::History;
use crate::state::keys::DeviceAction;
use crate::state::window::UpdateWindow;
use crate::state::{Device, DeviceEvent, Force, Secret, Status};

/// What the reconciler needs before it starts.
#[derive(Debug, Clone)]
pub struct ReconcilerSettings {
    /// Full resync interval, when nothing triggers an earlier observation.
    pub observe_every: Duration,
    /// Facts about the device. Its uuid is replaced by the stored one.
    pub device: Device,
    /// The uuid for a device that has none yet. `None`: a random one is generated.
    pub uuid: Option<String>,
    /// The key for a device that has none yet. `None`: a random one is generated.
    pub device_key: Option<Secret>,
    /// Whether update locks are always overridden, as configured.
    pub force: Force,
    /// When updates may disturb services that have no window of their own, as configured. `None`: at any time.
    pub update_window: Option<UpdateWindow>,
    /// Whether an app goes back to its last good release when a new one fails, where neither its labels nor the target say.
    pub rollback: bool,
    /// Device-wide actions that the services' API keys may be used for.
    pub service_verbs: SortedSet<DeviceAction>,
}

/// Where the reconciler publishes what other tasks read.
#[derive(Debug)]
pub struct ReconcilerPublishers {
    /// How things are.
    pub status: watch::Sender<Status>,
    /// What happens.
    pub events: broadcast::Sender<Arc<DeviceEvent>>,
    /// What was done and seen, and why.
    pub history: watch::Sender<History>,
}
