//! The reads of `/v2/`, as the cloud's tools and apps of several services request them.

use std::sync::Arc;

use axum::body::Body;
use boardkeeper::document;
use boardkeeper::request::{Refusal, TagRefusal};
use boardkeeper::state::cloud::DeviceTag;
use boardkeeper::state::{
    Activity, AppId, ContainerPhase, DownloadProgress, Force, Image, ImageId, ImageRef, ServiceKey, StepKind, VpnState,
};
use serde_json::{Value, json};

use crate::access::ON_DEVICE;
use crate::test_device::{COMMIT, ONE, Received, Response, TWO, TestDevice, container, request, step};

/// A device on which one app of the target runs, and another one is being downloaded.
fn device() -> TestDevice {
    let device = TestDevice::new();
    let app = |id: AppId, name: &str, release: Value| json!({"id": id.0, "name": name, "class": "fleet", "releases": release});
    let service = |id: u32, image: &str| json!({"id": id, "image_id": id + 10, "image": image});
    let document = json!({"c0ffee": {"name": "kitchen", "config": {}, "apps": {
        "a1".repeat(16): app(ONE, "one", json!({COMMIT: {"id": 34, "services": {"main": service(2, "r/main:1")}}})),
        "a2".repeat(16): app(TWO, "two", json!({"cafe": {"id": 35, "services": {
            "db": service(3, "r/db:1"), "web": service(4, "r/web:1"),
        }}})),
    }}});
    device.say(|it| it.target = Some(Arc::new(document::parse(&document.to_string(), Some("c0ffee")).unwrap())));
    device.say(|it| it.progress = [(ImageRef::new("r/web:1"), DownloadProgress::of_percent(40))].into_iter().collect());
    device.see(|it| {
        let mut main = container(ONE, "main", '1');
        main.image_ref = ImageRef::new("r/main:1");
        it.containers = vec![main];
        it.images = ["r/main:1", "r/db:1"]
            .map(|name| Image { id: ImageId(format!("sha256:{name}")), names: [ImageRef::new(name)].into(), size_bytes: 1 })
            .into();
    });
    device
}

async fn with_key(device: &mut TestDevice, app: AppId, path: &str) -> Response {
    let key = device.key(app, if app == ONE { "main" } else { "web" });
    device.call(request("GET", &format!("{path}?apikey={key}")).body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn the_device_says_its_name_type_and_version() {
    let mut device = device();
    let name = device.get("/v2/device/name").await.json();
    assert_eq!(name, json!({"status": "success", "deviceName": "kitchen"}));
    let version = device.get("/v2/version").await.json();
    let reported = device.get("/v1/device").await.json()["supervisor_version"].clone();
    assert_eq!(version, json!({"status": "success", "version": reported}));
    let info = device.get("/v2/local/device-info").await.json();
    assert_eq!(info["status"], "success");
    assert_eq!(info["info"].as_object().unwrap().keys().collect::<Vec<_>>(), ["arch", "deviceType"]);
    device.say(|it| it.target = None);
    device.say(|it| "board".clone_into(&mut it.device.name));
    assert_eq!(device.get("/v2/device/name").await.json()["deviceName"], "board");
}

#[tokio::test]
async fn the_vpn_is_enabled_unless_the_target_switches_it_off() {
    let mut device = device();
    let shown =
        |enabled: bool, connected: bool| json!({"status": "success", "vpn": {"enabled": enabled, "connected": connected}});
    assert_eq!(device.get("/v2/device/vpn").await.json(), shown(true, false));
    device.vpn.send_replace(VpnState::Up);
    assert_eq!(with_key(&mut device, ONE, "/v2/device/vpn").await.json(), shown(true, true));
    for (value, enabled) in [("0", false), ("false", false), ("true", true)] {
        device.say(|it| {
            let target = Arc::make_mut(it.target.as_mut().unwrap());
            target.config.insert("SUPERVISOR_VPN_CONTROL".to_owned(), value.to_owned());
        });
        assert_eq!(device.get("/v2/device/vpn").await.json(), shown(enabled, true), "{value}");
    }
    device.vpn.send_replace(VpnState::Down);
    device.say(|it| it.target = None);
    assert_eq!(device.get("/v2/device/vpn").await.json(), shown(true, false));
}

#[tokio::test]
async fn apps_show_what_their_services_do() {
    let mut device = device();
    let one = json!({"appId": 2167, "appUuid": "a1".repeat(16), "commit": COMMIT, "updateStatus": "done",
        "services": {"main": {"status": "Running", "image": "r/main:1", "downloadProgress": null, "releaseId": 34}}});
    let two = json!({"appId": 4000, "appUuid": "a2".repeat(16), "commit": null, "updateStatus": "downloading", "services": {
        "db": {"status": "Downloaded", "image": "r/db:1", "downloadProgress": null, "releaseId": 35},
        "web": {"status": "Downloading", "image": "r/web:1", "downloadProgress": 40, "releaseId": 35}}});
    assert_eq!(device.get("/v2/applications/state").await.json(), json!({"one": one, "two": two}));
    assert_eq!(with_key(&mut device, ONE, "/v2/applications/state").await.json(), json!({"one": one}));
    let local = json!({"commit": null, "local": {"4000": {"services": {
        "13": {"status": "Downloaded", "releaseId": 35, "download_progress": null},
        "14": {"status": "Downloading", "releaseId": 35, "download_progress": 40}}}}});
    assert_eq!(device.get("/v2/applications/4000/state").await.json(), local);
}

#[tokio::test]
async fn an_app_that_is_unknown_or_anothers_does_not_exist() {
    let mut device = device();
    for (path, status, message) in [
        ("/v2/applications/7/state", 409, "Application ID does not exist: 7"),
        ("/v2/applications/x/state", 400, "Invalid application ID: x"),
        ("/v2/applications/0/state", 400, "Invalid application ID: 0"),
    ] {
        let got = device.get(path).await;
        assert_eq!((got.status.as_u16(), got.message().as_str()), (status, message));
    }
    let got = with_key(&mut device, ONE, "/v2/applications/4000/state").await;
    assert_eq!((got.status.as_u16(), got.message().as_str()), (409, "Application ID does not exist: 4000"));
}

#[tokio::test]
async fn the_state_is_that_of_the_first_app_that_the_key_opens() {
    let mut device = device();
    device.say(|it| it.activity = Activity::Applying);
    device.say(|it| it.steps_in_flight = vec![step(StepKind::Downloading, ServiceKey::new(TWO, "web"))]);
    let got = device.get("/v2/state/status").await.json();
    assert_eq!(
        got,
        json!({"status": "success", "appState": "applying", "overallDownloadProgress": 40, "release": COMMIT,
            "containers": [{"status": "Running", "serviceName": "main", "appId": 2167, "imageId": 12, "serviceId": 2,
                "containerId": "1".repeat(64), "createdAt": "2020-09-13T12:26:40Z"}],
            "images": [{"name": "r/main:1", "appId": 2167, "serviceName": "main", "imageId": 12,
                "dockerImageId": "sha256:r/main:1", "status": "Downloaded", "downloadProgress": null}]})
    );
    device.say(|it| (it.activity, it.steps_in_flight) = (Activity::Settled, Vec::new()));
    let got = with_key(&mut device, TWO, "/v2/state/status").await.json();
    assert_eq!((&got["appState"], &got["release"], &got["containers"]), (&json!("applied"), &json!(null), &json!([])));
    let images = got["images"].as_array().unwrap();
    let shown: Vec<_> = images.iter().map(|it| (it["serviceName"].as_str().unwrap(), it["status"].as_str().unwrap())).collect();
    assert_eq!(shown, [("db", "Downloaded"), ("web", "Downloading")]);
    device.say(|it| it.target = None);
    let got = device.get("/v2/state/status").await.json();
    assert_eq!((&got["appState"], &got["containers"]), (&json!("applied"), &json!([])));
}

#[tokio::test]
async fn containers_are_found_by_the_name_of_their_service() {
    let mut device = device();
    device.see(|it| {
        let mut old = container(TWO, "web", '2');
        old.phase = ContainerPhase::Exited(0);
        it.containers.extend([container(TWO, "web", '3'), old]);
    });
    let id = |digit: &str| json!({"status": "success", "containerId": digit.repeat(64)});
    assert_eq!(device.get("/v2/containerId?serviceName=web").await.json(), id("3"));
    assert_eq!(device.get("/v2/containerId?service=main").await.json(), id("1"));
    let all = json!({"status": "success", "services": {"main": "1".repeat(64), "web": "3".repeat(64)}});
    assert_eq!(device.get("/v2/containerId").await.json(), all);
    let own = json!({"status": "success", "services": {"main": "1".repeat(64)}});
    assert_eq!(with_key(&mut device, ONE, "/v2/containerId").await.json(), own);
    let got = device.get("/v2/containerId?service=x").await;
    assert_eq!((got.status.as_u16(), got.message().as_str()), (503, "Could not find service with that name"));
}

#[tokio::test]
async fn an_app_is_restarted_and_purged_by_its_number_in_the_path() {
    let mut device = device();
    for (verb, expected) in [("restart", Received::Restart(ONE, Force::No)), ("purge", Received::Purge(ONE, Force::No))] {
        let got = device.post(&format!("/v2/applications/2167/{verb}"), "").await;
        assert_eq!((got.status.as_u16(), got.body.as_str()), (200, "OK"));
        assert_eq!(device.asked.pop(), Some(expected));
        let got = device.post(&format!("/v2/applications/x/{verb}"), "").await;
        assert_eq!((got.status.as_u16(), got.message().as_str()), (400, "Missing app id"));
        let key = device.key(ONE, "main");
        let got = device.post_with(&key, &format!("/v2/applications/4000/{verb}"), "").await;
        assert_eq!((got.status.as_u16(), got.message().as_str()), (401, "Unauthorized"));
        device.lock(ONE, "main");
        let got = device.post(&format!("/v2/applications/2167/{verb}"), "").await;
        assert_eq!(got.status.as_u16(), 423);
        assert_eq!(device.post(&format!("/v2/applications/2167/{verb}"), r#"{"force":true}"#).await.status.as_u16(), 200);
        device.asked.clear();
        device.see(|it| it.locks.clear());
    }
}

#[tokio::test]
async fn unused_volumes_are_removed_of_the_apps_that_the_key_opens() {
    let mut device = device();
    let done = json!({"status": "success"});
    assert_eq!(device.get("/v2/cleanup-volumes").await.json(), done);
    assert_eq!(with_key(&mut device, ONE, "/v2/cleanup-volumes").await.json(), done);
    assert_eq!(device.asked, [Received::CleanUpVolumes(None), Received::CleanUpVolumes(Some([ONE].into()))]);
    device.asked.clear();
    let key = "d".repeat(64);
    let head = device.call(request("HEAD", &format!("/v2/cleanup-volumes?apikey={key}")).body(Body::empty()).unwrap()).await;
    assert_eq!((head.status.as_u16(), device.asked.len()), (200, 0), "a look changes nothing");
    device.lock(ONE, "main");
    let got = device.get("/v2/cleanup-volumes").await;
    let message = "Lockfile exists for { appId: 2167, service: main }";
    assert_eq!((got.status.as_u16(), got.message().as_str()), (423, message));
    for why in [Refusal::ShuttingDown, Refusal::Failed("the engine is down".to_owned())] {
        device.refuses = Some(why.clone());
        let got = device.get("/v2/cleanup-volumes").await;
        assert_eq!((got.status.as_u16(), got.message()), (503, why.to_string()));
    }
}

/// Another site's page can make a browser send a GET; only in local mode would that need no key.
#[tokio::test]
async fn another_sites_page_removes_no_volume() {
    let mut device = device();
    device.say(|it| it.access.local_mode = true);
    let from = |origin: &str| request("GET", "/v2/cleanup-volumes").header("Origin", origin).extension(ON_DEVICE);
    let got = device.call(from("http://evil.example").body(Body::empty()).unwrap()).await;
    assert_eq!((got.status.as_u16(), device.asked.len()), (403, 0));
    let got = device.call(from("http://127.0.0.1:48484").body(Body::empty()).unwrap()).await;
    assert_eq!((got.status.as_u16(), device.asked.len()), (200, 1));
}

#[tokio::test]
async fn tags_are_read_from_the_cloud_and_set_there() {
    let mut device = device();
    device.tags = Ok(vec![DeviceTag { id: 7, name: "fw".to_owned(), value: "1.0".to_owned() }]);
    let shown = json!({"status": "success", "tags": [{"id": 7, "name": "fw", "value": "1.0"}]});
    assert_eq!(device.get("/v2/device/tags").await.json(), shown);
    let got = patch_tags(&mut device, r#"{"fw": "1.1", "site": ""}"#).await;
    assert_eq!((got.status.as_u16(), got.json()), (202, json!({"status": "success"})));
    let invalid = "Invalid tags body, must be an object like `{[tagKey: string]: string}`";
    for (body, why) in [
        (r#"{"fw": 1}"#, invalid),
        (r#"{"fw": null}"#, invalid),
        (r#"{"": "x"}"#, invalid),
        ("{}", invalid),
        (r#"{"f w": "x"}"#, "Tag keys cannot contain whitespace"),
    ] {
        let got = patch_tags(&mut device, body).await;
        assert_eq!((got.status.as_u16(), got.message().as_str()), (400, why), "{body}");
    }
    assert_eq!(device.set_tags.len(), 1);
    device.tags = Err(TagRefusal::NoCloud);
    let got = device.get("/v2/device/tags").await;
    assert!(got.status.as_u16() == 500 && got.message().contains("has no cloud"), "{}", got.body);
    assert_eq!(patch_tags(&mut device, r#"{"a": "b"}"#).await.status.as_u16(), 500);
}

async fn patch_tags(device: &mut TestDevice, body: &str) -> Response {
    let path = format!("/v2/device/tags?apikey={}", "d".repeat(64));
    let asking = request("PATCH", &path).header("Content-Type", "application/json");
    device.call(asking.body(Body::from(body.to_owned())).unwrap()).await
}
