use super::*;

fn path(args: &LogsArgs) -> String {
    args.path()
}

#[test]
fn the_request_asks_for_what_the_flags_say() {
    assert_eq!(path(&LogsArgs::default()), "/agent/v1/logs?follow=false&tail=100");
    let since: Since = "10m".parse().unwrap();
    let args = LogsArgs { since: Some(since.clone()), follow: true, ..LogsArgs::default() };
    assert_eq!(path(&args), "/agent/v1/logs?follow=true&since=600");
    let args = LogsArgs {
        service: Some("a b&c".to_owned()),
        since: Some("2026-11-29T02:00:00+01:00".parse().unwrap()),
        tail: Some("all".to_owned()),
        ..LogsArgs::default()
    };
    let expected = "/agent/v1/logs?follow=false&service=a+b%26c&since=2026-11-29T02%3A00%3A00%2B01%3A00&tail=all";
    assert_eq!(path(&args), expected);
    assert!(tail("5").is_ok() && tail("-5").is_err() && tail("").is_err());
}

#[test]
fn lines_have_colours_on_a_terminal_only() {
    let line =
        r#"{"at":"2026-11-29T02:00:00.123Z","app_id":1,"service":"main","stream":"stderr","text":"\u001b[1mx\u001b[2J"}"#;
    assert_eq!(shown(line, false), "2026-11-29T02:00:00.123Z main: x\n");
    let coloured = shown(line, true);
    assert!(coloured.starts_with("\x1b[2m2026-11-29T02:00:00.123Z\x1b[0m \x1b["), "{coloured:?}");
    assert!(coloured.ends_with("mmain\x1b[0m\x1b[31m!\x1b[0m \x1b[1mx\x1b[0m\n"), "{coloured:?}");
    let own = r#"{"at":"t","app_id":null,"service":null,"stream":null,"text":"Rebooting"}"#;
    assert_eq!(shown(own, false), "t boardkeeper: Rebooting\n");
    // Of another agent, or cut off.
    assert_eq!(shown("{\"at\":\"\x1b", false), "{\"at\":\" \n");
}
