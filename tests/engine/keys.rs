//! Who may ask, and keys that are made anew.

use serde_json::json;

use crate::agent::{Agent, KEY, PATIENCE};
use crate::http;
use crate::lab::{Lab, run, until};
use crate::target::{App, Service};

#[test]
#[ignore = "needs `make engine`"]
fn nobody_is_answered_without_a_key() {
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
fn no_key_is_ever_in_the_log() {
    let lab = Lab::enter();
    let app = App::new(603, "c1", vec![Service::new("main", &lab.image("1")).label("io.balena.features.supervisor-api", "1")]);
    let agent = Agent::with(&lab, &app);
    let own = lab.env(&lab.the("main").id)["BALENA_SUPERVISOR_API_KEY"].clone();
    for key in [KEY, &own, "wrongwrongwrong"] {
        let _ = http::tcp(agent.port(), "GET", &format!("/v1/device?apikey={key}"), &[], ""); // What is logged counts.
        agent.ask_with(key, "GET", "/v1/device", &json!({})).unwrap();
    }
    let log = std::fs::read_to_string(agent.path("log")).unwrap();
    assert!(!log.is_empty());
    for key in [KEY, &own, "wrongwrongwrong"] {
        assert!(!log.contains(key), "a key is in the log");
    }
}
