//! What releases on trial cost: an update with and without rollback, and a copy of a volume's data.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::time::Instant;

use crate::agent::{self, Agent, Build, IMAGE, KEY, PORT, wait_until};
use crate::{Bench, MANY, ROUNDS, median, millis};

/// How long a service has to run before its release is good.
const SETTLE: Duration = Duration::from_secs(2);
/// What the volume holds.
const DATA_MIB: u64 = 100;
const APP: u32 = 40;

/// Whether the app has data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Data {
    None,
    /// A volume of [`DATA_MIB`].
    Full,
}

/// What a new release asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gate {
    /// Nothing: it is not on trial.
    None,
    /// The app goes back if it fails.
    Rollback,
    /// And so does the data of a volume.
    Snapshot,
}

/// A release of so many services. The volume is that of the first.
fn release(version: u32, services: u32, data: Data, gate: Gate) -> Value {
    let rollback = if gate == Gate::None { "false" } else { "true" };
    let labels = json!({"io.boardkeeper.rollback": rollback, "io.boardkeeper.settle": format!("{}s", SETTLE.as_secs())});
    let fill = format!("[ -e /data/full ] || dd if=/dev/urandom of=/data/full bs=1048576 count={DATA_MIB}; exec stay");
    let composition = |number: u32| {
        let with_data = json!({"command": ["sh", "-c", fill], "volumes": ["data:/data"]});
        if data == Data::Full && number == 0 { with_data } else { json!({}) }
    };
    let service = |it: u32| {
        let service = json!({"id": it + 1, "image_id": it + 1, "image": IMAGE, "environment": {"VERSION": version.to_string()},
            "labels": labels, "composition": composition(it)});
        (format!("s{it}"), service)
    };
    let services: Map<_, _> = (0..services).map(service).collect();
    let snapshot = if gate == Gate::Snapshot { json!({"io.boardkeeper.snapshot": "true"}) } else { json!({}) };
    let release = json!({"id": version, "services": services, "volumes": {"data": {"labels": snapshot}}, "networks": {}});
    let app =
        json!({"id": APP, "name": "bench", "class": "fleet", "is_host": false, "releases": {format!("c{version}"): release}});
    json!({"device": {"name": "bench", "config": {}, "apps": {format!("{APP:032x}"): app}}})
}

/// What the agent answers.
fn get(path: &str) -> Value {
    let bearer = format!("Authorization: Bearer {KEY}");
    let output = Command::new("curl").args(["-sf", "-H", &bearer, &format!("http://127.0.0.1:{PORT}{path}")]).output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_default()
}

/// Whether the agent has nothing left to do, and every release that is on trial is good.
fn is_done() -> bool {
    let state = get("/agent/v1/state");
    let release = &state["apps"][0]["release"];
    state["activity"] == "settled" && (release.is_null() || release["state"] == "good")
}

/// What updates took.
struct Updates {
    /// From a target until its release runs.
    brought: Duration,
    /// From then until it is good, or settled where none is on trial.
    proven: Duration,
    /// The copies of the data.
    copied: Option<Duration>,
}

/// Updates again and again; the medians.
fn update(build: &Build, lab: &Path, services: u32, (data, gate): (Data, Gate)) -> Updates {
    agent::wipe(lab);
    let agent = Agent::start(build, lab, &release(1, services, data, gate));
    let runs = |version: u32| crate::bare::running_named(&agent::socket(lab), &format!("_c{version}")) == services;
    wait_until("the first release runs", || runs(1));
    wait_until("the first release is good", is_done);
    let (mut brought, mut proven) = (Vec::new(), Vec::new());
    for version in 2..=u32::try_from(ROUNDS).unwrap() + 1 {
        let begun = agent.wants(&release(version, services, data, gate));
        wait_until("the release runs", || runs(version));
        brought.push(begun.elapsed());
        let running = Instant::now();
        wait_until("the release is good", is_done);
        proven.push(running.elapsed());
    }
    let history = get("/agent/v1/history?limit=1000");
    let entries = history["entries"].as_array().into_iter().flatten().filter(|it| it["action"] == "copy");
    let times: Vec<_> = entries.filter_map(|it| it["milliseconds"].as_u64()).map(Duration::from_millis).collect();
    let copied = (!times.is_empty()).then(|| median(times));
    Updates { brought: median(brought), proven: median(proven), copied }
}

/// What a gate costs a good update.
pub(crate) fn gating(bench: &mut Bench) {
    let (build, lab) = (bench.builds[0].clone(), bench.lab.clone());
    for services in [1, MANY] {
        let without = update(&build, &lab, services, (Data::None, Gate::None));
        let with = update(&build, &lab, services, (Data::None, Gate::Rollback));
        bench.row(
            &format!("update of {services} to all running"),
            &format!(
                "{} with rollback off, {} with it on; proven good {} later, settle time {}",
                millis(without.brought),
                millis(with.brought),
                millis(with.proven),
                millis(SETTLE),
            ),
        );
    }
}

/// What it costs to copy the data of a volume before an update.
pub(crate) fn copying(bench: &mut Bench) {
    let (build, lab) = (bench.builds[0].clone(), bench.lab.clone());
    let without = update(&build, &lab, 1, (Data::Full, Gate::Rollback));
    let with = update(&build, &lab, 1, (Data::Full, Gate::Snapshot));
    bench.row(
        &format!("snapshot of {DATA_MIB} MiB"),
        &format!(
            "{} to copy it; update of 1 to running {} with it, {} without",
            millis(with.copied.expect("the history has the copies")),
            millis(with.brought),
            millis(without.brought)
        ),
    );
}
