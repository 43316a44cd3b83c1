//! Leases: update locks that programs take over the API.

use serde_json::{Value, json};

use crate::agent::{Agent, PATIENCE};
use crate::lab::{Lab, Seen, pause, until};
use crate::target::{App, Service};

/// Requests a lease of `recorder` for so many seconds.
fn lease(agent: &Agent<'_>, app: u32, seconds: u32) {
    let terms = json!({"owner": "recorder", "reason": "on air", "seconds": seconds});
    let reply = agent.ask("POST", &format!("/agent/v1/apps/{app}/lock"), &terms);
    assert_eq!((reply.status, &reply.json()["owner"]), (200, &json!("recorder")), "{reply:?}");
}

/// An update that a lease of an hour holds up: its agent, the app as it is wanted, and the containers from before. The new
/// image came from the registry meanwhile.
fn held_up(lab: &Lab, id: u32) -> (Agent<'_>, App, Vec<Seen>) {
    let app = |commit, image: &str| App::new(id, commit, vec![Service::new("calm", image), Service::new("main", image)]);
    let image = lab.remote(&format!("leased-{id}"), 2);
    let agent = Agent::with(lab, &app("c1", &lab.image("1")));
    let before = lab.containers();
    lease(&agent, id, 3600);
    let next = app("c2", &image);
    agent.want(&next.v3());
    agent.says(&format!("app {id} is locked by a lease of recorder"));
    let downloaded = |device: Value| device["update_pending"] == true && device["update_downloaded"] == true;
    until(PATIENCE, "the update is downloaded", || downloaded(agent.get("/v1/device").json()));
    assert!(lab.has(&image));
    pause(2000);
    assert_eq!(lab.started(), before, "a lease holds up the whole app");
    (agent, next, before)
}

#[test]
#[ignore = "needs `make engine`"]
fn a_lease_that_ends_by_itself_lets_the_downloaded_update_go_on() {
    let lab = Lab::enter();
    let (agent, next, before) = held_up(&lab, 410);
    // The same owner renews its lease, which ends soon now.
    lease(&agent, 410, 2);
    agent.arrives(&next);
    assert!(lab.containers().iter().all(|it| !before.contains(it)));
    assert!(agent.whole_log().contains("a lease has ended"), "it was not overridden");
    assert_eq!(agent.state()["locks"], json!([]));
}

#[test]
#[ignore = "needs `make engine`"]
fn a_lease_that_is_deleted_lets_the_downloaded_update_go_on() {
    let lab = Lab::enter();
    let (mut agent, next, before) = held_up(&lab, 411);
    // It outlives the agent.
    agent.kill();
    agent.start();
    agent.says("app 411 is locked by a lease of recorder");
    assert_eq!(agent.ask("POST", "/v1/restart", &json!({"appId": 411})).status, 423);
    assert_eq!(lab.started(), before);
    let reply = agent.ask("DELETE", "/agent/v1/apps/411/lock?owner=recorder", &json!({}));
    assert_eq!(reply.status, 204, "{reply:?}");
    agent.arrives(&next);
    assert!(!agent.whole_log().contains("a lease has ended"), "it did not end by itself");
}
