use serde_json::json;

use super::*;

fn entry() -> Value {
    json!({"id": 17, "at": "2026-11-29T02:00:00.123Z", "action": "create", "object": "container", "name": "main_1_2_c", "app_id": 1,
        "service": "main", "why": "its environment changed: FOO", "changes": [], "asked_by": "the target file", "outcome": "done",
        "error": null, "milliseconds": 153})
}

#[test]
fn the_request_asks_for_what_the_flags_say() {
    let args = |since: Option<&str>| HistoryArgs { since: since.map(|it| after(it).unwrap()), ..HistoryArgs::default() };
    assert_eq!(args(None).path(), "/agent/v1/history?limit=100");
    assert_eq!(args(Some("17")).path(), "/agent/v1/history?since=17&limit=1000");
    assert_eq!(args(Some("10m")).path(), "/agent/v1/history?limit=1000");
    let of_service = HistoryArgs { service: Some("a&b".to_owned()), ..args(None) };
    assert_eq!(of_service.path(), "/agent/v1/history?service=a%26b&limit=100");
    assert!(after("yesterday").is_err_and(|why| why.contains("number of an entry")));
}

#[test]
fn an_entry_is_a_line() {
    let line = "   17  2026-11-29T02:00:00.123Z  create container main_1_2_c, because its environment changed: FOO (done)\n";
    assert_eq!(HistoryArgs::default().shown(&entry()), line);
    let mut with_sentence = entry();
    with_sentence["sentence"] = json!("main was created\u{1b}[2J");
    assert_eq!(HistoryArgs::default().shown(&with_sentence), "   17  2026-11-29T02:00:00.123Z  main was created [2J\n");
    let as_json = HistoryArgs { json: true, ..HistoryArgs::default() };
    assert_eq!(serde_json::from_str::<Value>(&as_json.shown(&entry())).unwrap(), entry());
}

#[test]
fn entries_that_are_not_asked_for_are_left_out() {
    let shows = |args: HistoryArgs| !args.shown(&entry()).is_empty();
    let since = |text: &str| HistoryArgs { since: Some(after(text).unwrap()), ..HistoryArgs::default() };
    assert!(shows(since("16")) && !shows(since("17")));
    assert!(shows(since("2026-11-29T02:00:00Z")) && !shows(since("2026-11-29T02:00:01Z")));
    let of = |service: &str| HistoryArgs { service: Some(service.to_owned()), ..HistoryArgs::default() };
    assert!(shows(of("main")) && !shows(of("db")));
}

#[test]
fn only_events_of_the_history_are_printed() {
    let shown = |kind: &str, data: &str| {
        let event = SseEvent { kind: kind.to_owned(), id: "17".to_owned(), data: data.to_owned() };
        HistoryArgs::default().shown_event(&event)
    };
    assert!(shown("history", &entry().to_string()).starts_with("   17  "));
    assert_eq!(shown("state", "{}") + &shown("lost", r#"{"from":1,"to":3}"#) + &shown("change", "garbage"), "");
}
