use serde_json::json;

use super::*;

fn event(kind: &str, data: &Value) -> SseEvent {
    SseEvent { kind: kind.to_owned(), id: String::new(), data: data.to_string() }
}

#[test]
fn the_state_follows_the_events() {
    let mut mirror = StateMirror::default();
    let whole = json!({"activity": "applying", "doing": [1, 2], "update": {"pending": true, "failed": false}, "rejected": "x"});
    assert_eq!(mirror.take(&event("state", &whole)), Ok(true));
    let patch = json!({"activity": "settled", "doing": [], "update": {"pending": false}, "rejected": null, "new": {"a": null}});
    assert_eq!(mirror.take(&event("change", &patch)), Ok(true));
    assert_eq!(mirror.take(&event("history", &json!({"id": 1}))), Ok(false));
    let expected = json!({"activity": "settled", "doing": [], "update": {"pending": false, "failed": false}, "new": {}});
    assert_eq!(mirror.after(Duration::ZERO), expected);
    // A connection that was made again begins anew.
    assert_eq!(mirror.take(&event("state", &json!({"activity": "waiting"}))), Ok(true));
    assert_eq!(mirror.after(Duration::ZERO), json!({"activity": "waiting"}));
}

#[test]
fn an_event_that_is_no_json_is_an_error_and_changes_nothing() {
    let mut mirror = StateMirror::default();
    mirror.take(&event("state", &json!({"a": 1}))).unwrap();
    let cut = SseEvent { kind: "change".to_owned(), id: String::new(), data: "{\"a\":".to_owned() };
    assert!(mirror.take(&cut).is_err_and(|why| why.contains("cannot be read")));
    let deep = SseEvent { kind: "change".to_owned(), id: String::new(), data: "[".repeat(100_000) };
    assert!(mirror.take(&deep).is_err());
    assert_eq!(mirror.after(Duration::ZERO), json!({"a": 1}));
    // Lists and numbers replace what there was.
    mirror.take(&event("change", &json!([1]))).unwrap();
    mirror.take(&event("change", &json!({"b": {"c": 2}}))).unwrap();
    assert_eq!(mirror.after(Duration::ZERO), json!({"b": {"c": 2}}));
}

#[test]
fn times_go_on_between_the_events() {
    let mut mirror = StateMirror::default();
    let state = json!({"engine": {"seconds": 4}, "troubles": [{"failures": 3, "again_in_seconds": 2}], "bytes": 7,
        "cloud": {"last": {"seconds_ago": 1}, "next_in_seconds": 60, "interval_seconds": 900}});
    mirror.take(&event("state", &state)).unwrap();
    let expected = json!({"engine": {"seconds": 9}, "troubles": [{"failures": 3, "again_in_seconds": 0}], "bytes": 7,
        "cloud": {"last": {"seconds_ago": 6}, "next_in_seconds": 55, "interval_seconds": 900}});
    assert_eq!(mirror.after(Duration::from_millis(5900)), expected);
}

#[test]
fn only_a_number_goes_into_the_header() {
    assert_eq!(header("17"), Some(("Last-Event-ID", "17".to_owned())));
    for id in ["", "1\r\nX: y", "-1", "a"] {
        assert_eq!(header(id), None, "{id:?}");
    }
}
