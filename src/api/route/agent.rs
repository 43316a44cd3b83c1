//! What the agent knows and does.

use std::borrow::Cow;

use axum::http::StatusCode;
use serde::Serialize;
use serde_json::Value;
use tokio::time::Instant;

mod apps;
mod cloud;
mod leases;
mod local_engine;

use crate::api::ApiRequest;
use crate::api::auth::AuthenticatedCallers;
use crate::api::response::{ApiResponse, json};
use crate::api::route::target_trial::TargetTrial;
use crate::sorted::SortedSet;
use crate::state::boot_config::{BootConfigProgress, BootConfigStatus};
use crate::state::cloud::CloudStatus;
use crate::state::history::History;
use crate::state::local_engine::LocalEngine;
use crate::state::utc::utc;
use crate::state::{
    self, Activity, AppId, ConnectivityCheck, ContainerPhase, Difference, EngineState, HealthStatus, PowerAction, Status, Step,
    StepKind,
};

pub(super) use leases::{end_lease, lease};

use apps::AppBody;

/// `GET /agent/v1/state`: everything but secrets. A service sees its own app and the device.
pub(super) fn state(call: &ApiRequest) -> ApiResponse {
    with_state(call, |body| json(StatusCode::OK, body))
}

/// The body of `GET /agent/v1/state` for the caller of this request.
pub(super) fn state_value(call: &ApiRequest) -> Value {
    // Code that makes values of all its types would be in the binary beside the one that writes them.
    let text = with_state(call, |body| serde_json::to_vec(body).expect("our answers have text keys and no failing parts"));
    serde_json::from_slice(&text).expect("what was written as JSON is JSON")
}

fn with_state<T>(call: &ApiRequest, then: impl FnOnce(&StateBody<'_>) -> T) -> T {
    let status = call.api.status.borrow();
    let connectivity = call.api.connectivity.borrow();
    let cloud = call.api.cloud.borrow();
    let local_engine = call.api.local_engine.borrow();
    let history = call.api.history.borrow();
    let view = View {
        status: &status,
        connectivity: &connectivity,
        cloud: &cloud,
        local_engine: &local_engine,
        callers: &call.callers,
        history: &history,
    };
    then(&view.body(call.api.started))
}

/// What one caller may see.
struct View<'a> {
    status: &'a Status,
    connectivity: &'a state::Connectivity,
    cloud: &'a CloudStatus,
    local_engine: &'a LocalEngine,
    callers: &'a AuthenticatedCallers,
    history: &'a History,
}

#[derive(Serialize)]
struct StateBody<'a> {
    agent_seconds: u64,
    looked_seconds_ago: Option<u64>,
    engine: Engine<'a>,
    activity: &'static str,
    shutdown: Shutdown<'a>,
    /// `None`: there is no target yet.
    apps: Option<Vec<AppBody<'a>>>,
    containers: Vec<Container<'a>>,
    doing: Vec<Doing>,
    downloads: Vec<Download<'a>>,
    // These are about the whole device. `None`: the caller may not see all of it.
    waiting: Option<Vec<String>>,
    troubles: Option<Vec<Trouble<'a>>>,
    complaints: Option<&'a [String]>,
    rejected: Option<&'a str>,
    target_trial: Option<TargetTrial<'a>>,
    boot_config: Option<BootConfig<'a>>,
    cloud: Option<cloud::CloudBody<'a>>,
    local_engine: Option<local_engine::LocalEngineBody<'a>>,
    locks: Vec<Lock<'a>>,
    update: Update,
    connectivity: Connectivity<'a>,
    local_mode: LocalMode,
    device: Device<'a>,
}

#[derive(Serialize)]
#[serde(tag = "state", rename_all = "lowercase")]
enum Engine<'a> {
    Unknown,
    Up,
    Down { why: &'a str, seconds: u64 },
}

#[derive(Serialize)]
struct BootConfig<'a> {
    state: &'static str,
    path: Option<&'a str>,
    problems: &'a [String],
}

/// `unknown`: there is no cloud, the check is off, or it has not ended once.
#[derive(Serialize)]
#[serde(tag = "state", rename_all = "lowercase")]
enum Connectivity<'a> {
    Unknown { check: bool },
    Online { check: bool },
    Offline { check: bool, why: &'a str, seconds: u64 },
}

#[derive(Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
enum Shutdown<'a> {
    No,
    UnderWay { ending: Option<&'static str>, by: String, seconds: u64 },
    CameToNothing { ending: Option<&'static str>, why: &'a str, seconds: u64 },
}

#[derive(Serialize)]
struct Container<'a> {
    app_id: u32,
    service: &'a str,
    name: &'a str,
    id: &'a str,
    phase: &'static str,
    exit_code: Option<i32>,
    /// When it was last started.
    started: Option<String>,
    health: Option<&'static str>,
    image: &'a str,
    ports: Vec<String>,
    error: Option<&'a str>,
}

#[derive(Serialize)]
struct Doing {
    kind: &'static str,
    what: String,
    app_id: Option<u32>,
    service: Option<String>,
}

#[derive(Serialize)]
struct Download<'a> {
    image: &'a str,
    percent: u8,
    bytes: Option<u64>,
    total_bytes: Option<u64>,
}

#[derive(Serialize)]
struct Trouble<'a> {
    what: Cow<'a, str>,
    why: &'a str,
    failures: u32,
    again_in_seconds: Option<u64>,
}

#[derive(Serialize)]
#[serde(tag = "held_by", rename_all = "lowercase")]
enum Lock<'a> {
    Agent { app_id: u32, services: &'a SortedSet<String> },
    Service { app_id: u32, service: &'a str, path: &'a str, since: i64 },
    Lease { app_id: u32, owner: &'a str, reason: &'a str, seconds: u32, ends: String },
}

#[derive(Serialize)]
struct Update {
    pending: bool,
    downloaded: bool,
    failed: bool,
}

#[derive(Serialize)]
struct Device<'a> {
    uuid: &'a str,
    name: &'a str,
    #[serde(rename = "device_type")]
    kind: &'a str,
    arch: &'a str,
    os_version: &'a str,
    os_variant: Option<&'a str>,
    supervisor_version: &'a str,
    /// What the cloud is given in their place.
    reported: Reported<'a>,
    api_port: u16,
    mac_address: &'a str,
    ip_addresses: &'a [String],
    local_mode: bool,
    // What the host reports. `None`: it does not report it, or was not read yet.
    board: Option<&'a str>,
    boot_id: Option<&'a str>,
    up_seconds: Option<u64>,
    disk: Option<Capacity>,
    memory: Option<Capacity>,
    temperature_celsius: Option<f64>,
    undervolted: Option<bool>,
    serial: Option<&'a str>,
}

#[derive(Serialize)]
struct Reported<'a> {
    os_version: &'a str,
    os_variant: &'a str,
    supervisor_version: &'a str,
}

#[derive(Serialize)]
struct Capacity {
    free_bytes: u64,
    total_bytes: u64,
}

#[derive(Serialize)]
struct LocalMode {
    on: bool,
    switched: bool,
    until: Option<String>,
    leaving: bool,
}

impl<'a> View<'a> {
    fn body(&self, started: Instant) -> StateBody<'a> {
        let status = self.status;
        StateBody {
            agent_seconds: started.elapsed().as_secs(),
            looked_seconds_ago: status.observed_at.map(|at| at.elapsed().as_secs()),
            engine: engine(&status.engine),
            activity: if status.shutdown.is_under_way() { "shutting down" } else { activity(status.activity) },
            shutdown: shutdown(&status.shutdown),
            apps: self.apps(),
            containers: self.containers(),
            doing: self.doing(),
            downloads: self.downloads(),
            waiting: self.may_see_all().then(|| status.waiting.iter().map(ToString::to_string).collect()),
            troubles: self.may_see_all().then(|| status.troubles.iter().map(trouble).collect()),
            complaints: self.may_see_all().then_some(status.unreadable_records.as_slice()),
            rejected: status.rejected.as_deref().filter(|_| self.may_see_all()),
            target_trial: status.target_trial.as_ref().filter(|_| self.may_see_all()).map(TargetTrial::from),
            boot_config: self.may_see_all().then(|| boot_config(&status.boot_config)),
            cloud: self.may_see_all().then(|| self.cloud.into()),
            local_engine: self.may_see_all().then(|| self.local_engine.into()),
            locks: self.locks(),
            update: Update {
                pending: status.update_pending,
                downloaded: status.update_downloaded,
                failed: status.update_failed,
            },
            connectivity: connectivity(self.connectivity, status.check),
            local_mode: local_mode(status),
            device: device(status),
        }
    }

    fn may_see(&self, app: AppId) -> bool {
        self.callers.may_access(i64::from(app.0))
    }

    /// Whether every app on the device, and every wanted one, may be seen.
    fn may_see_all(&self) -> bool {
        self.callers.see_all(self.status)
    }

    fn apps(&self) -> Option<Vec<AppBody<'a>>> {
        let target = self.status.target.as_ref()?;
        Some(
            target
                .apps
                .values()
                .filter(|app| self.may_see(app.id))
                .map(|app| apps::body(self.status, self.history, app))
                .collect(),
        )
    }

    fn containers(&self) -> Vec<Container<'a>> {
        self.status.current.containers.iter().filter(|it| self.may_see(it.key.app)).map(container).collect()
    }

    fn doing(&self) -> Vec<Doing> {
        let visible = |step: &Step| {
            let service = step.service();
            let seen = service.as_ref().map_or_else(|| self.may_see_all(), |key| self.may_see(key.app));
            seen.then(|| Doing {
                kind: kind(step.kind()),
                what: step.to_string(),
                app_id: service.as_ref().map(|key| key.app.0),
                service: service.map(|key| key.service),
            })
        };
        self.status.steps_in_flight.iter().filter_map(visible).collect()
    }

    fn downloads(&self) -> Vec<Download<'a>> {
        let all = self.status.progress.iter().filter(|_| self.may_see_all());
        all.map(|(image, it)| {
            let state::DownloadProgress { percent, bytes, total_bytes } = *it;
            Download { image: image.as_str(), percent, bytes, total_bytes }
        })
        .collect()
    }

    fn locks(&self) -> Vec<Lock<'a>> {
        let locks = self.status.current.locks.iter().filter(|(app, _)| self.may_see(**app));
        let leases = self.status.current.leases.iter().filter(|(app, _)| self.may_see(**app));
        let leases = leases.flat_map(|(app, of_app)| of_app.values().map(|it| leased(*app, it)));
        locks.map(|(app, locks)| lock(*app, locks)).chain(leases).collect()
    }
}

fn engine(engine: &EngineState) -> Engine<'_> {
    match engine {
        EngineState::Unknown => Engine::Unknown,
        EngineState::Up => Engine::Up,
        EngineState::Down { why, since } => Engine::Down { why, seconds: since.elapsed().as_secs() },
    }
}

fn local_mode(status: &Status) -> LocalMode {
    let local = &status.local_mode;
    LocalMode {
        on: status.access.local_mode,
        switched: local.is_switched,
        until: local.until_secs.map(utc),
        leaving: local.is_leaving,
    }
}

fn boot_config(status: &BootConfigStatus) -> BootConfig<'_> {
    let state = match status.progress {
        BootConfigProgress::Unmanaged => "unmanaged",
        BootConfigProgress::Applied => "applied",
        BootConfigProgress::AwaitsBoot => "awaits_boot",
        BootConfigProgress::Failed => "failed",
    };
    BootConfig { state, path: status.path.as_deref(), problems: &status.problems }
}

fn connectivity(connectivity: &state::Connectivity, check: ConnectivityCheck) -> Connectivity<'_> {
    let check = check == ConnectivityCheck::On;
    match connectivity {
        state::Connectivity::Unknown => Connectivity::Unknown { check },
        state::Connectivity::Online => Connectivity::Online { check },
        state::Connectivity::Offline { why, since } => Connectivity::Offline { check, why, seconds: since.elapsed().as_secs() },
    }
}

fn shutdown(shutdown: &state::ShutdownStatus) -> Shutdown<'_> {
    match shutdown {
        state::ShutdownStatus::No => Shutdown::No,
        state::ShutdownStatus::UnderWay { ending: how, by, since, .. } => {
            Shutdown::UnderWay { ending: how.map(ending), by: by.to_string(), seconds: since.elapsed().as_secs() }
        }
        state::ShutdownStatus::Failed { ending: how, why, since } => {
            Shutdown::CameToNothing { ending: how.map(ending), why, seconds: since.elapsed().as_secs() }
        }
    }
}

fn ending(ending: PowerAction) -> &'static str {
    match ending {
        PowerAction::Reboot => "reboot",
        PowerAction::PowerOff => "shutdown",
    }
}

fn activity(activity: Activity) -> &'static str {
    match activity {
        Activity::Waiting => "waiting",
        Activity::Applying => "applying",
        Activity::Settled => "settled",
    }
}

fn container(it: &state::Container) -> Container<'_> {
    let (phase, exit_code) = phase(it.phase);
    Container {
        app_id: it.key.app.0,
        service: &it.key.service,
        name: &it.name,
        id: &it.id.0,
        phase,
        exit_code,
        started: it.started.map(|it| utc(it.secs())),
        health: it.health.filter(|_| it.phase == ContainerPhase::Running).map(HealthStatus::word),
        image: it.image_ref.as_str(),
        ports: it.ports.iter().map(ToString::to_string).collect(),
        error: it.error.as_deref(),
    }
}

fn phase(phase: ContainerPhase) -> (&'static str, Option<i32>) {
    match phase {
        ContainerPhase::Created => ("created", None),
        ContainerPhase::Running => ("running", None),
        ContainerPhase::Restarting => ("restarting", None),
        ContainerPhase::Paused => ("paused", None),
        ContainerPhase::Exited(code) => ("exited", Some(code)),
        ContainerPhase::Removing => ("removing", None),
        ContainerPhase::Dead => ("dead", None),
    }
}

fn kind(kind: StepKind) -> &'static str {
    match kind {
        StepKind::Downloading => "downloading",
        StepKind::Installing => "installing",
        StepKind::Starting => "starting",
        StepKind::Stopping => "stopping",
        StepKind::Housekeeping => "housekeeping",
    }
}

fn trouble(it: &state::Trouble) -> Trouble<'_> {
    match it {
        state::Trouble::Step { step, why, failures, again } => Trouble {
            what: step.to_string().into(),
            why: why.text(),
            failures: *failures,
            again_in_seconds: Some(again.saturating_duration_since(Instant::now()).as_secs()),
        },
        state::Trouble::Difference(Difference { what, why }) => {
            Trouble { what: what.into(), why, failures: 0, again_in_seconds: None }
        }
    }
}

fn lock(app: AppId, locks: &state::LockState) -> Lock<'_> {
    match locks {
        state::LockState::Ours(services) => Lock::Agent { app_id: app.0, services },
        state::LockState::Held(held) | state::LockState::Both(held) => {
            Lock::Service { app_id: app.0, service: &held.service, path: &held.path, since: held.since_secs }
        }
    }
}

fn leased(AppId(app_id): AppId, it: &state::lease::Lease) -> Lock<'_> {
    Lock::Lease { app_id, owner: &it.owner, reason: &it.reason, seconds: it.seconds, ends: it.ends() }
}

fn device(status: &Status) -> Device<'_> {
    let (device, metrics) = (&status.device, &status.metrics);
    let capacity = |it: state::host::Capacity| Capacity { free_bytes: it.free_bytes, total_bytes: it.total_bytes };
    Device {
        uuid: &device.uuid,
        name: &device.name,
        kind: &device.device_type,
        arch: &device.arch,
        os_version: &device.os_version,
        os_variant: device.os_variant.as_deref(),
        supervisor_version: &device.supervisor_version,
        reported: Reported {
            os_version: &device.reported.os_version,
            os_variant: &device.reported.os_variant,
            supervisor_version: &device.reported.supervisor_version,
        },
        api_port: device.api_port,
        mac_address: &device.mac_address,
        ip_addresses: &device.ip_addresses,
        local_mode: status.access.local_mode,
        board: metrics.board.as_deref(),
        boot_id: metrics.boot_id.as_deref(),
        up_seconds: metrics.up.map(|(up, read)| (up + read.elapsed()).as_secs()),
        disk: metrics.disk.map(capacity),
        memory: metrics.memory.map(capacity),
        temperature_celsius: metrics.temperature_millicelsius.map(|it| f64::from(it) / 1000.0),
        undervolted: metrics.undervolted,
        serial: metrics.cpu_serial.as_deref(),
    }
}
