//! Every example of the published reference.

use axum::body::Body;
use axum::http::StatusCode;
use boardkeeper::request::InProgress;
use boardkeeper::state::{Caller, ConnectivityCheck, DownloadProgress, EngineAction, Force, ImageRef, PowerAction, Step};
use serde_json::json;

use crate::test_device::{COMMIT, ONE, Received, Response, TestDevice, WIDE, request};

const JSON: &str = "application/json; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";

/// As the reference's curl does: the key in the query, and a type for a body there is not.
async fn curl(device: &mut TestDevice, method: &str, path: &str) -> Response {
    let key = device.key(WIDE, "main");
    let request = request(method, &format!("{path}?apikey={key}")).header("Content-Type", "application/json");
    device.call(request.body(Body::empty()).unwrap()).await
}

fn is(got: &Response, status: u16, kind: &str, body: &str) {
    assert_eq!((got.status.as_u16(), got.kind(), got.body.as_str()), (status, kind, body));
}

#[tokio::test]
async fn ping() {
    is(&curl(&mut TestDevice::new(), "GET", "/ping").await, 200, HTML, "OK");
}

#[tokio::test]
async fn update() {
    let mut device = TestDevice::new();
    let key = device.key(WIDE, "main");
    is(&device.post_with(&key, "/v1/update", "{\"force\": true}").await, 204, "", "");
    is(&device.post_with(&key, "/v1/update", "").await, 204, "", "");
    is(&device.post_with(&key, "/v1/update", "{\"cancel\":\"on\"}").await, 204, "", "");
    let asked = [(Force::Yes, InProgress::Keep), (Force::No, InProgress::Keep), (Force::No, InProgress::Cancel)];
    assert_eq!(device.asked, asked.map(|(locks, running)| Received::Update { locks, running }));
}

#[tokio::test]
async fn purge() {
    let mut device = TestDevice::new();
    let key = device.key(ONE, "main");
    let got = device.post_with(&key, "/v1/purge", "{\"appId\": 2167}").await;
    is(&got, 200, JSON, "{\"Data\":\"OK\",\"Error\":\"\"}");
    assert_eq!(device.asked, [Received::Purge(ONE, Force::No)]);
}

#[tokio::test]
async fn restart() {
    let mut device = TestDevice::new();
    let key = device.key(ONE, "main");
    is(&device.post_with(&key, "/v1/restart", "{\"appId\": 2167}").await, 200, HTML, "OK");
    is(&device.post_with(&key, "/v1/restart", "{\"appId\": \"2167\", \"force\": true}").await, 200, HTML, "OK");
    assert_eq!(device.asked, [Received::Restart(ONE, Force::No), Received::Restart(ONE, Force::Yes)]);
}

#[tokio::test]
async fn regenerate_api_key() {
    let mut device = TestDevice::new();
    let old = device.key(WIDE, "main");
    let got = curl(&mut device, "POST", "/v1/regenerate-api-key").await;
    is(&got, 200, HTML, &device.key(WIDE, "main"));
    assert_eq!(got.body.len(), 64);
    assert_ne!(got.body, old);
    assert_eq!(device.post_with(&old, "/v1/regenerate-api-key", "").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(device.post_with(&got.body, "/v1/regenerate-api-key", "").await.status, StatusCode::OK);
    assert_eq!(device.asked.len(), 2);
}

#[tokio::test]
async fn the_device_key_is_renewed_by_a_caller_that_has_it() {
    let mut device = TestDevice::new();
    let old = device.keys.device.reveal().to_owned();
    is(&device.post("/v1/regenerate-api-key", "").await, 200, HTML, &"e".repeat(64));
    assert_eq!(device.post_with(&old, "/v1/update", "").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(device.asked, [Received::RenewKey(Caller::Device)]);
}

#[tokio::test]
async fn device() {
    let mut device = TestDevice::new();
    device.say(|status| {
        status.steps_in_flight.push(Step::Engine(EngineAction::Pull(ImageRef::new("superapp"))));
        status.progress = [("one", 70), ("two", 99)]
            .map(|(it, percent)| (ImageRef::new(it), DownloadProgress::of_percent(percent)))
            .into_iter()
            .collect();
        status.update_pending = true;
    });
    let got = curl(&mut device, "GET", "/v1/device").await;
    let expected = concat!(
        "{\"api_port\":48484,\"ip_address\":\"192.168.0.114 10.42.0.3\",",
        "\"commit\":\"414e65cd378a69a96f403b75f14b40b55856f860\",\"status\":\"Downloading\",\"download_progress\":84,",
        "\"os_version\":\"Resin OS 1.0.4 (fido)\",\"supervisor_version\":\"1.6.0\",",
        "\"update_pending\":true,\"update_downloaded\":false,\"update_failed\":false,",
        "\"mac_address\":\"00:11:22:33:44:55\",\"os_variant\":\"prod\"}"
    );
    is(&got, 200, JSON, expected);
}

#[tokio::test]
async fn stop_and_start() {
    let mut device = TestDevice::new();
    let id = format!("{{\"containerId\":\"{}\"}}", "b".repeat(64));
    is(&curl(&mut device, "POST", "/v1/apps/3134/stop").await, 200, JSON, &id);
    is(&device.post("/v1/apps/3134/stop", "{\"force\":true}").await, 200, JSON, &id);
    is(&curl(&mut device, "POST", "/v1/apps/3134/start").await, 200, JSON, &id);
    let asked = [Received::Stop(WIDE, Force::No), Received::Stop(WIDE, Force::Yes), Received::Start(WIDE)];
    assert_eq!(device.asked, asked);
}

#[tokio::test]
async fn app() {
    let got = curl(&mut TestDevice::new(), "GET", "/v1/apps/3134").await;
    assert_eq!((got.status, got.kind()), (StatusCode::OK, JSON));
    let expected = json!({
        "appId": 3134,
        "commit": COMMIT,
        "imageId": "registry.resin.io/superapp/app@sha256:ab",
        "containerId": "b".repeat(64),
        "env": {"FOO": "bar"},
        "releaseId": 34,
    });
    assert_eq!(got.json(), expected);
}

#[tokio::test]
async fn tcp_ping() {
    let mut device = TestDevice::new();
    for (method, check) in
        [("POST", ConnectivityCheck::On), ("DELETE", ConnectivityCheck::Off), ("DELETE", ConnectivityCheck::Off)]
    {
        device.asked.clear();
        is(&curl(&mut device, method, "/v1/tcp-ping").await, 204, "", "");
        assert_eq!(device.asked, [Received::CheckConnectivity(check)]);
    }
}

#[tokio::test]
async fn reboot_and_shutdown_are_accepted_as_the_reference_shows() {
    for (path, ending) in [("/v1/reboot", PowerAction::Reboot), ("/v1/shutdown", PowerAction::PowerOff)] {
        let mut device = TestDevice::new();
        let got = curl(&mut device, "POST", path).await;
        assert_eq!((got.status, got.body.as_str()), (StatusCode::ACCEPTED, "{\"Data\":\"OK\",\"Error\":\"\"}"));
        assert_eq!(device.asked, [Received::Shutdown(ending, Force::No)]);
    }
}
