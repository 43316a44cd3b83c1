//! The table of routes, and how a path is found in it.

use axum::http::Method;

use crate::api::auth::Callers;
use crate::api::form;
use crate::state::keys::DeviceVerb;
use crate::state::{Access, Ending};

/// Something that may be asked over HTTP.
#[derive(Debug)]
pub struct Route {
    /// Its method. `HEAD` is served wherever `GET` is.
    pub method: Method,
    /// Its path. `{appId}` and its like stand for any one segment.
    pub path: &'static str,
    /// What it does.
    pub verb: Verb,
}

/// What a route does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Says that the agent is there.
    Ping,
    /// Says whether the agent works.
    Healthy,
    /// Looks for a new target.
    Update,
    /// Ends the machine.
    End(Ending),
    /// Makes an app's containers anew.
    Restart,
    /// Clears an app's volumes.
    Purge,
    /// Shows the container of an app.
    App,
    /// Stops the service of an app.
    Stop,
    /// Starts the service of an app.
    Start,
    /// Shows the device.
    Device,
    /// Checks whether the cloud is reached.
    CheckOn,
    /// Does not.
    CheckOff,
    /// Shows the host's name and proxy.
    HostConfig,
    /// Changes them.
    ConfigureHost,
    /// Makes the caller's key anew.
    RegenerateKey,
    /// Shows with an LED which device this is.
    Blink,
    /// Shows what the agent knows and does.
    State,
    /// Shows the LEDs, and who has them.
    Leds,
    /// Holds a pattern with a LED.
    Hold,
    /// No longer does.
    LetGo,
    /// Shows the board.
    Board,
    /// Describes all this.
    OpenApi,
    /// Says that it is not part of this release.
    NotYet,
}

static ROUTES: &[Route] = &[
    Route { method: Method::GET, path: "/ping", verb: Verb::Ping },
    Route { method: Method::POST, path: "/v1/blink", verb: Verb::Blink },
    Route { method: Method::POST, path: "/v1/update", verb: Verb::Update },
    Route { method: Method::POST, path: "/v1/reboot", verb: Verb::End(Ending::Reboot) },
    Route { method: Method::POST, path: "/v1/shutdown", verb: Verb::End(Ending::PowerOff) },
    Route { method: Method::POST, path: "/v1/purge", verb: Verb::Purge },
    Route { method: Method::POST, path: "/v1/restart", verb: Verb::Restart },
    Route { method: Method::POST, path: "/v1/tcp-ping", verb: Verb::CheckOn },
    Route { method: Method::DELETE, path: "/v1/tcp-ping", verb: Verb::CheckOff },
    Route { method: Method::POST, path: "/v1/regenerate-api-key", verb: Verb::RegenerateKey },
    Route { method: Method::GET, path: "/v1/device", verb: Verb::Device },
    Route { method: Method::POST, path: "/v1/apps/{appId}/stop", verb: Verb::Stop },
    Route { method: Method::POST, path: "/v1/apps/{appId}/start", verb: Verb::Start },
    Route { method: Method::GET, path: "/v1/apps/{appId}", verb: Verb::App },
    // Of later supervisors.
    Route { method: Method::GET, path: "/v1/healthy", verb: Verb::Healthy },
    Route { method: Method::GET, path: "/v1/device/host-config", verb: Verb::HostConfig },
    Route { method: Method::PATCH, path: "/v1/device/host-config", verb: Verb::ConfigureHost },
    Route { method: Method::POST, path: "/v2/applications/{appId}/restart-service", verb: Verb::NotYet },
    Route { method: Method::POST, path: "/v2/applications/{appId}/stop-service", verb: Verb::NotYet },
    Route { method: Method::POST, path: "/v2/applications/{appId}/start-service", verb: Verb::NotYet },
    Route { method: Method::POST, path: "/v2/applications/{appId}/restart", verb: Verb::NotYet },
    Route { method: Method::POST, path: "/v2/applications/{appId}/purge", verb: Verb::NotYet },
    Route { method: Method::GET, path: "/v2/applications/state", verb: Verb::NotYet },
    Route { method: Method::GET, path: "/v2/applications/{appId}/state", verb: Verb::NotYet },
    Route { method: Method::GET, path: "/v2/state/status", verb: Verb::NotYet },
    Route { method: Method::GET, path: "/v2/containerId", verb: Verb::NotYet },
    Route { method: Method::GET, path: "/v2/local/target-state", verb: Verb::NotYet },
    Route { method: Method::POST, path: "/v2/local/target-state", verb: Verb::NotYet },
    Route { method: Method::GET, path: "/v2/local/device-info", verb: Verb::NotYet },
    Route { method: Method::GET, path: "/v2/local/logs", verb: Verb::NotYet },
    Route { method: Method::GET, path: "/v2/version", verb: Verb::NotYet },
    Route { method: Method::GET, path: "/v2/device/name", verb: Verb::NotYet },
    Route { method: Method::GET, path: "/v2/device/tags", verb: Verb::NotYet },
    Route { method: Method::PATCH, path: "/v2/device/tags", verb: Verb::NotYet },
    Route { method: Method::GET, path: "/v2/device/vpn", verb: Verb::NotYet },
    Route { method: Method::GET, path: "/v2/cleanup-volumes", verb: Verb::NotYet },
    Route { method: Method::POST, path: "/v2/journal-logs", verb: Verb::NotYet },
    // Our own.
    Route { method: Method::GET, path: "/agent/v1/state", verb: Verb::State },
    Route { method: Method::GET, path: "/agent/v1/openapi.json", verb: Verb::OpenApi },
    Route { method: Method::GET, path: "/agent/v1/leds", verb: Verb::Leds },
    Route { method: Method::POST, path: "/agent/v1/leds/{name}/pattern", verb: Verb::Hold },
    Route { method: Method::DELETE, path: "/agent/v1/leds/{name}/pattern", verb: Verb::LetGo },
    Route { method: Method::GET, path: "/agent/v1/board", verb: Verb::Board },
];

/// Every route, in the order of the published reference.
#[must_use]
pub fn routes() -> &'static [Route] {
    ROUTES
}

/// What a path leads to.
pub(super) enum Found {
    /// This route, with what stands in the place of its parameter.
    Route(&'static Route, String),
    /// Only other methods do, these.
    OtherMethods(String),
    /// Nothing.
    Nothing,
}

pub(super) fn find(method: &Method, path: &str) -> Found {
    let method = if *method == Method::HEAD { &Method::GET } else { method };
    let mut others = Vec::new();
    for route in ROUTES {
        let Some(param) = route.leads(path) else { continue };
        if route.method == *method {
            return Found::Route(route, param);
        }
        others.push(if route.method == Method::GET { "GET, HEAD" } else { route.method.as_str() });
    }
    if others.is_empty() { Found::Nothing } else { Found::OtherMethods(others.join(", ")) }
}

impl Route {
    /// Whether this path is it, and what stands in the place of its parameter.
    fn leads(&self, path: &str) -> Option<String> {
        let path = path.strip_prefix('/')?;
        let mut given = path.strip_suffix('/').unwrap_or(path).split('/');
        let mut param = String::new();
        for wanted in self.path.split('/').skip(1) {
            let given = given.next()?;
            if wanted.starts_with('{') && !given.is_empty() {
                param = form::text(given.as_bytes());
            } else if !wanted.eq_ignore_ascii_case(given) {
                return None;
            }
        }
        given.next().is_none().then_some(param)
    }
}

impl Verb {
    /// Whether its answer may be long in coming: it waits for a body, or for something to be done.
    pub(super) const fn waits(self) -> bool {
        match self {
            Self::Update
            | Self::End(_)
            | Self::Restart
            | Self::Purge
            | Self::Stop
            | Self::Start
            | Self::CheckOn
            | Self::CheckOff
            | Self::HostConfig
            | Self::ConfigureHost
            | Self::RegenerateKey
            | Self::Blink
            | Self::Hold
            | Self::LetGo => true,
            Self::Ping
            | Self::Healthy
            | Self::App
            | Self::Device
            | Self::State
            | Self::Leds
            | Self::Board
            | Self::OpenApi
            | Self::NotYet => false,
        }
    }

    /// Whether these callers may use it at all. Verbs that concern one app look at which app themselves.
    pub(super) fn is_open_to(self, callers: &Callers, access: &Access) -> bool {
        self.of_device().is_none_or(|verb| callers.may(verb, access))
    }

    /// The verb that concerns the whole device, where it is one.
    const fn of_device(self) -> Option<DeviceVerb> {
        match self {
            Self::Update => Some(DeviceVerb::Update),
            Self::Blink | Self::Hold | Self::LetGo => Some(DeviceVerb::Blink),
            Self::End(Ending::Reboot) => Some(DeviceVerb::Reboot),
            Self::End(Ending::PowerOff) => Some(DeviceVerb::Shutdown),
            Self::CheckOn | Self::CheckOff => Some(DeviceVerb::TcpPing),
            Self::ConfigureHost => Some(DeviceVerb::HostConfig),
            Self::Ping
            | Self::Healthy
            | Self::Restart
            | Self::Purge
            | Self::App
            | Self::Stop
            | Self::Start
            | Self::Device
            | Self::HostConfig
            | Self::RegenerateKey
            | Self::State
            | Self::Leds
            | Self::Board
            | Self::OpenApi
            | Self::NotYet => None,
        }
    }
}
