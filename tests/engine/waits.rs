//! Requests that cannot be fulfilled: each is answered at once, with the reason.

use std::fs;
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use crate::agent::{Agent, PATIENCE};
use crate::http::Reply;
use crate::lab::{Lab, locks, pause, until};
use crate::target::{App, Service};

/// Far less than a caller waits for what may still come to pass, and more than a busy machine takes.
const AT_ONCE: Duration = Duration::from_secs(10);

/// Asks for a start (`start`) or a restart of an app, which must be answered at once.
fn asked(agent: &Agent<'_>, verb: &str, app: u32) -> Reply {
    let (path, body) = match verb {
        "restart" => ("/v1/restart".to_owned(), json!({"appId": app})),
        verb => (format!("/v1/apps/{app}/{verb}"), json!({})),
    };
    let began = Instant::now();
    let reply = agent.ask("POST", &path, &body);
    let took = began.elapsed();
    eprintln!("{verb} of app {app}: {} after {took:?}: {}", reply.status, reply.body);
    assert!(took < AT_ONCE, "{verb} took {took:?}: {reply:?}");
    reply
}

#[test]
#[ignore = "needs `make engine`"]
fn a_start_of_an_image_that_cannot_be_pulled_is_answered_at_once() {
    let lab = Lab::enter();
    // Nothing listens there.
    let app = App::new(1600, "c1", vec![Service::new("main", "127.0.0.1:5999/tests/none:1")]);
    let mut agent = Agent::new(&lab);
    agent.want(&app.v3());
    agent.start();
    agent.says("5999");
    for verb in ["start", "restart"] {
        let reply = asked(&agent, verb, 1600);
        assert_eq!(reply.status, 503, "{verb}: {reply:?}");
        assert!(reply.body.contains("5999"), "{verb} says what failed: {reply:?}");
    }
}

#[test]
#[ignore = "needs `make engine`"]
fn a_start_while_a_lock_holds_up_the_release_is_answered_at_once() {
    let lab = Lab::enter();
    let agent = Agent::with(&lab, &App::new(1601, "c1", vec![Service::new("main", &lab.image("1"))]));
    assert_eq!(agent.ask("POST", "/v1/apps/1601/stop", &json!({})).status, 200);
    let lock = locks(1601, "main").join("updates.lock");
    fs::write(&lock, "").unwrap();
    // The container has the name of a service that is in the target no more.
    let renamed = App::new(1601, "c2", vec![Service::new("other", &lab.image("1"))]);
    agent.want(&renamed.v3());
    agent.says("locked");
    let reply = asked(&agent, "start", 1601);
    assert_eq!(reply.status, 404, "{reply:?}");
    // Its service is to have another container.
    let next = App::new(1601, "c3", vec![Service::new("main", &lab.image("1")).env("REV", "3")]);
    agent.want(&next.v3());
    until(PATIENCE, "the new one is created", || lab.containers().iter().any(|it| it.name.ends_with("c3")));
    agent.says("locked");
    let reply = asked(&agent, "start", 1601);
    assert_eq!(reply.status, 423, "{reply:?}");
    assert!(reply.body.contains("main"), "it says whose lock it is: {reply:?}");
    assert_eq!(asked(&agent, "restart", 1601).status, 423);
    fs::remove_file(&lock).unwrap();
    agent.arrives(&next);
}

#[test]
#[ignore = "needs `make engine`"]
fn a_start_of_what_waits_for_a_reboot_is_answered_at_once() {
    let lab = Lab::enter();
    let held = App::new(1602, "c1", vec![Service::new("held", &lab.image("1"))]);
    let agent = Agent::with(&lab, &held);
    // While an app is locked, the machine is not rebooted.
    let lock = locks(1602, "held").join("updates.lock");
    fs::write(&lock, "").unwrap();
    let main = Service::new("main", &lab.image("1")).label("io.balena.update.requires-reboot", "1");
    let app = App::new(1603, "c1", vec![main]);
    agent.want(&App::together(&[&held, &app]));
    until(PATIENCE, "it is created", || lab.containers().iter().any(|it| it.service == "main"));
    agent.says("boot");
    let reply = asked(&agent, "start", 1603);
    assert_eq!(reply.status, 503, "{reply:?}");
    assert!(reply.body.contains("next boot"), "{reply:?}");
    let reply = asked(&agent, "restart", 1603);
    assert_eq!(reply.status, 200, "{reply:?}");
    assert!(reply.head.to_lowercase().contains("services-not-started: main=next-boot"), "{reply:?}");
    pause(1000);
    assert_eq!(lab.the("main").state, "created");
    agent.want(&held.v3());
    until(PATIENCE, "it is gone", || lab.containers().iter().all(|it| it.service != "main"));
    fs::remove_file(&lock).unwrap();
}

#[test]
#[ignore = "needs `make engine`"]
fn a_start_of_what_is_not_to_run_is_answered_at_once() {
    let lab = Lab::enter();
    let app = App::new(1604, "c1", vec![Service::new("main", &lab.image("1")).not_to_run()]);
    let mut agent = Agent::new(&lab);
    agent.want(&app.v3());
    agent.start();
    agent.settles();
    let reply = asked(&agent, "start", 1604);
    assert_eq!(reply.status, 400, "{reply:?}");
    assert!(reply.body.contains("running"), "{reply:?}");
    let reply = asked(&agent, "restart", 1604);
    assert_eq!(reply.status, 200, "{reply:?}");
    assert!(reply.head.to_lowercase().contains("services-not-started: main=not-to-run"), "{reply:?}");
    assert_ne!(lab.the("main").state, "running");
}

#[test]
#[ignore = "needs `make engine`"]
fn a_start_of_a_service_that_the_release_dropped_is_answered_at_once() {
    let lab = Lab::enter();
    let agent = Agent::with(&lab, &App::new(1605, "c1", vec![Service::new("main", &lab.image("1"))]));
    let lock = locks(1605, "main").join("updates.lock");
    fs::write(&lock, "").unwrap();
    agent.want(&App::new(1605, "c2", Vec::new()).v3());
    agent.says("locked");
    for verb in ["start", "stop"] {
        let reply = asked(&agent, verb, 1605);
        assert_eq!(reply.status, 404, "{verb}: {reply:?}");
    }
    fs::remove_file(&lock).unwrap();
    until(PATIENCE, "it is gone", || lab.containers().is_empty());
}
