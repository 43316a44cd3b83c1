//! Releases on trial: one that fails goes back by itself, all services together, and says why.

use std::net::TcpListener;

use serde_json::{Value, json};

use crate::agent::Agent;
use crate::lab::{Lab, REGISTRY, pause, until};
use crate::target::{App, Service};

/// Seconds in which a failed release is back.
const BACK: u64 = 150;

/// A service on trial, with short times.
fn on_trial(name: &str, image: &str) -> Service {
    let rules = [("rollback", "true"), ("settle", "3s"), ("deadline", "20s")];
    rules.iter().fold(Service::new(name, image), |it, (rule, value)| it.label(&format!("io.boardkeeper.{rule}"), value))
}

fn release(agent: &Agent<'_>) -> Value {
    agent.state()["apps"][0]["release"].clone()
}

/// An agent with a good release of two services.
fn with_good(lab: &Lab, id: u32) -> (Agent<'_>, App) {
    let image = lab.image("1");
    let good = App::new(id, "c1", vec![on_trial("db", &image), on_trial("web", &image)]);
    let agent = Agent::with(lab, &good);
    until(BACK, "the release is good", || release(&agent)["state"] == "good");
    (agent, good)
}

/// A release fails: the app goes back to the good one, which is proven by its containers. The failed service.
fn goes_back(lab: &Lab, agent: &Agent<'_>, bad: &App) -> Value {
    agent.want(&bad.v3());
    let took = until(BACK, "the app is back", || release(agent)["state"] == "rolled_back");
    until(BACK, "both services run", || {
        let all = lab.started();
        all.len() == 2 && all.iter().all(|it| it.state == "running" && it.name.contains("_c1"))
    });
    eprintln!("seen: back after {took:?}: {}", release(agent)["why"]);
    let failed = release(agent)["failed"].clone();
    assert_eq!(failed["commit"], "c2");
    assert_eq!(agent.get("/v1/device").json()["update_failed"], true);
    pause(3000);
    assert_eq!(release(agent)["state"], "rolled_back", "it is not begun again");
    failed["services"][0].clone()
}

#[test]
#[ignore = "needs `make engine`"]
fn a_release_that_becomes_unhealthy_goes_back_with_what_its_check_printed() {
    let lab = Lab::enter();
    let (agent, _) = with_good(&lab, 1500);
    let image = lab.image("2");
    let check =
        json!({"test": ["CMD-SHELL", "echo the pump is stuck; exit 1"], "interval": "1s", "retries": 2, "start_period": "0s"});
    let web =
        on_trial("web", &image).with("healthcheck", check).with("command", json!(["sh", "-c", "echo begun; exec sleep 9999"]));
    let failed = goes_back(&lab, &agent, &App::new(1500, "c2", vec![on_trial("db", &image), web]));
    assert_eq!((&failed["name"], &failed["health_output"]), (&json!("web"), &json!("the pump is stuck")));
    assert_eq!(failed["lines"], json!(["begun"]));
    let history = agent.get("/agent/v1/history?limit=100").json().to_string();
    assert!(history.contains("release c2 could not be proven good: web: it is unhealthy"), "{history}");
    assert!(history.contains("as the app went back to its last good release"), "{history}");
    // A request tries it once more.
    agent.ask("POST", "/v1/update", &json!({}));
    until(BACK, "it is tried again", || release(&agent)["state"] == "on_trial");
}

#[test]
#[ignore = "needs `make engine`"]
fn a_release_that_crashes_again_and_again_goes_back_with_its_last_lines() {
    let lab = Lab::enter();
    let (agent, _) = with_good(&lab, 1501);
    let image = lab.image("2");
    let web = on_trial("web", &image).with("command", json!(["sh", "-c", "echo no configuration; exit 3"]));
    let failed = goes_back(&lab, &agent, &App::new(1501, "c2", vec![on_trial("db", &image), web]));
    assert_eq!(failed["name"], "web");
    let lines = failed["lines"].as_array().unwrap();
    assert!(!lines.is_empty() && lines.iter().all(|it| it == "no configuration"), "{failed}");
}

#[test]
#[ignore = "needs `make engine`"]
fn a_release_of_which_one_image_is_missing_is_given_up_and_stops_nothing() {
    let lab = Lab::enter();
    lab.registry();
    let (agent, _) = with_good(&lab, 1502);
    let before: Vec<_> = lab.containers().into_iter().map(|it| it.id).collect();
    let missing = format!("127.0.0.1:{REGISTRY}/tests/app:nosuch");
    let bad = App::new(1502, "c2", vec![on_trial("db", &lab.image("2")), on_trial("web", &missing)]);
    let failed = goes_back(&lab, &agent, &bad);
    assert!(failed["why"].as_str().unwrap().contains("no such image"), "{failed}");
    assert_eq!(lab.containers().into_iter().map(|it| it.id).collect::<Vec<_>>(), before, "nothing was replaced");
}

#[test]
#[ignore = "needs `make engine`"]
fn a_port_that_another_program_has_makes_a_release_go_back() {
    let lab = Lab::enter();
    let (agent, _) = with_good(&lab, 1503);
    let stranger = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = stranger.local_addr().unwrap().port();
    let image = lab.image("2");
    let web = on_trial("web", &image).with("ports", json!([format!("{port}:80")]));
    let failed = goes_back(&lab, &agent, &App::new(1503, "c2", vec![on_trial("db", &image), web]));
    assert!(failed["why"].as_str().unwrap().contains("port"), "{failed}");
}

#[test]
#[ignore = "needs `make engine`"]
fn a_release_that_runs_out_of_memory_goes_back_and_the_reason_names_it() {
    let lab = Lab::enter();
    let (agent, _) = with_good(&lab, 1505);
    let image = lab.image("2");
    // A string without an end, which `tail` keeps whole.
    let web =
        on_trial("web", &image).with("mem_limit", json!("16m")).with("command", json!(["sh", "-c", "exec tail /dev/zero"]));
    let failed = goes_back(&lab, &agent, &App::new(1505, "c2", vec![on_trial("db", &image), web]));
    assert_eq!(failed["name"], "web");
    assert!(failed["why"].as_str().unwrap().ends_with("; it ran out of memory"), "{failed}");
}

#[test]
#[ignore = "needs `make engine`"]
fn an_agent_that_is_killed_while_its_app_goes_back_finishes_that() {
    let lab = Lab::enter();
    let (mut agent, _) = with_good(&lab, 1504);
    let image = lab.image("2");
    let web = on_trial("web", &image).with("command", json!(["sh", "-c", "exit 3"]));
    let bad = App::new(1504, "c2", vec![on_trial("db", &image), web]);
    agent.want(&bad.v3());
    until(BACK, "the app goes back", || release(&agent)["state"] == "rolled_back");
    agent.kill();
    agent.start();
    until(BACK, "both services run", || {
        let all = lab.started();
        all.len() == 2 && all.iter().all(|it| it.state == "running" && it.name.contains("_c1"))
    });
    assert_eq!(release(&agent)["state"], "rolled_back");
}
