//! `POST /device/register`, and which versions the cloud can parse.

use serde_json::{Value, json};

use super::answer::Answer;
use super::model::{Device, Model};
use super::route::Request;

/// The types of devices that this cloud knows.
const TYPES: [&str; 5] = ["raspberrypi3", "raspberrypi4-64", "raspberry-pi", "beaglebone-black", "generic-amd64"];
/// The oldest version of the operating system that a fleet of the default type takes.
const OLDEST: [u64; 3] = [2, 11, 0];
/// The length of `supervisor_version`.
const SUPERVISOR_VERSION: usize = 20;

pub(super) fn answer(model: &mut Model, request: &Request) -> Answer {
    let Some(key) = request.key() else { return Answer::key_required() };
    if !model.knows(&key) {
        return Answer::key_required();
    }
    let body = request.json();
    let text = |name: &str| body[name].as_str().filter(|it| !it.is_empty()).map(str::to_owned);
    let Some(uuid) = text("uuid") else { return Answer::words(400, "UUID must be specified") };
    let Some(kind) = text("device_type") else { return Answer::words(400, "Device type must be specified") };
    if !TYPES.contains(&kind.as_str()) {
        return Answer::words(404, &format!("Unknown device type {kind}"));
    }
    let fleet = body["application"].as_u64().unwrap_or_default();
    let may = key == model.user || model.provisioned_by(&key) == Some(fleet);
    if !may || model.fleet(fleet).is_none() {
        return Answer::empty(401);
    }
    if let Some(refusal) = refused_version(&uuid, text("os_version").as_deref(), text("supervisor_version").as_deref()) {
        return refusal;
    }
    if model.device(&uuid).is_some() {
        return Answer::html(409, "\"uuid\" must be unique.");
    }
    let device_key = text("api_key").unwrap_or_else(|| model.hex("key"));
    if model.knows(&device_key) {
        return Answer::words(409, "\"key\" must be unique.");
    }
    let fields = ["os_version", "os_variant", "supervisor_version", "mac_address"];
    let fields = fields.into_iter().filter_map(|it| Some((it.to_owned(), Value::from(text(it)?)))).collect();
    let id = model.id();
    model.devices.push(Device {
        id,
        uuid: uuid.clone(),
        key: device_key.clone(),
        fleet,
        name: format!("humble-monster-{id}"),
        frozen: false,
        address: None,
        pinned: None,
        variables: super::model::Variables::new(),
        config: super::model::Variables::new(),
        tags: super::model::Variables::new(),
        fields,
        apps: serde_json::Map::new(),
        logs: Vec::new(),
        polled: Vec::new(),
        targets: [None, None],
    });
    Answer::json(201, &json!({"id": id, "uuid": uuid, "api_key": device_key}))
}

/// Why a device of these versions is refused.
fn refused_version(uuid: &str, os: Option<&str>, supervisor: Option<&str>) -> Option<Answer> {
    match (os, supervisor) {
        (None, Some(_)) => {
            let why = format!("Device {uuid} is too old to satisfy required version range: >=2.11.0");
            return Some(Answer::words(403, &why));
        }
        (Some(os), _) if parsed(os).is_none_or(|it| it < OLDEST) => {
            let why = format!("Device {uuid} has OS version {os} but needs to satisfy version range: >=2.11.0");
            return Some(Answer::words(403, &why));
        }
        (Some(_) | None, _) => (),
    }
    let too_long = supervisor.is_some_and(|it| it.chars().count() > SUPERVISOR_VERSION);
    too_long.then(|| too_long_answer("supervisor version", SUPERVISOR_VERSION))
}

/// 400, for a text that is longer than its column.
pub(super) fn too_long_answer(what: &str, most: usize) -> Answer {
    let why = format!(
        "It is necessary that each device that has a {what}, has a {what} that has a Length (Type) that is less than or equal to {most}."
    );
    Answer::words(400, &why)
}

/// The numbers of a version, as balena-semver reads them: `X.Y.Z`, or that behind `balenaOS` or `Resin OS`.
pub(super) fn parsed(version: &str) -> Option<[u64; 3]> {
    let lower = version.trim().to_lowercase();
    let bare = ["balenaos", "balena os", "resin os", "resinos"].iter().find_map(|it| lower.strip_prefix(it)).unwrap_or(&lower);
    let bare = bare.trim().trim_start_matches('v');
    let end = bare.find(|it: char| !it.is_ascii_digit() && it != '.').unwrap_or(bare.len());
    let (numbers, rest) = bare.split_at(end);
    if !rest.is_empty() && !rest.starts_with(['-', '+']) {
        return None;
    }
    let numbers: Option<Vec<u64>> = numbers.split('.').map(|it| it.parse().ok()).collect();
    numbers?.try_into().ok()
}
