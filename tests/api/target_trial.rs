//! A target on trial over the API: what is accepted, what is answered, and to whom.

use std::time::Duration;

use axum::body::Body;
use boardkeeper::request::Refusal;
use boardkeeper::state::target_trial::TargetTrialStatus;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::test_device::{ONE, Received, TestDevice, request};

const PATH: &str = "/agent/v1/target-trial";
const KEEP: &str = "/agent/v1/target-trial/keep";

fn document() -> Value {
    json!({"local": {"name": "kitchen", "config": {}, "apps": {}}})
}

fn body(seconds: &Value) -> String {
    json!({"seconds": seconds, "document": document()}).to_string()
}

#[tokio::test]
async fn a_target_is_tried_kept_and_returned_from() {
    let mut device = TestDevice::new();
    let got = device.post(PATH, &body(&json!(600))).await;
    let trial = json!({"state": "trial", "seconds_left": 599, "newer": false, "warnings": []});
    let mut answer = got.json();
    // A second begins when it is answered.
    answer["seconds_left"] = json!(answer["seconds_left"].as_u64().unwrap().min(599));
    assert_eq!((got.status.as_u16(), answer), (200, trial));
    let got = device.post(KEEP, "").await;
    let kept = json!({"state": "kept", "seconds_left": null, "newer": false, "warnings": []});
    assert_eq!((got.status.as_u16(), got.json()), (200, kept));
    assert_eq!(device.delete(PATH).await.status.as_u16(), 204);
    let asked: Vec<_> = device.asked.drain(..).collect();
    let tried = Received::TryTarget(document().to_string(), 600);
    assert_eq!(asked, [tried, Received::KeepTarget, Received::EndTargetTrial]);
}

#[tokio::test]
async fn what_cannot_be_tried_is_refused_with_the_reason() {
    let mut device = TestDevice::new();
    for seconds in [json!(9), json!(604_801), json!("soon"), json!(null), json!(1.5), json!(-600)] {
        let got = device.post(PATH, &body(&seconds)).await;
        assert_eq!((got.status.as_u16(), got.message().contains("from 10 to 604800")), (400, true), "{seconds}");
    }
    for body in [r#"{"seconds": 600}"#, r#"{"seconds": 600, "document": "{}"}"#, r#"{"seconds": 600, "document": null}"#] {
        let got = device.post(PATH, body).await;
        assert_eq!((got.status.as_u16(), got.message().contains("`document`")), (400, true), "{body}");
    }
    assert!(device.asked.is_empty());
    let wrong = json!({"seconds": 600, "document": {"local": {"apps": {"x": {}}}}}).to_string();
    let got = device.post(PATH, &wrong).await;
    assert_eq!((got.status.as_u16(), got.message().contains("the app's key must be its number")), (400, true));
    let large = json!({"seconds": 600, "document": {"local": {"name": "x".repeat(1_100_000), "apps": {}}}}).to_string();
    assert_eq!(device.post(PATH, &large).await.status.as_u16(), 413);
    for (why, status) in
        [(Refusal::Trial("none is on trial".to_owned()), 409), (Refusal::Failed("it cannot be saved".to_owned()), 503)]
    {
        device.refuses = Some(why.clone());
        for (method, path) in [("POST", PATH), ("POST", KEEP), ("DELETE", PATH)] {
            let got = if method == "POST" { device.post(path, &body(&json!(600))).await } else { device.delete(path).await };
            assert_eq!((got.status.as_u16(), got.message()), (status, why.to_string()), "{method} {path}");
        }
    }
}

#[tokio::test]
async fn only_the_devices_key_may_do_it() {
    let mut device = TestDevice::new();
    let key = device.key(ONE, "main");
    for (method, path) in [("POST", PATH), ("POST", KEEP), ("DELETE", PATH)] {
        let got = device.call(request(method, &format!("{path}?apikey={key}")).body(Body::empty()).unwrap()).await;
        assert_eq!(got.status.as_u16(), 401, "{method} {path}");
    }
    assert!(device.asked.is_empty());
}

#[tokio::test]
async fn the_state_says_it_to_those_who_see_the_whole_device() {
    let mut device = TestDevice::new();
    assert_eq!(device.get("/agent/v1/state").await.json()["target_trial"], Value::Null);
    let ends = Some(Instant::now() + Duration::from_secs(3600));
    let warnings = vec!["apps.1.x: ignored".to_owned()];
    device.say(|it| {
        it.target_trial = Some(TargetTrialStatus { ends, beneath: String::new(), has_newer: true, warnings });
    });
    let got = device.get("/agent/v1/state").await.json()["target_trial"].clone();
    assert_eq!(
        (&got["state"], &got["newer"], &got["warnings"]),
        (&json!("trial"), &json!(true), &json!(["apps.1.x: ignored"]))
    );
    assert!((3500..=3600).contains(&got["seconds_left"].as_u64().unwrap()), "{got}");
    let key = device.key(ONE, "main");
    let seen = device.call(request("GET", &format!("/agent/v1/state?apikey={key}")).body(Body::empty()).unwrap()).await;
    assert_eq!(seen.json()["target_trial"], Value::Null);
}
