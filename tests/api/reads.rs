//! The endpoints that read the device.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use boardkeeper::document;
use boardkeeper::sorted::{SortedMap, SortedSet};
use boardkeeper::state::app::{App, Generation};
use boardkeeper::state::cloud::{ByteCount, Pinning, PollCause, PollOutcome, RefusedPart, Registration, TrafficPurpose};
use boardkeeper::state::private_network::PrivateNetwork;
use boardkeeper::state::{
    Activity, AppId, Condition, Connectivity, ContainerPhase, DownloadProgress, EngineState, EngineTime, HealthStatus,
    ImageRef, LockState, Never, ServiceKey, StepFault, StepKind, Target, Trouble, Unmet, Waiting,
};
use serde_json::json;
use tokio::time::{Instant, advance};

use crate::test_device::{COMMIT, ONE, TWO, TestDevice, WIDE, container, request, step};

#[tokio::test]
async fn the_status_is_the_most_telling_thing_that_is_done() {
    let mut device = TestDevice::new();
    for (kinds, word) in [
        (&[][..], "Idle"),
        (&[StepKind::Housekeeping], "Idle"),
        (&[StepKind::Starting], "Starting"),
        (&[StepKind::Starting, StepKind::Stopping], "Stopping"),
        (&[StepKind::Stopping, StepKind::Installing], "Installing"),
        (&[StepKind::Starting, StepKind::Downloading, StepKind::Housekeeping], "Downloading"),
    ] {
        device.say(|it| it.steps_in_flight = kinds.iter().map(|kind| step(*kind, ServiceKey::new(ONE, "main"))).collect());
        assert_eq!(device.get("/v1/device").await.json()["status"], word);
    }
}

#[tokio::test]
async fn the_progress_is_that_of_downloads_in_the_mean() {
    let mut device = TestDevice::new();
    let mut shown = Vec::new();
    let percent = |percents: &[u8]| -> SortedMap<ImageRef, DownloadProgress> {
        let image = |index: usize| ImageRef::new(&index.to_string());
        percents.iter().enumerate().map(|(index, it)| (image(index), DownloadProgress::of_percent(*it))).collect()
    };
    for (downloads, percents) in
        [(false, &[][..]), (false, &[7]), (true, &[]), (true, &[7]), (true, &[100, 0, 50]), (true, &[1, 2])]
    {
        device.say(|it| {
            it.steps_in_flight =
                downloads.then(|| step(StepKind::Downloading, ServiceKey::new(ONE, "main"))).into_iter().collect();
        });
        device.say(|it| it.progress = percent(percents));
        shown.push(device.get("/v1/device").await.json()["download_progress"].clone());
    }
    assert_eq!(json!(shown), json!([null, null, 0, 7, 50, 1]));
}

#[tokio::test]
async fn the_commit_is_that_of_what_runs() {
    let mut device = TestDevice::new();
    // Another release is being put in its place; a foreign container's name says nothing.
    let mut old = container(ONE, "main", '1');
    old.name = "main_1_2_0ld".to_owned();
    let mut new = container(ONE, "main", '2');
    (new.name, new.phase, new.created_secs) = ("main_3_4_4ew".to_owned(), ContainerPhase::Created, old.created_secs + 1);
    let mut odd = container(AppId(1), "x", '3');
    odd.name = "x".to_owned();
    device.see(|it| it.containers = vec![odd, new, old]);
    assert_eq!(device.get("/v1/device").await.json()["commit"], "0ld");
    let app = device.get("/v1/apps/2167").await.json();
    assert_eq!((&app["commit"], &app["releaseId"]), (&json!("0ld"), &json!(2)));
    device.see(|it| it.containers[2].phase = ContainerPhase::Exited(0));
    assert_eq!(device.get("/v1/device").await.json()["commit"], "4ew");
    assert_eq!(device.get("/v1/apps/1").await.json()["commit"], json!(null));
    device.see(|it| it.containers.clear());
    assert_eq!(device.get("/v1/device").await.json()["commit"], json!(null));
}

#[tokio::test]
async fn only_keys_to_apis_are_hidden_from_an_environment() {
    let mut device = TestDevice::new();
    device.see(|it| drop(Arc::make_mut(&mut it.containers[0].env).insert("WEATHER_API_KEY".to_owned(), "mine".to_owned())));
    assert_eq!(device.get("/v1/apps/2167").await.json()["env"], json!({"FOO": "bar", "WEATHER_API_KEY": "mine"}));
}

#[tokio::test(start_paused = true)]
async fn health_is_that_of_the_agent_not_of_the_engine() {
    let mut device = TestDevice::new();
    device.say(|it| it.observed_at = None);
    assert_eq!(healthy(&mut device).await, (200, "OK".to_owned()));
    advance(Duration::from_secs(61)).await;
    assert_eq!(healthy(&mut device).await, (500, "Unhealthy".to_owned()));
    device.say(|it| it.observed_at = Some(Instant::now()));
    device.say(|it| it.engine = EngineState::Down { why: "it hangs".to_owned(), since: Instant::now() });
    assert_eq!(healthy(&mut device).await, (200, "OK".to_owned()));
    advance(Duration::from_secs(299)).await;
    assert_eq!(healthy(&mut device).await, (200, "OK".to_owned()));
    advance(Duration::from_secs(2)).await;
    assert_eq!(healthy(&mut device).await, (500, "Unhealthy".to_owned()));
}

async fn healthy(device: &mut TestDevice) -> (u16, String) {
    let got = device.call(request("GET", "/v1/healthy").body(Body::empty()).unwrap()).await;
    (got.status.as_u16(), got.body)
}

#[tokio::test(start_paused = true)]
async fn the_state_tells_everything_but_secrets() {
    let mut device = TestDevice::new();
    busy(&device);
    advance(Duration::from_secs(5)).await;
    let got = device.get("/agent/v1/state").await;
    let state = got.json();
    assert_eq!(state["engine"], json!({"state": "down", "why": "it hangs", "seconds": 5}));
    assert_eq!((&state["agent_seconds"], &state["looked_seconds_ago"]), (&json!(5), &json!(5)));
    assert_eq!(state["activity"], "applying");
    let service = json!({"app_id": 2167, "name": "weather", "uuid": "u", "commit": COMMIT, "release_id": 34, "release": null, "services": []});
    assert_eq!(state["apps"][0], service);
    assert_eq!(state["containers"].as_array().unwrap().len(), 4);
    assert_eq!(state["containers"][0]["exit_code"], 3);
    assert_eq!(state["containers"][0]["started"], json!(null));
    device.see(|it| it.containers[0].started = Some(EngineTime(1_700_000_000_900_000_000)));
    assert_eq!(device.get("/agent/v1/state").await.json()["containers"][0]["started"], "2023-11-14T22:13:20Z");
    assert_eq!(state["doing"][0], json!({"kind": "stopping", "what": "stop 4000/web", "app_id": 4000, "service": "web"}));
    assert_eq!(state["downloads"], json!([{"image": "big:latest", "percent": 40, "bytes": 900, "total_bytes": 1000}]));
    assert_eq!(state["waiting"], json!(["2167/main waits for the images of the release"]));
    assert_eq!(
        state["troubles"],
        json!([{"what": "pull superapp:latest", "why": "no route", "failures": 3, "again_in_seconds": 25}])
    );
    assert_eq!(state["complaints"], json!(["keys were put aside"]));
    assert_eq!(state["rejected"], "apps.1: not an object");
    assert_eq!(state["locks"][0]["held_by"], "service");
    assert_eq!(state["locks"][0]["since"], 1_700_000_000);
    assert_eq!(state["locks"][1], json!({"held_by": "agent", "app_id": 4000, "services": ["web"]}));
    assert_eq!(state["update"], json!({"pending": true, "downloaded": false, "failed": false}));
    assert_eq!(state["device"]["uuid"], "0123456789abcdef0123456789abcdef");
    for secret in ["secret", &"d".repeat(64), &device.key(ONE, "main")] {
        assert!(!got.body.contains(secret), "{}", got.body);
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_sees_its_own_app_and_the_device() {
    let mut device = TestDevice::new();
    busy(&device);
    let key = device.key(WIDE, "main");
    let request = request("GET", &format!("/agent/v1/state?apikey={key}")).body(Body::empty()).unwrap();
    let state = device.call(request).await.json();
    assert_eq!(
        (&state["apps"], &state["doing"], &state["downloads"], &state["locks"]),
        (&json!([]), &json!([]), &json!([]), &json!([]))
    );
    assert_eq!((&state["waiting"], &state["troubles"], &state["rejected"]), (&json!(null), &json!(null), &json!(null)));
    assert_eq!(state["cloud"], json!(null));
    assert_eq!(state["containers"].as_array().unwrap().len(), 1);
    assert_eq!(state["containers"][0]["app_id"], 3134);
    assert_eq!(state["device"]["name"], "still-water");
}

#[tokio::test]
async fn a_device_without_a_target_says_so() {
    let mut device = TestDevice::new();
    device.say(|it| (it.observed_at, it.engine) = (None, EngineState::Unknown));
    let state = device.get("/agent/v1/state").await.json();
    assert_eq!((&state["apps"], &state["engine"]), (&json!(null), &json!({"state": "unknown"})));
    assert_eq!((&state["activity"], &state["looked_seconds_ago"]), (&json!("waiting"), &json!(null)));
}

#[tokio::test(start_paused = true)]
async fn connectivity_is_reported_with_why_and_since_when() {
    let mut device = TestDevice::new();
    assert_eq!(device.get("/agent/v1/state").await.json()["connectivity"], json!({"state": "unknown", "check": true}));
    let since = Instant::now();
    device.connectivity.send_replace(Connectivity::Offline { why: "no route".to_owned(), since });
    advance(Duration::from_secs(7)).await;
    let told = device.get("/agent/v1/state").await.json()["connectivity"].clone();
    assert_eq!(told, json!({"state": "offline", "check": true, "why": "no route", "seconds": 7}));
}

#[tokio::test(start_paused = true)]
async fn the_cloud_is_reported_without_a_key() {
    let mut device = TestDevice::new();
    let cloud = device.get("/agent/v1/state").await.json()["cloud"].clone();
    assert_eq!((&cloud["registration"], &cloud["polling"]["last"]), (&json!({"state": "no_cloud"}), &json!(null)));
    assert_eq!(cloud["pin"], json!(null));
    let at = Instant::now();
    device.cloud.send_modify(|it| {
        it.registration = Registration::Registered { endpoint: "https://api.example.com".to_owned(), device_id: Some(57) };
        it.polling.last = Some((at, PollOutcome::Rejected("apps: missing".to_owned())));
        it.polling.cause = Some(PollCause::Update);
        it.polling.next = Some(at + Duration::from_secs(905));
        it.polling.interval = Duration::from_secs(900);
        it.reporting.accepted = Some(at);
        it.reporting.refused = vec![RefusedPart { part: "os_version".to_owned(), why: "400".to_owned() }];
        it.pin = Pinning::Refused { commit: "19c4".to_owned(), why: "403".to_owned() };
        it.log_upload.why = Some("no route".to_owned());
        it.log_upload.dropped_lines = 3;
        it.traffic.add(TrafficPurpose::Poll, ByteCount { sent: 400, received: 100 });
    });
    advance(Duration::from_secs(5)).await;
    let cloud = device.get("/agent/v1/state").await.json()["cloud"].clone();
    let expected = json!({
        "registration": {"state": "registered", "endpoint": "https://api.example.com", "device_id": 57},
        "pin": {"state": "refused", "commit": "19c4", "why": "403", "next_in_seconds": null},
        "polling": {
            "targets_from": "cloud", "interval_seconds": 900, "cause": "update", "why": null,
            "last": {"answer": "rejected", "why": "apps: missing", "seconds_ago": 5},
            "next_in_seconds": 900, "next_cause": "interval",
        },
        "reporting": {"accepted_seconds_ago": 5, "why": null, "refused": [{"part": "os_version", "why": "400"}]},
        "log_upload": {"accepted_seconds_ago": null, "why": "no route", "dropped_lines": 3},
        "traffic": {"poll": {"sent": 400, "received": 100}},
    });
    assert_eq!(cloud, expected);
    device.cloud.send_modify(|it| {
        let (why, next) = (Some("no route".to_owned()), Some(at + Duration::from_secs(30)));
        it.registration = Registration::Pending { why: why.clone(), next };
        it.pin = Pinning::Pending { commit: "19c4".to_owned(), why, next };
    });
    let cloud = device.get("/agent/v1/state").await.json()["cloud"].clone();
    assert_eq!(cloud["registration"], json!({"state": "pending", "why": "no route", "next_in_seconds": 25}));
    assert_eq!(cloud["pin"], json!({"state": "pending", "commit": "19c4", "why": "no route", "next_in_seconds": 25}));
    device.cloud.send_modify(|it| it.pin = Pinning::Pinned("19c4".to_owned()));
    let cloud = device.get("/agent/v1/state").await.json()["cloud"].clone();
    assert_eq!(cloud["pin"], json!({"state": "pinned", "commit": "19c4", "why": null, "next_in_seconds": null}));
}

#[tokio::test]
async fn what_waits_for_a_dependency_is_reported_with_its_service_and_is_not_settled() {
    let mut device = TestDevice::new();
    assert_eq!(device.get("/v1/device").await.json()["status"], "Idle");
    let words = "db to be healthy, and it does not: its health check fails; `docker inspect` shows what the check printed";
    device.say(|it| {
        let app = json!({"commit": "c", "services": {"1": {"serviceName": "main", "image": "x"}}});
        let document = json!({"local": {"apps": {ONE.to_string(): app}}}).to_string();
        it.target = Some(document::parse(&document, None).unwrap().into());
        let unmet = Unmet { on: "db".to_owned(), condition: Condition::Healthy, never: Some(Never::Unhealthy) };
        it.waiting = vec![Waiting::Dependency(ServiceKey::new(ONE, "main"), unmet)];
    });
    device.see(|it| it.containers[0].health = Some(HealthStatus::Unhealthy));
    assert_eq!(device.get("/v1/device").await.json()["status"], "Starting");
    let state = device.get("/agent/v1/state").await.json();
    let services = state["apps"].as_array().unwrap().iter().flat_map(|it| it["services"].as_array().unwrap());
    let told: Vec<_> = services.map(|it| &it["waits_for"]).filter(|it| !it.is_null()).collect();
    assert_eq!(told, [&json!(words)]);
    assert_eq!((&state["containers"][0]["health"], &state["containers"][1]["health"]), (&json!("unhealthy"), &json!(null)));
}

#[tokio::test]
async fn an_engine_that_is_open_to_a_network_is_shown_to_the_owner() {
    let mut device = TestDevice::new();
    let told = device.get("/agent/v1/state").await.json()["local_engine"].clone();
    assert_eq!(told, json!({"open": false, "listens": [], "networks": [], "trouble": null}));
    device.local_engine.send_modify(|it| {
        it.networks = vec![PrivateNetwork::read("192.168.1.0/24").unwrap()];
        it.listens = vec!["192.168.1.7:2375".parse().unwrap()];
        it.trouble = Some("fd00::7 is taken".to_owned());
    });
    let told = device.get("/agent/v1/state").await.json()["local_engine"].clone();
    let expected =
        json!({"open": true, "listens": ["192.168.1.7:2375"], "networks": ["192.168.1.0/24"], "trouble": "fd00::7 is taken"});
    assert_eq!(told, expected);
    let key = device.key(WIDE, "main");
    let request = request("GET", &format!("/agent/v1/state?apikey={key}")).body(Body::empty()).unwrap();
    assert_eq!(device.call(request).await.json()["local_engine"], json!(null));
}

/// A device on which a lot goes on.
fn busy(device: &TestDevice) {
    let app = App {
        id: ONE,
        uuid: "u".to_owned(),
        name: "weather".to_owned(),
        commit: Some(COMMIT.to_owned()),
        release_id: 34,
        services: SortedMap::new(),
        networks: SortedMap::new(),
        volumes: SortedMap::new(),
        snapshots: SortedSet::new(),
        contracts: Vec::new(),
        shape: Generation::Services,
    };
    device.lock(ONE, "main");
    device.say(|it| {
        it.target = Some(Target { apps: [(ONE, app)].into_iter().collect(), ..Target::default() }.into());
        it.engine = EngineState::Down { why: "it hangs".to_owned(), since: Instant::now() };
        it.activity = Activity::Applying;
        it.steps_in_flight = vec![step(StepKind::Stopping, ServiceKey::new(TWO, "web"))];
        it.progress = [(ImageRef::new("big"), DownloadProgress { percent: 40, bytes: Some(900), total_bytes: Some(1000) })]
            .into_iter()
            .collect();
        it.waiting = vec![Waiting::Images(ServiceKey::new(ONE, "main"))];
        let again = Instant::now() + Duration::from_secs(30);
        it.troubles = vec![Trouble::Step {
            step: Box::new(step(StepKind::Downloading, ServiceKey::new(ONE, "main"))),
            why: StepFault::Unreachable("no route".to_owned()),
            failures: 3,
            again,
        }];
        it.unreadable_records = vec!["keys were put aside".to_owned()];
        it.rejected = Some("apps.1: not an object".to_owned());
        it.update_pending = true;
    });
    device.see(|it| {
        it.containers[0].phase = ContainerPhase::Exited(3);
        it.locks.insert(TWO, LockState::Ours(SortedSet::from(["web".to_owned()])));
    });
}
