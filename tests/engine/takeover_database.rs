//! The database of another supervisor: its keys and its target count here, and what runs is kept both ways.
//!
//! `tests/data/take-over/supervisor-19.sqlite` is such a database; the containers are those of [`crate::takeover`], one of
//! them with a key of that database.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::agent::{Agent, PATIENCE};
use crate::lab::{Lab, locks, pause, run, until};
use crate::takeover::{fixture, left_with, served};
use crate::target::App;

const DATABASE: &[u8] = include_bytes!("../data/take-over/supervisor-19.sqlite");
/// The device's key in it.
const DEVICE_KEY: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f0";
/// The key of the service `worker` in it.
const WORKER_KEY: &str = "a0b1c2d3e4f5061728394a5b6c7d8e9f";

/// The containers of release 19.0.5, of which `worker` has the label that gives it a key.
fn with_a_key() -> Value {
    let mut left = fixture();
    let worker = &mut left["containers"]["worker"];
    worker["Labels"]["io.balena.features.supervisor-api"] = json!("1");
    for prefix in ["BALENA", "RESIN"] {
        for (name, value) in
            [("API_KEY", WORKER_KEY), ("HOST", "127.0.0.1"), ("PORT", "48484"), ("ADDRESS", "http://127.0.0.1:48484")]
        {
            worker["Env"].as_array_mut().unwrap().push(json!(format!("{prefix}_SUPERVISOR_{name}={value}")));
        }
    }
    left
}

/// What was left, and an agent that has taken over the database.
fn taken_over(lab: &Lab) -> (Agent<'_>, PathBuf) {
    let (_, agent) = left_with(lab, &with_a_key());
    let agent = agent.known_by(DEVICE_KEY).everywhere();
    let database = agent.path("database.sqlite");
    fs::write(&database, DATABASE).unwrap();
    let config = agent.path("boot/config.json").display().to_string();
    let report = run(agent.tool(&["take-over", database.to_str().unwrap(), "--json"]).args(["--boot-config", &config]));
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!(
        (&report["device_key"], &report["service_keys"], &report["stored"]),
        (&json!(true), &json!([{"app": 300, "service": "worker"}]), &json!(true))
    );
    assert_eq!(report["apps"][0]["services"], json!(["web", "worker"]));
    (agent, database)
}

/// Everything of what runs that a supervisor compares, and more.
fn seen(lab: &Lab) -> Vec<Value> {
    let containers = ["web", "worker"].map(|name| {
        let seen = lab.inspect(&lab.the(name).id);
        let of = ["Id", "Name", "Config", "HostConfig"].map(|field| seen[field].clone());
        json!([of, seen["State"]["StartedAt"]])
    });
    let volume = lab.call("GET", "/volumes/300_data", "").json();
    let locks = ["web", "worker"].map(|name| json!(fs::metadata(locks(300, name)).unwrap().ino()));
    containers.into_iter().chain([volume]).chain(locks).collect()
}

#[test]
#[ignore = "needs `make engine`"]
fn keys_target_containers_volumes_and_locks_of_balena_supervisor_19_are_kept_both_ways() {
    let lab = Lab::enter();
    let (mut agent, database) = taken_over(&lab);
    let before = seen(&lab);

    // No target file and no cloud: what it keeps the device at is what the database said.
    agent.start();
    until(PATIENCE, "it is settled", || agent.is_settled());
    pause(3000);
    assert!(agent.is_settled(), "{}", agent.words());
    let state = agent.state();
    assert_eq!(state["device"]["uuid"], "0123456789abcdef0123456789abcdef");
    assert_eq!(seen(&lab), before);
    // The keys that scripts and containers have open what they opened.
    let status = |key: &str, path: &str| agent.ask_with(key, "GET", path, &json!({})).unwrap().status;
    assert_eq!(status(DEVICE_KEY, "/v1/device"), 200);
    assert_eq!((status(WORKER_KEY, "/v2/applications/state"), status(WORKER_KEY, "/v2/applications/300/state")), (200, 200));
    assert_eq!(status("ffffffffffffffffffffffffffffffff", "/v1/device"), 401);
    // A lock that a service takes where it always did.
    lab.inside(&lab.the("web").id, &["touch", "/tmp/balena/updates.lock"]);
    let restart = |agent: &Agent<'_>| agent.ask("POST", "/v1/restart", &json!({"appId": 300})).status;
    assert_eq!(restart(&agent), 423);
    lab.inside(&lab.the("web").id, &["rm", "/tmp/balena/updates.lock"]);

    // The way back: the other supervisor finds what it left, its database included.
    assert!(agent.stop("TERM").success());
    assert_eq!(seen(&lab), before);
    assert_eq!(fs::read(&database).unwrap(), DATABASE);
    for name in ["web", "worker"] {
        assert_eq!(fs::read_dir(locks(300, name)).unwrap().count(), 0, "no lock is left behind");
    }
    assert_eq!(
        fs::read_dir(database.parent().unwrap())
            .unwrap()
            .filter(|it| { it.as_ref().unwrap().file_name().to_string_lossy().starts_with("database.sqlite") })
            .count(),
        1,
        "nor a file beside the database"
    );
}

/// The fields that the other supervisor compares (its `ServiceConfig`), in the words of the engine.
const COMPARED: [(&str, &[&str]); 2] = [
    (
        "Config",
        &[
            "Cmd",
            "Entrypoint",
            "Env",
            "Labels",
            "Healthcheck",
            "Domainname",
            "Hostname",
            "StopSignal",
            "StopTimeout",
            "User",
            "WorkingDir",
            "Tty",
            "MacAddress",
            "Image",
        ],
    ),
    (
        "HostConfig",
        &[
            "Binds",
            "Mounts",
            "PortBindings",
            "Privileged",
            "RestartPolicy",
            "CapAdd",
            "CapDrop",
            "Devices",
            "DeviceRequests",
            "Memory",
            "MemoryReservation",
            "ShmSize",
            "CpuShares",
            "CpuQuota",
            "CpusetCpus",
            "OomKillDisable",
            "OomScoreAdj",
            "Dns",
            "DnsSearch",
            "DnsOptions",
            "Tmpfs",
            "ExtraHosts",
            "Ulimits",
            "ReadonlyRootfs",
            "Sysctls",
            "CgroupParent",
            "GroupAdd",
            "PidMode",
            "PidsLimit",
            "SecurityOpt",
            "UsernsMode",
            "IpcMode",
            "NetworkMode",
            "Init",
        ],
    ),
];

/// What it compares of a container. It takes an absent value for the default, and most lists in any order.
fn compared(lab: &Lab, service: &str) -> BTreeMap<String, Value> {
    let found = lab.inspect(&lab.the(service).id);
    let mut all = BTreeMap::from([("Name".to_owned(), found["Name"].clone())]);
    for (part, fields) in COMPARED {
        for field in fields {
            let mut value = found[part][field].clone();
            if let Some(list) = value.as_array_mut() {
                list.retain(|it| !it.as_str().is_some_and(|it| it.contains("DEVICE_NAME_AT_INIT")));
                if !["Cmd", "Entrypoint", "Dns", "DnsSearch"].contains(field) {
                    list.sort_by_key(ToString::to_string);
                }
            }
            // What the engine calls it by itself is no hostname.
            let is_own_id = *field == "Hostname" && found["Id"].as_str().unwrap().get(..12) == value.as_str();
            // Nor is this more than no check at all, to it and to the engine.
            let is_no_check = value == json!({"Test": ["NONE"]});
            let is_default =
                is_no_check || [json!(null), json!([]), json!({}), json!(""), json!(0), json!(false)].contains(&value);
            all.insert(format!("{part}.{field}"), if is_default || is_own_id { json!(null) } else { value });
        }
    }
    all
}

#[test]
#[ignore = "needs `make engine`"]
fn containers_of_ours_differ_from_those_of_balena_supervisor_19_in_labels_of_ours_and_the_images_name_only() {
    let lab = Lab::enter();
    let (_, mut agent) = left_with(&lab, &fixture());
    let theirs = ["web", "worker"].map(|name| compared(&lab, name));
    for name in ["web", "worker"] {
        lab.docker(&["rm", "-f", &lab.the(name).id]);
    }
    let app: App = served();
    agent.want(&app.v3());
    agent.start();
    agent.arrives(&app);
    for (name, theirs) in ["web", "worker"].into_iter().zip(theirs) {
        let ours = compared(&lab, name);
        let mut differ: Vec<_> =
            ours.iter().filter(|(field, value)| theirs[*field] != **value).map(|(field, _)| field).collect();
        differ.sort();
        for field in &differ {
            eprintln!("{name}: {field}: ours {} theirs {}", ours[*field], theirs[*field]);
        }
        assert_eq!(differ, ["Config.Image", "Config.Labels"], "{name}");
        let mut labels = ours["Config.Labels"].as_object().unwrap().clone();
        labels.retain(|name, _| !name.starts_with("io.boardkeeper."));
        assert_eq!(Value::Object(labels), theirs["Config.Labels"], "{name}");
    }
}
