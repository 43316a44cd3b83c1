//! The table of routes, and how a path is matched to it. The endpoints are below it.
//!
//! An endpoint is one row here, its handler, and its operation in `openapi.json`, which the tests hold against the row.
//!
//! ```text
//! v1       the API of 2017, and what later supervisors added to it  route/v1.rs route/v1/
//! v2       the API of multi-container devices: actions on a service  route/v2.rs
//! agent    what the agent knows and does                            route/agent.rs
//! history  what was done and seen, and why; events                 route/history.rs
//! leds     the board and its LEDs                                   route/leds.rs
//! lines    its free GPIO lines                                      route/lines.rs
//! local    local mode: what is pushed, and its switch               route/local.rs
//! target_trial  a target that is tried, and kept or returned from   route/target_trial.rs
//! streams  responses that go on for as long as the client reads      route/streams.rs
//! metrics  what the agent knows, for Prometheus                     route/metrics.rs route/metrics/
//! openapi  the API description                                      route/openapi.rs openapi.json
//! page     the web page, as static files                            route/page.rs ../web/
//! ```

mod agent;
mod history;
mod leds;
mod lines;
mod local;
mod metrics;
mod openapi;
mod page;
mod streams;
mod target_trial;
mod v1;
mod v2;

pub use metrics::metric_families;

use std::pin::Pin;

use axum::http::Method;

use crate::api::auth::AuthenticatedCallers;
use crate::api::response::ApiResponse;
use crate::api::{ApiRequest, form};
use crate::state::keys::DeviceAction;
use crate::state::{Access, ConnectivityCheck, PowerAction};
use Handler::{Now, Waits};
use RouteAccess::{AnyKey, App, Developer, Device, DeviceKey, Guessable, Page, Public};

/// An endpoint of the HTTP API.
#[derive(Debug)]
pub struct Route {
    /// Its method. `HEAD` is served wherever `GET` is.
    pub method: Method,
    /// Its path. `{appId}` and the like stand for any one segment.
    pub path: &'static str,
    /// Which callers may use it.
    pub access: RouteAccess,
    /// What answers a request.
    pub(super) handler: Handler,
}

/// Which callers may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteAccess {
    /// All, without a key too; only web pages of other sites are rejected.
    Public,
    /// All, and links on pages of other sites too: it says nothing of the device.
    Page,
    /// Like `Public`, for a path with a secret in it: a 403 is delayed as that to a wrong key is.
    Guessable,
    /// Callers with any key of this device.
    AnyKey,
    /// Callers whose key opens the app that the request names. The handler checks the app, because the path or the body has it.
    App,
    /// Callers that may use this action on the whole device.
    Device(DeviceAction),
    /// The device's key only.
    DeviceKey,
    /// The device's key, and in local mode every caller that needs no key.
    Developer,
}

/// What answers a request.
#[derive(Debug, Clone, Copy)]
pub(super) enum Handler {
    /// Answers at once, from what the agent has published.
    Now(fn(&ApiRequest) -> ApiResponse),
    /// Waits for a body, or for an action to complete.
    Waits(fn(ApiRequest) -> ResponseFuture),
}

/// A response that may take long. `Err` is the response to a request that was not carried out.
pub(super) type ResponseFuture = Pin<Box<dyn Future<Output = Result<ApiResponse, ApiResponse>> + Send>>;

static ROUTES: &[Route] = &[
    get("/ping", AnyKey, Now(v1::ping)),
    post("/v1/blink", Device(DeviceAction::Blink), Waits(|call| Box::pin(leds::blink(call)))),
    post("/v1/update", Device(DeviceAction::Update), Waits(|call| Box::pin(v1::update(call)))),
    post("/v1/reboot", Device(DeviceAction::Reboot), Waits(|call| Box::pin(v1::end(call, PowerAction::Reboot)))),
    post("/v1/shutdown", Device(DeviceAction::Shutdown), Waits(|call| Box::pin(v1::end(call, PowerAction::PowerOff)))),
    post("/v1/purge", App, Waits(|call| Box::pin(v1::purge(call)))),
    post("/v1/restart", App, Waits(|call| Box::pin(v1::restart(call)))),
    post("/v1/tcp-ping", Device(DeviceAction::TcpPing), Waits(|call| Box::pin(v1::check(call, ConnectivityCheck::On)))),
    delete("/v1/tcp-ping", Device(DeviceAction::TcpPing), Waits(|call| Box::pin(v1::check(call, ConnectivityCheck::Off)))),
    post("/v1/regenerate-api-key", AnyKey, Waits(|call| Box::pin(v1::regenerate_key(call)))),
    get("/v1/device", AnyKey, Now(v1::device)),
    post("/v1/apps/{appId}/stop", App, Waits(|call| Box::pin(v1::stop(call)))),
    post("/v1/apps/{appId}/start", App, Waits(|call| Box::pin(v1::start(call)))),
    get("/v1/apps/{appId}", App, Now(v1::app)),
    // Of later supervisors.
    get("/v1/healthy", Public, Now(v1::healthy)),
    get("/v1/device/host-config", AnyKey, Waits(|call| Box::pin(v1::host_config(call)))),
    patch("/v1/device/host-config", Device(DeviceAction::HostConfig), Waits(|call| Box::pin(v1::configure_host(call)))),
    post("/v2/applications/{appId}/restart-service", App, Waits(|call| Box::pin(v2::restart_service(call)))),
    post("/v2/applications/{appId}/stop-service", App, Waits(|call| Box::pin(v2::stop_service(call)))),
    post("/v2/applications/{appId}/start-service", App, Waits(|call| Box::pin(v2::start_service(call)))),
    post("/v2/applications/{appId}/restart", App, Waits(|call| Box::pin(v2::restart(call)))),
    post("/v2/applications/{appId}/purge", App, Waits(|call| Box::pin(v2::purge(call)))),
    get("/v2/applications/state", AnyKey, Now(v2::apps_state)),
    get("/v2/applications/{appId}/state", App, Now(v2::app_state_of)),
    get("/v2/state/status", AnyKey, Now(v2::state_status)),
    get("/v2/containerId", AnyKey, Now(v2::container_id)),
    get("/v2/local/target-state", AnyKey, Now(local::target_state)),
    post("/v2/local/target-state", Developer, Waits(|call| Box::pin(local::push(call)))),
    get("/v2/local/device-info", AnyKey, Now(v2::device_info)),
    get("/v2/local/logs", AnyKey, Waits(|call| Box::pin(streams::local_logs(call)))),
    get("/v2/version", AnyKey, Now(v2::version)),
    get("/v2/device/name", AnyKey, Now(v2::device_name)),
    get("/v2/device/tags", AnyKey, Waits(|call| Box::pin(v2::tags(call)))),
    patch("/v2/device/tags", AnyKey, Waits(|call| Box::pin(v2::set_tags(call)))),
    get("/v2/device/vpn", AnyKey, Now(v2::vpn)),
    get("/v2/cleanup-volumes", AnyKey, Waits(|call| Box::pin(v2::clean_up_volumes(call)))),
    post("/v2/journal-logs", Device(DeviceAction::Journal), Waits(|call| Box::pin(streams::journal_logs(call)))),
    // The agent's own.
    get("/metrics", AnyKey, Waits(|call| Box::pin(metrics::metrics(call)))),
    get("/agent/v1/state", AnyKey, Now(agent::state)),
    get("/agent/v1/history", AnyKey, Now(history::history)),
    get("/agent/v1/events", AnyKey, Waits(|call| Box::pin(async { Ok(history::events(call)) }))),
    get("/agent/v1/logs", AnyKey, Waits(|call| Box::pin(streams::agent_logs(call)))),
    get("/agent/v1/openapi.json", AnyKey, Now(openapi::openapi)),
    get("/agent/v1/leds", AnyKey, Waits(|call| Box::pin(leds::leds(call)))),
    post("/agent/v1/leds/{name}/pattern", Device(DeviceAction::Blink), Waits(|it| Box::pin(leds::hold(leds::which(&it), it)))),
    delete(
        "/agent/v1/leds/{name}/pattern",
        Device(DeviceAction::Blink),
        Waits(|it| Box::pin(leds::release(leds::which(&it), it))),
    ),
    get("/agent/v1/lines", DeviceKey, Waits(|call| Box::pin(lines::lines(call)))),
    post("/agent/v1/lines/{name}/pattern", DeviceKey, Waits(|call| Box::pin(lines::hold(call)))),
    delete("/agent/v1/lines/{name}/pattern", DeviceKey, Waits(|call| Box::pin(lines::release(call)))),
    post("/agent/v1/apps/{appId}/lock", App, Waits(|call| Box::pin(agent::lease(call)))),
    delete("/agent/v1/apps/{appId}/lock", App, Waits(|call| Box::pin(agent::end_lease(call)))),
    get("/agent/v1/board", AnyKey, Now(leds::board)),
    post("/agent/v1/local-mode", DeviceKey, Waits(|call| Box::pin(local::switch_on(call)))),
    delete("/agent/v1/local-mode", DeviceKey, Waits(|call| Box::pin(local::switch_off(call)))),
    post("/agent/v1/target-trial", DeviceKey, Waits(|call| Box::pin(target_trial::begin(call)))),
    delete("/agent/v1/target-trial", DeviceKey, Waits(|call| Box::pin(target_trial::end(call)))),
    post("/agent/v1/target-trial/keep", DeviceKey, Waits(|call| Box::pin(target_trial::keep(call)))),
    get("/", Page, Now(page::index)),
    get("/web/{file}", Page, Now(page::file)),
    post("/agent/v1/page-links", DeviceKey, Waits(|call| Box::pin(page::make_link(call)))),
    post("/agent/v1/page-links/{token}", Guessable, Waits(|call| Box::pin(page::open_link(call)))),
];

/// Every route, in the order of the published reference.
#[must_use]
pub fn routes() -> &'static [Route] {
    ROUTES
}

const fn get(path: &'static str, access: RouteAccess, handler: Handler) -> Route {
    Route { method: Method::GET, path, access, handler }
}

const fn post(path: &'static str, access: RouteAccess, handler: Handler) -> Route {
    Route { method: Method::POST, path, access, handler }
}

const fn patch(path: &'static str, access: RouteAccess, handler: Handler) -> Route {
    Route { method: Method::PATCH, path, access, handler }
}

const fn delete(path: &'static str, access: RouteAccess, handler: Handler) -> Route {
    Route { method: Method::DELETE, path, access, handler }
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
        let Some(param) = route.matches(path) else { continue };
        if route.method == *method {
            return RouteMatch::Route(route, param);
        }
        others.push(if route.method == Method::GET { "GET, HEAD" } else { route.method.as_str() });
    }
    if others.is_empty() { RouteMatch::Nothing } else { RouteMatch::OtherMethods(others.join(", ")) }
}

/// Whether the path of a request has a secret in it, which its sender may guess.
pub(super) fn is_guessable(method: &Method, path: &str) -> bool {
    matches!(find(method, path), RouteMatch::Route(Route { access: Guessable, .. }, _))
}

impl RouteAccess {
    /// Whether a caller without a key may use the route, always.
    pub(super) const fn is_without_key(self) -> bool {
        matches!(self, Public | Page | Guessable)
    }
}

impl Route {
    /// Whether its response may take long.
    #[must_use]
    pub const fn waits(&self) -> bool {
        matches!(self.handler, Waits(_))
    }

    /// Whether these callers may use it at all.
    pub(super) fn is_open_to(&self, callers: &AuthenticatedCallers, access: &Access) -> bool {
        match self.access {
            Public | Page | Guessable | AnyKey | App => true,
            Device(action) => callers.may_use(action, access),
            DeviceKey => callers.have_the_device_key(),
            Developer => callers.may_push(),
        }
    }

    /// Whether the path matches; returns the segment in place of the parameter.
    fn matches(&self, path: &str) -> Option<String> {
        let path = path.strip_prefix('/')?;
        let mut given = path.strip_suffix('/').filter(|it| !it.is_empty()).unwrap_or(path).split('/');
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
