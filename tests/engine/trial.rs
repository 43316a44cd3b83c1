//! A new target that crashes the agent again and again.

use std::fs;

use serde_json::json;

use crate::agent::{Agent, PATIENCE};
use crate::lab::{Lab, until};
use crate::target::{App, Service};

/// Kills the agent as soon as it works on a target, so many times.
fn killed_at_the_same_place(agent: &mut Agent<'_>, times: usize) {
    for _ in 0..times {
        agent.start();
        // The registry that is not there has it fail at once, so this is seen however fast it is.
        until(PATIENCE, "it tries to pull", || agent.words().contains("127.0.0.1:9/none"));
        agent.kill();
    }
}

#[test]
#[ignore = "needs `make engine`"]
fn killed_with_a_new_target_again_and_again_it_keeps_the_last_good_one() {
    let lab = Lab::enter();
    let app = |commit: &str, image: &str| App::new(1200, commit, vec![Service::new("main", image)]);
    let good = app("c1", &lab.image("1"));
    let mut agent = Agent::with(&lab, &good);
    let before = lab.the("main");
    agent.want(&app("bad", "127.0.0.1:9/none:1").v3());
    agent.says("127.0.0.1:9/none");
    agent.kill();
    killed_at_the_same_place(&mut agent, 5);

    for _ in 0..2 {
        agent.start();
        agent.says("the agent ended 5 times in a row with this target");
        agent.arrives(&good);
        let trial = fs::metadata(agent.path("state/trial.json")).unwrap().modified().unwrap();
        agent.kill();
        agent.start();
        agent.says("POST /v1/update");
        assert_eq!(fs::metadata(agent.path("state/trial.json")).unwrap().modified().unwrap(), trial, "written in a loop");
        agent.kill();
    }
    assert_eq!(lab.the("main"), before, "the good one's container was not touched");

    agent.start();
    agent.says("POST /v1/update");
    assert_eq!(agent.ask("POST", "/v1/update", &json!({})).status, 204);
    until(PATIENCE, "it is tried once more", || agent.state()["rejected"].is_null());
    agent.says("127.0.0.1:9/none");

    let next = app("c3", &lab.image("2"));
    agent.want(&next.v3());
    agent.arrives(&next);
    eprintln!("figure: refused after 6 lives, 0 bytes written by 4 more starts");
}

#[test]
#[ignore = "needs `make engine`"]
fn stopping_it_in_good_order_counts_for_nothing() {
    let lab = Lab::enter();
    let mut agent = Agent::new(&lab);
    agent.want(&App::new(1201, "bad", vec![Service::new("main", "127.0.0.1:9/none:1")]).v3());
    for _ in 0..8 {
        agent.start();
        agent.says("127.0.0.1:9/none");
        assert!(agent.state()["rejected"].is_null());
        assert!(agent.stop("TERM").success());
    }
}
