//! What the agent costs, measured against the unavoidable minimum.
//!
//! Run by `make bench`, which brings up a lab (see `tests/lab/inside.sh`). The figures are printed, and kept in
//! `target/bench.txt`. They vary with the machine's other load: compare only within one run.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a measurement may fall over")]
#![expect(clippy::print_stdout, reason = "it is for people to read")]

mod agent;
mod bare;
mod proc;
mod requests;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

use agent::Agent;

/// The number of services on the large device.
const MANY: u32 = 10;
/// How often each duration is measured; the median counts.
const ROUNDS: usize = 5;
/// As many connections at once as the agent accepts.
const BURST: usize = 256;
/// KiB of memory that may stay in use after bursts: 3 of the heap for each connection, and what the allocator cannot return to
/// the kernel.
const KEPT_KIB: u64 = 1536;
/// How long an agent may take to become idle.
const SETTLING: Duration = Duration::from_secs(20);
/// How long an idle agent is measured.
const IDLE: Duration = Duration::from_secs(60);

fn main() {
    let lab = std::env::var("BOARDKEEPER_LAB").expect("the figures are taken by `make bench`");
    let lab = Path::new(&lab);
    agent::start_engine(lab);
    let mut table = Table::default();
    table.row("binary", &format!("{} bytes", fs::metadata(agent::BINARY).unwrap().len()));
    starting(lab, &mut table);
    resting(lab, &mut table);
    answering(lab, &mut table);
    bursting(lab, &mut table);
    bringing_up(lab, &mut table);
    println!("{}", table.text);
    fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench.txt"), &table.text).unwrap();
    agent::stop_engine(lab);
}

/// The time from exec to the first response, with no service to manage.
fn starting(lab: &Path, table: &mut Table) {
    let took = median((0..ROUNDS).map(|_| Agent::start(lab, &agent::document(0, 0)).answered).collect());
    table.row("exec to /ping", &millis(took));
}

/// Memory, writes and wake-ups of an agent with nothing to do.
fn resting(lab: &Path, table: &mut Table) {
    for services in [0, MANY] {
        let agent = Agent::start(lab, &agent::document(1, services));
        agent.runs(services);
        // It saves that it has reached the target, and idle threads end after ten seconds.
        std::thread::sleep(SETTLING);
        let before = (proc::wake_ups(agent.pid()), proc::written(agent.pid()));
        let files = agent.state_files();
        std::thread::sleep(IDLE);
        let memory = proc::memory(agent.pid());
        table.row(
            &format!("memory with {services} services"),
            &format!("{} KiB RSS, {} KiB PSS, {} KiB at most", memory.rss, memory.pss, memory.peak),
        );
        table.row(
            &format!("an idle minute with {services} services"),
            &format!(
                "{} wake-ups, {} bytes written, state files {}",
                proc::wake_ups(agent.pid()).saturating_sub(before.0),
                proc::written(agent.pid()) - before.1,
                if agent.state_files() == files { "untouched" } else { "CHANGED" },
            ),
        );
    }
}

/// Requests per second, and the slowest hundredth of them.
fn answering(lab: &Path, table: &mut Table) {
    let agent = Agent::start(lab, &agent::document(2, MANY));
    agent.runs(MANY);
    for path in ["/ping", "/v1/device"] {
        for connections in [1, 16, BURST] {
            let load = requests::load(agent::PORT, path, connections, (20_000 / connections).max(200));
            table.row(
                &format!("{path}, {connections} at a time"),
                &format!(
                    "{} per second, p50 {} µs, p99 {} µs: {} times p50; slowest {} µs",
                    load.per_second,
                    load.p50.as_micros(),
                    load.p99.as_micros(),
                    load.p99.as_micros() / load.p50.as_micros().max(1),
                    load.slowest.as_micros(),
                ),
            );
        }
    }
}

/// Memory that stays in use after bursts of requests, while their connections are open and after they were closed.
fn bursting(lab: &Path, table: &mut Table) {
    let agent = Agent::start(lab, &agent::document(3, 0));
    // Loads the code into memory.
    requests::load(agent::PORT, "/ping", 1, 100);
    std::thread::sleep(SETTLING);
    let before = proc::memory(agent.pid()).pss;
    let more = || proc::memory(agent.pid()).pss.saturating_sub(before);
    let (mut open, mut closed) = (0, 0);
    for _ in 0..ROUNDS {
        let connections = requests::burst(agent::PORT, "/ping", BURST, 20);
        open = more();
        drop(connections);
        std::thread::sleep(Duration::from_secs(2));
        closed = more();
    }
    table.row(
        &format!("memory after {ROUNDS} bursts of {BURST}"),
        &format!("{open} KiB PSS more with the connections open, {closed} KiB once closed"),
    );
    assert!(closed < KEPT_KIB, "{closed} KiB of memory stay taken after bursts, more than {KEPT_KIB}");
}

/// The time from a target to all services running, compared with a client that makes the same calls to the engine without any
/// logic.
fn bringing_up(lab: &Path, table: &mut Table) {
    for services in [1, 5, MANY] {
        let (mut ours, mut bare) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            agent::wipe(lab);
            let app = 10 + u32::try_from(round).unwrap();
            let agent = Agent::start(lab, &agent::document(0, 0));
            ours.push(agent.brings_up(&agent::document(app, services), services));
            drop(agent);
            agent::wipe(lab);
            bare.push(bare::bring_up(&agent::socket(lab), services));
        }
        let (ours, bare) = (median(ours), median(bare));
        let ratio = 100 * ours.as_micros() / bare.as_micros().max(1);
        table.row(
            &format!("target to {services} running"),
            &format!("{}; bare client {}; {}.{:02} times as long", millis(ours), millis(bare), ratio / 100, ratio % 100),
        );
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn millis(time: Duration) -> String {
    format!("{}.{} ms", time.as_millis(), time.as_micros() % 1000 / 100)
}

#[derive(Default)]
struct Table {
    text: String,
}

impl Table {
    fn row(&mut self, name: &str, value: &str) {
        println!("{name}: {value}");
        writeln!(self.text, "{name:<40} {value}").unwrap();
    }
}
