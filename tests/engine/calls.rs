//! How many requests the agent makes of the engine. Each costs the engine, and what it runs, time.

use std::collections::BTreeMap;

use serde_json::json;

use crate::agent::{Agent, PATIENCE};
use crate::budget::hold;
use crate::lab::{Lab, pause, until};
use crate::target::{App, Service};

/// After the agent has settled, what its own last action brings about is looked at.
const AFTERWARDS_MS: u64 = 1500;

fn release(lab: &Lab, commit: &str, services: u32, told: &str) -> App {
    let image = lab.image("1");
    let service = |it: u32| Service::new(["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"][it as usize], &image);
    let services = (0..services).map(|it| if it == 0 { service(it).env("TOLD", told) } else { service(it) });
    App::new(1900, commit, services.collect())
}

/// The requests that the log has had since it had so many bytes, by what was requested.
fn requests(agent: &Agent<'_>, since: usize) -> BTreeMap<String, usize> {
    let mut all = BTreeMap::new();
    for line in agent.whole_log()[since..].lines().filter(|it| it.contains("engine request")) {
        let path = line.split("path=").nth(1).unwrap_or_default().split(' ').next().unwrap_or_default();
        let path: Vec<_> = path.trim_matches('"').split('/').map(|it| if it.len() > 40 { "ID" } else { it }).collect();
        let method = line.split("method=").nth(1).unwrap_or_default().split(' ').next().unwrap_or_default();
        *all.entry(format!("{method} {}", path.join("/"))).or_default() += 1;
    }
    all
}

/// Brings a release up, and returns how many requests that took.
fn cost(agent: &Agent<'_>, app: &App, what: &str) -> u64 {
    let since = agent.whole_log().len();
    agent.want(&app.v3());
    until(PATIENCE, "the agent has begun", || agent.whole_log()[since..].contains("executing"));
    agent.arrives(app);
    pause(AFTERWARDS_MS);
    let requests = requests(agent, since);
    eprintln!("{what}: {requests:#?}");
    requests.values().sum::<usize>() as u64
}

#[test]
#[ignore = "needs `make engine`"]
fn few_requests_bring_services_up_and_replace_one() {
    let lab = Lab::enter();
    let mut agent = Agent::new(&lab).arguments(&["--log", "debug,boardkeeper::linux::engine::transport=trace"]);
    let nothing = json!({"device": {"name": "d", "config": {}, "apps": {}}});
    agent.want(&nothing);
    agent.start();
    agent.settles();
    let one = cost(&agent, &release(&lab, "c1", 1, "x"), "target to 1");
    agent.want(&nothing);
    until(PATIENCE, "no container is left", || lab.containers().is_empty() && agent.is_settled());
    let ten = cost(&agent, &release(&lab, "c2", 10, "x"), "target to 10");
    // On a busy machine steps take longer, and what they brought about is looked at more often.
    let replace = |told| cost(&agent, &release(&lab, "c2", 10, told), "one of 10 replaced");
    let replaced = ["y", "z", "v"].map(replace).into_iter().min().unwrap();
    assert!(one > 0, "requests are in the log");
    hold("requests_target_to_one", one);
    hold("requests_target_to_ten", ten);
    hold("requests_one_of_ten_replaced", replaced);
}
