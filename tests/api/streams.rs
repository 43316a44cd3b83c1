//! Responses that go on for as long as the client reads.

use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use boardkeeper::request::StreamRefusal;
use boardkeeper::state::device::{EndlessAnswer, ServedConnection, ServerStop};
use boardkeeper::state::journal::JournalQuery;
use boardkeeper::state::live_log::{LiveLogLine, LogPast, LogQuery, LogSince};
use boardkeeper::state::{AppId, EngineTime, OutputStream};
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
    assert_eq!(device.followed, [LogQuery { follow: true, ..LogQuery::default() }]);
}

#[tokio::test]
async fn the_agents_own_form_of_the_log_is_json_or_text() {
    let mut device = TestDevice::new();
    device.log = vec![
        line("hello", ONE, Some(("main", OutputStream::Stdout))),
        line("ouch", ONE, Some(("main", OutputStream::Stderr))),
        LiveLogLine { text: "Rebooting".to_owned(), at_ms: 1_700_000_000_123, app: None, from: None },
    ];
    let got = device.get("/agent/v1/logs").await;
    assert_eq!((got.status, got.kind()), (StatusCode::OK, "application/x-ndjson"));
    let at = "2023-11-14T22:13:20.123Z";
    let expected = json!([
        {"at": at, "app_id": ONE.0, "service": "main", "stream": "stdout", "text": "hello"},
        {"at": at, "app_id": ONE.0, "service": "main", "stream": "stderr", "text": "ouch"},
        {"at": at, "app_id": null, "service": null, "stream": null, "text": "Rebooting"},
    ]);
    assert_eq!(json!(rows(&got.body)), expected);
    let key = "d".repeat(64);
    for (accept, kind) in [
        ("text/plain", "text/plain; charset=utf-8"),
        ("text/plain;q=0.5, application/x-ndjson", "application/x-ndjson"),
        ("application/json;q=0.1, TEXT/*", "text/plain; charset=utf-8"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "application/x-ndjson"),
        ("text/plain;q=x, ;;,", "text/plain; charset=utf-8"),
        ("text/plain;q=0", "application/x-ndjson"),
    ] {
        let asking = request("GET", &format!("/agent/v1/logs?apikey={key}")).header("Accept", accept);
        let got = device.call(asking.body(Body::empty()).unwrap()).await;
        assert_eq!((got.status, got.kind()), (StatusCode::OK, kind), "{accept}");
        let text = format!("{at} main: hello\n{at} main: ouch\n{at} boardkeeper: Rebooting\n");
        assert_eq!(got.body == text, kind.starts_with("text"), "{accept}: {}", got.body);
    }
}

#[tokio::test]
async fn the_query_says_what_of_the_log_is_sent() {
    let mut device = TestDevice::new();
    let all = Some(LogPast::default());
    let ago = |secs| Some(LogSince::Ago(Duration::from_secs(secs)));
    let query = |past, follow| LogQuery { past, follow, ..LogQuery::default() };
    for (asked, expected) in [
        ("", query(all, false)),
        ("follow=true", query(all, true)),
        ("follow=0&tail=all", query(all, false)),
        ("follow=1&tail=0", query(None, true)),
        ("tail=20&since=600", query(Some(LogPast { since: ago(600), tail: Some(20) }), false)),
        (
            "since=2023-11-14T23:13:20.5%2B01:00",
            query(Some(LogPast { since: Some(LogSince::At(EngineTime(1_700_000_000_500_000_000))), tail: None }), false),
        ),
        ("service=main&app=2167", LogQuery { apps: Some([ONE].into()), service: Some("main".to_owned()), ..query(all, false) }),
    ] {
        let got = device.get(&format!("/agent/v1/logs?{asked}")).await;
        assert_eq!(got.status, StatusCode::OK, "{asked}: {}", got.body);
        assert_eq!(device.followed.pop(), Some(expected), "{asked}");
    }
}

#[tokio::test]
async fn a_bad_query_is_refused_and_the_parameter_named() {
    let mut device = TestDevice::new();
    for (asked, says) in [
        ("follow=yes", "follow must be true or false"),
        ("follow=", "follow must be true or false"),
        ("tail=-1", "tail must be a number of lines"),
        ("tail=4294967296", "tail must be a number of lines"),
        ("tail=", "tail must be a number of lines"),
        ("since=yesterday", "since must be a number of seconds before now"),
        ("since=10m", "since must be a number of seconds before now"),
        ("since=2026-11-29", "since must be a number of seconds before now"),
        ("since=", "since must be a number of seconds before now"),
        ("app=main", "app must be the number of an app"),
        ("app=-1", "app must be the number of an app"),
        ("app=77", "app: app 77 has no service in the target and no container"),
        ("service=mian", "service: \"mian\" is not known; there is db, main, web"),
        ("service=", "service: \"\" is not known"),
        ("app=2167&service=web", "service: \"web\" is not known; there is "),
    ] {
        let got = device.get(&format!("/agent/v1/logs?{asked}")).await;
        assert_eq!(got.status, StatusCode::BAD_REQUEST, "{asked}: {}", got.body);
        assert!(got.message().starts_with(says), "{asked}: {}", got.body);
    }
    assert_eq!(device.followed, []);
}

#[tokio::test]
async fn a_service_reads_the_log_of_its_own_app_only() {
    let mut device = TestDevice::new();
    let key = device.key(ONE, "main");
    for (more, status, apps) in [
        ("", StatusCode::OK, Some(ONE)),
        ("&app=2167", StatusCode::OK, Some(ONE)),
        ("&app=4000", StatusCode::UNAUTHORIZED, None),
        // It does not learn that another app has such a service.
        ("&service=web", StatusCode::BAD_REQUEST, None),
    ] {
        let asking = request("GET", &format!("/agent/v1/logs?apikey={key}{more}")).body(Body::empty()).unwrap();
        assert_eq!(device.call(asking).await.status, status, "{more}");
        assert_eq!(device.followed.pop().and_then(|it| it.apps), apps.map(|it| [it].into()), "{more}");
    }
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
    let apps: Vec<_> = device.followed.iter().map(|it| it.apps.clone()).collect();
    assert_eq!(apps, [Some([ONE].into()), None]);
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
    let asking = request("GET", &format!("/v2/local/logs?apikey={key}"))
        .extension(ServedConnection { stop: Some(ServerStop(stopping)), ..ServedConnection::default() });
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
