//! The fake cloud answers as the real one did: status, headers and bodies as they were recorded.

mod faults;
mod log_lines;
mod relayed;
mod reports;

use serde_json::{Value, json};

use crate::client::{Client, Reply};
use crate::fake::{Call, FakeCloud, Service};

const UUID: &str = "335a908fe6803c7dda6f13eadcd1f7e0";
const KEY: &str = "eb8df4452e5e635bc26bbea6c6135c40";
const COMMITTED: &str = "127.0.0.1:5000/v2/f107cc4d86b35b62fe707ee43e9b7c04@sha256:";

/// A cloud with a fleet of one release, a provisioning key and a client.
struct Scene {
    cloud: FakeCloud,
    client: Client,
    fleet: u64,
    provisioning: String,
    commit: String,
}

impl Scene {
    fn new() -> Self {
        let cloud = FakeCloud::start();
        let fleet = cloud.fleet("recorded");
        let provisioning = cloud.provisioning_key(fleet, None);
        let image = format!("{COMMITTED}{}", "1".repeat(64));
        let main = Service { name: "main".to_owned(), image, ..Service::default() };
        let commit = cloud.release(fleet, &[main], &["data"]);
        let client = Client::new(&cloud);
        Self { cloud, client, fleet, provisioning, commit }
    }

    /// The same with a registered device.
    fn registered() -> Self {
        let this = Self::new();
        assert_eq!(this.register(&json!({})).status, 201);
        this
    }

    /// Registers, with some fields as the test wants them. Null: without the field.
    fn register(&self, fields: &Value) -> Reply {
        self.register_with(&self.provisioning, fields)
    }

    fn register_with(&self, key: &str, fields: &Value) -> Reply {
        let mut form = json!({"application": self.fleet, "uuid": UUID, "device_type": "raspberrypi3", "api_key": KEY,
            "supervisor_version": "19.0.5", "os_version": "balenaOS 6.4.0", "os_variant": "prod",
            "mac_address": "02:42:AC:11:00:02"});
        for (name, value) in fields.as_object().unwrap() {
            form[name] = value.clone();
        }
        form.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        self.client.ask("POST", "/device/register", key, &form)
    }

    fn state(&self, headers: &[(&str, &str)]) -> Reply {
        let bearer = format!("Bearer {KEY}");
        let headers = [&[("Authorization", bearer.as_str())], headers].concat();
        self.client.send("GET", &format!("/device/v3/{UUID}/state"), &headers, b"").unwrap()
    }

    fn report(&self, report: &Value) -> Reply {
        self.client.ask("PATCH", "/device/v3/state", KEY, &json!({ UUID: report }))
    }
}

/// Empty bodies of the real one are chunked.
fn is_empty(reply: &Reply, status: u16) {
    assert_eq!((reply.status, reply.text().as_str()), (status, ""));
    assert_eq!(reply.header("transfer-encoding"), Some("chunked"), "{}", reply.head);
    assert_eq!(reply.header("content-type"), None);
}

fn is_words(reply: &Reply, status: u16, words: &str) {
    assert_eq!((reply.status, reply.json()), (status, Value::from(words)));
    assert_eq!(reply.header("content-type"), Some("application/json; charset=utf-8"));
    assert!(reply.header("etag").is_some() && reply.header("date").is_some(), "{}", reply.head);
}

fn wants_a_key(reply: &Reply) {
    assert_eq!((reply.status, reply.text().as_str()), (401, r#"{"error":"API key required"}"#));
}

#[test]
fn a_device_registers_once() {
    let scene = Scene::new();
    wants_a_key(&scene.register_with("", &json!({})));
    wants_a_key(&scene.register_with("nope", &json!({})));
    is_words(&scene.register(&json!({"uuid": null})), 400, "UUID must be specified");
    is_words(&scene.register(&json!({"device_type": "no-such-type"})), 404, "Unknown device type no-such-type");
    let other = scene.cloud.fleet("other");
    is_empty(&scene.register(&json!({ "application": other })), 401);
    assert_eq!(scene.cloud.devices(), Vec::<String>::new());

    let reply = scene.register(&json!({}));
    assert_eq!(reply.status, 201);
    assert_eq!(reply.json(), json!({"id": scene.cloud.device_id(UUID), "uuid": UUID, "api_key": KEY}));
    let again = scene.register(&json!({}));
    assert_eq!((again.status, again.text().as_str()), (409, "\"uuid\" must be unique."));
    assert_eq!(again.header("content-type"), Some("text/html; charset=utf-8"));
    is_words(&scene.register(&json!({"uuid": "d5d5f588012a571b5d01278a798eb04c"})), 409, "\"key\" must be unique.");
    let without_key = scene.register(&json!({"uuid": "144a4a8805aff2800d4dafb3c8477550", "api_key": null}));
    assert_eq!((without_key.status, without_key.json()["api_key"].as_str().unwrap().len()), (201, 32));

    let expired = scene.cloud.provisioning_key(scene.fleet, Some(std::time::Duration::ZERO));
    wants_a_key(&scene.register_with(&expired, &json!({"uuid": "280036737cb57c99f83de5cf256a313a", "api_key": null})));
    assert_eq!(scene.cloud.devices().len(), 2);
}

/// The table of versions that the real one takes and refuses.
#[test]
fn a_device_says_a_version_that_the_cloud_can_parse() {
    let scene = Scene::new();
    let versions =
        |os: Value, supervisor: Value| json!({"os_version": os, "os_variant": null, "supervisor_version": supervisor});
    for os in ["Debian GNU/Linux 12 (bookworm)", "Debian 12.9.0", "boardkeeper-os 6.4.0", "12", "2.10.9"] {
        let why = format!("Device {UUID} has OS version {os} but needs to satisfy version range: >=2.11.0");
        is_words(&scene.register(&versions(os.into(), "19.0.5".into())), 403, &why);
    }
    let why = format!("Device {UUID} is too old to satisfy required version range: >=2.11.0");
    is_words(&scene.register(&versions(Value::Null, "19.0.5".into())), 403, &why);
    let long = scene.register(&versions("balenaOS 6.4.0".into(), "19.0.5+boardkeeper0.1.0".into()));
    assert_eq!(long.status, 400);
    assert!(long.text().starts_with("\"It is necessary that each device that has a supervisor version"), "{}", long.text());
    let good = ["12.9.0", "v12.0.0", "balenaOS 6.4.0", "balenaOS 6.4.0+rev1", "Resin OS 2.12.0", ""];
    for (number, os) in good.into_iter().enumerate() {
        let (os, supervisor) = if os.is_empty() { (Value::Null, Value::Null) } else { (os.into(), "19.0.5+bk0.1.0".into()) };
        let mut form = versions(os, supervisor);
        form["uuid"] = format!("{number:032x}").into();
        form["api_key"] = format!("key{number}").into();
        assert_eq!(scene.register(&form).status, 201, "{form}");
    }
}

#[test]
fn keys_see_what_they_may_see() {
    let scene = Scene::registered();
    let path = format!("/v7/device?$select=id&$filter=uuid%20eq%20%27{UUID}%27");
    let reply = scene.client.ask("GET", &path, KEY, &Value::Null);
    assert_eq!((reply.status, reply.json()), (200, json!({"d": [{"id": scene.cloud.device_id(UUID)}]})));
    assert_eq!(reply.header("cache-control"), Some("no-cache"));
    for key in ["nope", &scene.provisioning] {
        is_empty(&scene.client.ask("GET", &path, key, &Value::Null), 401);
    }
    let exchange = format!("/api-key/device/{}/device-key", scene.cloud.device_id(UUID));
    let new = json!({"apiKey": "643d76485938b5b8b29969f25786b28f"});
    is_empty(&scene.client.ask("POST", &exchange, &scene.provisioning, &new), 401);
    let user = scene.cloud.user_token();
    is_words(&scene.client.ask("POST", &exchange, &user, &new), 200, "643d76485938b5b8b29969f25786b28f");
    assert_eq!(scene.cloud.device_key(UUID), "643d76485938b5b8b29969f25786b28f");
    let vpn = format!("/services/vpn/auth/{UUID}");
    is_empty(&scene.client.ask("GET", &vpn, "643d76485938b5b8b29969f25786b28f", &Value::Null), 200);
    wants_a_key(&scene.client.ask("GET", &vpn, KEY, &Value::Null));
}

#[test]
fn a_target_has_an_etag_and_304_has_two_meanings() {
    let scene = Scene::new();
    let before = scene.state(&[]);
    assert_eq!((before.status, before.header("etag"), before.body.len()), (304, None, 0));
    scene.register(&json!({}));
    let path = format!("/device/v3/{UUID}/state");
    for key in ["", "nope", &scene.provisioning] {
        is_empty(&scene.client.ask("GET", &path, key, &Value::Null), 401);
    }
    let first = scene.state(&[]);
    let tag = first.header("etag").unwrap().to_owned();
    assert!(tag.starts_with(&format!("W/\"{:x}-", first.body.len())) && tag.len() == first_length(&first), "{tag}");
    let app = &first.json()[UUID]["apps"][scene.cloud.fleet_uuid(scene.fleet)];
    assert_eq!((&app["class"], &app["is_host"], &app["id"]), (&json!("fleet"), &json!(false), &json!(scene.fleet)));
    let service = &app["releases"][&scene.commit]["services"]["main"];
    assert_eq!(service["image_id"], scene.cloud.image_id(scene.fleet, "main"));
    assert_eq!(service["running"], Value::Null);
    let by_query = scene.client.send("GET", &format!("{path}?apikey={KEY}"), &[], b"").unwrap();
    assert_eq!((by_query.status, by_query.text()), (200, first.text()));

    let same = scene.state(&[("If-None-Match", &tag)]);
    assert_eq!((same.status, same.header("etag"), same.body.len()), (304, Some(tag.as_str()), 0));
    scene.cloud.sets_fleet_variable(scene.fleet, "A", "fleet");
    scene.cloud.sets_variable(UUID, "A", "device");
    scene.cloud.configures(UUID, "RESIN_SUPERVISOR_POLL_INTERVAL", "10000");
    let changed = scene.state(&[("If-None-Match", &tag), ("Accept-Encoding", "gzip")]);
    assert_eq!(changed.status, 200);
    assert_ne!(changed.header("etag"), Some(tag.as_str()));
    let changed = scene.state(&[]).json();
    assert_eq!(changed[UUID]["config"], json!({"RESIN_SUPERVISOR_POLL_INTERVAL": "10000"}));
    let fleet = scene.cloud.fleet_uuid(scene.fleet);
    assert_eq!(
        changed[UUID]["apps"][fleet]["releases"][&scene.commit]["services"]["main"]["environment"],
        json!({"A": "device"})
    );
    for gone in [true, false] {
        if gone {
            scene.cloud.freezes(UUID, true);
        } else {
            scene.cloud.deletes(UUID);
        }
        let reply = scene.state(&[]);
        assert_eq!((reply.status, reply.header("etag")), (304, None));
        is_empty(&scene.report(&json!({"status": "Idle"})), 401);
    }
}

/// 27 characters of hash, its dash and quotes, and the length.
fn first_length(reply: &Reply) -> usize {
    "W/\"\"".len() + format!("{:x}-", reply.body.len()).len() + 27
}

#[test]
fn a_fleet_without_releases_is_an_app_without_releases() {
    let scene = Scene::new();
    let empty = scene.cloud.fleet("empty");
    scene.register(&json!({}));
    scene.cloud.moves(UUID, empty);
    let app = &scene.state(&[]).json()[UUID]["apps"][scene.cloud.fleet_uuid(empty)];
    assert_eq!((app["id"].as_u64(), app.get("releases")), (Some(empty), None));
}

#[test]
fn large_targets_are_compressed_and_what_is_asked_is_recorded_with_its_bytes() {
    let scene = Scene::registered();
    for number in 0..40 {
        scene.cloud.sets_variable(UUID, &format!("VARIABLE_{number}"), "a value of some length");
    }
    let plain = scene.state(&[]);
    let packed = scene.state(&[("Accept-Encoding", "gzip")]);
    assert_eq!((packed.header("content-encoding"), packed.header("transfer-encoding")), (Some("gzip"), Some("chunked")));
    assert!(packed.body.len() * 2 < plain.body.len());
    let calls = scene.cloud.calls(Call::Target);
    assert_eq!(calls.iter().map(|it| it.status).collect::<Vec<_>>(), [200, 200]);
    assert_eq!(calls[1].request.header("authorization"), Some(format!("Bearer {KEY}").as_str()));
    let (plain_bytes, packed_bytes) = (scene.cloud.bytes_of(&calls[0]), scene.cloud.bytes_of(&calls[1]));
    assert!(
        plain_bytes.1 > plain.body.len() as u64 && packed_bytes.1 + 500 < plain_bytes.1,
        "{plain_bytes:?} {packed_bytes:?}"
    );
    let (connections, received, sent) = scene.cloud.traffic();
    assert_eq!(connections, 3);
    assert!(received > plain_bytes.0 + packed_bytes.0 && sent > plain_bytes.1 + packed_bytes.1);
}

#[test]
fn a_device_pins_itself_on_a_release_of_its_fleet() {
    let scene = Scene::registered();
    let device = format!("/v7/device({})", scene.cloud.device_id(UUID));
    let found = |key: &str, commit: &str| {
        let of = format!("commit%20eq%20%27{commit}%27%20and%20belongs_to__application%20eq%20{}", scene.fleet);
        let path = format!("/v7/release?$select=id&$filter={of}%20and%20status%20eq%20%27success%27");
        let reply = scene.client.ask("GET", &path, key, &Value::Null);
        assert_eq!((reply.status, reply.header("cache-control")), (200, Some("no-cache")));
        reply.json()["d"].clone()
    };
    let number = found(KEY, &scene.commit)[0]["id"].as_u64().unwrap();
    for (key, commit) in [("nope", scene.commit.as_str()), (KEY, "dead")] {
        assert_eq!(found(key, commit), json!([]));
    }
    let pin = |key: &str, number: u64| scene.client.ask("PATCH", &device, key, &json!({ "is_pinned_on__release": number }));
    is_words(&pin(KEY, 99999), 409, "Data is referenced by is_pinned_on__release.");
    is_empty(&pin("nope", number), 401);
    assert_eq!(scene.cloud.pinned(UUID), None);
    is_empty(&pin(KEY, number), 200);
    assert_eq!(scene.cloud.pinned(UUID).as_ref(), Some(&scene.commit));
}

#[test]
fn a_device_names_itself_sets_its_configuration_and_its_tags() {
    let scene = Scene::registered();
    let id = scene.cloud.device_id(UUID);
    is_empty(&scene.client.ask("PATCH", &format!("/v7/device({id})"), KEY, &json!({"device_name": "lab-335a908"})), 200);
    assert_eq!(scene.cloud.device_name(UUID), "lab-335a908");
    let set = json!({"device": id, "name": "RESIN_SUPERVISOR_POLL_INTERVAL", "value": "600000"});
    let reply = scene.client.ask("POST", "/v7/device_config_variable", KEY, &set);
    assert_eq!((reply.status, &reply.json()["device"], &reply.json()["value"]), (201, &json!({"__id": id}), &json!("600000")));
    is_empty(&scene.client.ask("PATCH", "/device/v3/tags", KEY, &json!({UUID: {"fw": "1.0"}})), 200);
    is_empty(&scene.client.ask("PATCH", "/device/v3/tags", KEY, &json!({UUID: {"fw": null}})), 400);
    assert_eq!(scene.cloud.tags(UUID)["fw"], "1.0");
    let tags = scene.client.ask("GET", &format!("/v7/device_tag?$select=id&$filter=device%20eq%20{id}"), KEY, &Value::Null);
    assert_eq!(tags.json()["d"][0]["tag_key"], "fw");
}

#[test]
fn small_endpoints_answer() {
    let scene = Scene::registered();
    let get = |path: &str, headers: &[(&str, &str)]| scene.client.send("GET", path, headers, b"").unwrap();
    assert_eq!((get("/ping", &[]).status, get("/ping", &[]).text().as_str()), (200, "OK"));
    assert_eq!(get("/connectivity-check", &[]).status, 204);
    assert_eq!(scene.client.ask("GET", "/os/v1/config", KEY, &Value::Null).json()["schema_version"], "1.0.0");
    let scope = "scope=repository%3Av2%2Ff107cc4d86b35b62fe707ee43e9b7c04%3Apull&service=127.0.0.1%3A5000";
    let token = |user: &str, key: &str| {
        use base64::{Engine as _, engine::general_purpose::STANDARD, engine::general_purpose::URL_SAFE_NO_PAD};
        let basic = format!("Basic {}", STANDARD.encode(format!("d_{user}:{key}")));
        let reply = get(&format!("/auth/v1/token?account=d_{user}&{scope}"), &[("Authorization", &basic)]);
        if reply.status != 200 {
            return Err(reply);
        }
        let token = reply.json()["token"].as_str().unwrap().to_owned();
        Ok(serde_json::from_slice::<Value>(&URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap()).unwrap())
    };
    let claims = token(UUID, KEY).unwrap();
    assert_eq!(claims["access"][0]["actions"], json!(["pull"]));
    assert_eq!(claims["access"][0]["name"], "v2/f107cc4d86b35b62fe707ee43e9b7c04");
    is_empty(&token(UUID, "nope").unwrap_err(), 401);
    let other = scene.cloud.fleet("other");
    scene.cloud.moves(UUID, other);
    assert_eq!(token(UUID, KEY).unwrap()["access"][0]["actions"], json!([]));
}
