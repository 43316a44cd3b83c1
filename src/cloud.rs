//! The cloud: registers the device, polls for its target, reports its state and uploads its logs.
//!
//! The reconciler knows nothing of the cloud. Targets reach it as requests, like those of a file; reports are made from the
//! status that it publishes, and logs from the engine and from its events.
//!
//! ```text
//! identity    the account: uuid and key, saved before the first request      cloud/identity.rs
//! provision   registers the device                                           cloud/provision.rs
//! poll        requests the target                                            cloud/poll.rs
//! report      reports what is new of the state                               cloud/report.rs
//! logs        uploads the lines of containers and of the agent               cloud/logs.rs
//! vpn         hands the VPN's configuration to the host                      cloud/vpn.rs
//! pace        when requests may be sent: one back-off for all                cloud/pace.rs
//! jitter      chance for waits                                               cloud/jitter.rs
//! ```

mod jitter;
mod logs;
mod pace;
mod poll;
mod report;
mod vpn;

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;

use tokio::sync::{broadcast, mpsc, watch};

use crate::port::World;
use crate::request::Request;
use crate::state::cloud::CloudStatus;
use crate::state::{DeviceEvent, Status};

pub use poll::PollSettings;
pub use report::farewell::wait_for_farewell;

/// What the cloud's loops need before they start.
#[derive(Debug, Clone, Default)]
pub struct CloudSettings {
    /// How the target is requested.
    pub poll: PollSettings,
}

/// The channels to the rest of the agent.
#[derive(Debug)]
pub struct CloudLinks {
    /// What the reconciler publishes.
    pub status: watch::Receiver<Status>,
    /// What it does.
    pub events: broadcast::Receiver<Arc<DeviceEvent>>,
    /// Where targets go.
    pub requests: mpsc::Sender<Request>,
    /// What became of the requests to the cloud.
    pub publish: watch::Sender<CloudStatus>,
}

/// Keeps in touch with the cloud for as long as it is polled.
pub async fn run<W: World>(_world: &W, _settings: CloudSettings, _links: CloudLinks) -> Infallible {
    pending().await
}
