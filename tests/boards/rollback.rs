//! A board that reboots while an app goes back to its last good release: afterwards that release runs, with its data.

use std::thread::sleep;
use std::time::Duration;

use serde_json::{Value, json};

use crate::machine::{Machine, REBOOTED, until};

/// How long a release may take to be proven, or to be given up.
const JUDGED: Duration = Duration::from_secs(180);

/// A release of two services: `db` does something to the volume, and takes ten seconds to stop.
fn release(commit: &str, db: &str, web: &str) -> Value {
    let labels = json!({"io.boardkeeper.rollback": "true", "io.boardkeeper.settle": "3s", "io.boardkeeper.deadline": "20s"});
    let service = |name: &str, command: &str| {
        json!({"imageId": 1, "serviceName": name, "image": "tests/busybox:1", "running": true, "environment": {},
            "labels": labels, "network_mode": "host", "command": ["sh", "-c", command]})
    };
    // As process 1, a shell without a handler for it ignores that it is asked to stop.
    let mut db = service("db", &format!("{db}; while :; do sleep 1; done"));
    db["volumes"] = json!(["data:/data"]);
    let app = json!({"name": "app", "commit": commit, "releaseId": 1, "services": {"1": db, "2": service("web", web)},
        "networks": {}, "volumes": {"data": {"labels": {"io.boardkeeper.snapshot": "true"}}}});
    json!({"local": {"name": "d", "config": {}, "apps": {"1": app}}, "dependent": {"apps": {}, "devices": {}}})
}

/// What the state says of the release.
fn trial(machine: &Machine) -> Value {
    machine.state()["apps"][0]["release"].clone()
}

/// Both services of a release run, and no container of another is left.
fn runs(machine: &Machine, commit: &str) -> bool {
    let names = machine.names();
    names.len() == 2 && names.iter().all(|it| it.ends_with(commit)) && machine.containers().len() == 2
}

#[test]
#[ignore = "needs `make power`"]
fn a_board_that_reboots_in_the_middle_of_a_rollback_ends_at_the_last_good_release_with_its_data() {
    let mut machine = Machine::boots("rollback");
    machine.with_engine();
    machine.wants_target(&release("c1", "[ -e /data/word ] || echo c1 > /data/word", "exec stay"));
    until("the first release is good", JUDGED, || trial(&machine)["state"] == "good");
    machine.wants_target(&release("c2", "echo c2 > /data/word", "sleep 1; exit 3"));
    until("the second one has written", JUDGED, || machine.in_volume("1_data", "word").as_deref() == Some("c2\n"));
    until("it has failed", JUDGED, || trial(&machine)["state"] == "rolled_back");
    machine.shell("systemctl --no-block reboot").status().unwrap();
    assert_eq!(machine.ends(), REBOOTED);
    assert!(!runs(&machine, "c1"), "it was in the middle: {:?}", machine.names());
    machine.cuts_engine();
    machine.boot();
    until("the first release runs", JUDGED, || runs(&machine, "c1") && trial(&machine)["volumes"] == json!([]));
    assert_eq!(machine.in_volume("1_data", "word").as_deref(), Some("c1\n"));
    let (begun, why) = (machine.starts(), trial(&machine)["why"].clone());
    sleep(Duration::from_secs(30));
    assert_eq!((trial(&machine)["state"].clone(), machine.starts()), (json!("rolled_back"), begun), "it is not begun again");
    eprintln!("seen: after the reboot: {why}");
}
