//! `/v7`, tags, key exchange, the configuration of the host, and who may enter the VPN.

use serde_json::{Value, json};

use super::answer::Answer;
use super::model::{Device, Model};
use super::route::Request;

/// `GET /v7/device?$select=id&$filter=uuid eq '…'`.
pub(super) fn device_id(model: &Model, request: &Request) -> Answer {
    let key = request.key().unwrap_or_default();
    let owner = model.devices.iter().find(|it| it.key == key);
    if owner.is_none() && key != model.user {
        return uncached(Answer::empty(401));
    }
    let filter = request.query("$filter").unwrap_or_default();
    let wanted = filter.split('\'').nth(1).unwrap_or_default();
    let found = model.device(wanted).filter(|it| owner.is_none_or(|owner| owner.id == it.id));
    let found: Vec<_> = found.iter().map(|it| json!({"id": it.id})).collect();
    uncached(Answer::json(200, &json!({"d": found})))
}

/// `GET /v7/release?$select=id&$filter=commit eq '…' and belongs_to__application eq ID …`. A key that the cloud does not know
/// sees none.
pub(super) fn release_id(model: &Model, request: &Request) -> Answer {
    let key = request.key().unwrap_or_default();
    let filter = request.query("$filter").unwrap_or_default();
    let commit = filter.split('\'').nth(1).unwrap_or_default();
    let fleet = filter.split("belongs_to__application eq ").nth(1).and_then(|it| it.split(' ').next()?.parse().ok());
    let may_see = model.devices.iter().any(|it| it.key == key && Some(it.fleet) == fleet);
    let releases = fleet.filter(|_| may_see).and_then(|it| model.fleet(it)).map(|it| &it.releases);
    let found = releases.into_iter().flatten().filter(|it| it.commit == commit);
    let found: Vec<_> = found.map(|it| json!({"id": it.id})).collect();
    uncached(Answer::json(200, &json!({"d": found})))
}

/// `POST /api-key/device/ID/device-key`: for users; a plain provisioning key may not.
pub(super) fn exchange_key(model: &mut Model, request: &Request) -> Answer {
    if request.key().as_ref() != Some(&model.user) {
        return Answer::empty(401);
    }
    let id = request.part(2).parse().unwrap_or(0);
    let new = request.json()["apiKey"].as_str().map(str::to_owned);
    let new = new.unwrap_or_else(|| model.hex("key"));
    let Some(device) = model.devices.iter_mut().find(|it| it.id == id) else { return Answer::empty(401) };
    device.key.clone_from(&new);
    Answer::words(200, &new)
}

/// `PATCH /device/v3/tags`. Only texts are values.
pub(super) fn tags(model: &mut Model, request: &Request) -> Answer {
    let Some(key) = request.key() else { return Answer::key_required() };
    let body = request.json();
    let Some((uuid, tags)) = body.as_object().and_then(|it| it.iter().next()) else { return Answer::empty(401) };
    let Some(device) = model.device_mut(uuid).filter(|it| !it.frozen && it.key == key) else { return Answer::empty(401) };
    let Some(tags) = tags.as_object().filter(|it| it.values().all(Value::is_string)) else { return Answer::empty(400) };
    device.tags.extend(tags.iter().filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))));
    Answer::empty(200)
}

/// Everything else below `/v7`.
pub(super) fn answer(model: &mut Model, request: &Request) -> Answer {
    let key = request.key().unwrap_or_default();
    let id = model.id();
    let body = request.json();
    if body["is_pinned_on__release"].as_u64().is_some_and(|id| !model.fleets.iter().any(|it| it.has_release(id))) {
        return uncached(Answer::words(409, "Data is referenced by is_pinned_on__release."));
    }
    let Some(device) = model.devices.iter_mut().find(|it| it.key == key) else { return uncached(Answer::empty(401)) };
    uncached(match (request.method.as_str(), request.part(1)) {
        ("PATCH", of) if of == format!("device({})", device.id) => patch(device, &body),
        ("POST", "device_config_variable") if body["device"] == device.id => {
            let (Some(name), Some(value)) = (body["name"].as_str(), body["value"].as_str()) else { return Answer::empty(400) };
            device.config.insert(name.to_owned(), value.to_owned());
            let at = "2026-11-23T12:06:13.106Z";
            let made = json!({"created_at": at, "modified_at": at, "device": {"__id": device.id}, "name": name, "id": id,
                "value": value});
            Answer::json(201, &made).with("location", format!("/v7/device_config_variable(@id)?@id={id}"))
        }
        ("GET", "device_tag") => {
            let tags = device.tags.iter().enumerate();
            let tags: Vec<_> = tags.map(|(id, (name, value))| json!({"id": id, "tag_key": name, "value": value})).collect();
            Answer::json(200, &json!({"d": tags}))
        }
        ("GET", of) if of == format!("device(uuid='{}')", device.uuid) => {
            Answer::json(200, &json!({"d": [{"id": device.id, "device_name": device.name, "is_online": false}]}))
        }
        _ => Answer::empty(401),
    })
}

fn patch(device: &mut Device, body: &Value) -> Answer {
    if let Some(name) = body["device_name"].as_str() {
        name.clone_into(&mut device.name);
    }
    if let Some(release) = body.get("is_pinned_on__release") {
        device.pinned = release.as_u64();
    }
    Answer::empty(200)
}

/// `GET /os/v1/config`.
pub(super) fn os_config(model: &Model, request: &Request) -> Answer {
    if !request.key().is_some_and(|it| model.knows(&it)) {
        return Answer::key_required();
    }
    let openvpn = "\nclient\nremote localhost 443\nresolv-retry infinite\n\nremote-cert-tls server\nca /etc/openvpn/ca.crt\n\
                   auth-user-pass /var/volatile/vpn-auth\nauth-retry none\ndev resin-vpn\ndev-type tun\nproto tcp\nnobind\n";
    let services = json!({"openvpn": {"config": openvpn, "ca": "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"},
        "ssh": {"authorized_keys": ""}});
    Answer::json(200, &json!({"services": services, "config": {"overrides": {}}, "schema_version": "1.0.0"}))
}

/// `GET /services/vpn/auth/UUID`: whether a device may enter the VPN.
pub(super) fn vpn_auth(model: &Model, request: &Request) -> Answer {
    let device = model.active(request.part(3));
    let may = device.is_some_and(|it| request.key().as_ref() == Some(&it.key));
    if may { Answer::empty(200) } else { Answer::key_required() }
}

fn uncached(answer: Answer) -> Answer {
    answer.with("Cache-Control", "no-cache")
}
