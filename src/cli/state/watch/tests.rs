use super::*;

/// As the agent sends it, cut into parts as a network does.
const STREAM: &str = "\
id: 16\nevent: state\ndata: {\"activity\":\"applying\",\"engine\":{\"state\":\"up\"},\"looked_seconds_ago\":1,\
\"apps\":[{\"app_id\":1,\"name\":\"demo\",\"services\":[{\"name\":\"main\",\"image\":\"r/main:2\",\"running\":true}]}],\
\"containers\":[],\"downloads\":[{\"image\":\"r/main:2\",\"percent\":1,\"bytes\":1000000,\"total_bytes\":90000000}],\
\"device\":{\"name\":\"kitchen\",\"supervisor_version\":\"0.2.0\"}}\n\n\
:\n\n\
event: change\ndata: {\"downloads\":[{\"image\":\"r/main:2\",\"percent\":20,\"bytes\":21000000,\"total_bytes\":90000000}]}\n\n\
id: 17\nevent: history\ndata: {\"id\":17,\"sentence\":\"r/main:2 was pulled\"}\n\n\
event: change\ndata: {\"activity\":\"settled\",\"downloads\":[],\
\"containers\":[{\"app_id\":1,\"service\":\"main\",\"phase\":\"running\",\"image\":\"r/main:2\"}]}\n\n";

fn events() -> Vec<SseEvent> {
    let (mut parser, mut all) = (crate::cli::sse::SseParser::default(), Vec::new());
    for part in STREAM.as_bytes().chunks(100) {
        parser.parse(part, &mut |it| all.push(it)).unwrap();
    }
    all
}

#[test]
fn a_recorded_stream_is_drawn_with_its_progress() {
    let (mut watched, begun) = (Watched::default(), Instant::now());
    let mut texts = Vec::new();
    for (event, secs) in events().into_iter().zip([0, 10, 10, 12]) {
        let now = begun + Duration::from_secs(secs);
        watched.take(Update::Event(event), now).unwrap();
        texts.push(watched.text(now, true));
    }
    let head = |activity: &str| format!("kitchen: \nboardkeeper 0.2.0: {activity}; engine up\n\n");
    let table = |is: &str| {
        format!("APP     SERVICE  WANTED   {:<7}  IMAGE\n1 demo  main     running  {is:<7}  r/main:2\n", "IS")
            .replace("IS     ", if is == "-" { "IS" } else { "IS     " })
            .replace("-      ", "- ")
    };
    let bar = "[####....................]  20 %  21.0 MB of 90.0 MB  2.0 MB/s  34 s left  r/main:2";
    assert_eq!(texts[1], format!("{}{}\npulled    {bar}\n", head("applying"), table("-")));
    assert_eq!(texts[2], texts[1], "an entry of the history changes nothing");
    assert_eq!(texts[3], format!("{}{}", head("settled"), table("running")));
}

#[test]
fn a_lost_connection_is_shown_until_there_is_one() {
    let (mut watched, begun) = (Watched::default(), Instant::now());
    let state = events().remove(0);
    watched.take(Update::Event(state.clone()), begun).unwrap();
    let before = watched.text(begun, false);
    watched.take(Update::Lost("the agent ended it".to_owned()), begun).unwrap();
    let later = begun + Duration::from_secs(7);
    for is_live in [true, false] {
        let text = watched.text(later, is_live);
        let (lost, shown) = text.split_once('\n').unwrap();
        assert!(lost.starts_with("not connected to the agent since 20"), "{lost}");
        assert!(lost.ends_with("Z (the agent ended it); this was so:"), "{lost}");
        assert_eq!(shown.lines().count(), before.lines().count());
    }
    watched.take(Update::Event(state), later).unwrap();
    assert_eq!(watched.text(later, false), before);
}

#[test]
fn time_that_passes_is_not_printed_anew() {
    let down = |secs: u64, why: &str| {
        let data = json!({"engine": {"state": "down", "why": why, "seconds": secs}, "device": {"disk": {"free_bytes": secs}}});
        let mut watched = Watched::default();
        let event = SseEvent { kind: "state".to_owned(), id: String::new(), data: data.to_string() };
        watched.take(Update::Event(event), Instant::now()).unwrap();
        watched
    };
    assert_eq!(down(4, "gone").essence(), down(9, "gone").essence());
    assert_ne!(down(4, "gone").essence(), down(4, "full").essence());
    let mut lost = down(4, "gone");
    lost.take(Update::Lost("x".to_owned()), Instant::now()).unwrap();
    assert_ne!(lost.essence(), down(4, "gone").essence());
}

#[test]
fn each_event_is_a_line_of_json() {
    let lines: Vec<_> = events().iter().map(json_line).collect();
    let first: Value = serde_json::from_str(&lines[0]).unwrap();
    assert_eq!((&first["event"], &first["id"], &first["data"]["activity"]), (&json!("state"), &json!(16), &json!("applying")));
    assert!(lines.iter().all(|it| it.ends_with('\n') && it.matches('\n').count() == 1));
    let odd = SseEvent { kind: "x".to_owned(), id: "y".to_owned(), data: "a\nb".to_owned() };
    assert_eq!(json_line(&odd), "{\"data\":\"a\\nb\",\"event\":\"x\",\"id\":null}\n");
}

#[test]
fn a_state_of_another_kind_shows_no_services() {
    let mut watched = Watched::default();
    let event = SseEvent { kind: "state".to_owned(), id: String::new(), data: r#"{"apps": 7}"#.to_owned() };
    watched.take(Update::Event(event), Instant::now()).unwrap();
    assert!(watched.text(Instant::now(), true).ends_with("no services\n"));
}
