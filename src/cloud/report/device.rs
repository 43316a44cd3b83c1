//! The fields of the device, made from its status.

use super::apps;
use crate::sorted::SortedMap;
use crate::state::Status;
use crate::state::cloud::{DeviceReport, ReportValue};
use crate::state::host::Capacity;
use crate::state::switch::parse_switch;

/// Fields that the cloud takes for metrics: of these it drops what comes more often than once a minute.
pub(super) const METRICS: [&str; 7] =
    ["cpu_usage", "memory_usage", "memory_total", "storage_usage", "storage_total", "storage_block_device", "cpu_temp"];
/// The target's setting that switches metrics off.
const METRICS_VARIABLE: &str = "SUPERVISOR_HARDWARE_METRICS";
/// The status of a device that shuts down or reboots.
const SHUTTING_DOWN: &str = "Stopping";

/// The longest texts that the cloud takes, in characters. One that is longer refuses the whole report.
const OS_VERSION_CHARS: usize = 70;
const SUPERVISOR_VERSION_CHARS: usize = 20;
const IP_ADDRESS_CHARS: usize = 2000;
const MAC_ADDRESS_CHARS: usize = 900;
/// The longest text of a field that has no limit of its own.
const TEXT_CHARS: usize = 255;

/// Everything that the device reports, as of this status.
pub(super) fn device_report(status: &Status) -> DeviceReport {
    let fields = identity(status).chain(network(status)).chain(metrics(status));
    DeviceReport { fields: fields.collect(), apps: apps::app_reports(status) }
}

/// Fields, by their names.
type Fields = SortedMap<&'static str, ReportValue>;

fn identity(status: &Status) -> impl Iterator<Item = (&'static str, ReportValue)> {
    let device = &status.device;
    let word = if status.shutdown.is_under_way() { SHUTTING_DOWN } else { status.word() };
    let mut fields = Fields::from_iter([
        ("status", text(word, TEXT_CHARS)),
        ("os_version", text(&device.reported.os_version, OS_VERSION_CHARS)),
        ("supervisor_version", text(&device.reported.supervisor_version, SUPERVISOR_VERSION_CHARS)),
        // Set while the device was being provisioned by supervisors of 2016; the dashboard shows what is left there.
        ("provisioning_progress", ReportValue::Null),
        ("provisioning_state", text("", TEXT_CHARS)),
        ("api_port", ReportValue::Number(device.api_port.into())),
    ]);
    if let Some(variant) = Some(&device.reported.os_variant).filter(|it| !it.is_empty()) {
        fields.insert("os_variant", text(variant, TEXT_CHARS));
    }
    // Not cut: half a key opens nothing. The cloud refuses one of more than 64 characters, and then this field stands among
    // the refused parts.
    if let Some(key) = &status.device_key {
        fields.insert("api_secret", ReportValue::Secret(key.clone()));
    }
    fields.into_iter()
}

fn network(status: &Status) -> impl Iterator<Item = (&'static str, ReportValue)> {
    let device = &status.device;
    let macs = device.mac_address.split(' ').filter(|it| !it.is_empty());
    [
        ("ip_address", words(device.ip_addresses.iter().map(String::as_str), IP_ADDRESS_CHARS)),
        ("mac_address", words(macs, MAC_ADDRESS_CHARS)),
    ]
    .into_iter()
    // A device without an address reports over one that it is about to have.
    .filter(|(_, value)| *value != ReportValue::Text(String::new()))
}

fn metrics(status: &Status) -> impl Iterator<Item = (&'static str, ReportValue)> {
    let metrics = &status.metrics;
    let mut fields = Fields::new();
    if are_metrics_off(status) {
        fields.extend(METRICS.map(|it| (it, ReportValue::Null)));
        fields.insert("cpu_id", ReportValue::Null);
    } else {
        let used = |it: Capacity| it.total_bytes.saturating_sub(it.free_bytes);
        let celsius = metrics.temperature_millicelsius.map(|it| (i64::from(it) + 500).div_euclid(1000));
        let numbers = [
            ("cpu_usage", metrics.cpu_percent.map(i64::from)),
            ("cpu_temp", celsius),
            ("memory_usage", metrics.memory.map(|it| megabytes(used(it)))),
            ("memory_total", metrics.memory.map(|it| megabytes(it.total_bytes))),
            ("storage_usage", metrics.storage.map(|it| megabytes(used(it)))),
            ("storage_total", metrics.storage.map(|it| megabytes(it.total_bytes))),
        ];
        fields.extend(numbers.into_iter().filter_map(|(name, value)| Some((name, ReportValue::Number(value?)))));
        let texts = [("storage_block_device", &metrics.storage_device), ("cpu_id", &metrics.cpu_serial)];
        fields.extend(texts.into_iter().filter_map(|(name, value)| Some((name, text(value.as_ref()?, TEXT_CHARS)))));
    }
    if let Some(low) = metrics.undervolted {
        fields.insert("is_undervolted", ReportValue::Flag(low));
    }
    fields.into_iter()
}

fn are_metrics_off(status: &Status) -> bool {
    let value = status.target.as_ref().and_then(|it| it.config.get(METRICS_VARIABLE));
    value.and_then(|it| parse_switch(it)) == Some(false)
}

/// Mebibytes, which the cloud and its dashboard call megabytes.
fn megabytes(bytes: u64) -> i64 {
    i64::try_from(bytes >> 20).unwrap_or(i64::MAX)
}

fn text(text: &str, most: usize) -> ReportValue {
    ReportValue::Text(text.chars().take(most).collect())
}

/// As many of these words as fit, space-separated.
fn words<'a>(words: impl Iterator<Item = &'a str>, most: usize) -> ReportValue {
    let mut joined = String::new();
    for word in words {
        let space = usize::from(!joined.is_empty());
        if joined.len() + space + word.len() > most {
            break;
        }
        if space > 0 {
            joined.push(' ');
        }
        joined.push_str(word);
    }
    ReportValue::Text(joined)
}
