use super::*;

fn state() -> StateSummary {
    serde_json::from_str(
        r#"{"engine": {"state": "up"},
            "apps": [{"app_id": 1, "services": [
                {"name": "main", "why": "main was started because its image changed", "since": "2026-11-29T02:00:00Z", "waits_for": null},
                {"name": "side", "why": null, "waits_for": "db to be healthy"}]}],
            "waiting": ["1/side waits for db to be healthy", "2/main waits for db to be healthy"],
            "troubles": [{"what": "create 1/side from x", "why": "no such image", "failures": 2, "again_in_seconds": 9}]}"#,
    )
    .unwrap()
}

#[test]
fn all_services_have_a_line_each() {
    let expected = "2026-11-29T02:00:00Z  main was started because its image changed\n\
                    side: nothing happened to it as far as the history goes\n";
    assert_eq!(state().all(), expected);
    let down = StateSummary {
        engine: EngineSummary { state: "down".to_owned(), why: Some("refused".to_owned()) },
        ..StateSummary::default()
    };
    let expected = "there is no target yet, so there is no service\nthe container engine does not answer: refused\n";
    assert_eq!(down.all(), expected);
}

#[test]
fn a_service_has_what_it_waits_for_its_troubles_and_the_last_actions() {
    let history = r#"{"entries": [{"at": "2026-11-29T01:00:00Z", "sentence": "side was created"}]}"#;
    let text = state().of("side", &serde_json::from_str(history).unwrap());
    let expected = "side: nothing happened to it as far as the history goes\n  it waits for db to be healthy\n  waiting: 1/side \
                    waits for db to be healthy\n  trouble: create 1/side from x: no such image; tried again in 9 s\nlast \
                    actions:\n  2026-11-29T01:00:00Z  side was created\n";
    assert_eq!(text, expected);
}

#[test]
fn a_name_of_any_characters_is_a_valid_query() {
    assert_eq!(history_path("a b&c"), "/agent/v1/history?service=a+b%26c&limit=10");
}
