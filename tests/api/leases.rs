//! Leases: what is granted, to which callers, and what the answers to held-up requests say of them.

use std::time::Duration;

use axum::body::Body;
use boardkeeper::request::Refusal;
use boardkeeper::sorted::SortedMap;
use boardkeeper::state::lease::{Lease, LeaseTerms};
use boardkeeper::state::{AppId, PowerAction};
use serde_json::{Value, json};

use crate::test_device::{ONE, Received, TWO, TestDevice, request};

const LOCK: &str = "/agent/v1/apps/2167/lock";

fn lease() -> Lease {
    let (owner, reason) = ("recorder".to_owned(), "recording: 90 % done".to_owned());
    Lease { owner, reason, seconds: 60, ends_up: Duration::ZERO, ends_secs: 1_700_000_000 }
}

/// Of the shortest body that is granted, with this in place of a field.
fn body(field: &str, value: Value) -> String {
    let mut body = json!({"owner": "recorder", "reason": "recording", "seconds": 60});
    body[field] = value;
    body.to_string()
}

#[tokio::test]
async fn a_lease_is_granted_with_its_end() {
    let mut device = TestDevice::new();
    let got = device.post(LOCK, &body("reason", json!("recording"))).await;
    assert_eq!(got.status, 200);
    let expected = json!({"owner": "recorder", "reason": "recording", "seconds": 60, "ends": "2023-11-14T22:13:20Z"});
    assert_eq!(got.json(), expected);
    let terms = LeaseTerms { owner: "recorder".to_owned(), reason: "recording".to_owned(), seconds: 60 };
    assert_eq!(device.asked, [Received::Lease(ONE, terms)]);
    // The reason may be left out, and numbers may be texts, as everywhere.
    let got = device.post(LOCK, r#"{"owner":"é","seconds":"86400"}"#).await;
    assert_eq!((got.status.as_u16(), got.json()["reason"].as_str()), (200, Some("")));
}

#[tokio::test]
async fn a_field_out_of_its_limits_is_named() {
    let mut device = TestDevice::new();
    for (field, values) in [
        ("owner", vec![json!(null), json!(""), json!("  "), json!("a".repeat(65)), json!("a\nb"), json!(5), json!("\u{7f}")]),
        ("reason", vec![json!(null), json!("a".repeat(257)), json!("a\tb"), json!(true)]),
        ("seconds", vec![json!(null), json!(0), json!(-1), json!(86_401), json!(1.5), json!("soon"), json!(1e30)]),
    ] {
        for value in values {
            let got = device.post(LOCK, &body(field, value.clone())).await;
            assert_eq!(got.status, 400, "{field} {value}");
            assert!(got.message().starts_with(&format!("{field}: ")), "{field} {value}: {}", got.message());
        }
    }
    for (field, value) in [("owner", json!("é".repeat(64))), ("reason", json!("é".repeat(256))), ("seconds", json!(1))] {
        assert_eq!(device.post(LOCK, &body(field, value)).await.status, 200, "{field}");
    }
    for app in ["x", "0", "1.5"] {
        let got = device.post(&format!("/agent/v1/apps/{app}/lock"), &body("seconds", json!(1))).await;
        assert_eq!(got.status, 400, "{app}");
        assert!(got.message().starts_with("appId: "), "{}", got.message());
    }
    assert_eq!(device.asked.len(), 3);
}

#[tokio::test]
async fn a_service_leases_its_own_app_only() {
    let mut device = TestDevice::new();
    let key = device.key(TWO, "web");
    let granted = body("seconds", json!(60));
    assert_eq!(device.post_with(&key, "/agent/v1/apps/4000/lock", &granted).await.status, 200);
    assert_eq!(device.post_with(&key, LOCK, &granted).await.message(), "Unauthorized");
    assert_eq!(device.post("/agent/v1/apps/77/lock", &granted).await.status, 404);
    let end = request("DELETE", &format!("/agent/v1/apps/77/lock?owner=a&apikey={}", "d".repeat(64)));
    assert_eq!(device.call(end.body(Body::empty()).unwrap()).await.status, 404);
}

#[tokio::test]
async fn an_owner_ends_its_lease_and_only_the_device_key_ends_all() {
    let mut device = TestDevice::new();
    let (wide, key) = ("d".repeat(64), device.key(ONE, "main"));
    let ended = |owner: Option<&str>| Received::EndLease(ONE, owner.map(str::to_owned));
    for (key, query, body, status, received) in [
        (&key, "&owner=a%20b", "", 204, Some(ended(Some("a b")))),
        (&key, "", r#"{"owner":"a"}"#, 204, Some(ended(Some("a")))),
        // The body counts first.
        (&key, "&owner=b", r#"{"owner":"a"}"#, 204, Some(ended(Some("a")))),
        (&key, "", "", 400, None),
        (&key, "&owner=", "", 400, None),
        (&key, "", r#"{"force":true}"#, 401, None),
        (&key, "&owner=b", r#"{"force":true}"#, 204, Some(ended(Some("b")))),
        (&wide, "", "", 400, None),
        (&wide, "", r#"{"force":true}"#, 204, Some(ended(None))),
        (&wide, "&force=1", "", 204, Some(ended(None))),
    ] {
        device.asked.clear();
        let request = request("DELETE", &format!("{LOCK}?apikey={key}{query}")).header("content-type", "application/json");
        let got = device.call(request.body(Body::from(body)).unwrap()).await;
        assert_eq!(got.status.as_u16(), status, "{query} {body}: {}", got.body);
        assert_eq!(device.asked, Vec::from_iter(received), "{query} {body}");
    }
}

#[tokio::test]
async fn what_a_lease_holds_up_is_answered_with_its_owner_reason_and_end() {
    let mut device = TestDevice::new();
    device.refuses = Some(Refusal::Leased(ONE, lease()));
    let message = "App 2167 is locked by a lease of recorder until 2023-11-14T22:13:20Z (recording: 90 % done)";
    let (owner, reason, ends) = ("recorder", "recording: 90 % done", "2023-11-14T22:13:20Z");
    let failed = json!({"status": "failed", "message": message, "owner": owner, "reason": reason, "ends": ends});
    for (path, body) in [
        ("/v1/restart", r#"{"appId":2167}"#),
        ("/v1/purge", r#"{"appId":2167}"#),
        ("/v1/apps/2167/stop", ""),
        ("/v2/applications/2167/restart", ""),
        ("/v2/applications/2167/purge", ""),
        ("/v2/applications/2167/stop-service", r#"{"serviceName":"main"}"#),
        ("/v2/applications/2167/restart-service", r#"{"serviceName":"main"}"#),
    ] {
        let got = device.post(path, body).await;
        assert_eq!((got.status.as_u16(), got.json()), (423, failed.clone()), "{path}");
    }
    let patch = request("PATCH", &format!("/v1/device/host-config?apikey={}", "d".repeat(64)));
    let patch = patch.header("content-type", "application/json");
    let got = device.call(patch.body(Body::from(r#"{"network":{"hostname":"a"}}"#)).unwrap()).await;
    assert_eq!((got.status.as_u16(), got.json()), (423, failed));
    device.asked.clear();
    let got = device.post("/v1/reboot", "").await;
    let ended = json!({"Data": "", "Error": message, "owner": owner, "reason": reason, "ends": ends});
    assert_eq!((got.status.as_u16(), got.json()), (423, ended));
    assert!(matches!(device.asked[..], [Received::Shutdown(PowerAction::Reboot, _)]));
}

#[tokio::test]
async fn a_lease_that_is_not_granted_says_why() {
    let mut device = TestDevice::new();
    for (why, status) in [(Refusal::Busy(ONE), 423), (Refusal::TooManyLeases(ONE), 409), (Refusal::ShuttingDown, 503)] {
        device.refuses = Some(why.clone());
        let got = device.post(LOCK, &body("seconds", json!(60))).await;
        assert_eq!((got.status.as_u16(), got.message()), (status, why.to_string()));
    }
}

#[tokio::test]
async fn the_state_lists_the_leases_that_the_caller_may_see() {
    let mut device = TestDevice::new();
    let of_app = || SortedMap::from_iter([("recorder".to_owned(), lease())]);
    device.see(|it| it.leases = SortedMap::from_iter([(ONE, of_app()), (AppId(5), of_app())]));
    let listed = |app: u32| {
        json!({"held_by": "lease", "app_id": app, "owner": "recorder", "reason": "recording: 90 % done", "seconds": 60,
            "ends": "2023-11-14T22:13:20Z"})
    };
    assert_eq!(device.get("/agent/v1/state").await.json()["locks"], json!([listed(5), listed(2167)]));
    let key = device.key(ONE, "main");
    let own = request("GET", &format!("/agent/v1/state?apikey={key}")).body(Body::empty()).unwrap();
    assert_eq!(device.call(own).await.json()["locks"], json!([listed(2167)]));
}
