//! Every request the device accepts. The set is closed on purpose.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use crate::sorted::{SortedMap, SortedSet};
use crate::state::cloud::{CloudAccount, DeviceTag};
use crate::state::history::Requester;
use crate::state::host::{HostConfig, HostPatch};
use crate::state::journal::JournalQuery;
use crate::state::lease::{Lease, LeaseTerms, MAX_PER_APP};
use crate::state::live_log::{LiveLogLine, LogQuery};
use crate::state::local_mode::LocalModeStatus;
use crate::state::metrics::AgentMetrics;
use crate::state::target_trial::TargetTrialStatus;
use crate::state::{
    AppId, Caller, ConnectivityCheck, ContainerId, EndedHold, Force, FreeLineInfo, HeldLock, HeldPattern, IdentifyOutcome,
    LedActivity, LedLevel, LedRef, LedRefusal, LedStatus, Pattern, PowerAction, Secret, ServiceKey, Target,
};

/// Where the response goes, or why the request was rejected. The requester may have hung up; what was begun is finished all
/// the same.
pub type Reply<T> = oneshot::Sender<Result<T, Refusal>>;

/// Services that do not run although a restart or a purge is done, each with the reason, in one word.
pub type NotStarted = Vec<(String, &'static str)>;

/// What may be requested. Each variant carries the channel of its own type of response.
#[derive(Debug)]
#[expect(missing_docs, reason = "the variant says what its fields are for; their types say the rest")]
pub enum Request {
    /// Set this target. No response.
    Target(Box<Target>),
    /// A target document was rejected; the target stays. No response.
    Rejected(RejectedDocument),
    /// The device's account in its cloud, now that it is registered; `None`: it has no cloud any more. Containers that may
    /// use the cloud are given its key. No response.
    Account(Option<Box<CloudAccount>>),
    /// The device is pinned on its preloaded release, or its cloud refuses that: it is not asked again. No response.
    PinSettled,
    /// Look for a new target now, and apply the wanted one without waiting for retries. `locks`: whether update locks are
    /// overridden; `running`: whether downloads in flight are restarted.
    Update { locks: Force, running: InProgress, reply: Reply<()> },
    /// Recreate the app's containers. The response comes when they run.
    Restart { app: AppId, force: Force, reply: Reply<NotStarted> },
    /// Clear the app's volumes and bring it back. The response comes when it runs.
    Purge { app: AppId, force: Force, reply: Reply<NotStarted> },
    /// Remove the volumes of these apps that no container has and the target does not name. `None`: of all apps. The response
    /// comes when they are gone.
    CleanUpVolumes { apps: Option<SortedSet<AppId>>, reply: Reply<()> },
    /// Recreate the container of a service. The response comes when the new one runs.
    RestartService { app: AppId, service: ServiceSelector, force: Force, reply: Reply<ContainerId> },
    /// Stop a service, and keep its container.
    Stop { app: AppId, service: ServiceSelector, force: Force, reply: Reply<ContainerId> },
    /// Start a service that was stopped.
    Start { app: AppId, service: ServiceSelector, reply: Reply<ContainerId> },
    /// Grant a lease of an app, or renew the owner's.
    Lease { app: AppId, terms: LeaseTerms, reply: Reply<Lease> },
    /// End the lease of this owner, or every lease of the app.
    EndLease { app: AppId, owner: Option<String>, reply: Reply<()> },
    /// Regenerate the caller's API key. The response is the new one.
    RenewKey { caller: Caller, reply: Reply<Secret> },
    /// Make a link to the page that logs in by itself. The response is its token.
    MakePageLink(Reply<Secret>),
    /// Open a link to the page. The response is the device's key; the link cannot be opened again.
    OpenPageLink { token: Secret, reply: Reply<Secret> },
    /// Enable or disable the connectivity check.
    CheckConnectivity { check: ConnectivityCheck, reply: Reply<()> },
    /// Switch local mode on or off, over what the target says. The response is what results.
    SwitchLocalMode { switch: LocalModeRequest, reply: Reply<LocalModeStatus> },
    /// Run the apps of this document in local mode. The response comes when the document is saved.
    PushTarget { document: String, force: Force, reply: Reply<()> },
    /// Run this document's target for so long, and return to the present one. The response comes when that is saved.
    TryTarget { document: String, length_secs: u32, reply: Reply<TargetTrialStatus> },
    /// Keep the target on trial.
    KeepTarget(Reply<TargetTrialStatus>),
    /// Return from the target on trial, or from the one that was kept, now.
    EndTargetTrial(Reply<()>),
    /// Read the host's configuration.
    ReadHost(Reply<HostConfig>),
    /// Change the host's configuration.
    ConfigureHost { patch: Box<HostPatch>, force: Force, reply: Reply<()> },
    /// Reboot or power off. The response comes once it is certain that it can be requested.
    Shutdown { ending: PowerAction, force: Force, reply: Reply<()> },
    /// An LED was blinked to identify the board, or could not be: for the history. No response.
    Identified(Option<String>),
    /// An LED or a line was held until now, or could not be: for the history. No response.
    Held(Box<EndedHold>),
    /// Changes nothing. A response shows that the reconciler makes progress.
    Probe(Reply<()>),
    /// A request, and who sent it: for the history.
    By(Requester, Box<Request>),
}

/// Which service of an app a request is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServiceSelector {
    /// The only one of the app.
    Only,
    /// The one with this name. In an app of one service any name selects it, as in the supervisors of today.
    Named(String),
    /// The one whose image has this number in the cloud. In an app of one service any number selects it.
    Image(i64),
}

/// A target document that is no target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectedDocument {
    /// Why it is rejected.
    pub why: String,
    /// The releases that it names: the commit, by the app's uuid.
    pub releases: SortedMap<String, String>,
}

impl Request {
    /// Responds with this refusal.
    pub fn reject(self, why: Refusal) {
        match self {
            Self::Target(_) | Self::Rejected(_) | Self::Account(_) | Self::PinSettled | Self::Identified(_) | Self::Held(_) => {
            }
            Self::By(_, request) => request.reject(why),
            Self::Restart { reply, .. } | Self::Purge { reply, .. } => respond(reply, Err(why)),
            Self::RestartService { reply, .. } | Self::Stop { reply, .. } | Self::Start { reply, .. } => {
                respond(reply, Err(why));
            }
            Self::Lease { reply, .. } => respond(reply, Err(why)),
            Self::RenewKey { reply, .. } | Self::MakePageLink(reply) | Self::OpenPageLink { reply, .. } => {
                respond(reply, Err(why));
            }
            Self::ReadHost(reply) => respond(reply, Err(why)),
            Self::SwitchLocalMode { reply, .. } => respond(reply, Err(why)),
            Self::TryTarget { reply, .. } | Self::KeepTarget(reply) => respond(reply, Err(why)),
            Self::Update { reply, .. }
            | Self::CleanUpVolumes { reply, .. }
            | Self::CheckConnectivity { reply, .. }
            | Self::ConfigureHost { reply, .. }
            | Self::Shutdown { reply, .. }
            | Self::PushTarget { reply, .. }
            | Self::EndLease { reply, .. }
            | Self::EndTargetTrial(reply)
            | Self::Probe(reply) => respond(reply, Err(why)),
        }
    }
}

/// Sends a response.
pub fn respond<T>(reply: Reply<T>, response: Result<T, Refusal>) {
    let _ = reply.send(response); // The requester may have hung up; the response is then of no use.
}

/// What an update request does to work in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InProgress {
    /// Work in flight goes on.
    Keep,
    /// Steps that can be cancelled are cancelled.
    Cancel,
}

/// How local mode is switched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LocalModeRequest {
    /// On, for this many seconds; without a length, until it is switched off or the target says something else.
    On {
        /// For how many seconds.
        length_secs: Option<u32>,
    },
    /// Off.
    Off,
}

/// Why a request was rejected, or failed.
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
    /// Local mode keeps the app.
    #[error("local mode keeps the app {0} stopped; leave local mode first")]
    Kept(AppId),
    /// Local mode is off, so that no target can be pushed.
    #[error("Target state can only set when device is in local mode")]
    NotInLocalMode,
    /// No target can be put on trial, kept or returned from, as things are. Says why, and what to do.
    #[error("{0}")]
    Trial(String),
    /// The document is no target.
    #[error("{0}")]
    Document(String),
    /// A service holds an update lock.
    #[error("Updates are locked: service {} holds {}", .0.service, .0.path)]
    Locked(HeldLock),
    /// A service holds an update lock of this app, so the machine may not shut down.
    #[error("Lockfile exists for {{ appId: {}, service: {} }} at {}", .0, .1.service, .1.path)]
    LockedApp(AppId, HeldLock),
    /// A lease holds the app's update lock. Of several, the one that ends last.
    #[error("App {0} is locked by {1}")]
    Leased(AppId, Lease),
    /// The agent holds the app's update locks, so no lease is granted.
    #[error("App {0} is being changed by the agent, under its update locks; ask again when that is done")]
    Busy(AppId),
    /// The app has as many leases as it can have.
    #[error("App {0} has {MAX_PER_APP} leases, the most there can be; end one, or wait until one ends")]
    TooManyLeases(AppId),
    /// A host OS update is in progress, as this file says.
    #[error("Waiting for Host OS update to finish")]
    HostUpdate(String),
    /// The machine is about to shut down.
    #[error("the device is shutting down; nothing is changed any more")]
    ShuttingDown,
    /// It was begun, and failed. The target is still pursued.
    #[error("{0}")]
    Failed(String),
    /// No link to the page has this token, or not any more.
    #[error("the link was used already, or is too old; `boardkeeper page` prints a new one")]
    UnknownLink,
    /// There is no such key.
    #[error("the key is not one of this device's")]
    UnknownKey,
}

/// A request about the device's tags, to the task that speaks to the cloud.
#[derive(Debug)]
pub enum TagRequest {
    /// The tags, as the cloud has them.
    Read(oneshot::Sender<Result<Vec<DeviceTag>, TagRefusal>>),
    /// Set these. Answered at once; the cloud gets them as soon as it can.
    Set(SortedMap<String, String>, oneshot::Sender<Result<(), TagRefusal>>),
}

/// Why tags were not read or set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TagRefusal {
    /// The device has no account in a cloud.
    #[error("the device has no cloud, or is not registered yet; `boardkeeper join` gives it one")]
    NoCloud,
    /// The cloud did not answer, or refused. Says why.
    #[error("{0}")]
    Failed(String),
}

impl TagRequest {
    /// Answers with this refusal.
    pub fn reject(self, why: TagRefusal) {
        // The requester may have hung up; the response is then of no use.
        match self {
            Self::Read(reply) => drop(reply.send(Err(why))),
            Self::Set(_, reply) => drop(reply.send(Err(why))),
        }
    }
}

/// A request to the task that serves streams. A stream ends when its receiver is dropped.
#[derive(Debug)]
pub enum StreamRequest {
    /// The lines of containers and of the agent.
    Logs {
        /// What of them.
        query: LogQuery,
        /// Where the lines come from.
        reply: oneshot::Sender<Result<mpsc::Receiver<Arc<LiveLogLine>>, StreamRefusal>>,
    },
    /// What the agent counted of itself.
    Metrics(oneshot::Sender<Result<AgentMetrics, StreamRefusal>>),
    /// The host's journal.
    Journal {
        /// What of it.
        query: JournalQuery,
        /// Where its parts come from.
        reply: oneshot::Sender<Result<mpsc::Receiver<Vec<u8>>, StreamRefusal>>,
    },
}

/// Why a stream was not begun.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StreamRefusal {
    /// So many other clients are sent such a stream.
    #[error("{0} other clients are sent such a stream already; end one of them and ask again")]
    TooMany(usize),
    /// There is nothing to be sent. Says why, and what to do.
    #[error("{0}")]
    Failed(String),
}

/// A handle to the LED task: requests to it, and its status.
#[derive(Debug, Clone)]
pub struct LedHandle {
    /// Where requests go.
    pub requests: mpsc::Sender<LedRequest>,
    /// The published status.
    pub status: watch::Receiver<LedStatus>,
}

/// A request to the LED task.
#[derive(Debug)]
#[expect(missing_docs, reason = "the variant says what its fields are for; their types say the rest")]
pub enum LedRequest {
    /// Show which device this is, for 15 s from now. Answered as soon as the LED was set, or could not be.
    Identify(oneshot::Sender<IdentifyOutcome>),
    /// Show this pattern on this LED, for this long from now, in place of one requested before. Answered as soon as the LED
    /// was set, or could not be.
    Hold {
        which: LedRef,
        pattern: Pattern,
        length: Duration,
        by: Option<Requester>,
        reply: oneshot::Sender<Result<HeldPattern, LedRefusal>>,
    },
    /// List the GPIO lines that the board leaves to its owner, as they are now, with what each shows.
    Lines(oneshot::Sender<Result<Vec<(FreeLineInfo, LedActivity)>, LedRefusal>>),
    /// End the requested pattern. None is fine.
    Release { which: LedRef, by: Option<Requester>, reply: oneshot::Sender<Result<(), LedRefusal>> },
    /// What each LED shows at this moment, by name. Those whose driver does not say are left out.
    Look(oneshot::Sender<Vec<(String, LedLevel)>>),
    /// Whether the cloud is reached has changed.
    CloudReachability(CloudReachability),
}

/// Whether the device reaches its cloud.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloudReachability {
    /// The cloud is reached, or the check is off.
    Up,
    /// The cloud is not reached.
    Down,
}
