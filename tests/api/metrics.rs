//! `GET /metrics`.

use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use axum::http::header::ACCEPT;
use boardkeeper::api::{MetricKind, metric_families};
use boardkeeper::request::StreamRefusal;
use boardkeeper::sorted::{SortedMap, SortedSet};
use boardkeeper::state::cloud::{ByteCount, Registration, TrafficPurpose};
use boardkeeper::state::device::ServedConnection;
use boardkeeper::state::host::{Capacity, ProcessUse};
use boardkeeper::state::lease::Lease;
use boardkeeper::state::metrics::{ActionCounts, ActionKind, AgentMetrics, RestartCounts};
use boardkeeper::state::{
    Activity, AppId, Connectivity, ContainerPhase, EngineState, FlashCount, FlashPurpose, LedActivity, LedInfo, LedOwner,
    LedPurpose, ServiceKey, StepFault, StepKind, Trouble,
};
use tokio::time::{Instant, advance};

use crate::promtool;
use crate::test_device::{ONE, Response, TWO, TestDevice, container, request, step};

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const CLASSIC: &str = "text/plain; version=0.0.4; charset=utf-8";
/// What Prometheus sends.
const PROMETHEUS: &str = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";

/// A device of which everything is known.
fn known() -> TestDevice {
    let mut device = TestDevice::new();
    let capacity = |free_bytes, total_bytes| Some(Capacity { free_bytes, total_bytes });
    device.say(|it| {
        it.metrics.up = Some((Duration::from_secs(3600), Instant::now()));
        it.metrics.temperature_millicelsius = Some(-1_050);
        it.metrics.undervolted = Some(true);
        (it.metrics.disk, it.metrics.storage) = (capacity(1, 2), capacity(3, 4));
        it.metrics.memory = capacity(5, 6);
        it.activity = Activity::Settled;
    });
    device.lock(ONE, "main");
    device.connectivity.send_replace(Connectivity::Online);
    device.cloud.send_modify(|it| {
        it.registration = Registration::Registered { endpoint: "https://api.example.com".into(), device_id: Some(1) };
        it.traffic.add(TrafficPurpose::Poll, ByteCount { sent: 10, received: 20 });
        it.polling.last = Some((Instant::now(), boardkeeper::state::cloud::PollOutcome::Unchanged));
        it.reporting.accepted = Some(Instant::now());
    });
    device.show(|it| {
        it.led = Ok(LedInfo { name: "ACT \"0\"".into(), why: "it is green".into() });
        it.shows =
            LedActivity { owners: vec![LedOwner { purpose: LedPurpose::Identify, until: None }], ..LedActivity::default() };
    });
    device.counted = AgentMetrics {
        started_secs: 1_700_000_000,
        actions: SortedMap::from_iter([(
            ActionKind { action: "pull", object: "image" },
            ActionCounts { done: 3, failed: 2, cancelled: 1, time: Duration::from_millis(1_500) },
        )]),
        restarts: SortedMap::from_iter([
            (ServiceKey::new(ONE, "main"), RestartCounts { by_agent: 1, by_engine: 4 }),
            (ServiceKey::new(TWO, "web"), RestartCounts { by_agent: 0, by_engine: 9 }),
        ]),
        process: ProcessUse { resident_bytes: Some(5_000_000), cpu: Some(Duration::from_millis(2_345)) },
        ..AgentMetrics::default()
    };
    device.counted.flash.add(FlashPurpose::Targets, FlashCount { bytes: 1_000, syncs: 4 });
    device.counted.flash.add(FlashPurpose::Keys, FlashCount { bytes: 500, syncs: 2 });
    device
}

async fn scrape(device: &mut TestDevice, key: &str, accept: &str) -> Response {
    let asking = request("GET", "/metrics").header("Authorization", format!("Bearer {key}")).header(ACCEPT, accept);
    device
        .call(
            asking
                .extension(ServedConnection { open_connections: Some(3), ..ServedConnection::default() })
                .body(Body::empty())
                .unwrap(),
        )
        .await
}

fn device_key(device: &TestDevice) -> String {
    device.keys.device.reveal().to_owned()
}

/// The value of a sample.
fn value<'a>(text: &'a str, sample: &str) -> Option<&'a str> {
    text.lines().find_map(|it| it.strip_prefix(sample)?.strip_prefix(' '))
}

/// The names that the text has types of.
fn typed(text: &str) -> SortedSet<(&str, &str)> {
    text.lines().filter_map(|it| it.strip_prefix("# TYPE ")?.split_once(' ')).collect()
}

#[tokio::test(start_paused = true)]
async fn what_is_known_is_shown_with_the_values_of_the_status() {
    let mut device = known();
    advance(Duration::from_secs(100)).await;
    let key = device_key(&device);
    let got = scrape(&mut device, &key, "*/*").await;
    assert_eq!((got.status, got.kind()), (StatusCode::OK, CLASSIC));
    for (sample, expected) in [
        ("boardkeeper_start_time_seconds", "1700000000"),
        ("boardkeeper_engine_up", "1"),
        ("boardkeeper_target_accepted", "0"),
        ("boardkeeper_activity{state=\"settled\"}", "1"),
        ("boardkeeper_activity{state=\"applying\"}", "0"),
        ("boardkeeper_service_running{app_id=\"2167\",service=\"main\"}", "1"),
        ("boardkeeper_container_restarts_total{app_id=\"2167\",service=\"main\",by=\"engine\"}", "4"),
        ("boardkeeper_locks{app_id=\"2167\",held_by=\"service\"}", "1"),
        ("boardkeeper_cloud_reachable", "1"),
        ("boardkeeper_vpn_up", "0"),
        ("boardkeeper_led_owner{led=\"ACT \\\"0\\\"\",owner=\"identify\"}", "1"),
        ("boardkeeper_led_owner{led=\"ACT \\\"0\\\"\",owner=\"none\"}", "0"),
        ("boardkeeper_host_uptime_seconds", "3700.000"),
        ("boardkeeper_temperature_celsius", "-1.050"),
        ("boardkeeper_undervoltage", "1"),
        ("boardkeeper_disk_free_bytes{disk=\"state\"}", "1"),
        ("boardkeeper_disk_size_bytes{disk=\"engine\"}", "4"),
        ("boardkeeper_memory_available_bytes", "5"),
        ("boardkeeper_actions_total{action=\"pull\",object=\"image\",result=\"failed\"}", "2"),
        ("boardkeeper_action_duration_seconds_count{action=\"pull\",object=\"image\"}", "6"),
        ("boardkeeper_action_duration_seconds_sum{action=\"pull\",object=\"image\"}", "1.500"),
        ("boardkeeper_cloud_traffic_bytes_total{purpose=\"poll\",direction=\"received\"}", "20"),
        ("boardkeeper_cloud_poll_age_seconds", "100.000"),
        ("boardkeeper_flash_written_bytes_total{purpose=\"targets\"}", "1000"),
        ("boardkeeper_flash_syncs_total{purpose=\"keys\"}", "2"),
        ("boardkeeper_flash_projected_year_bytes", "547500"),
        ("boardkeeper_flash_projected_year_syncs", "2190"),
        ("boardkeeper_resident_memory_bytes", "5000000"),
        ("boardkeeper_cpu_seconds_total", "2.345"),
        ("boardkeeper_api_connections", "3"),
    ] {
        assert_eq!(value(&got.body, sample), Some(expected), "{sample} in\n{}", got.body);
    }
    assert!(got.body.contains("boardkeeper_build_info{version=\"") && got.body.ends_with("\n# EOF\n"));
}

#[tokio::test]
async fn prometheus_gets_open_metrics_and_others_the_older_format() {
    let mut device = known();
    let key = device_key(&device);
    let open = scrape(&mut device, &key, PROMETHEUS).await;
    assert_eq!(open.kind(), OPEN_METRICS);
    let classic = scrape(&mut device, &key, "text/plain").await;
    assert_eq!(classic.kind(), CLASSIC);
    // Every family is there, once, as what it is.
    let name = |it: MetricKind| if it == MetricKind::Info { "gauge" } else { it.name() };
    let families = metric_families().iter();
    let named: SortedSet<_> = families.clone().map(|it| (it.name, it.kind.name())).collect();
    assert_eq!(typed(&open.body), named);
    let queried: Vec<_> = families.map(|it| (it.queried(), name(it.kind))).collect();
    assert_eq!(typed(&classic.body), queried.iter().map(|(it, kind)| (it.as_str(), *kind)).collect());
    for body in [&open.body, &classic.body] {
        assert_eq!(body.matches("# TYPE").count(), metric_families().len(), "{body}");
    }
}

#[tokio::test]
async fn a_key_of_a_service_opens_the_metrics_of_its_app_and_of_the_device() {
    let mut device = known();
    let key = device.key(ONE, "main");
    let got = scrape(&mut device, &key, "*/*").await;
    assert_eq!(got.status, StatusCode::OK);
    assert!(got.body.contains("boardkeeper_temperature_celsius") && got.body.contains("app_id=\"2167\""), "{}", got.body);
    for hidden in ["app_id=\"4000\"", "_actions_total", "_flash_", "_cloud_traffic", "_troubles", "_cpu_", "_connections"] {
        assert!(!got.body.contains(hidden), "{hidden} in\n{}", got.body);
    }
    // Where its app is the only one, it may see all.
    device.see(|it| it.containers.retain(|it| it.key.app == ONE));
    let got = scrape(&mut device, &key, "*/*").await;
    assert!(got.body.contains("_actions_total"), "{}", got.body);
    let got = scrape(&mut device, &"0".repeat(64), "*/*").await;
    assert_eq!(got.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn what_is_not_known_is_left_out() {
    let mut device = TestDevice::new();
    device.say(|it| it.engine = EngineState::Unknown);
    let got = device.get("/metrics").await;
    for absent in ["_engine_up", "_cloud_reachable", "_cloud_registered", "_temperature", "_undervoltage", "_disk_", "_led_"] {
        assert!(!got.body.contains(absent), "{absent} in\n{}", got.body);
    }
    device.say(|it| it.engine = EngineState::Down { why: "gone".into(), since: Instant::now() });
    device.connectivity.send_replace(Connectivity::Offline { why: "no route".into(), since: Instant::now() });
    device.cloud.send_modify(|it| it.registration = Registration::Pending { why: None, next: None });
    let got = device.get("/metrics").await;
    for sample in ["boardkeeper_engine_up", "boardkeeper_cloud_reachable", "boardkeeper_cloud_registered"] {
        assert_eq!(value(&got.body, sample), Some("0"), "{sample}");
    }
}

#[tokio::test]
async fn a_service_that_is_wanted_and_has_no_container_does_not_run() {
    let mut device = TestDevice::new();
    let text =
        r#"{"local": {"config": {}, "apps": {"7": {"commit": "c", "services": {"1": {"serviceName": "a", "image": "i"}}}}}}"#;
    device.say(|it| it.target = Some(std::sync::Arc::new(boardkeeper::document::parse(text, None).unwrap())));
    let mut stopped = container(AppId(8), "b", '8');
    stopped.phase = ContainerPhase::Exited(1);
    device.see(|it| it.containers = vec![stopped]);
    let lease = |owner: &str| Lease {
        owner: owner.into(),
        reason: String::new(),
        seconds: 9,
        ends_up: Duration::ZERO,
        ends_secs: 1_700_000_000,
    };
    let leases = ["x", "y"].map(|it| (it.to_owned(), lease(it)));
    device.see(|it| drop(it.leases.insert(AppId(8), leases.into_iter().collect())));
    let body = device.get("/metrics").await.body;
    for sample in ["{app_id=\"7\",service=\"a\"}", "{app_id=\"8\",service=\"b\"}"] {
        assert_eq!(value(&body, &format!("boardkeeper_service_running{sample}")), Some("0"), "{body}");
    }
    assert_eq!(value(&body, "boardkeeper_locks{app_id=\"8\",held_by=\"lease\"}"), Some("2"), "{body}");
}

#[tokio::test]
async fn pulls_and_troubles_are_those_of_the_status() {
    let mut device = TestDevice::new();
    let main = || ServiceKey::new(ONE, "main");
    device.say(|it| {
        it.steps_in_flight = vec![step(StepKind::Downloading, main()), step(StepKind::Starting, main())];
        let (step, why) = (Box::new(step(StepKind::Starting, main())), StepFault::Failed("no".into()));
        it.troubles = vec![Trouble::Step { step, why, failures: 1, again: Instant::now() }];
        (it.update_pending, it.update_failed, it.rejected) = (true, true, Some("no".into()));
    });
    let body = device.get("/metrics").await.body;
    for (name, expected) in [
        ("pulls_in_progress", "1"),
        ("troubles", "1"),
        ("update_pending", "1"),
        ("update_downloaded", "0"),
        ("update_failed", "1"),
        ("target_rejected", "1"),
    ] {
        assert_eq!(value(&body, &format!("boardkeeper_{name}")), Some(expected), "{name}");
    }
}

#[tokio::test]
async fn an_agent_that_is_busy_or_stops_says_so() {
    let mut device = TestDevice::new();
    device.refuses_streams = Some(StreamRefusal::Failed("not now".into()));
    let got = device.get("/metrics").await;
    assert_eq!((got.status, got.message().as_str()), (StatusCode::SERVICE_UNAVAILABLE, "not now"));
}

#[tokio::test]
#[ignore = "needs `make metrics`"]
async fn promtool_finds_nothing_to_complain_of() {
    let mut device = known();
    let key = device_key(&device);
    let (classic, open) = (scrape(&mut device, &key, "text/plain").await, scrape(&mut device, &key, PROMETHEUS).await);
    promtool::reads(&classic.body, &open.body);
}
