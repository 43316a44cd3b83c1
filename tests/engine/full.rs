//! A state directory on a full disk.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use crate::agent::{Agent, PATIENCE};
use crate::lab::{Lab, pause, run, until};
use crate::target::{App, Service};

/// Requests whose answers are timed.
const REQUESTS: usize = 2000;

/// Gives a directory a small file system of its own. It goes with the lab's mounts.
fn small(dir: &Path) {
    fs::create_dir_all(dir).unwrap();
    run(Command::new("mount").args(["-t", "tmpfs", "-o", "size=256k,mode=700", "state"]).arg(dir));
}

/// Fills a file system to the last byte.
fn fill(dir: &Path) {
    let mut file = fs::File::create(dir.join("filler")).unwrap();
    while file.write(&[0; 4096]).is_ok() {}
    assert!(fs::write(dir.join("more"), "x").is_err(), "there is room still");
    fs::remove_file(dir.join("more")).unwrap();
}

/// The slowest but one in a hundred of many answers.
fn slow_answer(agent: &Agent<'_>) -> Duration {
    let paths = ["/ping", "/v1/device", "/agent/v1/state"];
    let mut took: Vec<_> = (0..REQUESTS)
        .map(|it| {
            let asked = Instant::now();
            assert_eq!(agent.get(paths[it % paths.len()]).status, 200);
            asked.elapsed()
        })
        .collect();
    took.sort();
    took[REQUESTS * 99 / 100]
}

#[test]
#[ignore = "needs `make engine`"]
fn without_a_byte_of_room_everything_works_and_is_saved_when_there_is_room() {
    let lab = Lab::enter();
    let release = |commit: &str| App::new(1100, commit, vec![Service::new("main", &lab.image("1")).env("RELEASE", commit)]);
    let mut agent = Agent::new(&lab);
    let state = agent.path("state");
    small(&state);
    agent.want(&release("c1").v3());
    agent.start();
    agent.arrives(&release("c1"));
    let kept = |name: &str| fs::read_to_string(state.join(name)).unwrap_or_default();
    let (identity, keys) = (kept("identity.json"), kept("keys.json"));
    fill(&state);

    agent.want(&release("c2").v3());
    agent.arrives(&release("c2"));
    let p99 = slow_answer(&agent);
    assert_eq!(agent.ask("POST", "/v1/blink", &json!({})).status, 200);
    assert!(p99 < Duration::from_millis(50), "{p99:?}");
    eprintln!("figure: at zero bytes free {REQUESTS} answers, p99 {:.2} ms", p99.as_secs_f64() * 1000.0);
    assert!(!kept("targets.json").contains("c2"), "the disk was not full");

    // Nothing is lost by a crash, and it works on a full disk from the start, too.
    agent.kill();
    agent.start();
    until(PATIENCE, "it answers again", || agent.answers());
    agent.arrives(&release("c2"));
    assert_eq!((kept("identity.json"), kept("keys.json")), (identity, keys));
    let before = agent.whole_log().matches("cannot save").count();
    pause(25_000);
    let tries = agent.whole_log().matches("cannot save").count() - before;
    assert!((1..=6).contains(&tries), "{tries} tries in 25 s");

    fs::remove_file(state.join("filler")).unwrap();
    until(PATIENCE, "the target is saved by itself", || kept("targets.json").contains("c2"));
    let leftovers: Vec<_> = fs::read_dir(&state).unwrap().map(|it| it.unwrap().file_name()).collect();
    assert!(leftovers.iter().all(|it| !it.to_string_lossy().starts_with('.')), "{leftovers:?}");
}

#[test]
#[ignore = "needs `make engine`"]
fn a_first_start_on_a_full_disk_is_a_device_all_the_same() {
    let lab = Lab::enter();
    let app = App::new(1101, "c1", vec![Service::new("main", &lab.image("1"))]);
    let mut agent = Agent::new(&lab);
    let state = agent.path("state");
    small(&state);
    fill(&state);
    agent.want(&app.v3());
    agent.start();
    agent.arrives(&app);
    let uuid = agent.get("/agent/v1/state").json()["uuid"].clone();
    assert!(!state.join("identity.json").exists() && !state.join("keys.json").exists());
    fs::remove_file(state.join("filler")).unwrap();
    until(PATIENCE, "identity, keys and target are saved", || {
        ["identity.json", "keys.json", "targets.json"].iter().all(|it| state.join(it).exists())
    });
    agent.kill();
    agent.start();
    until(PATIENCE, "it answers again", || agent.answers());
    agent.settles();
    assert_eq!(agent.get("/agent/v1/state").json()["uuid"], uuid);
}
