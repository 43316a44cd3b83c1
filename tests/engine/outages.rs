//! The engine is absent, dies, or hangs. The agent keeps running, and answers requests.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::agent::{Agent, PATIENCE};
use crate::lab::{Lab, pause, run, until};
use crate::target::{App, Service};

fn app(lab: &Lab, id: u32, commit: &str, tag: &str) -> App {
    let image = lab.image(tag);
    App::new(id, commit, (0..4).map(|it| Service::new(&format!("s{it}"), &image)).collect())
}

#[test]
#[ignore = "needs `make engine`"]
fn an_engine_that_dies_in_the_middle_of_an_update_is_outlived() {
    let lab = Lab::enter();
    let (first, next) = (app(&lab, 800, "c1", "1"), app(&lab, 800, "c2", "2"));
    let mut agent = Agent::with(&lab, &first);
    let pid = agent.pid();
    agent.want(&next.v3());
    pause(400);
    lab.kill_engine();
    agent.says("does not answer");
    assert!(agent.answers());
    assert_eq!(agent.get("/v1/device").json()["update_pending"], true);
    pause(3000);
    assert!(agent.lives() && agent.pid() == pid);
    lab.start_engine();
    let took = agent.arrives(&next);
    assert!(took < Duration::from_secs(30), "it took {took:?}");
}

#[test]
#[ignore = "needs `make engine`"]
fn the_agent_may_start_before_the_engine() {
    let lab = Lab::enter();
    let app = app(&lab, 801, "c1", "1");
    lab.kill_engine();
    let mut agent = Agent::new(&lab);
    agent.want(&app.v3());
    agent.start();
    until(PATIENCE, "it answers", || agent.answers());
    agent.says("does not answer");
    lab.start_engine();
    agent.arrives(&app);
}

#[test]
#[ignore = "needs `make engine`"]
fn while_the_engine_hangs_the_agent_answers() {
    let lab = Lab::enter();
    let (first, next) = (app(&lab, 802, "c1", "1"), app(&lab, 802, "c2", "2"));
    let agent = Agent::with(&lab, &first);
    let engine = fs::read_to_string(lab.dir().join("engine/pid")).unwrap();
    run(Command::new("kill").args(["-STOP", engine.trim()]));
    agent.want(&next.v3());
    for _ in 0..10 {
        let took = until(PATIENCE, "it answers", || agent.answers());
        assert!(took < Duration::from_millis(500), "it took {took:?}");
        assert_eq!(agent.get("/v1/device").status, 200);
        pause(300);
    }
    run(Command::new("kill").args(["-CONT", engine.trim()]));
    agent.arrives(&next);
}

#[test]
#[ignore = "needs `make engine`"]
fn containers_the_engine_brings_back_are_taken_as_they_are() {
    let lab = Lab::enter();
    let app = app(&lab, 803, "c1", "1");
    let agent = Agent::with(&lab, &app);
    let before = lab.containers();
    lab.kill_engine();
    assert!(Path::new("/proc").join(agent.pid().to_string()).exists());
    lab.start_engine();
    agent.arrives(&app);
    assert_eq!(lab.containers(), before, "the same containers");
}
