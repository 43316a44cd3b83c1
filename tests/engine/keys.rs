//! Callers' permissions, and keys that are renewed.

use serde_json::json;

use crate::agent::{Agent, KEY, PATIENCE};
use crate::http;
use crate::lab::{Lab, run, until};
use crate::target::{App, Service};

#[test]
#[ignore = "needs `make engine`"]
fn no_request_is_served_without_a_key() {
    let lab = Lab::enter();
    let agent = Agent::with(&lab, &App::new(600, "c1", vec![Service::new("main", &lab.image("1"))]));
    let before = lab.containers();
    for (method, path) in
        [("GET", "/ping"), ("GET", "/v1/device"), ("POST", "/v1/restart"), ("GET", "/agent/v1/state"), ("GET", "/nowhere")]
    {
        let none = http::tcp(agent.port(), method, path, &[("Content-Type", "application/json")], r#"{"appId": 600}"#).unwrap();
        assert_eq!(none.status, 401, "{method} {path}");
        assert_eq!(agent.ask_with("wrong", method, path, &json!({"appId": 600})).unwrap().status, 401, "{method} {path}");
    }
    assert_eq!(lab.containers(), before);
    assert_eq!(http::tcp(agent.port(), "GET", "/v1/healthy", &[], "").unwrap().status, 200);
    assert_eq!(http::tcp(agent.port(), "GET", &format!("/ping?apikey={KEY}"), &[], "").unwrap().body, "OK");
    let header = [("Authorization", &*format!("ApiKey {KEY}"))];
    assert_eq!(http::tcp(agent.port(), "GET", "/ping", &header, "").unwrap().body, "OK");
}

#[test]
#[ignore = "needs `make engine`"]
fn a_service_that_makes_its_key_anew_is_given_the_new_one() {
    let lab = Lab::enter();
    let app = App::new(601, "c1", vec![Service::new("main", &lab.image("1")).label("io.balena.features.supervisor-api", "1")]);
    let agent = Agent::with(&lab, &app);
    let key_of = |id: &str| lab.env(id).get("BALENA_SUPERVISOR_API_KEY").cloned().expect("a key");
    let old = key_of(&lab.the("main").id);
    assert_ne!(old, KEY, "a key of its own");

    let reply = agent.ask_with(&old, "POST", "/v1/regenerate-api-key", &json!({})).unwrap();
    assert_eq!((reply.status, reply.body.len()), (200, 64), "{reply:?}");
    let new = reply.body;
    assert!(new.chars().all(|it| it.is_ascii_hexdigit() && !it.is_ascii_uppercase()) && new != old);
    assert_eq!(agent.ask_with(&old, "GET", "/ping", &json!({})).unwrap().status, 401);
    assert_eq!(agent.ask_with(&new, "GET", "/ping", &json!({})).unwrap().status, 200);
    until(PATIENCE, "the container has the new key", || {
        lab.containers().iter().any(|it| it.state == "running" && key_of(&it.id) == new)
    });
    agent.arrives(&app);
}

#[test]
#[ignore = "needs `make engine`"]
fn the_device_key_made_anew_outlives_the_agent() {
    let lab = Lab::enter();
    let app = App::new(602, "c1", vec![Service::new("main", &lab.image("1"))]);
    let mut agent = Agent::with(&lab, &app);
    let new = agent.ask("POST", "/v1/regenerate-api-key", &json!({})).body;
    agent.kill();
    agent.start();
    until(PATIENCE, "it answers", || agent.ask_with(&new, "GET", "/ping", &json!({})).is_ok_and(|it| it.status == 200));
    assert_eq!(agent.ask_with(KEY, "GET", "/ping", &json!({})).unwrap().status, 401);
    let mut key = std::process::Command::new(env!("CARGO_BIN_EXE_boardkeeper"));
    assert_eq!(run(key.arg("key").arg("--state-dir").arg(agent.path("state"))).trim(), new);
}

#[test]
#[ignore = "needs `make engine`"]
fn keys_are_in_no_log_no_error_no_argument_and_no_file_that_others_may_read() {
    let lab = Lab::enter();
    let app = App::new(603, "c1", vec![Service::new("main", &lab.image("1")).label("io.balena.features.supervisor-api", "1")]);
    // Everything that is logged, by us and by whatever we use.
    let mut agent = Agent::new(&lab).arguments(&["--log", "trace"]);
    agent.want(&app.v3());
    agent.start();
    agent.arrives(&app);
    let own = lab.env(&lab.the("main").id)["BALENA_SUPERVISOR_API_KEY"].clone();
    let mut secrets = vec![KEY.to_owned(), own.clone(), "wrongwrongwrong".to_owned()];
    for key in secrets.clone() {
        // What is logged counts.
        let _ = http::tcp(agent.port(), "GET", &format!("/v1/device?apikey={key}"), &[], "");
        let _ = http::tcp(agent.port(), "PUT", &format!("/nowhere/{}?apikey={key}", "x".repeat(300)), &[], "{");
        let _ =
            http::tcp(agent.port(), "POST", &format!("/v1/restart?apikey={key}"), &[("Content-Type", "application/json")], "{");
        let _ =
            http::tcp(agent.port(), "nonsense", &format!("{key} x"), &[("Authorization", &format!("Bearer {key}\u{1}"))], "");
        agent.ask_with(&key, "GET", "/v1/device", &json!({})).unwrap();
        agent.ask_with(&key, "POST", "/v1/update", &json!({"force": key})).unwrap();
    }
    secrets.push(agent.ask_with(&own, "POST", "/v1/regenerate-api-key", &json!({})).unwrap().body);
    until(PATIENCE, "the container has the new key", || {
        let running = lab.containers().into_iter().find(|it| it.state == "running");
        running.is_some_and(|it| lab.env(&it.id)["BALENA_SUPERVISOR_API_KEY"] == secrets[3])
    });
    agent.settles();
    let kept = std::fs::read_to_string(agent.path("state/keys.json")).unwrap();
    let root = kept.split('"').filter(|it| it.len() == 64).find(|it| *it != KEY).expect("the root of services' keys");
    secrets.push(root.to_owned());

    let log = std::fs::read_to_string(agent.path("log")).unwrap();
    let cmdline = std::fs::read_to_string(format!("/proc/{}/cmdline", agent.pid())).unwrap();
    // Nothing that we use says more than that any more; what is asked for is all there is.
    assert!(log.contains("DEBUG") && cmdline.contains("--state-dir"));
    let mut readable = vec![("the log".to_owned(), log), ("its arguments".to_owned(), cmdline)];
    for dir in ["state", "runtime"] {
        readable.extend(
            files(&agent.path(dir)).into_iter().filter(|(_, mode, _)| mode & 0o077 != 0).map(|(name, _, text)| (name, text)),
        );
    }
    for (name, text) in &readable {
        for key in &secrets {
            assert!(!text.contains(key.as_str()), "a key is in {name}");
        }
    }
    // No other user may look into the state directory, or change anything anywhere.
    for (name, mode, _) in files(&agent.path("state")) {
        assert_eq!(mode & 0o077, 0, "{name}: {mode:o}");
    }
    for (name, mode, _) in files(&agent.path("runtime")) {
        assert_eq!(mode & 0o022, 0, "{name}: {mode:o}");
    }
}

/// Everything below a directory and itself: its name, its mode, and what is in it.
fn files(dir: &std::path::Path) -> Vec<(String, u32, String)> {
    use std::os::unix::fs::PermissionsExt;
    let mut all = Vec::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(path) = todo.pop() {
        let stat = std::fs::symlink_metadata(&path).unwrap();
        // A link has no mode of its own.
        if stat.is_symlink() {
            continue;
        }
        if stat.is_dir() {
            todo.extend(std::fs::read_dir(&path).unwrap().map(|it| it.unwrap().path()));
        }
        let text = if stat.is_file() { std::fs::read(&path).unwrap() } else { Vec::new() };
        all.push((path.display().to_string(), stat.permissions().mode() & 0o7777, String::from_utf8_lossy(&text).into_owned()));
    }
    all
}

#[test]
#[ignore = "needs `make engine`"]
fn a_key_that_is_wrong_is_not_repeated() {
    let lab = Lab::enter();
    let agent = Agent::new(&lab);
    let mut command = agent.command();
    let said = command.env("BOARDKEEPER_API_KEY", "sesame open!").output().unwrap();
    assert_eq!(said.status.code(), Some(2));
    let text = String::from_utf8(said.stderr).unwrap();
    assert!(text.contains("BOARDKEEPER_API_KEY") && !text.contains("sesame"), "{text}");
}
