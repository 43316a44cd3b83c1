//! Data that goes back: a volume has what the last good release left in it, byte for byte, whatever failed meanwhile.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use crate::agent::Agent;
use crate::lab::{Lab, run, until};
use crate::target::{App, Service};

/// Seconds in which a failed release is back.
const BACK: u64 = 300;
const FILES: u32 = 10_000;

/// A service on trial, with short times.
fn on_trial(name: &str, image: &str) -> Service {
    let rules = [("rollback", "true"), ("settle", "3s"), ("deadline", "20s")];
    rules.iter().fold(Service::new(name, image), |it, (rule, value)| it.label(&format!("io.boardkeeper.{rule}"), value))
}

/// A release of a service with the data, which runs a script once, and of another one.
fn app(id: u32, commit: &str, image: &str, script: &str, web: &str) -> App {
    let command = json!(["sh", "-c", format!("{script}; exec sleep 9999")]);
    let db = on_trial("db", image).with("volumes", json!(["data:/data"])).with("command", command);
    let web = on_trial("web", image).with("command", json!(["sh", "-c", web]));
    App::new(id, commit, vec![db, web]).volume("data", json!({"labels": {"io.boardkeeper.snapshot": "true"}}))
}

fn release(agent: &Agent<'_>) -> Value {
    agent.state()["apps"][0]["release"].clone()
}

/// What the volume has: kinds, modes, owners, times, sizes and content.
fn inventory(lab: &Lab, volume: &str) -> String {
    let place = lab.docker(&["volume", "inspect", "--format", "{{.Mountpoint}}", volume]);
    let script = "cd \"$1\" && find . -printf '%y %m %U:%G %Ts %n %l %P\\n' | LC_ALL=C sort && \
                  find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum";
    run(Command::new("sh").args(["-c", script, "sh", place.trim()]))
}

/// Whether the volume has a file. It may be going just now.
fn has(lab: &Lab, volume: &str, file: &str) -> bool {
    let volumes = lab.dir().join("engine/data/volumes");
    volumes.join(volume).join("_data").join(file).exists()
}

/// An agent with a good release, whose data is filled.
fn with_good<'lab>(lab: &'lab Lab, id: u32, fill: &str) -> Agent<'lab> {
    let good =
        app(id, "c1", &lab.image("1"), &format!("[ -e /data/filled ] || {{ {fill}; touch /data/filled; }}"), "exec sleep 9999");
    let agent = Agent::with(lab, &good);
    until(BACK, "the release is good", || release(&agent)["state"] == "good");
    until(BACK, "the volume is filled", || has(lab, &format!("{id}_data"), "filled"));
    agent
}

/// What `boardkeeper target plan` says that the agent would do for a release: the steps, and what is waited for.
fn planned(lab: &Lab, agent: &Agent<'_>, next: &App) -> (Vec<String>, Value) {
    let file = lab.dir().join("planned.json");
    fs::write(&file, next.v3().to_string()).unwrap();
    let mut plan = Command::new(env!("CARGO_BIN_EXE_boardkeeper"));
    plan.args(["target", "plan", "--json", "--board", "simulated", "--state-dir"]).arg(agent.path("state"));
    let said: Value = serde_json::from_str(&run(plan.arg(file).env("DOCKER_HOST", lab.docker_host()))).unwrap();
    let steps = said["steps"].as_array().unwrap().iter().map(|it| it["what"].as_str().unwrap().to_owned());
    (steps.collect(), said["waiting"].clone())
}

fn is_back(lab: &Lab, agent: &Agent<'_>) -> bool {
    let all = lab.started();
    let runs = all.len() == 2 && all.iter().all(|it| it.state == "running" && it.name.contains("_c1"));
    runs && release(agent)["state"] == "rolled_back" && release(agent)["volumes"] == json!([])
}

/// No copy of the data, and no container that was used for it, is left.
fn nothing_is_left(lab: &Lab) {
    until(BACK, "the copy is deleted", || !lab.docker(&["volume", "ls", "-q"]).contains("boardkeeper-before"));
    assert_eq!(lab.docker(&["ps", "-aq", "--filter", "label=io.boardkeeper.copies"]), "");
}

#[test]
#[ignore = "needs `make engine`"]
fn ten_thousand_files_are_as_they_were_before_the_release_that_failed() {
    let lab = Lab::enter();
    let fill = format!(
        "cd /data && for i in $(seq {FILES}); do d=$((i % 50)); mkdir -p $d; echo $i > $d/f$i; done; chown -R 1234:4321 7; \
         chmod 600 8/f8; ln -s 9/f9 soft; ln 10/f10 hard; mkdir empty; mkfifo pipe; chmod 2770 ."
    );
    let agent = with_good(&lab, 1600, &fill);
    let before = inventory(&lab, "1600_data");
    assert!(before.lines().count() > 20_000, "{}", before.lines().count());
    // It changes the data, and then it fails.
    let spoil = "rm -rf /data/7; echo other > /data/8/f8; mkdir /data/new; chmod 777 /data; date > /data/migrated";
    let bad = app(1600, "c2", &lab.image("2"), spoil, "sleep 1; exit 3");
    let (steps, waiting) = planned(&lab, &agent, &bad);
    let at = |what: &str| steps.iter().position(|it| it.starts_with(what)).unwrap_or_else(|| panic!("{what}: {steps:?}"));
    assert!(at("kill 1600/db") < at("copy the data of volume 1600_data"), "{steps:?}");
    assert!(at("copy the data of volume 1600_data") < at("start 1600/db"), "{steps:?}");
    assert_eq!(waiting, json!([]));
    agent.want(&bad.v3());
    until(BACK, "the new release has changed the data", || has(&lab, "1600_data", "migrated"));
    assert_eq!(release(&agent)["volumes"], json!([{"name": "data", "state": "kept"}]));
    let took = until(BACK, "the app is back", || is_back(&lab, &agent));
    assert_eq!(inventory(&lab, "1600_data"), before);
    eprintln!("seen: back with its data after {took:?}");
    nothing_is_left(&lab);
    let (steps, waiting) = planned(&lab, &agent, &bad);
    assert_eq!(steps, [""; 0], "it failed, and is not begun again");
    assert!(waiting.to_string().contains("The app went back to its last good release c1"), "{waiting}");
    let history = agent.get("/agent/v1/history?limit=100").json().to_string();
    for words in ["\"copy\"", "\"put_back\""] {
        assert!(history.contains(words), "{words}: {history}");
    }
    agent.settles();
}

#[test]
#[ignore = "needs `make engine`"]
fn an_agent_that_is_killed_while_it_copies_or_puts_back_leaves_no_half() {
    let lab = Lab::enter();
    let fill = "dd if=/dev/urandom of=/data/large bs=1048576 count=100; for i in $(seq 500); do echo $i > /data/$i; done";
    let mut agent = with_good(&lab, 1601, fill);
    let before = inventory(&lab, "1601_data");
    let spoil = "rm /data/large; echo other > /data/7";
    agent.want(&app(1601, "c2", &lab.image("2"), spoil, "sleep 1; exit 3").v3());
    let copies = |lab: &Lab| lab.docker(&["ps", "-aq", "--filter", "label=io.boardkeeper.copies"]).lines().count() == 2;
    until(BACK, "it is being copied", || copies(&lab));
    agent.kill();
    agent.start();
    until(BACK, "the new release has changed the data", || !has(&lab, "1601_data", "large"));
    until(BACK, "it is being put back", || release(&agent)["volumes"][0]["state"] == "putting_back");
    agent.kill();
    lab.kill_engine();
    lab.start_engine();
    agent.start();
    until(BACK, "the app is back", || is_back(&lab, &agent));
    assert_eq!(inventory(&lab, "1601_data"), before);
    nothing_is_left(&lab);
    let history = agent.get("/agent/v1/history?limit=100").json();
    for entry in history["entries"].as_array().unwrap().iter().filter(|it| it["action"] == "copy" || it["action"] == "put_back")
    {
        eprintln!("seen: 100 MiB and 500 files, {}: {} in {} ms", entry["action"], entry["outcome"], entry["milliseconds"]);
    }
}

#[test]
#[ignore = "needs `make engine`"]
fn a_copy_that_is_too_large_begins_no_update_and_a_good_release_keeps_its_data() {
    let lab = Lab::enter();
    let agent = with_good(&lab, 1602, "dd if=/dev/zero of=/data/large bs=1048576 count=1 seek=1024");
    let before: Vec<_> = lab.started().into_iter().map(|it| it.id).collect();
    let next = app(1602, "c2", &lab.image("2"), "echo new > /data/new", "exec sleep 9999");
    agent.want(&next.v3());
    until(BACK, "the state says why", || agent.state()["troubles"].to_string().contains("1024 MiB are copied at most"));
    assert_eq!(lab.started().into_iter().map(|it| it.id).collect::<Vec<_>>(), before, "nothing was stopped");
    let old = lab.started().into_iter().find(|it| it.name.starts_with("db_")).unwrap();
    lab.inside(&old.id, &["rm", "/data/large"]);
    agent.ask("POST", "/v1/update", &json!({}));
    until(BACK, "the release is good", || release(&agent)["state"] == "good" && agent.state()["apps"][0]["commit"] == "c2");
    assert!(has(&lab, "1602_data", "new"));
    nothing_is_left(&lab);
}
