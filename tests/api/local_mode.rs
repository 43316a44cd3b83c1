//! Local mode, as the cloud's command line and a person on the device use it.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use boardkeeper::document;
use boardkeeper::request::{LocalModeRequest, Refusal};
use boardkeeper::state::local_mode::LocalApps;
use boardkeeper::state::{AppId, ClientAddress, Force, Target};
use serde_json::{Value, json};

use crate::test_device::{ONE, Received, Response, TWO, TestDevice, request};

const PATH: &str = "/v2/local/target-state";
const NEARBY: ClientAddress = ClientAddress { addr: IpAddr::V4(Ipv4Addr::LOCALHOST), local: true };

fn pushed() -> Value {
    json!({"local": {"name": "kitchen", "config": {}, "apps": {"1": {
        "name": "localapp", "commit": "10ca12e1ea5e", "releaseId": "1", "volumes": {}, "networks": {}, "services": {"1": {
            "imageId": 1, "serviceName": "main", "image": "local_image_main:latest", "environment": {}, "labels": {}}}}}}})
}

/// As the command line asks: without a key of the device, and with the user's own token.
async fn nearby(device: &mut TestDevice, method: &str, body: &str) -> Response {
    let request = request(method, PATH).header("Authorization", "Bearer cloud.token").header(CONTENT_TYPE, "application/json");
    device.call(request.extension(NEARBY).body(Body::from(body.to_owned())).unwrap()).await
}

#[tokio::test]
async fn a_target_is_pushed_in_local_mode_only() {
    let mut device = TestDevice::new();
    let got = device.post(PATH, &pushed().to_string()).await;
    assert_eq!((got.status.as_u16(), got.message().as_str()), (400, "Target state can only set when device is in local mode"));
    assert!(device.asked.is_empty());
    device.say(|it| it.access.local_mode = true);
    let mut forced = pushed();
    forced["force"] = json!(true);
    for (body, force) in [(pushed(), Force::No), (forced, Force::Yes)] {
        let got = nearby(&mut device, "POST", &body.to_string()).await;
        assert_eq!((got.status.as_u16(), got.json()), (200, json!({"status": "success", "message": "OK"})));
        assert_eq!(device.asked.pop(), Some(Received::PushTarget(pushed().to_string(), force)));
    }
}

#[tokio::test]
async fn what_is_no_target_is_refused_with_the_reason() {
    let mut device = TestDevice::new();
    device.say(|it| it.access.local_mode = true);
    for (body, why) in [
        ("{}", "expected `local`, `apps`"),
        (r#"{"local": {"apps": {"x": {}}}}"#, "the app's key must be its number"),
        ("{", "the body is not JSON"),
        (r#"{"local": 1, "local": 2}"#, "twice"),
    ] {
        let got = nearby(&mut device, "POST", body).await;
        assert_eq!(got.status.as_u16(), 400, "{body}");
        assert!(got.message().contains(why), "{body}: {}", got.message());
    }
    let large = json!({"local": {"name": "x".repeat(900_000), "apps": {}}}).to_string();
    assert_eq!(nearby(&mut device, "POST", &large).await.status.as_u16(), 400);
    let too_large = json!({"local": {"name": "x".repeat(1_100_000), "apps": {}}}).to_string();
    let got = nearby(&mut device, "POST", &too_large).await;
    assert_eq!((got.status.as_u16(), got.message().as_str()), (413, "the body is longer than 1024 kB"));
    device.refuses = Some(Refusal::Failed("it cannot be saved".to_owned()));
    assert_eq!(nearby(&mut device, "POST", &pushed().to_string()).await.status.as_u16(), 503);
}

#[tokio::test]
async fn what_was_pushed_is_read_back_as_it_was() {
    let mut device = TestDevice::new();
    device.say(|it| "board".clone_into(&mut it.device.name));
    device.say(|it| it.access.local_mode = true);
    let nothing = json!({"status": "success", "state": {"local": {"name": "board", "config": {}, "apps": {}}}});
    assert_eq!(nearby(&mut device, "GET", "").await.json(), nothing);
    device.say(|it| it.local_mode.document = Some(pushed().to_string()));
    let apps = nearby(&mut device, "GET", "").await.json()["state"]["local"]["apps"].clone();
    assert_eq!(apps, pushed()["local"]["apps"]);
    // Not by an owner's service from another network: a developer's variables may be secret.
    let key = device.key(ONE, "main");
    let got = device.call(request("GET", &format!("{PATH}?apikey={key}")).body(Body::empty()).unwrap()).await.json();
    assert_eq!(got, nothing);
}

#[tokio::test]
async fn out_of_local_mode_the_owners_target_is_shown_without_keys() {
    let mut device = TestDevice::new();
    let service = json!({"id": 2, "image_id": 12, "image": "r/main:1", "environment": {"A": "b", "BALENA_API_KEY": "secret"}});
    let app = |id: u32, name: &str| {
        let release = json!({"id": 34, "services": {"main": service}, "volumes": {"data": {}}});
        json!({"id": id, "name": name, "class": "fleet", "releases": {"c0de": release}})
    };
    let document = json!({"c0ffee": {"name": "kitchen", "config": {"RESIN_SUPERVISOR_DELTA": "1"},
        "apps": {"a1".repeat(16): app(ONE.0, "one"), "a2".repeat(16): app(TWO.0, "two")}}});
    device.say(|it| it.target = Some(Arc::new(document::parse(&document.to_string(), Some("c0ffee")).unwrap())));
    let one = json!({"name": "one", "commit": "c0de", "releaseId": 34, "volumes": {"data": {}}, "networks": {}, "services": {
        "2": {"serviceName": "main", "imageId": 12, "image": "r/main:1", "running": true, "environment": {"A": "b"}, "labels": {}}}});
    let got = device.get(PATH).await.json()["state"]["local"].clone();
    assert_eq!((&got["name"], &got["config"]), (&json!("kitchen"), &json!({"SUPERVISOR_DELTA": "1"})));
    assert_eq!(got["apps"][ONE.0.to_string()], one);
    assert_eq!(got["apps"].as_object().unwrap().len(), 2);
    // A service sees its own app.
    let key = device.key(ONE, "main");
    let got = device.call(request("GET", &format!("{PATH}?apikey={key}")).body(Body::empty()).unwrap()).await.json();
    assert_eq!(got["state"]["local"]["apps"], json!({ONE.0.to_string(): one}));
}

#[tokio::test]
async fn a_person_switches_it_with_the_devices_key_only() {
    let mut device = TestDevice::new();
    let path = "/agent/v1/local-mode";
    device.say(|it| it.device.ip_addresses = vec!["192.168.1.7".to_owned()]);
    let got = device.post(path, r#"{"seconds": 7200}"#).await;
    let on = json!({"on": true, "until": "2023-11-15T00:13:20Z", "addresses": ["192.168.1.7"], "engine_networks": []});
    assert_eq!((got.status.as_u16(), got.json()), (200, on));
    let got = device.post(path, "").await.json();
    assert_eq!((&got["on"], &got["until"]), (&json!(true), &Value::Null));
    assert_eq!(device.delete(path).await.json()["on"], json!(false));
    let asked: Vec<_> = device.asked.drain(..).collect();
    let on = |length_secs| Received::SwitchLocalMode(LocalModeRequest::On { length_secs });
    assert_eq!(asked, [on(Some(7200)), on(None), Received::SwitchLocalMode(LocalModeRequest::Off)]);
    for body in [r#"{"seconds": 0}"#, r#"{"seconds": "soon"}"#, r#"{"seconds": 2592001}"#, r#"{"seconds": null}"#] {
        let got = device.post(path, body).await;
        assert_eq!(got.status.as_u16(), 400, "{body}");
        assert!(got.message().starts_with("`seconds` must be a whole number from 1 to"), "{body}");
    }
    // Not by a caller that only local mode admits: it would never end.
    device.say(|it| it.access.local_mode = true);
    for method in ["POST", "DELETE"] {
        let keyless = request(method, path).extension(NEARBY).body(Body::empty()).unwrap();
        assert_eq!(device.call(keyless).await.status.as_u16(), 401, "{method}");
        let key = device.key(ONE, "main");
        let service = request(method, &format!("{path}?apikey={key}")).extension(NEARBY).body(Body::empty()).unwrap();
        assert_eq!(device.call(service).await.status.as_u16(), 401, "{method}");
    }
}

#[tokio::test]
async fn the_status_is_that_of_what_was_pushed() {
    let mut device = TestDevice::new();
    let mut target = document::parse(&pushed().to_string(), None).unwrap();
    let local = LocalApps { is_on: true, has_owner: true, pushed: [AppId(1)].into() };
    let mut kept = target.apps[&AppId(1)].clone();
    (kept.id, kept.name) = (AppId(0), "owners".to_owned());
    target.apps.insert(kept.id, kept);
    device.say(|it| it.target = Some(Arc::new(Target { local: Some(local.clone()), ..target.clone() })));
    let shown = device.get("/v2/state/status").await.json();
    assert_eq!(shown["images"][0]["appId"], 1);
    // Before anything is pushed there is nothing to show.
    target.apps.remove(&AppId(1));
    device.say(|it| it.target = Some(Arc::new(Target { local: Some(local), ..target })));
    let shown = device.get("/v2/state/status").await.json();
    assert_eq!((&shown["images"], &shown["containers"]), (&json!([]), &json!([])));
}
