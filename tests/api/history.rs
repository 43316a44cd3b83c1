//! The history and the events.

use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use boardkeeper::state::device::{ServedConnection, ServerStop};
use boardkeeper::state::history::{
    Cause, FieldChange, HistoryAction, HistoryNote, HistoryObject, HistoryOutcome, KEPT, Requester,
};
use boardkeeper::state::{AppId, IdentifyOutcome};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::test_device::{ONE, TWO, TestDevice, request};

fn note(app: Option<AppId>, action: HistoryAction, outcome: HistoryOutcome) -> HistoryNote {
    let change = FieldChange { field: "env A".to_owned(), old: Some("1".to_owned()), new: None };
    HistoryNote {
        at_ms: 1_700_000_000_999,
        action,
        object: HistoryObject::Container,
        name: "main_1_2_c".to_owned(),
        app,
        service: app.map(|_| "main".to_owned()),
        cause: Cause { why: "it differs".to_owned(), changes: vec![change], asked_by: Some(Requester::new("the cloud")) },
        outcome,
        millis: Some(7),
    }
}

fn add(device: &TestDevice, app: Option<AppId>) {
    device.history.send_modify(|it| {
        it.add(note(app, HistoryAction::Create, HistoryOutcome::Done));
    });
}

fn ids(body: &Value) -> Vec<u64> {
    body["entries"].as_array().unwrap().iter().map(|it| it["id"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn an_entry_says_what_why_who_and_how_it_ended() {
    let mut device = TestDevice::new();
    assert_eq!(device.get("/agent/v1/history").await.json(), json!({"oldest": null, "newest": 0, "entries": []}));
    device.history.send_modify(|it| {
        it.add(note(Some(ONE), HistoryAction::Create, HistoryOutcome::Failed("no room".to_owned())));
    });
    let expected = json!({
        "id": 1, "at": "2023-11-14T22:13:20Z", "action": "create", "object": "container", "name": "main_1_2_c", "app_id": ONE.0,
        "service": "main", "why": "it differs", "changes": [{"field": "env A", "old": "1", "new": null}], "asked_by": "the cloud",
        "outcome": "failed", "error": "no room", "milliseconds": 7,
        "sentence": "main could not be created: no room because it differs (env A: `1` is gone); asked for by the cloud",
    });
    assert_eq!(device.get("/agent/v1/history").await.json()["entries"], json!([expected]));
}

#[tokio::test]
async fn entries_are_chosen_by_app_service_number_and_count() {
    let mut device = TestDevice::new();
    for app in [Some(ONE), Some(TWO), None, Some(ONE)] {
        add(&device, app);
    }
    let key = "d".repeat(64);
    for (query, expected) in [
        ("", &[1, 2, 3, 4][..]),
        ("&limit=2", &[3, 4]),
        ("&since=2", &[3, 4]),
        ("&since=99", &[]),
        ("&service=main", &[1, 2, 4]),
        ("&service=other", &[]),
        ("&limit=0", &[]),
    ] {
        let asking = request("GET", &format!("/agent/v1/history?apikey={key}{query}")).body(Body::empty()).unwrap();
        assert_eq!(ids(&device.call(asking).await.json()), expected, "{query}");
    }
    let of_app = format!("/agent/v1/history?apikey={key}&app={}", ONE.0);
    assert_eq!(ids(&device.call(request("GET", &of_app).body(Body::empty()).unwrap()).await.json()), [1, 4]);
    for (query, word) in [("app=x", "app must be"), ("since=-1", "since must be"), ("limit=many", "limit must be")] {
        let asking = request("GET", &format!("/agent/v1/history?apikey={key}&{query}")).body(Body::empty()).unwrap();
        let got = device.call(asking).await;
        assert_eq!(got.status, StatusCode::BAD_REQUEST);
        assert!(got.message().starts_with(word), "{}", got.body);
    }
    // A service sees its own app and the device.
    let key = device.key(ONE, "main");
    let asking = request("GET", &format!("/agent/v1/history?apikey={key}")).body(Body::empty()).unwrap();
    assert_eq!(ids(&device.call(asking).await.json()), [1, 3, 4]);
}

#[tokio::test]
async fn a_request_is_entered_with_who_sent_it() {
    let mut device = TestDevice::new();
    assert_eq!(device.post("/v1/update", "{}").await.status, StatusCode::NO_CONTENT);
    let key = device.key(ONE, "main");
    device.post_with(&key, "/v1/restart", &json!({"appId": ONE.0}).to_string()).await;
    let words: Vec<_> = device.requesters.iter().map(Requester::to_string).collect();
    assert_eq!(words, ["device key".to_owned(), format!("service {}/main", ONE.0)]);
    device.identifies = Some(IdentifyOutcome::None("there is none".to_owned()));
    device.post("/v1/blink", "").await;
    // The reconciler takes it in its turn.
    device.post("/v1/update", "{}").await;
    assert_eq!(device.identified, [Some("there is none".to_owned())]);
}

/// A client that reads the events one by one.
struct Reader {
    body: Body,
    _stop: watch::Sender<()>,
}

impl Reader {
    async fn open(device: &mut TestDevice, key: &str, last: Option<u64>) -> Self {
        let (stop, stopping) = watch::channel(());
        let mut asking = request("GET", &format!("/agent/v1/events?apikey={key}"))
            .extension(ServedConnection { stop: Some(ServerStop(stopping)), ..ServedConnection::default() });
        if let Some(last) = last {
            asking = asking.header("Last-Event-ID", last.to_string());
        }
        let answer = device.begin(asking.body(Body::empty()).unwrap()).await;
        assert_eq!(answer.status(), StatusCode::OK);
        Self { body: answer.into_body(), _stop: stop }
    }

    /// The next event: its number, its name, its data. `None`: there is none for a while.
    async fn next(&mut self) -> Option<(u64, String, Value)> {
        let frame = timeout(Duration::from_secs(5), self.body.frame()).await.ok()??.unwrap();
        let text = String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap();
        assert!(text.ends_with("\n\n"), "{text}");
        let field = |name: &str| text.lines().find_map(|it| it.strip_prefix(name)).unwrap_or_default().trim().to_owned();
        Some((field("id:").parse().unwrap(), field("event:"), serde_json::from_str(&field("data:")).unwrap()))
    }

    /// The numbers and names of the events that are due.
    async fn due(&mut self) -> Vec<(u64, String)> {
        let mut all = Vec::new();
        while let Some((id, name, _)) = self.next().await {
            all.push((id, name));
        }
        all
    }
}

fn named(all: &[(u64, &str)]) -> Vec<(u64, String)> {
    all.iter().map(|(id, name)| (*id, (*name).to_owned())).collect()
}

#[tokio::test(start_paused = true)]
async fn the_state_comes_first_and_then_what_changes() {
    let mut device = TestDevice::new();
    let key = "d".repeat(64);
    add(&device, None);
    let mut reader = Reader::open(&mut device, &key, None).await;
    let (id, name, state) = reader.next().await.unwrap();
    assert_eq!((id, name.as_str()), (1, "state"));
    assert_eq!(state, device.get("/agent/v1/state").await.json());
    assert_eq!(reader.next().await, None);
    // Publishing the same, or time that passes, is no event.
    device.say(|_| ());
    assert_eq!(reader.next().await, None);
    device.say(|it| it.update_pending = true);
    let (id, name, change) = reader.next().await.unwrap();
    assert_eq!((id, name.as_str(), &change["update"]), (1, "change", &json!({"pending": true})));
    add(&device, Some(ONE));
    let (id, name, entry) = reader.next().await.unwrap();
    assert_eq!((id, name.as_str(), &entry["id"]), (2, "history", &json!(2)));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_returns_misses_nothing_or_learns_what_is_lost() {
    let mut device = TestDevice::new();
    let key = "d".repeat(64);
    let mut last = 0;
    for _ in 0..1000 {
        add(&device, Some(ONE));
        let mut reader = Reader::open(&mut device, &key, Some(last)).await;
        let (_, name, _) = reader.next().await.unwrap();
        assert_eq!(name, "state");
        let (id, name, _) = reader.next().await.unwrap();
        assert_eq!((id, name.as_str()), (last + 1, "history"));
        last = id;
    }
    for _ in 0..KEPT + 10 {
        add(&device, Some(ONE));
    }
    let mut reader = Reader::open(&mut device, &key, Some(last)).await;
    assert_eq!(reader.next().await.unwrap().1, "state");
    let (id, name, gap) = reader.next().await.unwrap();
    assert_eq!((id, name.as_str(), gap), (1010, "lost", json!({"from": 1001, "to": 1010})));
    let rest = reader.due().await;
    assert_eq!(rest.iter().map(|it| it.0).collect::<Vec<_>>(), (1011..=2010).collect::<Vec<_>>());
    // A number of a history that was lost, and none at all.
    let mut reader = Reader::open(&mut device, &key, Some(999_999)).await;
    assert_eq!(reader.next().await.unwrap().1, "state");
    assert_eq!(reader.next().await.unwrap().1, "lost");
    let mut reader = Reader::open(&mut device, &key, None).await;
    assert_eq!(reader.due().await, named(&[(2010, "state")]));
}

#[tokio::test(start_paused = true)]
async fn a_service_gets_its_own_app_only_and_the_stream_ends_with_its_key() {
    let mut device = TestDevice::new();
    let key = device.key(ONE, "main");
    let mut reader = Reader::open(&mut device, &key, None).await;
    let (_, _, state) = reader.next().await.unwrap();
    assert_eq!(state["troubles"], Value::Null);
    for app in [TWO, ONE] {
        add(&device, Some(app));
    }
    assert_eq!(reader.due().await, named(&[(2, "history")]));
    device.say(|it| it.access = boardkeeper::state::Access::default());
    assert!(reader.body.frame().await.is_none(), "its key is none any more");
}

#[tokio::test(start_paused = true)]
async fn a_comment_keeps_the_connection() {
    let mut device = TestDevice::new();
    let key = "d".repeat(64);
    let mut reader = Reader::open(&mut device, &key, None).await;
    assert_eq!(reader.next().await.unwrap().1, "state");
    let frame = reader.body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(frame, ":\n\n");
}
