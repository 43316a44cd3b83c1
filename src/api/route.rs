//! The table of routes, and how a path is matched to it.

use axum::http::Method;

use crate::api::auth::AuthenticatedCallers;
use crate::api::form;
use crate::state::keys::DeviceAction;
use crate::state::{Access, PowerAction};

/// An endpoint of the HTTP API.
#[derive(Debug)]
pub struct Route {
    /// Its method. `HEAD` is served wherever `GET` is.
    pub method: Method,
    /// Its path. `{appId}` and the like stand for any one segment.
    pub path: &'static str,
    /// What it does.
    pub endpoint: Endpoint,
}

/// What a route does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    /// Responds, to show that the agent runs.
    Ping,
    /// Reports whether the agent is healthy.
    Healthy,
    /// Checks for a new target.
    Update,
    /// Reboots or powers off the machine.
    End(PowerAction),
    /// Recreates an app's containers.
    Restart,
    /// Purges an app's volumes.
    Purge,
    /// Shows an app's container.
    App,
    /// Stops an app's service.
    Stop,
    /// Starts an app's service.
    Start,
    /// Shows the device.
    Device,
    /// Enables the connectivity check.
    EnableConnectivityCheck,
    /// Disables the connectivity check.
    DisableConnectivityCheck,
    /// Shows the host's name and proxy.
    HostConfig,
    /// Changes the host's name and proxy.
    ConfigureHost,
    /// Renews the caller's key.
    RegenerateKey,
    /// Blinks a LED to identify the device.
    Blink,
    /// Shows what the agent knows and does.
    State,
    /// Shows the LEDs, and which purpose drives each.
    Leds,
    /// Holds a pattern on a LED.
    Hold,
    /// Ends the LED pattern.
    ReleaseLed,
    /// Shows the board.
    Board,
    /// Returns the API description.
    OpenApi,
    /// Reports that the endpoint is not part of this release.
    NotYet,
}

static ROUTES: &[Route] = &[
    Route { method: Method::GET, path: "/ping", endpoint: Endpoint::Ping },
    Route { method: Method::POST, path: "/v1/blink", endpoint: Endpoint::Blink },
    Route { method: Method::POST, path: "/v1/update", endpoint: Endpoint::Update },
    Route { method: Method::POST, path: "/v1/reboot", endpoint: Endpoint::End(PowerAction::Reboot) },
    Route { method: Method::POST, path: "/v1/shutdown", endpoint: Endpoint::End(PowerAction::PowerOff) },
    Route { method: Method::POST, path: "/v1/purge", endpoint: Endpoint::Purge },
    Route { method: Method::POST, path: "/v1/restart", endpoint: Endpoint::Restart },
    Route { method: Method::POST, path: "/v1/tcp-ping", endpoint: Endpoint::EnableConnectivityCheck },
    Route { method: Method::DELETE, path: "/v1/tcp-ping", endpoint: Endpoint::DisableConnectivityCheck },
    Route { method: Method::POST, path: "/v1/regenerate-api-key", endpoint: Endpoint::RegenerateKey },
    Route { method: Method::GET, path: "/v1/device", endpoint: Endpoint::Device },
    Route { method: Method::POST, path: "/v1/apps/{appId}/stop", endpoint: Endpoint::Stop },
    Route { method: Method::POST, path: "/v1/apps/{appId}/start", endpoint: Endpoint::Start },
    Route { method: Method::GET, path: "/v1/apps/{appId}", endpoint: Endpoint::App },
    // Of later supervisors.
    Route { method: Method::GET, path: "/v1/healthy", endpoint: Endpoint::Healthy },
    Route { method: Method::GET, path: "/v1/device/host-config", endpoint: Endpoint::HostConfig },
    Route { method: Method::PATCH, path: "/v1/device/host-config", endpoint: Endpoint::ConfigureHost },
    Route { method: Method::POST, path: "/v2/applications/{appId}/restart-service", endpoint: Endpoint::NotYet },
    Route { method: Method::POST, path: "/v2/applications/{appId}/stop-service", endpoint: Endpoint::NotYet },
    Route { method: Method::POST, path: "/v2/applications/{appId}/start-service", endpoint: Endpoint::NotYet },
    Route { method: Method::POST, path: "/v2/applications/{appId}/restart", endpoint: Endpoint::NotYet },
    Route { method: Method::POST, path: "/v2/applications/{appId}/purge", endpoint: Endpoint::NotYet },
    Route { method: Method::GET, path: "/v2/applications/state", endpoint: Endpoint::NotYet },
    Route { method: Method::GET, path: "/v2/applications/{appId}/state", endpoint: Endpoint::NotYet },
    Route { method: Method::GET, path: "/v2/state/status", endpoint: Endpoint::NotYet },
    Route { method: Method::GET, path: "/v2/containerId", endpoint: Endpoint::NotYet },
    Route { method: Method::GET, path: "/v2/local/target-state", endpoint: Endpoint::NotYet },
    Route { method: Method::POST, path: "/v2/local/target-state", endpoint: Endpoint::NotYet },
    Route { method: Method::GET, path: "/v2/local/device-info", endpoint: Endpoint::NotYet },
    Route { method: Method::GET, path: "/v2/local/logs", endpoint: Endpoint::NotYet },
    Route { method: Method::GET, path: "/v2/version", endpoint: Endpoint::NotYet },
    Route { method: Method::GET, path: "/v2/device/name", endpoint: Endpoint::NotYet },
    Route { method: Method::GET, path: "/v2/device/tags", endpoint: Endpoint::NotYet },
    Route { method: Method::PATCH, path: "/v2/device/tags", endpoint: Endpoint::NotYet },
    Route { method: Method::GET, path: "/v2/device/vpn", endpoint: Endpoint::NotYet },
    Route { method: Method::GET, path: "/v2/cleanup-volumes", endpoint: Endpoint::NotYet },
    Route { method: Method::POST, path: "/v2/journal-logs", endpoint: Endpoint::NotYet },
    // The agent's own.
    Route { method: Method::GET, path: "/agent/v1/state", endpoint: Endpoint::State },
    Route { method: Method::GET, path: "/agent/v1/openapi.json", endpoint: Endpoint::OpenApi },
    Route { method: Method::GET, path: "/agent/v1/leds", endpoint: Endpoint::Leds },
    Route { method: Method::POST, path: "/agent/v1/leds/{name}/pattern", endpoint: Endpoint::Hold },
    Route { method: Method::DELETE, path: "/agent/v1/leds/{name}/pattern", endpoint: Endpoint::ReleaseLed },
    Route { method: Method::GET, path: "/agent/v1/board", endpoint: Endpoint::Board },
];

/// Every route, in the order of the published reference.
#[must_use]
pub fn routes() -> &'static [Route] {
    ROUTES
}

/// The result of looking up a path.
pub(super) enum RouteMatch {
    /// This route, with the segment in place of its parameter.
    Route(&'static Route, String),
    /// The path exists only with other methods, these.
    OtherMethods(String),
    /// There is no such path.
    Nothing,
}

pub(super) fn find(method: &Method, path: &str) -> RouteMatch {
    let method = if *method == Method::HEAD { &Method::GET } else { method };
    let mut others = Vec::new();
    for route in ROUTES {
        let Some(param) = route.leads(path) else { continue };
        if route.method == *method {
            return RouteMatch::Route(route, param);
        }
        others.push(if route.method == Method::GET { "GET, HEAD" } else { route.method.as_str() });
    }
    if others.is_empty() { RouteMatch::Nothing } else { RouteMatch::OtherMethods(others.join(", ")) }
}

impl Route {
    /// Whether the path matches; returns the segment in place of the parameter.
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

impl Endpoint {
    /// Whether its response may take long: it waits for a body, or for an action to complete.
    pub(super) const fn waits(self) -> bool {
        match self {
            Self::Update
            | Self::End(_)
            | Self::Restart
            | Self::Purge
            | Self::Stop
            | Self::Start
            | Self::EnableConnectivityCheck
            | Self::DisableConnectivityCheck
            | Self::HostConfig
            | Self::ConfigureHost
            | Self::RegenerateKey
            | Self::Blink
            | Self::Hold
            | Self::ReleaseLed => true,
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

    /// Whether these callers may use it at all. Endpoints that concern one app check that app themselves.
    pub(super) fn is_open_to(self, callers: &AuthenticatedCallers, access: &Access) -> bool {
        self.of_device().is_none_or(|verb| callers.may(verb, access))
    }

    /// The device action of an endpoint that concerns the whole device.
    const fn of_device(self) -> Option<DeviceAction> {
        match self {
            Self::Update => Some(DeviceAction::Update),
            Self::Blink | Self::Hold | Self::ReleaseLed => Some(DeviceAction::Blink),
            Self::End(PowerAction::Reboot) => Some(DeviceAction::Reboot),
            Self::End(PowerAction::PowerOff) => Some(DeviceAction::Shutdown),
            Self::EnableConnectivityCheck | Self::DisableConnectivityCheck => Some(DeviceAction::TcpPing),
            Self::ConfigureHost => Some(DeviceAction::HostConfig),
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
