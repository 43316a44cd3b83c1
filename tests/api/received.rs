//! What the fake reconciler of the tests got.

use boardkeeper::request::{InProgress, LocalModeRequest, Request, ServiceSelector};
use boardkeeper::sorted::SortedSet;
use boardkeeper::state::host::HostPatch;
use boardkeeper::state::lease::LeaseTerms;
use boardkeeper::state::{AppId, Caller, ConnectivityCheck, Force, PowerAction};

/// A request that the reconciler got, without its reply channel.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Received {
    Update { locks: Force, running: InProgress },
    Restart(AppId, Force),
    Purge(AppId, Force),
    CleanUpVolumes(Option<SortedSet<AppId>>),
    Stop(AppId, Force),
    Start(AppId),
    RestartService(AppId, ServiceSelector, Force),
    StopService(AppId, ServiceSelector, Force),
    StartService(AppId, ServiceSelector),
    Lease(AppId, LeaseTerms),
    EndLease(AppId, Option<String>),
    RenewKey(Caller),
    MakePageLink,
    OpenPageLink,
    CheckConnectivity(ConnectivityCheck),
    ReadHost,
    ConfigureHost(Box<HostPatch>, Force),
    Shutdown(PowerAction, Force),
    SwitchLocalMode(LocalModeRequest),
    PushTarget(String, Force),
    TryTarget(String, u32),
    KeepTarget,
    EndTargetTrial,
}

impl Received {
    pub(crate) fn of(request: &Request) -> Self {
        match request {
            Request::By(_, request) => Self::of(request),
            Request::Identified(_) | Request::Held(_) => unreachable!("it is for the history"),
            Request::Update { locks, running, .. } => Self::Update { locks: *locks, running: *running },
            Request::Restart { app, force, .. } => Self::Restart(*app, *force),
            Request::Purge { app, force, .. } => Self::Purge(*app, *force),
            Request::CleanUpVolumes { apps, .. } => Self::CleanUpVolumes(apps.clone()),
            Request::Stop { app, service: ServiceSelector::Only, force, .. } => Self::Stop(*app, *force),
            Request::Start { app, service: ServiceSelector::Only, .. } => Self::Start(*app),
            Request::RestartService { app, service, force, .. } => Self::RestartService(*app, service.clone(), *force),
            Request::Stop { app, service, force, .. } => Self::StopService(*app, service.clone(), *force),
            Request::Start { app, service, .. } => Self::StartService(*app, service.clone()),
            Request::Lease { app, terms, .. } => Self::Lease(*app, terms.clone()),
            Request::EndLease { app, owner, .. } => Self::EndLease(*app, owner.clone()),
            Request::RenewKey { caller, .. } => Self::RenewKey(caller.clone()),
            Request::MakePageLink(_) => Self::MakePageLink,
            Request::OpenPageLink { .. } => Self::OpenPageLink,
            Request::CheckConnectivity { check, .. } => Self::CheckConnectivity(*check),
            Request::ReadHost(_) => Self::ReadHost,
            Request::ConfigureHost { patch, force, .. } => Self::ConfigureHost(patch.clone(), *force),
            Request::Shutdown { ending, force, .. } => Self::Shutdown(*ending, *force),
            Request::SwitchLocalMode { switch, .. } => Self::SwitchLocalMode(*switch),
            Request::TryTarget { document, length_secs, .. } => Self::TryTarget(document.clone(), *length_secs),
            Request::KeepTarget(_) => Self::KeepTarget,
            Request::EndTargetTrial(_) => Self::EndTargetTrial,
            Request::PushTarget { document, force, .. } => Self::PushTarget(document.clone(), *force),
            Request::Target(_) | Request::Rejected(_) | Request::Account(_) | Request::PinSettled | Request::Probe(_) => {
                panic!("not asked over HTTP: {request:?}")
            }
        }
    }
}
