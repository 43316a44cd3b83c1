//! A target on trial on a real engine, as a person has it tried: `boardkeeper target try`, `keep` and `back`.

use std::fs;
use std::process::Output;

use serde_json::Value;

use crate::agent::{Agent, PATIENCE};
use crate::lab::{Lab, until};
use crate::target::{App, Service};

fn app(lab: &Lab, commit: &str, tag: &str) -> App {
    App::new(940, commit, vec![Service::new("main", &lab.image(tag))])
}

/// Runs `boardkeeper target` with these arguments; what it printed.
fn target(agent: &Agent<'_>, args: &[&str]) -> String {
    let Output { status, stdout, stderr } = output(agent, args);
    assert!(status.success(), "{args:?}: {}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap()
}

fn output(agent: &Agent<'_>, args: &[&str]) -> Output {
    let words: Vec<&str> = ["target"].iter().chain(args).copied().collect();
    agent.tool(&words).output().unwrap()
}

fn history(agent: &Agent<'_>) -> Vec<Value> {
    agent.get("/agent/v1/history").json()["entries"].as_array().unwrap().clone()
}

#[test]
#[ignore = "needs `make engine`"]
fn a_compose_file_on_trial_gives_way_by_itself_although_the_agent_was_killed() {
    let lab = Lab::enter();
    let present = app(&lab, "c1", "1");
    let mut agent = Agent::with(&lab, &present);
    let before = lab.the("main").image;
    fs::write(agent.path("env"), "TRIED=yes\n").unwrap();
    let compose = format!("name: demo\nservices:\n  tried:\n    image: {}\n    env_file: env\n", lab.image("2"));
    fs::write(agent.path("compose.yaml"), compose).unwrap();
    let file = agent.path("compose.yaml");
    let said = target(&agent, &["try", file.to_str().unwrap(), "--for", "20s"]);
    assert!(said.contains("In 20 s the device returns") || said.contains("In 19 s the device returns"), "{said}");
    // The file may be gone by then.
    fs::remove_file(&file).unwrap();
    until(PATIENCE, "the tried service runs alone", || {
        let seen = lab.containers();
        seen.len() == 1 && seen[0].service == "tried" && seen[0].state == "running"
    });
    assert_eq!(lab.env(&lab.the("tried").id)["TRIED"], "yes");
    assert_eq!(agent.state()["target_trial"]["state"], "trial");
    agent.kill();
    agent.start();
    agent.arrives(&present);
    assert_eq!((lab.the("main").image, agent.state()["target_trial"].clone()), (before, Value::Null));
    let ended = history(&agent).into_iter().find(|it| it["action"] == "trial_ended").expect("it is in the history");
    assert_eq!(ended["why"], "it was not kept within 20 s");
    let created = history(&agent).into_iter().rfind(|it| it["action"] == "create" && it["service"] == "main").unwrap();
    assert!(created["why"].as_str().unwrap().contains("the trial of a target ended"), "{created}");
}

#[test]
#[ignore = "needs `make engine`"]
fn a_kept_target_outlives_the_agent_until_the_file_says_something_else() {
    let lab = Lab::enter();
    let (present, tried) = (app(&lab, "c1", "1"), app(&lab, "c2", "2"));
    let mut agent = Agent::with(&lab, &present);
    let nothing = output(&agent, &["keep"]);
    assert!(String::from_utf8_lossy(&nothing.stderr).contains("no target is on trial"), "{nothing:?}");
    let file = agent.path("tried.json");
    fs::write(&file, tried.v3().to_string()).unwrap();
    target(&agent, &["try", file.to_str().unwrap()]);
    agent.arrives(&tried);
    let said = String::from_utf8(agent.tool(&["state"]).output().unwrap().stdout).unwrap();
    assert!(said.contains("trial     this target is on trial for"), "{said}");
    assert!(target(&agent, &["keep"]).contains("until the source of the device's targets"));
    agent.kill();
    agent.start();
    agent.arrives(&tried);
    assert_eq!(agent.state()["target_trial"]["state"], "kept");
    // What the file said when the target was kept changes nothing.
    agent.want(&present.v3());
    agent.ask("POST", "/v1/update", &serde_json::json!({}));
    agent.arrives(&tried);
    target(&agent, &["back"]);
    agent.arrives(&present);
    target(&agent, &["try", file.to_str().unwrap()]);
    agent.arrives(&tried);
    target(&agent, &["keep"]);
    let newer = app(&lab, "c3", "1");
    agent.want(&newer.v3());
    agent.arrives(&newer);
    assert_eq!(agent.state()["target_trial"], Value::Null);
}

#[test]
#[ignore = "needs `make engine`"]
fn what_is_no_target_is_not_tried() {
    let lab = Lab::enter();
    let present = app(&lab, "c1", "1");
    let agent = Agent::with(&lab, &present);
    let file = agent.path("wrong.json");
    fs::write(&file, r#"{"local": {"apps": {"x": {}}}}"#).unwrap();
    let got = output(&agent, &["try", file.to_str().unwrap()]);
    assert_eq!(got.status.code(), Some(2), "{got:?}");
    let got = output(&agent, &["try", agent.path("none.json").to_str().unwrap()]);
    assert_eq!(got.status.code(), Some(1), "{got:?}");
    let got = output(&agent, &["try", file.to_str().unwrap(), "--for", "9s"]);
    assert_eq!(got.status.code(), Some(2), "{got:?}");
    agent.arrives(&present);
    assert_eq!(agent.state()["target_trial"], Value::Null);
}
