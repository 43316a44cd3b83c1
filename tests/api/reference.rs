//! Every example of the published reference.

use axum::body::Body;
use axum::http::StatusCode;
use boardkeeper::request::InProgress;
use boardkeeper::state::{Caller, ConnectivityCheck, EngineAction, Force, ImageRef, PowerAction, Step};
use serde_json::json;

use crate::house::{Asked, COMMIT, Got, House, ONE, WIDE, request};

const JSON: &str = "application/json; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";

/// As the reference's curl does: the key in the query, and a type for a body there is not.
async fn curl(house: &mut House, method: &str, path: &str) -> Got {
    let key = house.key(WIDE, "main");
    let request = request(method, &format!("{path}?apikey={key}")).header("Content-Type", "application/json");
    house.call(request.body(Body::empty()).unwrap()).await
}

fn is(got: &Got, status: u16, kind: &str, body: &str) {
    assert_eq!((got.status.as_u16(), got.kind(), got.body.as_str()), (status, kind, body));
}

#[tokio::test]
async fn ping() {
    is(&curl(&mut House::new(), "GET", "/ping").await, 200, HTML, "OK");
}

#[tokio::test]
async fn update() {
    let mut house = House::new();
    let key = house.key(WIDE, "main");
    is(&house.post_with(&key, "/v1/update", "{\"force\": true}").await, 204, "", "");
    is(&house.post_with(&key, "/v1/update", "").await, 204, "", "");
    is(&house.post_with(&key, "/v1/update", "{\"cancel\":\"on\"}").await, 204, "", "");
    let asked = [(Force::Yes, InProgress::Keep), (Force::No, InProgress::Keep), (Force::No, InProgress::Cancel)];
    assert_eq!(house.asked, asked.map(|(locks, running)| Asked::Update { locks, running }));
}

#[tokio::test]
async fn purge() {
    let mut house = House::new();
    let key = house.key(ONE, "main");
    let got = house.post_with(&key, "/v1/purge", "{\"appId\": 2167}").await;
    is(&got, 200, JSON, "{\"Data\":\"OK\",\"Error\":\"\"}");
    assert_eq!(house.asked, [Asked::Purge(ONE, Force::No)]);
}

#[tokio::test]
async fn restart() {
    let mut house = House::new();
    let key = house.key(ONE, "main");
    is(&house.post_with(&key, "/v1/restart", "{\"appId\": 2167}").await, 200, HTML, "OK");
    is(&house.post_with(&key, "/v1/restart", "{\"appId\": \"2167\", \"force\": true}").await, 200, HTML, "OK");
    assert_eq!(house.asked, [Asked::Restart(ONE, Force::No), Asked::Restart(ONE, Force::Yes)]);
}

#[tokio::test]
async fn regenerate_api_key() {
    let mut house = House::new();
    let old = house.key(WIDE, "main");
    let got = curl(&mut house, "POST", "/v1/regenerate-api-key").await;
    is(&got, 200, HTML, &house.key(WIDE, "main"));
    assert_eq!(got.body.len(), 64);
    assert_ne!(got.body, old);
    assert_eq!(house.post_with(&old, "/v1/regenerate-api-key", "").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(house.post_with(&got.body, "/v1/regenerate-api-key", "").await.status, StatusCode::OK);
    assert_eq!(house.asked.len(), 2);
}

#[tokio::test]
async fn the_device_key_is_made_anew_by_whoever_has_it() {
    let mut house = House::new();
    let old = house.keys.device.reveal().to_owned();
    is(&house.post("/v1/regenerate-api-key", "").await, 200, HTML, &"e".repeat(64));
    assert_eq!(house.post_with(&old, "/v1/update", "").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(house.asked, [Asked::RenewKey(Caller::Device)]);
}

#[tokio::test]
async fn device() {
    let mut house = House::new();
    house.say(|status| {
        status.doing.push(Step::Engine(EngineAction::Pull(ImageRef::new("superapp"))));
        status.progress = [(ImageRef::new("one"), 70), (ImageRef::new("two"), 99)].into();
        status.update_pending = true;
    });
    let got = curl(&mut house, "GET", "/v1/device").await;
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
    let mut house = House::new();
    let id = format!("{{\"containerId\":\"{}\"}}", "b".repeat(64));
    is(&curl(&mut house, "POST", "/v1/apps/3134/stop").await, 200, JSON, &id);
    is(&house.post("/v1/apps/3134/stop", "{\"force\":true}").await, 200, JSON, &id);
    is(&curl(&mut house, "POST", "/v1/apps/3134/start").await, 200, JSON, &id);
    let asked = [Asked::Stop(WIDE, Force::No), Asked::Stop(WIDE, Force::Yes), Asked::Start(WIDE)];
    assert_eq!(house.asked, asked);
}

#[tokio::test]
async fn app() {
    let got = curl(&mut House::new(), "GET", "/v1/apps/3134").await;
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
    let mut house = House::new();
    for (method, check) in
        [("POST", ConnectivityCheck::On), ("DELETE", ConnectivityCheck::Off), ("DELETE", ConnectivityCheck::Off)]
    {
        house.asked.clear();
        is(&curl(&mut house, method, "/v1/tcp-ping").await, 204, "", "");
        assert_eq!(house.asked, [Asked::CheckConnectivity(check)]);
    }
}

#[tokio::test]
async fn reboot_and_shutdown_are_accepted_as_the_reference_shows() {
    for (path, ending) in [("/v1/reboot", PowerAction::Reboot), ("/v1/shutdown", PowerAction::PowerOff)] {
        let mut house = House::new();
        let got = curl(&mut house, "POST", path).await;
        assert_eq!((got.status, got.body.as_str()), (StatusCode::ACCEPTED, "{\"Data\":\"OK\",\"Error\":\"\"}"));
        assert_eq!(house.asked, [Asked::Shutdown(ending, Force::No)]);
    }
}

#[tokio::test]
async fn what_is_not_in_this_release_says_so() {
    let mut house = House::new();
    let got = curl(&mut house, "GET", "/v2/version").await;
    assert_eq!(got.status, StatusCode::NOT_IMPLEMENTED);
    assert_eq!(got.message(), "this release of the agent does not have this endpoint");
    assert_eq!(house.asked, []);
}
