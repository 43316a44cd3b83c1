//! `PATCH /device/v3/state`. What one part of a report is refused for refuses the whole report.

use serde_json::{Map, Value};

use super::answer::Answer;
use super::fault::Fault;
use super::model::{Device, Fleet, Model, Release};
use super::register::too_long_answer;
use super::route::Request;

/// The lengths of texts.
const LENGTHS: [(&str, usize); 6] = [
    ("status", 50),
    ("api_secret", 64),
    ("os_version", 70),
    ("supervisor_version", 20),
    ("ip_address", 2000),
    ("mac_address", 900),
];
/// What is a text, a number, or true or false; each may be null.
const TEXTS: [&str; 10] = [
    "status",
    "api_secret",
    "os_version",
    "os_variant",
    "supervisor_version",
    "ip_address",
    "mac_address",
    "cpu_id",
    "storage_block_device",
    "provisioning_state",
];
const NUMBERS: [&str; 8] = [
    "api_port",
    "provisioning_progress",
    "memory_usage",
    "memory_total",
    "storage_usage",
    "storage_total",
    "cpu_temp",
    "cpu_usage",
];
/// What `update_status` may be.
const UPDATE_STATUSES: [&str; 6] = ["rejected", "downloading", "downloaded", "applying changes", "aborted", "done"];
const CHECK: &str = "Check constraint violated";

pub(super) fn answer(model: &mut Model, request: &Request, fault: Option<&Fault>) -> Answer {
    let Some(key) = request.key() else { return Answer::key_required() };
    let Value::Object(devices) = request.json() else { return Answer::empty(400) };
    let Some((uuid, report)) = devices.iter().next() else { return Answer::empty(401) };
    let Some(device) = model.active(uuid) else { return Answer::empty(401) };
    if key != device.key {
        return Answer::key_required();
    }
    let Some(report) = report.as_object() else { return Answer::empty(400) };
    if let Err(refusal) = check(model, device, report, fault) {
        return refusal;
    }
    let Some(device) = model.device_mut(uuid) else { return Answer::empty(401) };
    for (name, value) in report {
        if name == "apps" {
            device.apps.extend(value.as_object().cloned().unwrap_or_default());
        } else {
            device.fields.insert(name.clone(), value.clone());
        }
    }
    Answer::empty(200)
}

fn check(model: &Model, device: &Device, report: &Map<String, Value>, fault: Option<&Fault>) -> Result<(), Answer> {
    for (name, value) in report {
        let text = TEXTS.contains(&name.as_str()) && !value.is_string() && !value.is_null();
        let number = NUMBERS.contains(&name.as_str()) && !value.is_number() && !value.is_null();
        if text || number || name == "apps" && !value.is_object() || name == "is_undervolted" && !value.is_boolean() {
            return Err(Answer::empty(400));
        }
    }
    for (name, most) in LENGTHS {
        if report.get(name).and_then(Value::as_str).is_some_and(|it| it.chars().count() > most) {
            return Err(too_long_answer(&name.replace('_', " "), most));
        }
    }
    // What is in brackets counts as the variant, where the device names none; and there is none of that name.
    let now = |name: &str| report.get(name).or_else(|| device.fields.get(name)).and_then(Value::as_str);
    if now("os_variant").is_none() && now("os_version").is_some_and(|it| it.contains('(')) {
        return Err(Answer::words(400, CHECK));
    }
    if now("os_variant").is_some_and(|it| it != "dev" && it != "prod") {
        return Err(Answer::words(400, CHECK));
    }
    for (uuid, app) in report.get("apps").and_then(Value::as_object).into_iter().flatten() {
        if fault == Some(&Fault::RefusesApp(uuid.clone())) {
            return Err(Answer::empty(401));
        }
        check_app(model.fleets.iter().find(|it| it.uuid == *uuid).ok_or_else(|| Answer::empty(401))?, app)?;
    }
    Ok(())
}

fn check_app(fleet: &Fleet, app: &Value) -> Result<(), Answer> {
    let release_of = |commit: &str| fleet.releases.iter().find(|it| it.commit == commit).ok_or_else(|| Answer::empty(401));
    if let Some(commit) = app["release_uuid"].as_str() {
        release_of(commit)?;
    }
    for (commit, reported) in app["releases"].as_object().into_iter().flatten() {
        let release = release_of(commit)?;
        if reported["update_status"].as_str().is_some_and(|it| !UPDATE_STATUSES.contains(&it)) {
            return Err(Answer::words(400, CHECK));
        }
        for service in reported["services"].as_object().into_iter().flatten().map(|it| it.1) {
            check_service(release, service)?;
        }
    }
    Ok(())
}

/// The image must be one of the release: with its digest, or without one.
fn check_service(release: &Release, service: &Value) -> Result<(), Answer> {
    let image = service["image"].as_str().ok_or_else(|| Answer::empty(400))?;
    let named = |known: &str| known == image || known.split('@').next() == Some(image);
    if !release.services.iter().any(|it| named(&it.image)) {
        return Err(Answer::empty(401));
    }
    let progress = &service["download_progress"];
    let well = progress.is_null() || progress.as_f64().is_some_and(|it| (0.0..=100.0).contains(&it));
    if well && service["status"].is_string() { Ok(()) } else { Err(Answer::empty(400)) }
}
