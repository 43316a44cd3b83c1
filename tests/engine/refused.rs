//! Errors that only the engine can find: it refuses to create a container, and running services keep running.

use serde_json::{Value, json};

use crate::agent::{Agent, PATIENCE};
use crate::lab::{Lab, pause, until};
use crate::target::{App, Service};

/// Updates an app to a service with a field that the engine rejects: nothing is disturbed, and the state reports why.
fn refuses(id: u32, strategy: &str, field: &str, value: &Value, words: &str) {
    let lab = Lab::enter();
    let app = |commit, main: Service| {
        let mut document = App::new(id, commit, vec![main, Service::new("other", &lab.image("1"))]);
        document.services.sort_by_key(|it| format!("{it:?}"));
        document
    };
    let first = app("c1", Service::new("main", &lab.image("1")).strategy(strategy));
    let agent = Agent::with(&lab, &first);
    let before = lab.containers();
    let bad = Service::new("main", &lab.image("1")).strategy(strategy).env("REV", "2").with(field, value.clone());
    agent.want(&app("c2", bad).v3());
    agent.says(words);
    pause(2500);
    let same = || {
        let seen = lab.containers();
        before.iter().all(|old| seen.contains(old))
    };
    assert!(same(), "{field}: {before:#?} became {:#?}", lab.containers());
    let reply = agent.ask("POST", "/v1/restart", &json!({"appId": id}));
    assert_eq!(reply.status, 503, "{field}: a restart is answered: {}", reply.body);
    assert!(same(), "{field}: {before:#?} became {:#?}", lab.containers());
    let good = app("c3", Service::new("main", &lab.image("1")).strategy(strategy).env("REV", "3"));
    agent.want(&good.v3());
    agent.arrives(&good);
}

#[test]
#[ignore = "needs `make engine`"]
fn nothing_is_killed_for_a_runtime_that_does_not_exist() {
    refuses(1500, "download-then-kill", "runtime", &json!("none-such"), "none-such");
}

#[test]
#[ignore = "needs `make engine`"]
fn no_hand_over_begins_for_a_runtime_that_does_not_exist() {
    refuses(1501, "hand-over", "runtime", &json!("none-such"), "none-such");
}

#[test]
#[ignore = "needs `make engine`"]
fn nothing_makes_way_for_a_runtime_that_does_not_exist() {
    refuses(1502, "kill-then-download", "runtime", &json!("none-such"), "none-such");
}

#[test]
#[ignore = "needs `make engine`"]
fn nothing_is_killed_for_a_capability_that_does_not_exist() {
    refuses(1503, "download-then-kill", "cap_add", &json!(["NOT_A_CAP"]), "NOT_A_CAP");
}

#[test]
#[ignore = "needs `make engine`"]
fn nothing_is_killed_for_a_signal_that_does_not_exist() {
    refuses(1504, "download-then-kill", "stop_signal", &json!("SIGNONE"), "SIGNONE");
}

#[test]
#[ignore = "needs `make engine`"]
fn nothing_is_killed_for_a_device_that_is_not_there() {
    refuses(1505, "download-then-kill", "devices", &json!(["/dev/none-such"]), "/dev/none-such");
}

#[test]
#[ignore = "needs `make engine`"]
fn nothing_is_killed_for_a_network_driver_that_does_not_exist() {
    let lab = Lab::enter();
    let app = App::new(1506, "c1", vec![Service::new("main", &lab.image("1"))]);
    let agent = Agent::with(&lab, &app);
    let before = lab.containers();
    let next = App::new(1506, "c2", vec![Service::new("main", &lab.image("1")).with("networks", json!(["back"]))]);
    let mut document = next.v3();
    document["device"]["apps"][next.uuid()]["releases"]["c2"]["networks"] = json!({"back": {"driver": "none-such"}});
    agent.want(&document);
    agent.says("none-such");
    pause(2500);
    assert_eq!(lab.containers(), before);
}

#[test]
#[ignore = "needs `make engine`"]
fn nothing_is_killed_for_a_network_that_is_to_have_a_driver_that_does_not_exist() {
    let lab = Lab::enter();
    let app = |commit: &str| App::new(1509, commit, vec![Service::new("main", &lab.image("1"))]);
    let agent = Agent::with(&lab, &app("c1"));
    let before = lab.containers();
    let with_driver = |commit: &str, driver: &str| {
        let mut document = app(commit).v3();
        document["device"]["apps"][app(commit).uuid()]["releases"][commit]["networks"] = json!({"default": {"driver": driver}});
        document
    };
    agent.want(&with_driver("c2", "none-such"));
    agent.says("none-such");
    pause(2500);
    assert_eq!(lab.containers(), before);
    agent.says("no driver none-such: install it");
    let reply = agent.ask("POST", "/v1/restart", &json!({"appId": 1509}));
    assert_eq!(reply.status, 503, "a restart is answered: {}", reply.body);
    assert_eq!(lab.containers(), before);
    // One that every kernel has.
    agent.want(&with_driver("c3", "bridge"));
    agent.arrives(&app("c3"));
    let told = lab.docker(&["network", "ls", "--filter", "label=io.balena.app-id=1509", "--format", "{{.Name}} {{.Driver}}"]);
    assert_eq!(told.trim(), format!("{}_default bridge", app("c3").uuid()));
}

#[test]
#[ignore = "needs `make engine`"]
fn a_service_that_shares_a_network_is_created_on_that_of_its_owners_new_container() {
    let lab = Lab::enter();
    let app = |commit, rev: &str| {
        let vpn = Service::new("vpn", &lab.image("1")).env("REV", rev);
        let main = Service::new("main", &lab.image("1")).with("network_mode", json!("service:vpn"));
        App::new(1507, commit, vec![main, vpn])
    };
    let agent = Agent::with(&lab, &app("c1", "1"));
    let before = lab.the("vpn").id;
    let next = app("c2", "2");
    agent.want(&next.v3());
    agent.arrives(&next);
    let vpn = lab.the("vpn").id;
    assert_ne!(vpn, before);
    assert_eq!(lab.inspect(&lab.the("main").id)["HostConfig"]["NetworkMode"], format!("container:{vpn}"));
}

#[test]
#[ignore = "needs `make engine`"]
fn an_agent_that_is_killed_between_create_and_kill_goes_on_from_there() {
    let lab = Lab::enter();
    let app = |commit, rev: &str| App::new(1508, commit, vec![Service::new("main", &lab.image("1")).env("REV", rev)]);
    let mut agent = Agent::with(&lab, &app("c1", "1"));
    let lock = crate::lab::locks(1508, "main").join("updates.lock");
    std::fs::write(&lock, "").unwrap();
    let next = app("c2", "2");
    agent.want(&next.v3());
    until(PATIENCE, "the new container is created", || lab.containers().iter().any(|it| it.state == "created"));
    agent.kill();
    lab.kill_engine();
    lab.start_engine();
    let state = |of: &str| lab.containers().iter().filter(|it| it.state == of).count();
    until(PATIENCE, "the old one runs again", || state("running") == 1);
    assert_eq!(state("created"), 1, "the engine starts no container that was only created");
    std::fs::remove_file(&lock).unwrap();
    agent.start();
    agent.arrives(&next);
}
