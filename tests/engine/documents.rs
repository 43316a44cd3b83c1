//! Target files that are missing, broken, or changed in quick succession.

use std::fs;

use serde_json::json;

use crate::agent::{Agent, PATIENCE};
use crate::lab::{Lab, pause, until};
use crate::target::{App, Service};

fn app(lab: &Lab, id: u32, commit: &str) -> App {
    App::new(id, commit, vec![Service::new("main", &lab.image("1")).env("COMMIT", commit)])
}

#[test]
#[ignore = "needs `make engine`"]
fn a_broken_file_keeps_the_last_good_target_and_is_reported() {
    let lab = Lab::enter();
    let mut agent = Agent::with(&lab, &app(&lab, 1100, "c1"));
    let before = lab.containers();
    for (text, told) in [
        ("{\"device\": {", "target.json"),
        ("", "target.json"),
        (r#"{"device": {"name": "b", "apps": {"u": {"id": -1, "name": "a", "releases": {}}}}}"#, "id"),
        ("[1, 2]", "target.json"),
    ] {
        agent.want_text(text);
        until(PATIENCE, &format!("{text} is rejected"), || !agent.state()["rejected"].is_null());
        agent.says(told);
        assert_eq!(lab.containers(), before, "{text}");
        agent.want(&app(&lab, 1100, "c1").v3());
        until(PATIENCE, "all is well again", || agent.state()["rejected"].is_null());
    }

    // The last good one also outlives the agent.
    agent.want_text("{");
    until(PATIENCE, "it is rejected", || !agent.state()["rejected"].is_null());
    agent.kill();
    lab.docker(&["rm", "-f", &before[0].id]);
    agent.start();
    until(PATIENCE, "it runs", || lab.containers().iter().any(|it| it.state == "running"));
    let next = app(&lab, 1100, "c2");
    agent.want(&next.v3());
    agent.arrives(&next);
}

#[test]
#[ignore = "needs `make engine`"]
fn a_file_that_is_not_there_yet_is_waited_for() {
    let lab = Lab::enter();
    let mut agent = Agent::new(&lab);
    agent.start();
    until(PATIENCE, "it answers", || agent.answers());
    pause(1000);
    assert!(agent.lives());
    let app = app(&lab, 1101, "c1");
    agent.want(&app.v3());
    agent.arrives(&app);
}

#[test]
#[ignore = "needs `make engine`"]
fn a_file_that_goes_away_changes_nothing() {
    let lab = Lab::enter();
    let agent = Agent::with(&lab, &app(&lab, 1102, "c1"));
    let before = lab.containers();
    fs::remove_file(agent.path("target.json")).unwrap();
    pause(2000);
    assert_eq!(lab.containers(), before);
    let next = app(&lab, 1102, "c2");
    agent.want(&next.v3());
    agent.arrives(&next);
}

#[test]
#[ignore = "needs `make engine`"]
fn of_many_targets_in_a_row_the_last_one_counts() {
    let lab = Lab::enter();
    let agent = Agent::with(&lab, &app(&lab, 1103, "c0"));
    for round in 1..=30 {
        agent.want(&app(&lab, 1103, &format!("c{round}")).v3());
        pause(40);
    }
    agent.arrives(&app(&lab, 1103, "c30"));
    assert_eq!(lab.env(&lab.the("main").id)["COMMIT"], "c30");
}

#[test]
#[ignore = "needs `make engine`"]
fn a_file_edited_in_place_is_seen_too() {
    let lab = Lab::enter();
    let agent = Agent::with(&lab, &app(&lab, 1104, "c1"));
    let next = app(&lab, 1104, "c2");
    fs::write(agent.path("target.json"), next.v3().to_string()).unwrap();
    agent.arrives(&next);
}

#[test]
#[ignore = "needs `make engine`"]
fn parts_that_are_not_supported_are_named_and_the_rest_is_done() {
    let lab = Lab::enter();
    let main = Service::new("main", &lab.image("1")).with("volumes", json!(["/etc:/host-etc"])).with("frobnicate", json!(1));
    let app = App::new(1105, "c1", vec![main]);
    let agent = Agent::with(&lab, &app);
    assert!(fs::read_to_string(agent.path("log")).unwrap().contains("frobnicate"));
    let mounts = lab.inspect(&lab.the("main").id)["Mounts"].to_string();
    assert!(!mounts.contains("/host-etc"), "a document may not open the host's files: {mounts}");
}
