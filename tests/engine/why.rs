//! The named question of the field, "why was this restarted?", on a real engine: one sentence that a person understands.

use std::process::Command;

use serde_json::{Value, json};

use crate::agent::{Agent, PATIENCE};
use crate::lab::{Lab, until};
use crate::target::{App, Service};

/// The sentence about a service.
fn why(agent: &Agent<'_>, service: &str) -> String {
    let state = agent.state();
    let services = state["apps"].as_array().into_iter().flatten().flat_map(|it| it["services"].as_array().unwrap().clone());
    services
        .into_iter()
        .find(|it| it["name"] == service)
        .map_or_else(String::new, |it| it["why"].as_str().unwrap_or_default().to_owned())
}

/// Waits for a sentence about `main`.
fn says(agent: &Agent<'_>, sentence: &str) {
    until(PATIENCE, &format!("`{sentence}` is said, not `{}`", why(agent, "main")), || why(agent, "main") == sentence);
}

fn entries(agent: &Agent<'_>, query: &str) -> Vec<Value> {
    agent.get(&format!("/agent/v1/history{query}")).json()["entries"].as_array().unwrap().clone()
}

#[test]
#[ignore = "needs `make engine`"]
fn every_restart_of_a_service_has_its_reason() {
    let lab = Lab::enter();
    let (one, two) = (lab.image("1"), lab.image("2"));
    let file = "the target file, address or medium";
    let app = |commit, image: &str, name, value| {
        let main = Service::new("main", image).env(name, value);
        App::new(930, commit, vec![main, Service::new("side", image)]).volumes(&["data"])
    };
    let mut agent = Agent::with(&lab, &app("c1", &one, "MODE", "a"));
    let new = "because the target names it, and it has no container";
    says(&agent, &format!("main was started {new}; asked for by {file}"));

    // A variable; a secret's value is not shown.
    agent.want(&app("c1", &one, "MODE", "b").v3());
    says(&agent, &format!("main was started because its environment changed (env MODE: `a` became `b`); asked for by {file}"));
    agent.settles();
    agent.want(&app("c1", &one, "API_TOKEN", "b").v3());
    until(PATIENCE, "a secret is masked", || why(&agent, "main").contains("env API_TOKEN: `••••` is new"));
    agent.settles();

    // An image.
    agent.want(&app("c2", &two, "API_TOKEN", "b").v3());
    until(PATIENCE, "the image is the reason", || {
        why(&agent, "main").starts_with(&format!("main was started because its image changed (image: `{one}` became `{two}`"))
    });
    agent.settles();

    // By hand.
    lab.docker(&["rm", "-f", &lab.the("main").id]);
    says(&agent, "main was started because its container was removed by another program");
    agent.settles();

    // It died.
    let container = lab.the("main").id;
    lab.docker(&["exec", &container, "kill", "-9", "1"]);
    lab.docker(&["kill", &container]);
    until(PATIENCE, "it runs again", || lab.the("main").state == "running" && agent.is_settled());
    let said = why(&agent, "main");
    assert!(said.starts_with("main was started"), "{said}");
    let seen: Vec<_> =
        entries(&agent, "?service=main&limit=5").iter().map(|it| it["action"].as_str().unwrap().to_owned()).collect();
    assert!(seen.iter().any(|it| it == "exited" || it == "started_by_engine"), "{seen:?}");

    // Verbs, and who asked.
    assert_eq!(agent.ask("POST", "/v2/applications/930/restart-service", &json!({"serviceName": "main"})).status, 200);
    says(&agent, "main was started because a restart was requested; asked for by device key from 127.0.0.1");
    assert_eq!(agent.ask("POST", "/v1/purge", &json!({"appId": 930})).status, 200);
    says(&agent, "main was started because a purge of the app's data was requested; asked for by device key from 127.0.0.1");
    let stop = json!({"serviceName": "main"});
    assert_eq!(agent.ask("POST", "/v2/applications/930/stop-service", &stop).status, 200);
    says(&agent, "main was stopped because a stop was requested; asked for by device key from 127.0.0.1");
    assert_eq!(agent.ask("POST", "/v2/applications/930/start-service", &stop).status, 200);
    says(&agent, "main was started because a start was requested; asked for by device key from 127.0.0.1");
    agent.settles();

    // The engine.
    lab.kill_engine();
    until(PATIENCE, "the agent notices", || agent.state()["engine"]["state"] == "down");
    lab.start_engine();
    until(PATIENCE, "it runs again", || lab.the("main").state == "running");
    says(&agent, "main was started, not by the agent: the container engine was restarted");

    // The command says the same, and the numbers have no gap, also over a restart of the agent.
    let before = entries(&agent, "?limit=1000");
    agent.settles();
    agent.stop("TERM");
    agent.start();
    until(PATIENCE, "the agent answers", || agent.answers());
    let after = entries(&agent, "?limit=1000");
    assert_eq!(after[..before.len()], before[..]);
    let ids: Vec<_> = after.iter().map(|it| it["id"].as_u64().unwrap()).collect();
    assert!(ids.windows(2).all(|it| it[0] + 1 == it[1]), "{ids:?}");
    assert!(after[before.len()..].iter().any(|it| it["action"] == "agent_started"), "{:?}", &after[before.len()..]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_boardkeeper"));
    command
        .args(["why", "main", "--state-dir"])
        .arg(agent.path("state"))
        .args(["--listen", &format!("127.0.0.1:{}", agent.port())]);
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success() && text.contains("the container engine was restarted") && text.contains("last actions:"),
        "{text}"
    );
}
