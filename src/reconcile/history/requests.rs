//! The words of a request, for the history.

use crate::plan::Trigger;
use crate::request::{LocalModeRequest, Request, ServiceSelector};
use crate::state::{AppId, ConnectivityCheck, Force, PowerAction};

/// What is entered of a request.
pub(super) struct RequestWords {
    /// In words.
    pub(super) text: String,
    /// The app it is about.
    pub(super) app: Option<AppId>,
    /// The service it is about, if it names one.
    pub(super) service: Option<String>,
    /// What it brings about later.
    pub(super) trigger: Option<Trigger>,
}

/// The words of a request that is to change something. `None`: it changes nothing, or its effect has an entry of its own.
pub(super) fn words(request: &Request) -> Option<RequestWords> {
    let forced = |text: &str, force: &Force| match force {
        Force::Yes => format!("{text}, overriding locks"),
        Force::No => text.to_owned(),
    };
    let device = |text: String| Some(RequestWords { text, app: None, service: None, trigger: None });
    let of_app = |app: &AppId, text: String, trigger| Some(RequestWords { text, app: Some(*app), service: None, trigger });
    let of_service = |app: &AppId, selector: &ServiceSelector, text: String, trigger| {
        let service = match selector {
            ServiceSelector::Named(name) => Some(name.clone()),
            ServiceSelector::Only | ServiceSelector::Image(_) => None,
        };
        Some(RequestWords { text, app: Some(*app), service, trigger: Some(trigger) })
    };
    match request {
        Request::Update { locks, .. } => device(forced("update", locks)),
        Request::Restart { app, force, .. } => of_app(app, forced("restart", force), Some(Trigger::Restart)),
        Request::Purge { app, force, .. } => of_app(app, forced("purge", force), Some(Trigger::Purge)),
        Request::CleanUpVolumes { .. } => device("clean up volumes".to_owned()),
        Request::RestartService { app, service, force, .. } => {
            of_service(app, service, forced("restart", force), Trigger::Restart)
        }
        Request::Stop { app, service, force, .. } => of_service(app, service, forced("stop", force), Trigger::Stop),
        Request::Start { app, service, .. } => of_service(app, service, "start".to_owned(), Trigger::Start),
        Request::EndLease { app, .. } => of_app(app, "end leases".to_owned(), None),
        Request::RenewKey { .. } => device("make a key anew".to_owned()),
        Request::MakePageLink(_) => device("make a link to the page".to_owned()),
        Request::OpenPageLink { .. } => device("open a link to the page".to_owned()),
        Request::CheckConnectivity { check: ConnectivityCheck::On, .. } => device("check the connectivity".to_owned()),
        Request::CheckConnectivity { check: ConnectivityCheck::Off, .. } => device("check no connectivity".to_owned()),
        Request::SwitchLocalMode { switch: LocalModeRequest::On { .. }, .. } => device("local mode on".to_owned()),
        Request::SwitchLocalMode { switch: LocalModeRequest::Off, .. } => device("local mode off".to_owned()),
        Request::PushTarget { .. } => device("push a target in local mode".to_owned()),
        Request::TryTarget { length_secs, .. } => device(format!("try a target for {length_secs} s")),
        Request::KeepTarget(_) => device("keep the target on trial".to_owned()),
        Request::EndTargetTrial(_) => device("go back from the target on trial".to_owned()),
        Request::ConfigureHost { .. } => device("configure the host".to_owned()),
        Request::Shutdown { ending: PowerAction::Reboot, force, .. } => device(forced("reboot", force)),
        Request::Shutdown { ending: PowerAction::PowerOff, force, .. } => device(forced("shutdown", force)),
        // Leases are renewed all the time; they stand in the state.
        Request::Lease { .. }
        | Request::Target(_)
        | Request::Rejected(_)
        | Request::Account(_)
        | Request::PinSettled
        | Request::ReadHost(_)
        | Request::Identified(_)
        | Request::Held(_)
        | Request::Probe(_)
        | Request::By(..) => None,
    }
}
