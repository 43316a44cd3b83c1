//! Updates from one release to the next, and changes that must not count as one.

use serde_json::json;

use crate::agent::{Agent, PATIENCE};
use crate::lab::{Lab, pause, until};
use crate::target::{App, Service};

#[test]
#[ignore = "needs `make engine`"]
fn a_new_release_takes_the_place_of_the_old_one() {
    let lab = Lab::enter();
    let (one, two) = (lab.image("1"), lab.image("2"));
    let agent = Agent::with(&lab, &App::new(200, "c1", vec![Service::new("main", &one), Service::new("gone", &one)]));
    let old = lab.the("main");

    let next = App::new(200, "c2", vec![Service::new("main", &two), Service::new("new", &one)]);
    agent.want(&next.v3());
    agent.arrives(&next);
    let main = lab.the("main");
    assert_ne!(main.id, old.id);
    assert_eq!(lab.inside(&main.id, &["cat", "/version"]).trim(), "tests/app:2");
    assert_eq!(agent.get("/v1/device").json()["update_pending"], false);
}

#[test]
#[ignore = "needs `make engine`"]
fn an_app_with_another_number_and_the_same_uuid_takes_its_place() {
    let lab = Lab::enter();
    let app = |number| App::new(number, "c1", vec![Service::new("main", &lab.image("1"))]);
    let document = |number| {
        json!({"device": {"name": "board", "config": {}, "apps": {
            "5eed".repeat(8): app(number).v3()["device"]["apps"][app(number).uuid()]
        }}})
    };
    let mut agent = Agent::new(&lab);
    agent.want(&document(207));
    agent.start();
    // A higher number and a lower one: the order of the apps must not matter.
    for number in [207, 208, 206] {
        agent.want(&document(number));
        let text = number.to_string();
        let is_of = |it: &str| lab.inspect(it)["Config"]["Labels"]["io.balena.app-id"] == text.as_str();
        until(PATIENCE, &format!("app {number} runs"), || {
            let seen = lab.containers();
            seen.len() == 1 && seen[0].state == "running" && is_of(&seen[0].id) && agent.is_settled()
        });
    }
}

#[test]
#[ignore = "needs `make engine`"]
fn a_release_that_changes_nothing_only_renames() {
    let lab = Lab::enter();
    let app = |commit| App::new(201, commit, vec![Service::new("main", &lab.image("1"))]);
    let agent = Agent::with(&lab, &app("c1"));
    let before = lab.the("main");
    agent.want(&app("c2").v3());
    agent.arrives(&app("c2"));
    let after = lab.the("main");
    assert_eq!((&*after.id, &*after.name), (&*before.id, "main_1_7_c2"));
}

#[test]
#[ignore = "needs `make engine`"]
fn a_change_of_configuration_makes_only_that_container_anew() {
    let lab = Lab::enter();
    let image = lab.image("1");
    let app = |value| App::new(202, "c1", vec![Service::new("calm", &image), Service::new("main", &image).env("MODE", value)]);
    let agent = Agent::with(&lab, &app("day"));
    let (calm, main) = (lab.the("calm"), lab.the("main"));
    agent.want(&app("night").v3());
    until(PATIENCE, "the new value is there", || {
        let all = lab.containers();
        all.iter().any(|it| it.service == "main" && lab.env(&it.id).get("MODE").is_some_and(|it| it == "night"))
            && agent.is_settled()
    });
    assert_ne!(lab.the("main").id, main.id);
    assert_eq!(lab.the("calm"), calm);
}

#[test]
#[ignore = "needs `make engine`"]
fn the_same_thing_said_differently_changes_nothing() {
    let lab = Lab::enter();
    let image = lab.image("1");
    let said = |ports, environment, stop| {
        let main =
            Service::new("main", &image).with("ports", ports).with("environment", environment).with("stop_grace_period", stop);
        App::new(203, "c1", vec![main])
    };
    let agent = Agent::with(&lab, &said(json!(["18081:81", "18082:82/tcp"]), json!({"A": "1", "B": "2"}), json!("1m30s")));
    let before = lab.containers();
    let again = said(json!(["18082:82", "18081:81/tcp"]), json!(["B=2", "A=1"]), json!("90s"));
    agent.want(&again.config("RESIN_SUPERVISOR_POLL_INTERVAL", "90000").v3());
    pause(2000);
    agent.settles();
    assert_eq!(lab.containers(), before);
}

#[test]
#[ignore = "needs `make engine`"]
fn an_app_that_is_no_longer_wanted_goes_with_all_it_had() {
    let lab = Lab::enter();
    let main = Service::new("main", &lab.image("1")).with("volumes", json!(["data:/data"]));
    let agent = Agent::with(&lab, &App::new(204, "c1", vec![main]).volumes(&["data"]));
    agent.want(&json!({"device": {"name": "board", "config": {}, "apps": {}}}));
    until(PATIENCE, "nothing of it is left", || {
        lab.containers().is_empty()
            && !lab.docker(&["volume", "ls", "-q"]).contains("204_data")
            && !lab.docker(&["network", "ls", "--format", "{{.Name}}"]).contains("_default")
    });
}

#[test]
#[ignore = "needs `make engine`"]
fn what_a_user_removed_by_hand_comes_back() {
    let lab = Lab::enter();
    let app = App::new(205, "c1", vec![Service::new("main", &lab.image("1"))]);
    let agent = Agent::with(&lab, &app);
    let before = lab.the("main");
    lab.docker(&["rm", "-f", &before.id]);
    agent.arrives(&app);
    assert_ne!(lab.the("main").id, before.id);
}

#[test]
#[ignore = "needs `make engine`"]
fn what_is_not_ours_is_left_alone() {
    let lab = Lab::enter();
    let image = lab.image("1");
    let foreign = lab.docker(&["run", "-d", "--name", "foreign", "--label", "mine=1", &image]);
    lab.docker(&["network", "create", "foreign"]);
    lab.docker(&["volume", "create", "foreign"]);
    let unused = lab.image("unused");
    let app = |commit, image: &str| App::new(206, commit, vec![Service::new("main", image)]);
    let agent = Agent::with(&lab, &app("c1", &image));
    let next = app("c2", &lab.image("2"));
    agent.want(&next.v3());
    agent.arrives(&next);
    agent.want(&json!({"device": {"name": "board", "config": {}, "apps": {}}}));
    until(PATIENCE, "the app is gone", || lab.containers().is_empty());
    assert_eq!(lab.inspect(foreign.trim())["State"]["Running"], true);
    assert!(lab.docker(&["network", "ls", "--format", "{{.Name}}"]).lines().any(|it| it == "foreign"));
    assert!(lab.docker(&["volume", "ls", "-q"]).lines().any(|it| it == "foreign"));
    assert!(lab.has(&unused), "an image nobody pulled for us stays");
}

#[test]
#[ignore = "needs `make engine`"]
fn a_service_that_need_not_run_again_is_done() {
    let lab = Lab::enter();
    let once = Service::new("once", &lab.image("1")).with("restart", json!("no")).with("command", json!(["true"]));
    let mut agent = Agent::new(&lab);
    agent.want(&App::new(207, "c1", vec![once]).v3());
    agent.start();
    until(PATIENCE, "it has run", || lab.containers().iter().any(|it| it.state == "exited") && agent.is_settled());
    let before = lab.containers();
    pause(2000);
    assert_eq!(lab.containers(), before);
}
