//! Local mode on a real engine: the owner's app is kept, what a developer builds and pushes runs, and leaving removes it.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use crate::agent::{Agent, PATIENCE};
use crate::lab::{Lab, pause, run, until};
use crate::target::{App, Service};

const TARGET: &str = "/v2/local/target-state";
/// As the cloud's command line names what it builds for the service `pushed`.
const BUILT: &str = "local_image_pushed:latest";

/// Builds the image as the cloud's command line has it built on the device.
fn build(lab: &Lab, agent: &Agent<'_>, content: &str) -> String {
    let folder = agent.path("context");
    fs::create_dir_all(&folder).unwrap();
    let base = lab.image("1");
    fs::write(folder.join("Dockerfile"), format!("FROM {base}\nENV BUILT={content}\nLABEL io.resin.local.image=1\n")).unwrap();
    lab.docker(&["build", "-q", "-t", BUILT, folder.to_str().unwrap()]);
    lab.call("GET", &format!("/images/{BUILT}/json"), "").json()["Id"].as_str().unwrap().to_owned()
}

/// What the command line pushes.
fn pushed(id: u32) -> Value {
    json!({"local": {"name": "board", "config": {}, "apps": {id.to_string(): {
        "name": "localapp", "commit": "10ca12e1ea5e", "releaseId": "1", "volumes": {"cache": {}}, "networks": {}, "services": {
            "1": {"serviceName": "pushed", "imageId": 1, "image": BUILT, "environment": {}, "labels": {}, "volumes": ["cache:/cache"]}},
    }}}})
}

fn push(agent: &Agent<'_>, id: u32) {
    let got = agent.ask("POST", TARGET, &pushed(id));
    assert_eq!((got.status, got.json()), (200, json!({"status": "success", "message": "OK"})));
}

/// As the command line waits for it.
fn is_applied(agent: &Agent<'_>) -> bool {
    agent.get("/v2/state/status").json()["appState"] == "applied"
}

fn applied(agent: &Agent<'_>) {
    until(PATIENCE, "what was pushed is applied", || is_applied(agent));
}

fn state_of(lab: &Lab, id: &str) -> Value {
    lab.inspect(id)["State"]["Status"].clone()
}

/// The owner's app, with something in its volume.
fn owners(lab: &Lab, id: u32) -> App {
    // Under this policy nothing but the agent starts it again.
    let service = Service::new("main", &lab.image("1")).with("volumes", json!(["data:/data"])).with("restart", json!("no"));
    App { volumes: vec!["data"], ..App::new(id, "c1", vec![service]) }
}

fn with_local_mode(app: &App, on: bool) -> Value {
    let mut document = app.v3();
    document["device"]["config"]["RESIN_SUPERVISOR_LOCAL_MODE"] = json!(if on { "1" } else { "0" });
    document
}

#[test]
#[ignore = "needs `make engine`"]
fn the_owners_app_is_kept_what_is_pushed_runs_and_leaving_removes_it() {
    let lab = Lab::enter();
    let app = owners(&lab, 930);
    let mut agent = Agent::new(&lab);
    agent.want(&with_local_mode(&app, false));
    agent.start();
    agent.arrives(&app);
    let main = lab.the("main").id;
    lab.inside(&main, &["touch", "/data/kept"]);
    lab.docker(&["run", "-d", "--name", "stranger", &lab.image("1")]);
    let got = agent.ask("POST", TARGET, &pushed(930));
    assert_eq!(got.status, 400, "{}", got.body);

    agent.want(&with_local_mode(&app, true));
    until(PATIENCE, "the owner's app is stopped", || state_of(&lab, &main) == "exited");
    let refused = agent.ask("POST", "/v1/restart", &json!({"appId": 930}));
    assert_eq!(refused.status, 503, "{}", refused.body);
    assert!(refused.json()["message"].as_str().unwrap().contains("leave local mode first"), "{}", refused.body);

    let first = build(&lab, &agent, "first");
    push(&agent, 930);
    applied(&agent);
    let container = lab.the("pushed").id;
    assert_eq!(lab.env(&container)["BUILT"], "first");
    assert_eq!(state_of(&lab, &container), "running");
    let shown = agent.get("/v2/containerId?serviceName=pushed").json();
    assert_eq!(shown["containerId"], container);
    assert_eq!(agent.get("/v2/state/status").json()["containers"][0]["serviceName"], "pushed");
    assert_eq!(agent.get(TARGET).json()["state"]["local"]["apps"], pushed(930)["local"]["apps"]);

    // The command line edits, kills and starts the running container.
    for _ in 0..3 {
        lab.inside(&container, &["touch", "/edited"]);
        lab.docker(&["kill", &container]);
        lab.docker(&["start", &container]);
    }
    assert_eq!(lab.the("pushed").id, container);
    lab.inside(&container, &["test", "-f", "/edited"]);
    // A tool that dies in between leaves it stopped; the agent starts the same one again.
    lab.docker(&["kill", &container]);
    until(PATIENCE, "it runs again", || state_of(&lab, &container) == "running");

    // A second push of the same document, with the image built anew.
    assert_ne!(build(&lab, &agent, "second"), first);
    push(&agent, 930);
    until(PATIENCE, "the new image runs", || {
        is_applied(&agent) && lab.containers().iter().any(|it| it.service == "pushed" && it.id != container)
    });
    let container = lab.the("pushed").id;
    assert_eq!(lab.env(&container)["BUILT"], "second");
    // A changed Dockerfile: built anew, the container removed by the tool, and the same document again.
    let third = build(&lab, &agent, "third");
    lab.docker(&["rm", "-f", &container]);
    push(&agent, 930);
    until(PATIENCE, "a new container runs", || {
        is_applied(&agent) && lab.containers().iter().any(|it| it.service == "pushed" && lab.env(&it.id)["BUILT"] == "third")
    });

    // Killed in the middle of leaving, it goes on.
    agent.want(&with_local_mode(&app, false));
    pause(100);
    agent.kill();
    agent.start();
    agent.arrives(&app);
    assert_eq!(lab.the("main").id, main, "the owner's container was kept");
    lab.inside(&main, &["test", "-f", "/data/kept"]);
    until(PATIENCE, "nothing of it is left", || {
        let volumes = lab.docker(&["volume", "ls", "-q"]);
        let networks = lab.docker(&["network", "ls", "--format", "{{.Name}}"]);
        let containers = lab.containers();
        containers.len() == 1 && !volumes.contains("cache") && !networks.contains("4000000930") && !lab.has(BUILT)
    });
    until(PATIENCE, "no image of the builds is left", || !lab.has(&first) && !lab.has(&third));
    assert_eq!(agent.state()["local_mode"], json!({"on": false, "switched": false, "until": null, "leaving": false}));
    assert_eq!(state_of(&lab, "stranger"), "running");
    lab.docker(&["rm", "-f", "stranger"]);
}

#[test]
#[ignore = "needs `make engine`"]
fn a_person_switches_it_on_for_a_while_and_it_ends_by_itself() {
    let lab = Lab::enter();
    let app = owners(&lab, 931);
    let mut agent = Agent::with(&lab, &app);
    let main = lab.the("main").id;
    let switch = |agent: &Agent<'_>, how: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_boardkeeper"));
        command.arg("local-mode").args(how).arg("--state-dir").arg(agent.path("state"));
        run(command.args(["--listen", &format!("127.0.0.1:{}", agent.port())]))
    };
    let said = switch(&agent, &["on", "--for", "20s"]);
    assert!(said.starts_with("Local mode is on until ") && said.contains("no other computer"), "{said}");
    until(PATIENCE, "the owner's app is stopped", || state_of(&lab, &main) == "exited");
    build(&lab, &agent, "short");
    push(&agent, 1);
    applied(&agent);
    let pushed = lab.the("pushed").id;
    // A power cut ends in local mode too.
    agent.kill();
    agent.start();
    until(PATIENCE, "it answers", || agent.answers());
    assert_eq!(agent.state()["local_mode"]["on"], true);
    assert_eq!(lab.the("pushed").id, pushed);
    until(PATIENCE, "it has ended by itself", || agent.state()["local_mode"]["on"] == false);
    agent.arrives(&app);
    assert_eq!(lab.the("main").id, main);
    until(PATIENCE, "what was built is gone", || !lab.has(BUILT));

    // Switched off by hand, at once.
    switch(&agent, &["on"]);
    until(PATIENCE, "the owner's app is stopped", || state_of(&lab, &main) == "exited");
    let said = switch(&agent, &["off"]);
    assert!(said.starts_with("Local mode is off"), "{said}");
    agent.arrives(&app);
    assert_eq!(lab.the("main").id, main);
}
