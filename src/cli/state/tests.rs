use super::*;

const ANSWER: &str = r#"{
  "agent_seconds": 10, "looked_seconds_ago": 3, "engine": {"state": "up"}, "activity": "applying",
  "shutdown": {"state": "came_to_nothing", "ending": "reboot", "why": "refused", "seconds": 9},
  "apps": [{"app_id": 1, "name": "demo", "uuid": "u", "commit": "414e65cd378a69a9", "release_id": 2, "services": [
    {"name": "db", "image": "postgres:17", "running": true, "stopped_by_hand": true},
    {"name": "main", "image": "busybox:latest", "running": true, "stopped_by_hand": false}]}],
  "containers": [
    {"app_id": 1, "service": "db", "name": "n", "id": "i", "phase": "exited", "exit_code": 0, "image": "postgres:17", "error": null},
    {"app_id": 2, "service": "old", "name": "n", "id": "i", "phase": "running", "exit_code": null, "image": "a\u001b[31m", "error": "bad"}],
  "doing": [{"kind": "downloading", "what": "pull busybox:latest", "app_id": null, "service": null}],
  "downloads": [{"image": "busybox:latest", "percent": 40}],
  "waiting": ["1/main waits for the images of the release"],
  "troubles": [{"what": "kill 2/old", "why": "no", "failures": 1, "again_in_seconds": 2}],
  "complaints": ["boardkeeper 0.2.0 is installed and did not become ready"], "rejected": "it is not JSON", "locks": [{"held_by": "agent", "app_id": 1, "services": ["db"]},
    {"held_by": "lease", "app_id": 1, "owner": "recorder", "reason": "it records", "seconds": 60, "ends": "2026-11-28T22:45:00Z"}],
  "update": {"pending": true, "downloaded": false, "failed": false},
  "device": {"uuid": "abc", "name": "kitchen", "device_type": "raspberrypi3", "arch": "aarch64", "os_version": "Resin OS",
    "os_variant": null, "supervisor_version": "0.1.0", "api_port": 48484, "mac_address": "", "ip_addresses": [], "local_mode": false}
}"#;

#[test]
fn a_person_sees_what_runs_and_why() {
    let state: AgentState = serde_json::from_str(ANSWER).unwrap();
    let expected = "\
kitchen: raspberrypi3, aarch64, Resin OS, abc
boardkeeper 0.1.0: applying; engine up; looked 3 s ago

APP             SERVICE  WANTED           IS          IMAGE
1 demo 414e65c  db       stopped by hand  exited (0)  postgres:17
1 demo 414e65c  main     running          -           busybox:latest
2               old      gone             running     a [31m

trouble   the reboot did not happen: refused
warning   boardkeeper 0.2.0 is installed and did not become ready
doing     pull busybox:latest
pulled    busybox:latest 40 %
waiting   1/main waits for the images of the release
leased    app 1 by recorder until 2026-11-28T22:45:00Z: it records
trouble   kill 2/old: no (failed once, again in 2 s)
error     2/old: bad
rejected  the last target: it is not JSON
";
    assert_eq!(state.for_people(), expected);
}

#[test]
fn an_agent_that_has_just_begun() {
    let state: AgentState =
        serde_json::from_str(r#"{"engine":{"state":"down","why":"no socket","seconds":4},"apps":null,"more":1}"#).unwrap();
    let text = state.for_people();
    assert!(text.contains("no target yet; engine down for 4 s: no socket; not looked yet"), "{text}");
    assert!(text.ends_with("no services\n"), "{text}");
}

#[test]
fn a_device_that_shuts_down() {
    let state: AgentState =
        serde_json::from_str(r#"{"activity":"shutting down","shutdown":{"state":"under_way","ending":"reboot"}}"#).unwrap();
    assert!(state.for_people().contains(": shutting down; "), "{}", state.for_people());
}

#[test]
fn what_became_of_the_requests_to_the_cloud() {
    let lines = |cloud: &str| {
        let state: AgentState = serde_json::from_str(&format!(r#"{{"cloud":{cloud}}}"#)).unwrap();
        let text = state.for_people();
        text.lines().filter_map(|it| it.strip_prefix("cloud     ")).map(str::to_owned).collect::<Vec<_>>()
    };
    assert!(lines(r#"{"registration":{"state":"no_cloud"}}"#).is_empty() && lines("null").is_empty());
    assert_eq!(
        lines(r#"{"registration":{"state":"pending","why":"the key is refused","next_in_seconds":30}}"#),
        ["not registered: the key is refused (again in 30 s)"]
    );
    let fine = r#"{"registration":{"state":"registered","endpoint":"https://api.example.com","device_id":7},
        "polling":{"targets_from":"cloud","last":{"answer":"unchanged","why":null,"seconds_ago":3},"cause":"update","why":null,
        "next_in_seconds":890,"next_cause":"interval"}}"#;
    assert_eq!(
        lines(fine),
        ["registered at https://api.example.com", "polled 3 s ago: no new target; next in 890 s, as usual"]
    );
    let pin = |pin: &str| lines(&format!(r#"{{"registration":{{"state":"registered"}},"pin":{pin}}}"#))[1..].to_vec();
    assert_eq!(pin("null"), pin(r#"{"state":"pinned","commit":"19c4","why":null}"#));
    assert_eq!(
        pin(r#"{"state":"pending","commit":"19c4","why":"no route","next_in_seconds":15}"#)[0],
        "not pinned on its preloaded release 19c4 yet: no route (again in 15 s)"
    );
    assert_eq!(pin(r#"{"state":"refused","commit":"19c4","why":"403"}"#)[0], "not pinned on its preloaded release 19c4: 403");
    let bad = r#"{"registration":{"state":"registered","endpoint":"e"},
        "polling":{"targets_from":"file","why":"no route","next_in_seconds":15,"next_cause":"retry"},
        "reporting":{"accepted_seconds_ago":60,"why":"no route","refused":[{"part":"app u","why":"401"}]},
        "log_upload":{"why":"no route","dropped_lines":5}}"#;
    assert_eq!(
        lines(bad)[1..],
        [
            "no answer: no route; next in 15 s, to try again; its targets are not applied, a file's are",
            "the last report failed: no route; accepted 60 s ago",
            "refuses the report of app u: 401",
            "logs are not uploaded: no route",
            "5 lines of logs were dropped",
        ]
    );
}

#[test]
fn an_engine_that_is_open_to_a_network_is_shown() {
    let lines = |local_engine: &str| {
        let state: AgentState = serde_json::from_str(&format!(r#"{{"local_engine":{local_engine}}}"#)).unwrap();
        let text = state.for_people();
        text.lines().filter_map(|it| it.strip_prefix("engine    ")).map(str::to_owned).collect::<Vec<_>>()
    };
    assert!(lines(r#"{"open":false,"listens":[],"networks":["10.0.0.0/8"],"trouble":null}"#).is_empty());
    assert!(lines("null").is_empty());
    assert_eq!(
        lines(r#"{"open":true,"listens":["10.0.0.7:2375"],"networks":["10.0.0.0/8"],"trouble":"fd00::7 is taken"}"#),
        ["open at 10.0.0.7:2375: every computer in 10.0.0.0/8 can become root on this board", "fd00::7 is taken"]
    );
}
