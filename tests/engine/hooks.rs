//! Hooks before updates on a real engine.

use serde_json::json;

use crate::agent::{Agent, PATIENCE};
use crate::lab::{Lab, pause, until};
use crate::target::{App, Service};

const COMMAND: &str = "io.boardkeeper.before-update";
const TIMEOUT: &str = "io.boardkeeper.before-update-timeout";

/// A release of a service with this hook, which keeps its data in a volume.
fn app(lab: &Lab, commit: &str, tag: &str, hook: &str) -> App {
    let service = Service::new("main", &lab.image(tag)).with("volumes", json!(["data:/data"]));
    let service = service.label(COMMAND, hook).label(TIMEOUT, "3s");
    App::new(950, commit, vec![service]).volumes(&["data"])
}

#[test]
#[ignore = "needs `make engine`"]
fn a_hook_is_run_in_the_old_container_before_it_is_killed() {
    let lab = Lab::enter();
    let hook = "sh -c 'echo told >> /data/told'";
    let agent = Agent::with(&lab, &app(&lab, "c1", "1", hook));
    let second = app(&lab, "c2", "2", hook);
    agent.want(&second.v3());
    agent.arrives(&second);
    assert_eq!(lab.inside(&lab.the("main").id, &["cat", "/data/told"]).trim(), "told");
    let entries = agent.get("/agent/v1/history").json()["entries"].as_array().unwrap().clone();
    let at = |action: &str| entries.iter().rposition(|it| it["action"] == action && it["service"] == "main").unwrap();
    assert!(at("run_hook") < at("remove"), "{entries:#?}");
    assert_eq!(entries[at("run_hook")]["outcome"], "done");
}

#[test]
#[ignore = "needs `make engine`"]
fn one_that_fails_holds_the_update_up_and_says_what_it_said() {
    let lab = Lab::enter();
    let hook = "sh -c 'test -e /data/ready || { echo no room >&2; exit 3; }'";
    let agent = Agent::with(&lab, &app(&lab, "c1", "1", hook));
    let first = lab.the("main").id;
    let second = app(&lab, "c2", "2", hook);
    agent.want(&second.v3());
    agent.says("waits for its hook: the hook ended with exit code 3; it said: no room");
    pause(2000);
    // The new container is created beside it.
    assert!(lab.started().iter().any(|it| it.id == first && it.state == "running"), "{:#?}", lab.containers());
    let said = String::from_utf8(agent.tool(&["state"]).output().unwrap().stdout).unwrap();
    assert!(said.contains("exit code 3"), "{said}");
    lab.inside(&first, &["touch", "/data/ready"]);
    agent.ask("POST", "/v1/update", &json!({}));
    agent.arrives(&second);
}

#[test]
#[ignore = "needs `make engine`"]
fn one_that_hangs_holds_the_update_up_until_it_is_forced() {
    let lab = Lab::enter();
    let agent = Agent::with(&lab, &app(&lab, "c1", "1", "sleep 1000"));
    let second = app(&lab, "c2", "2", "true");
    agent.want(&second.v3());
    agent.says("the hook did not end within 3 s");
    agent.ask("POST", "/v1/update", &json!({"force": true}));
    agent.arrives(&second);
    // The label of the container that runs counts, which is another one by now.
    let third = app(&lab, "c3", "1", "true");
    agent.want(&third.v3());
    agent.arrives(&third);
    until(PATIENCE, "nothing is waited for", || !agent.words().contains("hook"));
}
