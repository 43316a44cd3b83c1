//! The one writer: makes what is into what is wanted.

use std::convert::Infallible;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::intent::Ask;
use crate::port::World;
use crate::state::{Device, Force, Secret, Status};

/// What the reconciler must be told before it starts.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Time between two looks at the engine when nothing happens.
    pub observe_every: Duration,
    /// Facts about the device. Its uuid is filled in from what was saved.
    pub device: Device,
    /// The uuid of a device that has none yet. `None`: one is made.
    pub uuid: Option<String>,
    /// The key of a device that has none yet. `None`: one is made.
    pub device_key: Option<Secret>,
    /// Whether update locks are overridden always, as configured.
    pub force: Force,
}

/// Reconciles for as long as it is polled.
pub async fn run(
    world: &impl World,
    inbox: mpsc::Receiver<Ask>,
    publish: watch::Sender<Status>,
    settings: Settings,
) -> Infallible {
    let _ = (world, inbox, publish, settings);
    std::future::pending().await
}
