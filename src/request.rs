//! Everything that may be asked of the device. Closed on purpose.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use crate::state::host::{HostConfig, HostPatch};
use crate::state::{
    AppId, Caller, ConnectivityCheck, ContainerId, Force, HeldLock, HeldPattern, IdentifyOutcome, LedRef, LedRefusal,
    LedStatus, Pattern, PowerAction, Secret, ServiceKey, Target,
};

/// A request, and where its answer goes.
#[derive(Debug)]
pub struct Request {
    /// What is asked.
    pub action: Action,
    /// Who is waiting. They may have left; what was begun is finished all the same.
    pub reply: oneshot::Sender<RequestResult>,
}

/// What may be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Make the device so.
    Target(Box<Target>),
    /// A document was not accepted; the target stays. Says why.
    Rejected(String),
    /// Look for a new target now, and apply what is wanted without waiting.
    Update {
        /// Whether update locks hold it up.
        locks: Force,
        /// Whether downloads under way are begun anew.
        running: InProgress,
    },
    /// Make the app's containers anew. Answered when they run.
    Restart(AppId, Force),
    /// Clear the app's volumes and bring it back. Answered when it runs.
    Purge(AppId, Force),
    /// Stop a service, and keep its container. `None`: the only one of the app.
    Stop(AppId, Option<String>, Force),
    /// Start a service that was stopped. `None`: the only one of the app.
    Start(AppId, Option<String>),
    /// Make the caller's key anew.
    RenewKey(Caller),
    /// Check whether the cloud is reached, or do not.
    CheckConnectivity(ConnectivityCheck),
    /// Tell how the host is configured.
    ReadHost,
    /// Configure the host so.
    ConfigureHost(Box<HostPatch>, Force),
    /// End the machine. Answered when it is certain that it may be asked for.
    Shutdown(PowerAction, Force),
    /// Nothing. Answered by a reconciler that gets on with its work.
    Probe,
}

/// What becomes of work under way when an update is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InProgress {
    /// It goes on.
    Keep,
    /// What can be dropped is dropped.
    Cancel,
}

/// What is answered.
pub type RequestResult = Result<Response, Refusal>;

/// What is answered when it was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Response {
    /// It was done.
    Done,
    /// It was done, and these services do not run: each with the reason, in one word.
    Except(Vec<(String, &'static str)>),
    /// It was done to this container.
    Container(ContainerId),
    /// The new key.
    Key(Secret),
    /// How the host is configured.
    Host(Box<HostConfig>),
}

/// Why a request was turned down, or came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The device has no such app.
    #[error("Application with ID {0} is not in the current state")]
    UnknownApp(AppId),
    /// The app has several services, and the request names none.
    #[error("Some v1 endpoints are only allowed on single-container apps")]
    SeveralServices,
    /// The service has no container.
    #[error("Service not found, a container must exist for this endpoint to work")]
    NoContainer,
    /// The service runs, but the target does not want it.
    #[error("Service does not exist in target release")]
    NotInTarget,
    /// The target says that the service is not to run.
    #[error("{0} is not to run: its target says `running: false`; change the target")]
    NotToRun(ServiceKey),
    /// Somebody holds an update lock.
    #[error("Updates are locked: service {} holds {}", .0.service, .0.path)]
    Locked(HeldLock),
    /// Somebody holds an update lock of this app, and the machine may not end.
    #[error("Lockfile exists for {{ appId: {}, service: {} }} at {}", .0, .1.service, .1.path)]
    LockedApp(AppId, HeldLock),
    /// The host's operating system is being updated, as this file says.
    #[error("Waiting for Host OS update to finish")]
    HostUpdate(String),
    /// The machine is about to end.
    #[error("the device is shutting down; nothing is changed any more")]
    ShuttingDown,
    /// It was begun, and failed. The target is still pursued.
    #[error("{0}")]
    Failed(String),
    /// There is no such key.
    #[error("the key is not one of this device's")]
    UnknownKey,
}

/// All that may be reached of the LED: what is asked of it, and what is known of it.
#[derive(Debug, Clone)]
pub struct LedHandle {
    /// Where requests go.
    pub requests: mpsc::Sender<LedRequest>,
    /// What may be read.
    pub status: watch::Receiver<LedStatus>,
}

/// What may be asked of the LED.
#[derive(Debug)]
pub enum LedRequest {
    /// Show which device this is, for 15 s from now. Answered as soon as the LED was told, or was not.
    Identify(oneshot::Sender<IdentifyOutcome>),
    /// Show this pattern with this LED, for so long from now, in place of one that was asked for before. Answered as soon as the
    /// LED was told, or was not.
    Hold(LedRef, Pattern, Duration, oneshot::Sender<Result<HeldPattern, LedRefusal>>),
    /// No longer show the pattern that was asked for. None is fine.
    Release(LedRef, oneshot::Sender<Result<(), LedRefusal>>),
    /// The cloud can be reached, or cannot.
    CloudReachability(CloudReachability),
}

/// Whether the device reaches its cloud.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloudReachability {
    /// It does, or nobody asks.
    Up,
    /// It does not.
    Down,
}
