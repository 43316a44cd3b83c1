//! The endpoints of the second version that read the device, from what the reconciler last published. A caller that may see one
//! app sees only that one.

use axum::http::StatusCode;
use serde::Serialize;

use crate::api::ApiRequest;
use crate::api::auth::AuthenticatedCallers;
use crate::api::body::integer;
use crate::api::form;
use crate::api::response::{ApiResponse, failed, json};
use crate::api::route::v1::{commit_of, liveliest_first, progress};
use crate::sorted::{SortedMap, sort_by};
use crate::state::app_status::{AppStatus, ServiceStatus, container_word};
use crate::state::utc::utc;
use crate::state::{Activity, App, AppId, Container, Service, Status, VpnState, parse_name};

/// A success, and what it shows.
#[derive(Serialize)]
struct Success<T> {
    status: &'static str,
    #[serde(flatten)]
    shown: T,
}

#[derive(Serialize)]
struct Version<'a> {
    version: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DeviceName<'a> {
    device_name: &'a str,
}

#[derive(Serialize)]
struct Vpn {
    vpn: VpnFields,
}

#[derive(Serialize)]
struct VpnFields {
    enabled: bool,
    connected: bool,
}

#[derive(Serialize)]
struct DeviceInfo<'a> {
    info: DeviceInfoFields<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DeviceInfoFields<'a> {
    arch: &'a str,
    device_type: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ContainerId<'a> {
    container_id: &'a str,
}

#[derive(Serialize)]
struct ContainerIds<'a> {
    services: SortedMap<&'a str, &'a str>,
}

/// Apps by their names.
#[derive(Serialize)]
struct AppsState<'a>(SortedMap<&'a str, AppState<'a>>);

/// An app of `GET /v2/applications/state`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AppState<'a> {
    app_id: u32,
    app_uuid: &'a str,
    commit: Option<String>,
    update_status: &'static str,
    services: SortedMap<&'a str, ServiceState<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ServiceState<'a> {
    status: &'static str,
    image: &'a str,
    download_progress: Option<u8>,
    release_id: u32,
}

/// `GET /v2/applications/:appId/state`.
#[derive(Serialize)]
struct OneAppState {
    commit: Option<String>,
    local: SortedMap<String, LocalApp>,
}

#[derive(Serialize)]
struct LocalApp {
    services: SortedMap<String, LocalService>,
}

#[derive(Serialize)]
struct LocalService {
    status: &'static str,
    #[serde(rename = "releaseId")]
    release_id: u32,
    download_progress: Option<u8>,
}

/// `GET /v2/state/status`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StateStatus<'a> {
    app_state: &'static str,
    overall_download_progress: Option<u32>,
    containers: Vec<ContainerState<'a>>,
    images: Vec<ImageState<'a>>,
    release: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ContainerState<'a> {
    status: &'static str,
    service_name: &'a str,
    app_id: u32,
    image_id: Option<u32>,
    service_id: Option<u32>,
    container_id: &'a str,
    created_at: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ImageState<'a> {
    name: &'a str,
    app_id: u32,
    service_name: &'a str,
    image_id: u32,
    docker_image_id: Option<&'a str>,
    status: &'static str,
    download_progress: Option<u8>,
}

/// `GET /v2/version`: the version that the cloud was given.
pub(in crate::api) fn version(call: &ApiRequest) -> ApiResponse {
    success(Version { version: &call.api.status.borrow().device.reported.supervisor_version })
}

/// `GET /v2/device/name`.
pub(in crate::api) fn device_name(call: &ApiRequest) -> ApiResponse {
    let status = call.api.status.borrow();
    let wanted = status.target.as_ref().and_then(|it| it.name.as_deref());
    success(DeviceName { device_name: wanted.unwrap_or(&status.device.name) })
}

/// `GET /v2/device/vpn`. The VPN is enabled unless the target switches it off, as in the supervisors of today.
pub(in crate::api) fn vpn(call: &ApiRequest) -> ApiResponse {
    let wanted = call.api.status.borrow().target.as_ref().and_then(|it| it.vpn_wanted());
    let enabled = wanted != Some(VpnState::Down);
    let connected = *call.api.vpn.borrow() == VpnState::Up;
    success(Vpn { vpn: VpnFields { enabled, connected } })
}

/// `GET /v2/local/device-info`.
pub(in crate::api) fn device_info(call: &ApiRequest) -> ApiResponse {
    let device = &call.api.status.borrow().device;
    success(DeviceInfo { info: DeviceInfoFields { arch: &device.arch, device_type: &device.device_type } })
}

/// `GET /v2/containerId`: of one service that the query names, or of all.
pub(in crate::api) fn container_id(call: &ApiRequest) -> ApiResponse {
    let query = call.request.uri().query().unwrap_or_default();
    let named = |name: &str| form::pairs(query.as_bytes()).find_map(|(it, value)| (it == name).then_some(value));
    let wanted = named("serviceName").or_else(|| named("service")).filter(|it| !it.is_empty());
    let status = call.api.status.borrow();
    let mut found: Vec<_> = status.current.containers.iter().filter(|it| is_open(&call.callers, it.key.app)).collect();
    // Of two containers of one service the liveliest stays.
    sort_by(&mut found, |a, b| (b.key.app, liveliest_first(b)).cmp(&(a.key.app, liveliest_first(a))));
    let services: SortedMap<_, _> = found.into_iter().map(|it| (it.key.service.as_str(), it.id.0.as_str())).collect();
    let Some(wanted) = wanted else { return success(ContainerIds { services }) };
    match services.get(wanted.as_str()) {
        Some(container_id) => success(ContainerId { container_id }),
        None => failed(StatusCode::SERVICE_UNAVAILABLE, "Could not find service with that name"),
    }
}

/// `GET /v2/applications/state`: the target's apps, by name.
pub(in crate::api) fn apps_state(call: &ApiRequest) -> ApiResponse {
    let status = call.api.status.borrow();
    let apps: SortedMap<_, _> = apps(&status, &call.callers).map(|app| (app.name.as_str(), app_state(&status, app))).collect();
    json(StatusCode::OK, &AppsState(apps))
}

fn app_state<'a>(status: &'a Status, app: &'a App) -> AppState<'a> {
    let seen = AppStatus::new(status, app);
    let services = seen.services().map(|(name, service, it)| {
        let (image, download_progress) = (service.image.as_str(), it.download_progress);
        (name.as_str(), ServiceState { status: it.word, image, download_progress, release_id: app.release_id })
    });
    AppState {
        app_id: app.id.0,
        app_uuid: &app.uuid,
        commit: commit_of(status, app.id),
        update_status: seen.update_status(),
        services: services.collect(),
    }
}

/// `GET /v2/applications/:appId/state`.
pub(in crate::api) fn app_state_of(call: &ApiRequest) -> ApiResponse {
    let raw = &call.param;
    let Some(number) = integer(raw).filter(|it| *it != 0) else {
        return failed(StatusCode::BAD_REQUEST, &format!("Invalid application ID: {raw}"));
    };
    let status = call.api.status.borrow();
    // An app that the caller may not see does not exist for it.
    let Some(app) = apps(&status, &call.callers).find(|it| i64::from(it.id.0) == number) else {
        return failed(StatusCode::CONFLICT, &format!("Application ID does not exist: {number}"));
    };
    let services = AppStatus::new(&status, app).services().map(|(name, service, it)| {
        // Documents without numbers have names.
        let key = if service.image_id == 0 { name.clone() } else { service.image_id.to_string() };
        let download_progress = it.download_progress;
        (key, LocalService { status: it.word, release_id: app.release_id, download_progress })
    });
    let local = SortedMap::from_iter([(app.id.to_string(), LocalApp { services: services.collect() })]);
    json(StatusCode::OK, &OneAppState { commit: commit_of(&status, app.id), local })
}

/// `GET /v2/state/status`: the containers and images of the first app that the caller may see; in local mode, of the first one
/// that was pushed.
pub(in crate::api) fn state_status(call: &ApiRequest) -> ApiResponse {
    let status = call.api.status.borrow();
    let app = apps(&status, &call.callers).find(|app| !status.target.as_ref().is_some_and(|it| it.keeps(app.id)));
    success(StateStatus {
        app_state: if status.activity == Activity::Applying { "applying" } else { "applied" },
        overall_download_progress: progress(&status),
        containers: app.map(|it| containers(&status, it)).unwrap_or_default(),
        images: app.map(|it| images(&status, it)).unwrap_or_default(),
        release: app.and_then(|it| commit_of(&status, it.id)),
    })
}

fn containers<'a>(status: &'a Status, app: &'a App) -> Vec<ContainerState<'a>> {
    let shown = |it: &'a Container| ContainerState {
        status: container_word(status, it),
        service_name: &it.key.service,
        app_id: app.id.0,
        image_id: parse_name(&it.name).map(|it| it.image_id),
        service_id: app.services.get(&it.key.service).map(|it| it.id),
        container_id: &it.id.0,
        created_at: utc(it.created_secs),
    };
    status.current.containers.iter().filter(|it| it.key.app == app.id).map(shown).collect()
}

fn images<'a>(status: &'a Status, app: &'a App) -> Vec<ImageState<'a>> {
    let shown = |(name, service, it): (&'a String, &'a Service, ServiceStatus<'a>)| {
        let image = status.current.images.iter().find(|it| it.answers_to(&service.image));
        ImageState {
            name: service.image.as_str(),
            app_id: app.id.0,
            service_name: name,
            image_id: service.image_id,
            docker_image_id: image.map(|it| it.id.0.as_str()),
            status: if image.is_some() { "Downloaded" } else { it.word },
            download_progress: it.download_progress,
        }
    };
    AppStatus::new(status, app).services().map(shown).collect()
}

/// The target's apps that these callers may see, by number.
fn apps<'a>(status: &'a Status, callers: &AuthenticatedCallers) -> impl Iterator<Item = &'a App> {
    let apps = status.target.iter().flat_map(|it| it.apps.values());
    apps.filter(|it| is_open(callers, it.id))
}

fn is_open(callers: &AuthenticatedCallers, app: AppId) -> bool {
    callers.may_access(i64::from(app.0))
}

pub(super) fn success(shown: impl Serialize) -> ApiResponse {
    json(StatusCode::OK, &Success { status: "success", shown })
}
