//! A hundred days of releases, restarts and identifies, one after another without the time between.
//!
//! Time is compressed by leaving it out: what a device does in a day is a handful of events and some hundreds of observations
//! of the engine, and an observation is the same whether three minutes or none went by before it. So the real binary and a
//! real engine get the events of a hundred days in a row, with as many observations as an hour has. A faster clock was not
//! chosen: the engine, the kernel and the containers' own timeouts would not follow it. The observations of a hundred idle
//! days are made in `tests/shutdown`, whose clock jumps. `DAYS=n` sets the number; every test run simulates a few, which
//! measures files, threads and bytes, but of memory only that it does not run away: what a hundred days add to the heap is
//! counted to the byte in `tests/heap`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::json;

use crate::agent::{Agent, PATIENCE};
use crate::budget::hold;
use crate::lab::{Lab, pause, run, until};
use crate::target::{App, Service};

/// Days in a plain run.
const DAYS: usize = 6;
/// The growth that is allowed after the first third of the days, in KiB.
const FLAT_KIB: u64 = 64;
/// The same of fewer days than [`WARM_DAYS`]: all of them are warm-up, and only gross growth can be found.
const WARMING_KIB: u64 = 512;
/// Days after which whatever is made once has been made, and every page of the program that is used has been touched.
const WARM_DAYS: usize = 30;

/// What the kernel counts for a process at rest.
#[derive(Debug, Clone, Copy)]
struct Count {
    rss_kib: u64,
    /// Of these, what is no file's: the heap and the stacks.
    anonymous_kib: u64,
    files: usize,
    threads: usize,
}

fn count(pid: u32) -> Count {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let kib = |name: &str| {
        let rest = rollup.lines().find_map(|it| it.strip_prefix(name)).unwrap();
        rest.split_whitespace().next().unwrap().parse().unwrap()
    };
    let entries = |dir: &str| fs::read_dir(format!("/proc/{pid}/{dir}")).unwrap().count();
    Count { rss_kib: kib("Rss:"), anonymous_kib: kib("Anonymous:"), files: entries("fd"), threads: entries("task") }
}

fn release(lab: &Lab, day: usize) -> App {
    let image = lab.image(if day.is_multiple_of(2) { "1" } else { "2" });
    App::new(1300, &format!("day{day}"), vec![Service::new("main", &image).env("DAY", &format!("{day:04}"))])
}

#[test]
#[ignore = "needs `make engine`"]
fn a_hundred_days_cost_no_memory() {
    let lab = Lab::enter();
    let days = std::env::var("DAYS").map_or(DAYS, |text| text.parse().unwrap());
    let mut agent = Agent::with(&lab, &release(&lab, 0));
    let mut counts = Vec::new();
    for day in 1..=days {
        agent.want(&release(&lab, day).v3());
        agent.arrives(&release(&lab, day));
        assert_eq!(agent.ask("POST", "/v1/restart", &json!({"appId": 1300})).status, 200);
        assert_eq!(agent.ask("POST", "/v1/blink", &json!({})).status, 200);
        for _ in 0..20 {
            assert_eq!(agent.ask("POST", "/v1/update", &json!({})).status, 204);
            assert_eq!(agent.get("/v1/device").status, 200);
            assert_eq!(agent.get("/agent/v1/state").status, 200);
        }
        agent.settles();
        pause(300);
        counts.push(count(agent.pid()));
        // The board loses its power once, early: all other days are one life.
        if day == 1 {
            agent.kill();
            agent.start();
            agent.arrives(&release(&lab, day));
            counts.clear();
        }
    }
    let settled = &counts[counts.len() / 3..];
    let range = |of: &dyn Fn(&Count) -> u64| (settled.iter().map(of).min().unwrap(), settled.iter().map(of).max().unwrap());
    let mean = |counts: &[Count]| counts.iter().map(|it| it.rss_kib).sum::<u64>() / u64::try_from(counts.len()).unwrap();
    let (rss, files) = (range(&|it| it.rss_kib), range(&|it| it.files as u64));
    let threads = range(&|it| it.threads as u64);
    let (first, last) = (mean(&settled[..settled.len().div_ceil(2)]), mean(&settled[settled.len() / 2..]));
    let every: Vec<_> = counts.iter().step_by(days.div_ceil(10)).map(|it| (it.rss_kib, it.anonymous_kib)).collect();
    eprintln!("memory in KiB through the days, and of it what is no file's: {every:?}");
    eprintln!(
        "figure: {days} days, memory {} to {} KiB, first half {first}, second half {last}; {} to {} files, {} to {} threads",
        rss.0, rss.1, files.0, files.1, threads.0, threads.1
    );
    let allowed = if days < WARM_DAYS { WARMING_KIB } else { FLAT_KIB };
    assert!(last <= first + allowed, "memory grows: {counts:?}");
    assert!(files.1 <= files.0 + 4 && threads.1 <= 8, "{counts:?}");
}

/// Notes what a process does to files, until it is dropped.
struct Watch(Child);

impl Watch {
    fn begin(pid: u32, log: &Path) -> Self {
        let mut strace = Command::new("strace");
        strace.args(["-f", "-y", "-e", "trace=fsync,fdatasync,write,pwrite64,writev", "-p", &pid.to_string(), "-o"]).arg(log);
        let child = strace.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        until(10, "it is watched", || {
            fs::read_to_string(format!("/proc/{pid}/status")).unwrap().contains(&format!("TracerPid:\t{}", child.id()))
        });
        Self(child)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        run(Command::new("kill").args(["-INT", &self.0.id().to_string()]));
        self.0.wait().unwrap();
    }
}

/// Syncs, and bytes written to each file below a directory, of what was noted.
fn written(log: &Path, dir: &Path) -> (usize, BTreeMap<String, u64>) {
    let (mut syncs, mut bytes) = (0, BTreeMap::new());
    let dir = dir.to_str().unwrap();
    for line in fs::read_to_string(log).unwrap().lines() {
        let Some((_, rest)) = line.split_once('<') else { continue };
        let Some((path, rest)) = rest.split_once('>') else { continue };
        let Some(name) = path.strip_prefix(dir) else { continue };
        if line.contains("sync(") {
            syncs += 1;
        } else if let Some(count) = rest.rsplit("= ").next().and_then(|it| it.trim().parse::<u64>().ok()) {
            *bytes.entry(name.trim_start_matches('/').to_owned()).or_default() += count;
        }
    }
    (syncs, bytes)
}

#[test]
#[ignore = "needs `make engine`"]
fn a_release_costs_two_syncs_and_idling_costs_none() {
    let lab = Lab::enter();
    let agent = Agent::with(&lab, &release(&lab, 0));
    let (state, log) = (agent.path("state"), agent.path("strace"));
    let image = lab.remote("soak", 1);
    for (what, wanted) in
        [("image here", release(&lab, 1)), ("pulled", App::new(1300, "p", vec![Service::new("main", &image)]))]
    {
        let watch = Watch::begin(agent.pid(), &log);
        agent.want(&wanted.v3());
        agent.arrives(&wanted);
        pause(1000);
        drop(watch);
        let (syncs, bytes) = written(&log, &state);
        eprintln!("figure: a release ({what}): {syncs} syncs, bytes {bytes:?}");
        assert!(syncs > 0, "{}", fs::read_to_string(&log).unwrap());
        hold("syncs_of_a_release", syncs as u64);
        hold("bytes_written_of_a_release", bytes.values().sum());
    }
    let watch = Watch::begin(agent.pid(), &log);
    pause(10_000);
    assert_eq!(agent.ask("POST", "/v1/update", &json!({})).status, 204);
    assert_eq!(agent.ask("POST", "/v1/blink", &json!({})).status, 200);
    until(PATIENCE, "it has nothing to do", || agent.is_settled());
    pause(1000);
    drop(watch);
    let (syncs, bytes) = written(&log, &state);
    eprintln!("figure: 11 s, an update that changed nothing and an identify: {syncs} syncs, bytes {bytes:?}");
    hold("syncs_at_rest", syncs as u64);
    hold("files_written_at_rest", bytes.len() as u64);
}
