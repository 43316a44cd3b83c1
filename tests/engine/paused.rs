//! Containers that a user paused on the engine.

use serde_json::json;

use crate::agent::{Agent, PATIENCE};
use crate::lab::{Lab, pause, until};
use crate::target::{App, Service};

fn state(lab: &Lab) -> String {
    lab.the("main").state
}

fn paused(lab: &Lab, id: u32) -> (App, Agent<'_>) {
    let app = App::new(id, "c1", vec![Service::new("main", &lab.image("1"))]);
    let agent = Agent::with(lab, &app);
    lab.docker(&["pause", &lab.the("main").id]);
    (app, agent)
}

#[test]
#[ignore = "needs `make engine`"]
fn a_paused_container_is_reported_and_goes_on_when_it_is_asked_to_start() {
    let lab = Lab::enter();
    let (app, agent) = paused(&lab, 920);
    agent.says("is paused");
    pause(1000);
    assert_eq!(state(&lab), "paused", "whoever paused it may be about to copy its files");
    assert_eq!(agent.ask("POST", "/v1/apps/920/start", &json!({})).status, 200);
    assert_eq!(state(&lab), "running");
    agent.arrives(&app);
}

#[test]
#[ignore = "needs `make engine`"]
fn a_paused_container_is_stopped_when_it_is_asked_to() {
    let lab = Lab::enter();
    let (app, agent) = paused(&lab, 921);
    assert_eq!(agent.ask("POST", "/v1/apps/921/stop", &json!({})).status, 200);
    assert_eq!(state(&lab), "exited");
    assert_eq!(agent.ask("POST", "/v1/apps/921/start", &json!({})).status, 200);
    agent.arrives(&app);
}

#[test]
#[ignore = "needs `make engine`"]
fn a_paused_container_that_is_not_to_run_is_stopped() {
    let lab = Lab::enter();
    let (app, agent) = paused(&lab, 922);
    let mut document = app.v3();
    document["device"]["apps"][app.uuid()]["releases"]["c1"]["services"]["main"]["running"] = json!(false);
    agent.want(&document);
    until(PATIENCE, "it is stopped", || state(&lab) == "exited");
    agent.settles();
}

#[test]
#[ignore = "needs `make engine`"]
fn a_paused_container_gives_way_to_the_next_release() {
    let lab = Lab::enter();
    let (app, agent) = paused(&lab, 923);
    let next = App { commit: "c2".into(), services: vec![Service::new("main", &lab.image("2"))], ..app };
    agent.want(&next.v3());
    agent.arrives(&next);
}
