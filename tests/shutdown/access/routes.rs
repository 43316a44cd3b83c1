//! Every route: its subject, and its response to any caller that is admitted.

use std::sync::LazyLock;

use boardkeeper::api::{self, Route, RouteAccess};
use boardkeeper::state::keys::DeviceAction;

/// What a route is about, which decides who may use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum About {
    /// Whether the agent works, and the page: public.
    Health,
    /// Reading the device: any caller with a key.
    Reading,
    /// Reading one app: any caller with a key; an app that no key of the caller opens does not exist for it.
    ReadingApp,
    /// The caller's own key.
    OwnKey,
    /// One app: the device key, and the keys of its own services.
    App,
    /// The whole device: the device key, and services that reach it.
    Device(DeviceAction),
    /// What runs in local mode: the device key, and there every caller that needs no key.
    Developing,
    /// Local mode itself, and links with the device key: the device key.
    LocalMode,
    /// GPIO lines without a LED: the device key.
    Lines,
    /// What does not exist: any caller with a key gets that answer.
    Missing,
}

/// A route.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    pub(super) about: About,
    /// The answer to an admitted caller, about app 1 of one service and app 2 of two; once, where the app does not matter.
    answers: &'static [u16],
    /// While the device shuts down it is turned down.
    pub(super) disturbs: bool,
}

impl Row {
    pub(super) const fn new(method: &'static str, path: &'static str, about: About, answers: &'static [u16]) -> Self {
        Self { method, path, about, answers, disturbs: false }
    }

    const fn disturbs(self) -> Self {
        Self { disturbs: true, ..self }
    }

    /// Apps it is asked about.
    pub(super) fn apps(&self) -> &'static [u32] {
        &[1, 2][..self.answers.len()]
    }

    pub(super) fn answer(&self, app: u32) -> u16 {
        self.answers[app as usize - 1]
    }

    /// Afterwards keys are others, or the machine ends.
    pub(super) fn ends_the_life(&self) -> bool {
        matches!(self.about, About::OwnKey | About::LocalMode | About::Device(DeviceAction::Reboot | DeviceAction::Shutdown))
    }

    /// The body of a 401 to a caller whose key is known, as the supervisors of today have it.
    pub(super) fn refusal(&self) -> &'static str {
        match self.path {
            "/v1/apps/{appId}" => r#"{"status":"failed","message":"Application is not available"}"#,
            "/v1/apps/{appId}/stop" | "/v1/apps/{appId}/start" => "Unauthorized",
            _ => r#"{"status":"failed","message":"Unauthorized"}"#,
        }
    }
}

/// Routes that act, or that not every key opens, in the order in which one life sees them.
static LISTED: &[Row] = &[
    Row::new("GET", "/v1/healthy", About::Health, &[200]),
    Row::new("GET", "/", About::Health, &[200]),
    // No file has that name.
    Row::new("GET", "/web/{file}", About::Health, &[404]),
    Row::new("GET", "/v1/apps/{appId}", About::App, &[200, 400]),
    Row::new("POST", "/v1/blink", About::Device(DeviceAction::Blink), &[200]),
    Row::new("POST", "/agent/v1/leds/{name}/pattern", About::Device(DeviceAction::Blink), &[400]),
    Row::new("DELETE", "/agent/v1/leds/{name}/pattern", About::Device(DeviceAction::Blink), &[204]),
    Row::new("GET", "/agent/v1/lines", About::Lines, &[200]),
    Row::new("POST", "/agent/v1/lines/{name}/pattern", About::Lines, &[400]),
    Row::new("DELETE", "/agent/v1/lines/{name}/pattern", About::Lines, &[204]),
    Row::new("POST", "/v1/update", About::Device(DeviceAction::Update), &[204]),
    Row::new("POST", "/v1/tcp-ping", About::Device(DeviceAction::TcpPing), &[204]),
    Row::new("DELETE", "/v1/tcp-ping", About::Device(DeviceAction::TcpPing), &[204]),
    Row::new("PATCH", "/v1/device/host-config", About::Device(DeviceAction::HostConfig), &[200]).disturbs(),
    Row::new("POST", "/v1/apps/{appId}/stop", About::App, &[200, 400]).disturbs(),
    Row::new("POST", "/v1/apps/{appId}/start", About::App, &[200, 400]).disturbs(),
    Row::new("GET", "/v2/applications/{appId}/state", About::ReadingApp, &[200, 200]),
    Row::new("POST", "/v2/applications/{appId}/restart", About::App, &[200, 200]).disturbs(),
    Row::new("POST", "/v2/applications/{appId}/purge", About::App, &[200, 200]).disturbs(),
    Row::new("POST", "/v2/applications/{appId}/stop-service", About::App, &[200, 200]).disturbs(),
    Row::new("POST", "/v2/applications/{appId}/start-service", About::App, &[200, 200]).disturbs(),
    Row::new("POST", "/v2/applications/{appId}/restart-service", About::App, &[200, 200]).disturbs(),
    Row::new("GET", "/v2/device/tags", About::Reading, &[500]),
    Row::new("PATCH", "/v2/device/tags", About::Reading, &[400]),
    Row::new("POST", "/v2/journal-logs", About::Device(DeviceAction::Journal), &[200]),
    Row::new("GET", "/v2/cleanup-volumes", About::Reading, &[200]).disturbs(),
    Row::new("POST", "/v1/restart", About::App, &[200, 200]).disturbs(),
    Row::new("POST", "/v1/purge", About::App, &[200, 200]).disturbs(),
    // The body is no target.
    Row::new("POST", "/v2/local/target-state", About::Developing, &[400]),
    Row::new("POST", "/agent/v1/local-mode", About::LocalMode, &[200]),
    Row::new("DELETE", "/agent/v1/local-mode", About::LocalMode, &[200]),
    // The body is no target, and nothing is on trial.
    Row::new("POST", "/agent/v1/target-trial", About::LocalMode, &[400]),
    Row::new("POST", "/agent/v1/target-trial/keep", About::LocalMode, &[409]),
    Row::new("DELETE", "/agent/v1/target-trial", About::LocalMode, &[409]),
    Row::new("POST", "/agent/v1/page-links", About::LocalMode, &[200]),
    // No link has that token.
    Row::new("POST", "/agent/v1/page-links/{token}", About::Health, &[403]),
    Row::new("POST", "/agent/v1/apps/{appId}/lock", About::App, &[400, 400]),
    Row::new("DELETE", "/agent/v1/apps/{appId}/lock", About::App, &[400, 400]),
    Row::new("POST", "/v1/regenerate-api-key", About::OwnKey, &[200]),
    Row::new("POST", "/v1/reboot", About::Device(DeviceAction::Reboot), &[202]).disturbs(),
    Row::new("POST", "/v1/shutdown", About::Device(DeviceAction::Shutdown), &[202]).disturbs(),
];

/// Every route: those that only read, then those above.
pub(super) static ROUTES: LazyLock<Vec<Row>> = LazyLock::new(|| {
    let row = |route: &'static Route| {
        let (method, path) = (route.method.as_str(), route.path);
        let listed = LISTED.iter().any(|it| (it.method, it.path) == (method, path));
        let reads = method == "GET" && route.access == RouteAccess::AnyKey;
        assert!(listed || reads, "{method} {path}: which callers may use it is said in LISTED");
        (!listed).then_some(Row::new(method, path, About::Reading, &[200]))
    };
    let others = api::routes().iter().filter_map(row);
    let all: Vec<_> = others.chain(LISTED.iter().copied()).collect();
    assert_eq!(all.len(), api::routes().len(), "one is there twice, or is not served");
    all
});
