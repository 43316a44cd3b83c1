//! Problems are reported with what to do about them, and recovered from as soon as possible.

use std::net::TcpListener;

use serde_json::json;

use crate::agent::{Agent, PATIENCE};
use crate::lab::{Lab, REGISTRY, pause, until};
use crate::target::{App, Service};

/// An agent that tries to bring an image up, and says all of these words.
fn says_of(lab: &Lab, id: u32, image: &str, words: &[&str]) {
    let mut agent = Agent::new(lab);
    agent.want(&App::new(id, "c1", vec![Service::new("main", image)]).v3());
    agent.start();
    for it in words {
        agent.says(it);
    }
    assert!(agent.lives() && agent.answers());
    assert_eq!(agent.get("/v1/device").json()["update_failed"], true);
    // The next good target is taken as if nothing had been.
    let good = App::new(id, "c2", vec![Service::new("main", &lab.image("1"))]);
    agent.want(&good.v3());
    agent.arrives(&good);
}

#[test]
#[ignore = "needs `make engine`"]
fn a_tag_that_does_not_exist_is_named() {
    let lab = Lab::enter();
    lab.registry();
    says_of(&lab, 1000, &format!("127.0.0.1:{REGISTRY}/tests/app:nosuch"), &["tests/app:nosuch", "not found"]);
}

#[test]
#[ignore = "needs `make engine`"]
fn a_registry_that_is_down_is_named() {
    let lab = Lab::enter();
    says_of(&lab, 1001, "127.0.0.1:5999/tests/app:1", &["127.0.0.1:5999", "connection refused"]);
}

#[test]
#[ignore = "needs `make engine`"]
fn an_image_for_another_machine_is_recognised() {
    let lab = Lab::enter();
    lab.load_for("tests/app:foreign", 0, "s390x");
    says_of(&lab, 1002, "tests/app:foreign", &["architecture"]);
}

#[test]
#[ignore = "needs `make engine`"]
fn a_reference_that_is_none_is_quoted() {
    let lab = Lab::enter();
    let mut agent = Agent::new(&lab);
    agent.want(&App::new(1003, "c1", vec![Service::new("main", "not a reference!")]).v3());
    agent.start();
    agent.says("not a reference!");
    assert!(agent.answers());
}

#[test]
#[ignore = "needs `make engine`"]
fn a_name_that_a_foreign_container_has_is_reported_and_that_container_is_left_alone() {
    let lab = Lab::enter();
    let image = lab.image("1");
    let stranger = lab.docker(&["run", "-d", "--name", "main_1_7_c1", &image]);
    let app = App::new(1004, "c1", vec![Service::new("main", &image)]);
    let mut agent = Agent::new(&lab);
    agent.want(&app.v3());
    agent.start();
    agent.says("main_1_7_c1");
    pause(2000);
    assert_eq!(lab.inspect(stranger.trim())["State"]["Running"], true);
    lab.docker(&["rename", "main_1_7_c1", "elsewhere"]);
    agent.arrives(&app);
    assert_eq!(lab.inspect(stranger.trim())["State"]["Running"], true);
}

#[test]
#[ignore = "needs `make engine`"]
fn a_port_of_the_host_that_is_taken_is_named_and_taken_when_it_is_free() {
    let lab = Lab::enter();
    let taken = TcpListener::bind("0.0.0.0:18090").unwrap();
    let app = App::new(1005, "c1", vec![Service::new("main", &lab.image("1")).with("ports", json!(["18090:80"]))]);
    let mut agent = Agent::new(&lab);
    agent.want(&app.v3());
    agent.start();
    agent.says("18090");
    assert_eq!(lab.containers().len(), 1, "one container that cannot start, not one for each try");
    drop(taken);
    agent.arrives(&app);
}

#[test]
#[ignore = "needs `make engine`"]
fn a_service_that_fails_does_not_hold_up_the_others() {
    let lab = Lab::enter();
    let image = lab.image("1");
    let broken = Service::new("broken", &image).with("command", json!(["/no/such/program"]));
    let mut agent = Agent::new(&lab);
    agent.want(&App::new(1006, "c1", vec![broken, Service::new("main", &image)]).v3());
    agent.start();
    until(PATIENCE, "the other runs", || lab.containers().iter().any(|it| it.service == "main" && it.state == "running"));
    agent.says("/no/such/program");
}

#[test]
#[ignore = "needs `make engine`"]
fn an_agent_whose_port_is_taken_says_so_and_ends() {
    let lab = Lab::enter();
    let agent = Agent::new(&lab);
    let _taken = TcpListener::bind(("127.0.0.1", agent.port())).unwrap();
    agent.want(&App::new(1007, "c1", Vec::new()).v3());
    let output = agent.command().output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(said.contains(&agent.port().to_string()), "{said}");
    assert!(!said.contains("panicked"), "{said}");
}

#[test]
#[ignore = "needs `make engine`"]
fn a_wrong_configuration_is_reported_in_full() {
    let lab = Lab::enter();
    let agent = Agent::new(&lab).arguments(&["--listen", "nonsense", "--disk-floor", "plenty", "--boot-config", "/nowhere"]);
    let output = agent.command().output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    for mistake in ["nonsense", "plenty"] {
        assert!(said.contains(mistake), "{mistake}: {said}");
    }
}
