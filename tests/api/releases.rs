//! What the API says of releases on trial.

use std::sync::Arc;

use boardkeeper::document;
use boardkeeper::state::{DataState, FailedRelease, FailedService, KeptData, ReleaseTrial};
use serde_json::{Value, json};

use crate::test_device::{ONE, TestDevice};

async fn release(device: &mut TestDevice) -> Value {
    let state = device.get("/agent/v1/state").await.json();
    let app = state["apps"].as_array().unwrap().iter().find(|it| it["app_id"] == ONE.0);
    app.expect("the app is wanted")["release"].clone()
}

fn failed() -> Arc<FailedRelease> {
    let service = FailedService {
        service: "main".into(),
        why: "it is unhealthy".into(),
        lines: vec!["no pump".into()],
        health_output: Some("refused".into()),
    };
    let (fingerprint, commit) = ("ab".into(), Some("28d5".into()));
    Arc::new(FailedRelease { fingerprint, commit, at_secs: 1_700_000_000, cause: None, services: vec![service] })
}

#[tokio::test]
async fn the_state_says_what_became_of_each_release_and_why() {
    let mut device = TestDevice::new();
    let document = json!({"local": {"name": "d", "config": {}, "apps": {ONE.to_string(): {"name": "app", "commit": "19c4",
        "releaseId": 1, "services": {"1": {"serviceName": "main", "image": "web:1"}}}}}});
    device.say(|it| it.target = Some(Arc::new(document::parse(&document.to_string(), None).unwrap())));
    assert_eq!(release(&mut device).await, json!(null), "the app does not go back");
    device.say(|it| drop(it.releases.insert(ONE, ReleaseTrial::OnTrial(vec!["main is unhealthy".into()]))));
    let on_trial = release(&mut device).await;
    assert_eq!((&on_trial["state"], &on_trial["waits_for"]), (&json!("on_trial"), &json!(["main is unhealthy"])));
    device.say(|it| drop(it.releases.insert(ONE, ReleaseTrial::Good)));
    assert_eq!(
        release(&mut device).await,
        json!({"state": "good", "why": null, "waits_for": [], "failed": null, "volumes": []})
    );
    let volumes = [("data", DataState::Kept), ("logs", DataState::PuttingBack), ("new", DataState::Absent)];
    let volumes = volumes.map(|(name, state)| (name.to_owned(), state)).into_iter().collect();
    device.say(|it| drop(it.kept_data.insert(ONE, KeptData { release: "ab".into(), begun: true, volumes })));
    device.say(|it| drop(it.releases.insert(ONE, ReleaseTrial::RolledBack(failed(), Some("19c4".into())))));
    let back = release(&mut device).await;
    assert_eq!(back["state"], "rolled_back");
    let volumes = json!([{"name": "data", "state": "kept"}, {"name": "logs", "state": "putting_back"}]);
    assert_eq!(back["volumes"], volumes, "what was absent is of no interest");
    let why = back["why"].as_str().unwrap();
    assert!(why.contains("release 28d5") && why.contains("main: it is unhealthy") && why.contains("release 19c4"), "{why}");
    let service = json!({"name": "main", "why": "it is unhealthy", "lines": ["no pump"], "health_output": "refused"});
    assert_eq!(back["failed"], json!({"commit": "28d5", "at": "2023-11-14T22:13:20Z", "cause": null, "services": [service]}));
    let ended = FailedRelease { cause: Some("the board ended".into()), services: Vec::new(), ..(*failed()).clone() };
    device.say(|it| drop(it.releases.insert(ONE, ReleaseTrial::RolledBack(Arc::new(ended), None))));
    let back = release(&mut device).await;
    assert_eq!((&back["failed"]["cause"], &back["failed"]["services"]), (&json!("the board ended"), &json!([])));
    assert!(back["why"].as_str().unwrap().contains("failed: the board ended."), "{}", back["why"]);
    device.say(|it| drop(it.releases.insert(ONE, ReleaseTrial::Failed(failed()))));
    let first = release(&mut device).await;
    assert_eq!(first["state"], "failed");
    assert!(first["why"].as_str().unwrap().contains("no good release to go back to"), "{first}");
}
