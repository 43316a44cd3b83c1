//! `GET /device/v3/UUID/state`.
//!
//! 304 has two meanings here as there: the target is the one whose `ETag` was sent, or there is no such device.

use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::answer::{Answer, etag};
use super::fault::Fault;
use super::model::{Device, Fleet, Model, Release, Service, Variables};
use super::route::Request;

pub(super) fn answer(model: &mut Model, request: &Request, fault: Option<&Fault>) -> Answer {
    let uuid = request.part(2).to_owned();
    let Some(device) = model.active(&uuid) else { return Answer::empty(304) };
    let key = request.key().unwrap_or_default();
    if key != device.key && key != model.user {
        return Answer::empty(401);
    }
    let text = document(model, device).to_string();
    let is_polled = key == device.key;
    let Some(device) = model.device_mut(&uuid) else { return Answer::empty(304) };
    if is_polled {
        device.polled.push(Instant::now());
    }
    if device.targets[0].as_ref() != Some(&text) {
        device.targets = [Some(text.clone()), device.targets[0].take()];
    }
    let before = device.targets[1].clone().unwrap_or_else(|| text.clone());
    let (text, tag) = match fault {
        Some(Fault::OldTarget) => (before.clone(), etag(before.as_bytes())),
        Some(Fault::StaleEtag) => (text, etag(before.as_bytes())),
        _ => (text.clone(), etag(text.as_bytes())),
    };
    if request.header("if-none-match") == Some(&tag) {
        return Answer::empty(304).with("ETag", tag);
    }
    Answer::json(200, &serde_json::from_str(&text).unwrap_or_default()).with("ETag", tag)
}

/// The document of version 3.
pub(super) fn document(model: &Model, device: &Device) -> Value {
    let Some(fleet) = model.fleet(device.fleet) else { return Value::Null };
    let app = app(fleet, model.release_of(device), &device.variables);
    let config: Variables = fleet.config.clone().into_iter().chain(device.config.clone()).collect();
    json!({ &device.uuid: {"name": device.name, "apps": {&fleet.uuid: app}, "config": config} })
}

/// A fleet's part of a document.
pub(super) fn app(fleet: &Fleet, release: Option<&Release>, variables: &Variables) -> Value {
    let mut app = json!({"id": fleet.id, "name": fleet.name, "is_host": false, "class": "fleet"});
    if let Some(release) = release {
        app["releases"] = json!({ &release.commit: release_part(release, &fleet.variables, variables) });
    }
    app
}

fn release_part(release: &Release, fleet: &Variables, device: &Variables) -> Value {
    let service = |it: &Service| {
        let environment: Variables =
            [fleet, &it.variables, device].into_iter().flatten().map(|(name, value)| (name.clone(), value.clone())).collect();
        json!({"id": it.id, "image_id": it.image_id, "image": it.image, "environment": environment, "labels": it.labels,
            "composition": it.composition})
    };
    let services: Map<_, _> = release.services.iter().map(|it| (it.name.clone(), service(it))).collect();
    let volumes: Map<_, _> = release.volumes.iter().map(|it| (it.clone(), json!({}))).collect();
    json!({"id": release.id, "services": services, "networks": {"default": {}}, "volumes": volumes})
}
