//! Responses that go on for as long as the client reads.

use axum::body::Body;
use axum::http::StatusCode;
use boardkeeper::request::StreamRefusal;
use boardkeeper::state::device::{EndlessAnswer, ServerStop};
use boardkeeper::state::journal::JournalQuery;
use boardkeeper::state::live_log::LiveLogLine;
use boardkeeper::state::{AppId, OutputStream};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::sync::watch;
use tower::ServiceExt;

use crate::access::ON_DEVICE;
use crate::test_device::{ONE, TestDevice, request};

fn line(text: &str, app: AppId, from: Option<(&str, OutputStream)>) -> LiveLogLine {
    let from = from.map(|(service, stream)| (service.to_owned(), stream));
    LiveLogLine { text: text.to_owned(), at_ms: 1_700_000_000_123, app: Some(app), from }
}

fn rows(body: &str) -> Vec<Value> {
    assert!(body.ends_with('\n'), "{body}");
    body.lines().map(|it| serde_json::from_str(it).unwrap()).collect()
}

#[tokio::test]
async fn the_log_is_json_lines_as_the_clouds_tools_read_them() {
    let mut device = TestDevice::new();
    device.log = vec![
        line("hello", ONE, Some(("main", OutputStream::Stdout))),
        line("ouch", ONE, Some(("main", OutputStream::Stderr))),
        line("Starting service 'main'", ONE, None),
    ];
    let got = device.get("/v2/local/logs").await;
    assert_eq!((got.status, got.kind()), (StatusCode::OK, "application/x-ndjson"));
    let at = 1_700_000_000_123_i64;
    let expected = json!([
        {"message": "Streaming logs", "isSystem": true},
        {"message": "hello", "timestamp": at, "serviceName": "main"},
        {"message": "ouch", "timestamp": at, "serviceName": "main", "isStdErr": true},
        {"message": "Starting service 'main'", "timestamp": at, "isSystem": true},
    ]);
    assert_eq!(json!(rows(&got.body)), expected);
    assert_eq!(device.followed, [None]);
}

#[tokio::test]
async fn a_key_of_a_service_opens_the_log_of_its_app() {
    let mut device = TestDevice::new();
    let key = device.key(ONE, "main");
    let asking = request("GET", &format!("/v2/local/logs?apikey={key}")).body(Body::empty()).unwrap();
    assert_eq!(device.call(asking).await.status, StatusCode::OK);
    device.say(|it| it.access.local_mode = true);
    let from = |origin: Option<&str>| {
        let asking = request("GET", "/v2/local/logs").extension(ON_DEVICE);
        origin.map_or(asking, |it| request("GET", "/v2/local/logs").extension(ON_DEVICE).header("Origin", it))
    };
    assert_eq!(device.call(from(None).body(Body::empty()).unwrap()).await.status, StatusCode::OK);
    assert_eq!(device.followed, [Some([ONE].into()), None]);
    let got = device.call(from(Some("http://evil.example")).body(Body::empty()).unwrap()).await;
    assert_eq!((got.status, device.followed.len()), (StatusCode::FORBIDDEN, 2));
}

#[tokio::test]
async fn too_many_streams_and_an_agent_that_stops_are_said() {
    let mut device = TestDevice::new();
    device.refuses_streams = Some(StreamRefusal::TooMany(8));
    let got = device.get("/v2/local/logs").await;
    assert_eq!(got.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(got.message().contains("8 other clients"), "{}", got.body);
    let key = "d".repeat(64);
    let router = device.router();
    drop(device);
    let asking = request("GET", &format!("/v2/local/logs?apikey={key}")).body(Body::empty()).unwrap();
    assert_eq!(router.oneshot(asking).await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn a_look_at_the_log_begins_no_stream() {
    let mut device = TestDevice::new();
    let key = "d".repeat(64);
    let got = device.call(request("HEAD", &format!("/v2/local/logs?apikey={key}")).body(Body::empty()).unwrap()).await;
    assert_eq!((got.status, got.kind(), device.followed.len()), (StatusCode::OK, "application/x-ndjson", 0));
}

/// Its log would go on for ever.
#[tokio::test]
async fn a_stream_ends_when_the_server_stops() {
    let mut device = TestDevice::new();
    device.keeps_streams = true;
    let (stop, stopping) = watch::channel(());
    let key = "d".repeat(64);
    let asking = request("GET", &format!("/v2/local/logs?apikey={key}")).extension(ServerStop(stopping));
    let answer = device.begin(asking.body(Body::empty()).unwrap()).await;
    assert!(answer.extensions().get::<EndlessAnswer>().is_some());
    let mut body = answer.into_body();
    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(first, "{\"message\":\"Streaming logs\",\"isSystem\":true}\n");
    drop(stop);
    assert!(body.frame().await.is_none());
}

#[tokio::test]
async fn the_journal_is_read_as_the_body_says() {
    let mut device = TestDevice::new();
    let got = device.post("/v2/journal-logs", "").await;
    assert_eq!((got.status, got.kind(), got.body.as_str()), (StatusCode::OK, "text/plain; charset=utf-8", "one\ntwo\n"));
    let body = json!({"all": true, "follow": "1", "count": "10", "unit": "docker.service", "containerId": "4c1a", "format": "json",
        "since": "5 min ago", "until": "now"});
    assert_eq!(device.post("/v2/journal-logs", &body.to_string()).await.status, StatusCode::OK);
    assert_eq!(device.post("/v2/journal-logs", r#"{"count": "all", "unit": null}"#).await.status, StatusCode::OK);
    let some = |text: &str| Some(text.to_owned());
    let query = JournalQuery {
        all: true,
        follow: true,
        count: Some(10),
        unit: some("docker.service"),
        identifier: some("4c1a"),
        since: some("5 min ago"),
        until: some("now"),
        format: some("json"),
    };
    assert_eq!(device.journal_queries, [JournalQuery::default(), query, JournalQuery::default()]);
}

#[tokio::test]
async fn what_is_no_argument_of_journalctl_is_refused_by_name() {
    let mut device = TestDevice::new();
    for (body, field) in [
        (json!({"unit": "-x"}), "unit"),
        (json!({"unit": ""}), "unit"),
        (json!({"unit": 5}), "unit"),
        (json!({"containerId": "--file=/etc/shadow"}), "containerId"),
        (json!({"since": "-5min"}), "since"),
        (json!({"until": "a\nb"}), "until"),
        (json!({"until": "x".repeat(201)}), "until"),
        (json!({"format": "html"}), "format"),
        (json!({"format": ["json"]}), "format"),
        (json!({"count": -1}), "count"),
        (json!({"count": "many"}), "count"),
    ] {
        let got = device.post("/v2/journal-logs", &body.to_string()).await;
        assert_eq!(got.status, StatusCode::BAD_REQUEST, "{body}");
        assert!(got.message().starts_with(field), "{body}: {}", got.body);
    }
    assert_eq!(device.journal_queries, []);
    let why = "the journal cannot be read: journalctl cannot be run; run the agent as root";
    device.refuses_streams = Some(StreamRefusal::Failed(why.to_owned()));
    let got = device.post("/v2/journal-logs", "").await;
    assert_eq!((got.status, got.message().as_str()), (StatusCode::SERVICE_UNAVAILABLE, why));
}
