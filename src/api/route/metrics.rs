//! `GET /metrics`: what the agent knows, for Prometheus. The families are in `families.rs`.
//!
//! A service's key sees what it sees in `GET /agent/v1/state`: its own app, and the device. What would show how other apps
//! do, and what concerns the owner, is left out: actions, the cloud, the agent's own use of flash, memory and processor.

mod families;

use crate::api::ApiRequest;
use crate::api::metrics_text::{MetricFamily, MetricValue, MetricsFormat, MetricsText};
use crate::api::response::ApiResponse;
use crate::api::route::streams::begin;
use crate::request::StreamRequest;
use crate::sorted::SortedMap;
use crate::state::cloud::{CloudStatus, Registration};
use crate::state::device::ServedConnection;
use crate::state::host::{Capacity, HostMetrics};
use crate::state::metrics::AgentMetrics;
use crate::state::{
    Activity, Connectivity, ContainerPhase, EngineAction, EngineState, LedActivity, LedPurpose, LedStatus, LockState,
    ServiceKey, Status, Step, VpnState,
};
use families as family;

/// The span of the projection: 365 days, in seconds.
const YEAR_SECS: u64 = 365 * 86_400;
/// The shortest time from which a year is projected, in seconds: an agent that has just started writes more than it does later.
const DAY_SECS: u64 = 86_400;

/// Every metric, in the order in which they are written.
#[must_use]
pub fn metric_families() -> &'static [&'static MetricFamily] {
    family::ALL
}

/// `GET /metrics`.
pub(super) async fn metrics(call: ApiRequest) -> Result<ApiResponse, ApiResponse> {
    let format = MetricsFormat::accepted(call.request.headers());
    let counted = begin(&call.api, StreamRequest::Metrics).await?;
    let mut text = MetricsText::new(format);
    write(&mut text, &call, &counted);
    Ok(ApiResponse::Typed(format.content_type(), text.end()))
}

fn write(text: &mut MetricsText, call: &ApiRequest, counted: &AgentMetrics) {
    let status = &*call.api.status.borrow();
    let sees_all = call.callers.see_all(status);
    let may_see = |key: &ServiceKey| call.callers.may_access(i64::from(key.app.0));
    let up = call.api.started.elapsed().as_secs();
    text.add(&family::BUILD, &[env!("CARGO_PKG_VERSION"), &status.device.arch], 1);
    text.add(&family::START_TIME, &[], u64::try_from(counted.started_secs).unwrap_or_default());
    reconciler(text, status);
    services(text, status, may_see);
    for (key, counts) in counted.restarts.iter().filter(|(key, _)| may_see(key)) {
        let app = key.app.to_string();
        text.add(&family::RESTARTS, &[&app, &key.service, "agent"], counts.by_agent);
        text.add(&family::RESTARTS, &[&app, &key.service, "engine"], counts.by_engine);
    }
    locks(text, status, |app| call.callers.may_access(i64::from(app)));
    match &*call.api.connectivity.borrow() {
        Connectivity::Unknown => (),
        Connectivity::Online => text.add(&family::CLOUD_REACHABLE, &[], true),
        Connectivity::Offline { .. } => text.add(&family::CLOUD_REACHABLE, &[], false),
    }
    text.add(&family::VPN_UP, &[], *call.api.vpn.borrow() == VpnState::Up);
    leds(text, &call.api.leds.status.borrow());
    host(text, &status.metrics);
    if sees_all {
        actions(text, status, counted);
        cloud(text, &call.api.cloud.borrow());
        flash(text, counted, up);
        text.add_known(&family::RESIDENT_MEMORY, &[], counted.process.resident_bytes);
        text.add_known(&family::CPU, &[], counted.process.cpu);
        let open = call.request.extensions().get::<ServedConnection>().and_then(|it| it.open_connections);
        let open = open.map(|it| u64::try_from(it).unwrap_or(u64::MAX));
        text.add_known(&family::API_CONNECTIONS, &[], open);
    }
}

fn reconciler(text: &mut MetricsText, status: &Status) {
    match status.engine {
        EngineState::Unknown => (),
        EngineState::Up => text.add(&family::ENGINE_UP, &[], true),
        EngineState::Down { .. } => text.add(&family::ENGINE_UP, &[], false),
    }
    text.add(&family::TARGET_ACCEPTED, &[], status.target.is_some());
    text.add(&family::TARGET_REJECTED, &[], status.rejected.is_some());
    let is = match status.activity {
        _ if status.shutdown.is_under_way() => "shutting_down",
        Activity::Waiting => "waiting",
        Activity::Applying => "applying",
        Activity::Settled => "settled",
    };
    for state in ["waiting", "applying", "settled", "shutting_down"] {
        text.add(&family::ACTIVITY, &[state], state == is);
    }
    text.add(&family::UPDATE_PENDING, &[], status.update_pending);
    text.add(&family::UPDATE_DOWNLOADED, &[], status.update_downloaded);
    text.add(&family::UPDATE_FAILED, &[], status.update_failed);
}

fn services(text: &mut MetricsText, status: &Status, may_see: impl Fn(&ServiceKey) -> bool) {
    let wanted = status.target.iter().flat_map(|it| it.apps.values());
    let wanted = wanted.flat_map(|app| app.services.keys().map(|name| (ServiceKey::new(app.id, name), false)));
    let mut running: SortedMap<ServiceKey, bool> = wanted.collect();
    for container in &status.current.containers {
        *running.entry(container.key.clone()).or_default() |= container.phase == ContainerPhase::Running;
    }
    for (key, is_running) in running.iter().filter(|(key, _)| may_see(key)) {
        text.add(&family::SERVICE_RUNNING, &[&key.app.to_string(), &key.service], *is_running);
    }
}

fn locks(text: &mut MetricsText, status: &Status, may_see: impl Fn(u32) -> bool) {
    let mut held: SortedMap<(u32, &str), u64> = SortedMap::new();
    for (app, lock) in &status.current.locks {
        let holders: &[&str] = match lock {
            LockState::Ours(_) => &["agent"],
            LockState::Held(_) => &["service"],
            LockState::Both(_) => &["agent", "service"],
        };
        held.extend(holders.iter().map(|it| ((app.0, *it), 1)));
    }
    for (app, leases) in &status.current.leases {
        held.insert((app.0, "lease"), u64::try_from(leases.len()).unwrap_or(u64::MAX));
    }
    for ((app, holder), count) in held.into_iter().filter(|((app, _), _)| may_see(*app)) {
        text.add(&family::LOCKS, &[&app.to_string(), holder], count);
    }
}

fn leds(text: &mut MetricsText, status: &LedStatus) {
    let identifying = status.led.as_ref().ok().map(|led| (led, &status.shows));
    for (led, shows) in identifying.into_iter().chain(status.others.iter().map(|(led, shows)| (led, shows))) {
        let owner = owner(shows);
        let purposes = [LedPurpose::Offline, LedPurpose::Pattern, LedPurpose::Identify, LedPurpose::BringUp];
        text.add(&family::LED_OWNER, &[&led.name, "none"], owner.is_none());
        for purpose in purposes {
            text.add(&family::LED_OWNER, &[&led.name, &purpose.to_string()], owner == Some(purpose));
        }
    }
}

fn owner(shows: &LedActivity) -> Option<LedPurpose> {
    shows.owners.first().map(|it| it.purpose)
}

fn host(text: &mut MetricsText, host: &HostMetrics) {
    text.add_known(&family::HOST_UPTIME, &[], host.up.map(|(up, read)| up + read.elapsed()));
    let degrees = host.temperature_millicelsius.map(|it| MetricValue::Thousandths(i64::from(it)));
    text.add_known(&family::TEMPERATURE, &[], degrees);
    text.add_known(&family::UNDERVOLTAGE, &[], host.undervolted);
    let disks = [("state", host.disk), ("engine", host.storage)];
    let bytes = |it: Option<Capacity>, part: fn(Capacity) -> u64| it.map(part);
    for (name, disk) in disks {
        text.add_known(&family::DISK_FREE, &[name], bytes(disk, |it| it.free_bytes));
    }
    for (name, disk) in disks {
        text.add_known(&family::DISK_SIZE, &[name], bytes(disk, |it| it.total_bytes));
    }
    text.add_known(&family::MEMORY_AVAILABLE, &[], bytes(host.memory, |it| it.free_bytes));
    text.add_known(&family::MEMORY_SIZE, &[], bytes(host.memory, |it| it.total_bytes));
}

fn actions(text: &mut MetricsText, status: &Status, counted: &AgentMetrics) {
    let is_pull = |it: &&Step| matches!(it, Step::Engine(EngineAction::Pull(_)));
    let number = |it: usize| u64::try_from(it).unwrap_or(u64::MAX);
    text.add(&family::PULLS, &[], number(status.steps_in_flight.iter().filter(is_pull).count()));
    text.add(&family::TROUBLES, &[], number(status.troubles.len()));
    for (kind, counts) in &counted.actions {
        for (result, count) in [("done", counts.done), ("failed", counts.failed), ("cancelled", counts.cancelled)] {
            text.add(&family::ACTIONS, &[kind.action, kind.object, result], count);
        }
    }
    for (kind, counts) in &counted.actions {
        text.add_summary(&family::ACTION_DURATION, &[kind.action, kind.object], counts.ended(), counts.time.into());
    }
}

fn cloud(text: &mut MetricsText, cloud: &CloudStatus) {
    match cloud.registration {
        Registration::NoCloud => return,
        Registration::Pending { .. } => text.add(&family::CLOUD_REGISTERED, &[], false),
        Registration::Registered { .. } => text.add(&family::CLOUD_REGISTERED, &[], true),
    }
    for (purpose, count) in &cloud.traffic.0 {
        text.add(&family::CLOUD_TRAFFIC, &[purpose.name(), "sent"], count.sent);
        text.add(&family::CLOUD_TRAFFIC, &[purpose.name(), "received"], count.received);
    }
    let since = |at: tokio::time::Instant| at.elapsed();
    text.add_known(&family::CLOUD_POLL_AGE, &[], cloud.polling.last.as_ref().map(|(at, _)| since(*at)));
    text.add_known(&family::CLOUD_REPORT_AGE, &[], cloud.reporting.accepted.map(since));
}

fn flash(text: &mut MetricsText, counted: &AgentMetrics, up_secs: u64) {
    for (purpose, count) in &counted.flash.0 {
        text.add(&family::FLASH_WRITTEN, &[purpose.name()], count.bytes);
    }
    for (purpose, count) in &counted.flash.0 {
        text.add(&family::FLASH_SYNCS, &[purpose.name()], count.syncs);
    }
    let sum = counted.flash.sum();
    text.add(&family::FLASH_YEAR_BYTES, &[], in_a_year(sum.bytes, up_secs));
    text.add(&family::FLASH_YEAR_SYNCS, &[], in_a_year(sum.syncs, up_secs));
}

/// What a count comes to in a year, if it grows as it did in this time.
fn in_a_year(count: u64, up_secs: u64) -> u64 {
    let projected = u128::from(count) * u128::from(YEAR_SECS) / u128::from(up_secs.max(DAY_SECS));
    u64::try_from(projected).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
