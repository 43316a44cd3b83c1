//! Every metric. docs/metrics.md has them as a table.

use crate::api::metrics_text::MetricKind::{Counter, Gauge, Info, Summary};
use crate::api::metrics_text::{MetricFamily, MetricKind};

/// All of them, in the order in which they are written.
pub(super) static ALL: &[&MetricFamily] = &[
    &BUILD,
    &START_TIME,
    &ENGINE_UP,
    &TARGET_ACCEPTED,
    &TARGET_REJECTED,
    &ACTIVITY,
    &UPDATE_PENDING,
    &UPDATE_DOWNLOADED,
    &UPDATE_FAILED,
    &SERVICE_RUNNING,
    &RESTARTS,
    &LOCKS,
    &CLOUD_REACHABLE,
    &VPN_UP,
    &LED_OWNER,
    &HOST_UPTIME,
    &TEMPERATURE,
    &UNDERVOLTAGE,
    &DISK_FREE,
    &DISK_SIZE,
    &MEMORY_AVAILABLE,
    &MEMORY_SIZE,
    &PULLS,
    &TROUBLES,
    &ACTIONS,
    &ACTION_DURATION,
    &CLOUD_REGISTERED,
    &CLOUD_TRAFFIC,
    &CLOUD_POLL_AGE,
    &CLOUD_REPORT_AGE,
    &FLASH_WRITTEN,
    &FLASH_SYNCS,
    &FLASH_YEAR_BYTES,
    &FLASH_YEAR_SYNCS,
    &RESIDENT_MEMORY,
    &CPU,
    &API_CONNECTIONS,
];

const fn family(
    name: &'static str,
    kind: MetricKind,
    unit: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> MetricFamily {
    MetricFamily { name, kind, unit, labels, help }
}

macro_rules! families {
    ($($id:ident: $name:literal $kind:ident $unit:literal [$($label:literal),*] $help:literal;)*) => {
        $(pub(super) static $id: MetricFamily =
            family(concat!("boardkeeper_", $name), $kind, $unit, &[$($label),*], $help);)*
    };
}

families! {
    BUILD: "build" Info "" ["version", "arch"] "The version of the agent, and the architecture of the device.";
    START_TIME: "start_time_seconds" Gauge "seconds" [] "When the agent started, in seconds of the wall clock since 1970.";
    ENGINE_UP: "engine_up" Gauge "" [] "1 if the container engine answers, 0 if it does not.";
    TARGET_ACCEPTED: "target_accepted" Gauge "" [] "1 once the agent has accepted a target.";
    TARGET_REJECTED: "target_rejected" Gauge "" [] "1 while the last target document is rejected.";
    ACTIVITY: "activity" Gauge "" ["state"] "1 for what the agent does: waiting, applying, settled or shutting_down; 0 for the others.";
    UPDATE_PENDING: "update_pending" Gauge "" [] "1 while there is an update that is not applied yet.";
    UPDATE_DOWNLOADED: "update_downloaded" Gauge "" [] "1 while every image of a pending update is pulled.";
    UPDATE_FAILED: "update_failed" Gauge "" [] "1 while an update is blocked by a lock, or a step that an app needs fails.";
    SERVICE_RUNNING: "service_running" Gauge "" ["app_id", "service"] "1 if a container of the service runs.";
    RESTARTS: "container_restarts" Counter "" ["app_id", "service", "by"] "Restarts of a container that the agent saw, by the agent or by the engine. Those between two looks count once.";
    LOCKS: "locks" Gauge "" ["app_id", "held_by"] "Update locks of an app that are held by the agent, a service or a lease.";
    CLOUD_REACHABLE: "cloud_reachable" Gauge "" [] "1 if the device reaches its cloud. Absent where that is not checked.";
    VPN_UP: "vpn_up" Gauge "" [] "1 if the VPN of the cloud is up.";
    LED_OWNER: "led_owner" Gauge "" ["led", "owner"] "1 for what the LED shows: none, no-connectivity, pattern, identify or bring-up; 0 for the others.";
    HOST_UPTIME: "host_uptime_seconds" Gauge "seconds" [] "Time since the host booted.";
    TEMPERATURE: "temperature_celsius" Gauge "celsius" [] "Temperature of the processor at the last look.";
    UNDERVOLTAGE: "undervoltage" Gauge "" [] "1 if the supply voltage was too low at a look since the agent started.";
    DISK_FREE: "disk_free_bytes" Gauge "bytes" ["disk"] "Free space of the disk with the agent's state, and of that with the engine's data.";
    DISK_SIZE: "disk_size_bytes" Gauge "bytes" ["disk"] "Size of the disk with the agent's state, and of that with the engine's data.";
    MEMORY_AVAILABLE: "memory_available_bytes" Gauge "bytes" [] "Memory of the host that programs can have, without swap.";
    MEMORY_SIZE: "memory_size_bytes" Gauge "bytes" [] "Memory of the host, without swap.";
    PULLS: "pulls_in_progress" Gauge "" [] "Images that are being pulled.";
    TROUBLES: "troubles" Gauge "" [] "What is wrong, as `troubles` of `GET /agent/v1/state` lists it.";
    ACTIONS: "actions" Counter "" ["action", "object", "result"] "Actions that ended: done, failed or cancelled. Each attempt counts.";
    ACTION_DURATION: "action_duration_seconds" Summary "seconds" ["action", "object"] "How long actions took, whatever their result.";
    CLOUD_REGISTERED: "cloud_registered" Gauge "" [] "1 if the device is registered with its cloud, 0 if it is to be. Absent without a cloud.";
    CLOUD_TRAFFIC: "cloud_traffic_bytes" Counter "bytes" ["purpose", "direction"] "Bytes that the agent sent to its cloud and received from it, TLS included.";
    CLOUD_POLL_AGE: "cloud_poll_age_seconds" Gauge "seconds" [] "Time since the cloud last answered a request for the target.";
    CLOUD_REPORT_AGE: "cloud_report_age_seconds" Gauge "seconds" [] "Time since the cloud last accepted a report of the state.";
    FLASH_WRITTEN: "flash_written_bytes" Counter "bytes" ["purpose"] "Content that the agent wrote to flash. The file system adds whole blocks and its journal.";
    FLASH_SYNCS: "flash_syncs" Counter "" ["purpose"] "Calls of fsync, of files and directories.";
    FLASH_YEAR_BYTES: "flash_projected_year_bytes" Gauge "bytes" [] "What the content written to flash comes to in 365 days, from the time since the agent started and a day at least.";
    FLASH_YEAR_SYNCS: "flash_projected_year_syncs" Gauge "" [] "The same for calls of fsync.";
    RESIDENT_MEMORY: "resident_memory_bytes" Gauge "bytes" [] "Memory of the agent that is resident.";
    CPU: "cpu_seconds" Counter "seconds" [] "Processor time of the agent.";
    API_CONNECTIONS: "api_connections" Gauge "" [] "Connections to the API that are open.";
}
