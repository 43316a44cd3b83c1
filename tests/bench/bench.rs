//! What the agent costs, measured against the unavoidable minimum, and against another build of it.
//!
//! Run by `make bench`, which brings up a lab (see `tests/lab/inside.sh`); `make bench ONLY="gating copying"` takes some of the
//! figures. They are printed, and kept in `target/bench.txt`. They vary with the machine's other load: compare only within one
//! run. With `COMPARE_AGENT`, the path of another build, both are measured in turn, round by round.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a measurement may fall over")]
#![expect(clippy::print_stdout, reason = "it is for people to read")]

mod agent;
mod answering;
mod bare;
mod bare_server;
mod beside_bare;
#[path = "../lab/budget.rs"]
mod budget;
mod canned;
mod counting;
mod gate;
mod growing;
mod proc;
mod requests;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use agent::{Agent, Build};
use budget::hold;

/// The number of services on the large device.
const MANY: u32 = 10;
/// How often each duration is measured; the median counts.
const ROUNDS: usize = 5;
/// As many connections at once as the agent accepts.
const BURST: usize = 256;
/// How long an agent may take to become idle.
const SETTLING: Duration = Duration::from_secs(20);
/// How long an idle agent is measured.
const IDLE: Duration = Duration::from_secs(60);
/// Containers of other programs on the crowded engine.
const FOREIGN: u32 = 1000;

/// Takes figures, and adds their rows.
type Measurement = fn(&mut Bench);

fn main() {
    if bare_server::is_wanted() {
        return bare_server::serve();
    }
    let lab = std::env::var("BOARDKEEPER_LAB").expect("the figures are taken by `make bench`");
    let lab = Path::new(&lab);
    agent::start_engine(lab);
    let mut bench = Bench { lab: lab.to_owned(), builds: builds(), text: String::new() };
    bench.machine();
    bench.binaries();
    let only = std::env::var("ONLY").unwrap_or_default();
    // Counts first: they include what the agent reads of networks and mounts, which later measurements leave behind.
    let all: [(&str, Measurement); 11] = [
        ("counting", counting::counting),
        ("growing", growing::growing),
        ("starting", Bench::starting),
        ("resting", Bench::resting),
        ("answering", answering::answering),
        ("bursting", Bench::bursting),
        ("bringing_up", beside_bare::bringing_up),
        ("replacing", beside_bare::replacing),
        ("crowded", beside_bare::crowded),
        ("gating", gate::gating),
        ("copying", gate::copying),
    ];
    for (_, take) in all.into_iter().filter(|(name, _)| only.is_empty() || only.split(' ').any(|it| it == *name)) {
        take(&mut bench);
    }
    fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench.txt"), &bench.text).unwrap();
    println!("{}", bench.text);
    agent::stop_engine(lab);
}

/// The builds that are measured in turn: this one, and the one to compare it with.
fn builds() -> Vec<Build> {
    let this = Build { name: String::new(), path: PathBuf::from(env!("CARGO_BIN_EXE_boardkeeper")) };
    let other = std::env::var("COMPARE_AGENT").ok().filter(|it| !it.is_empty());
    let name = std::env::var("COMPARE").unwrap_or_default();
    [Some(this), other.map(|path| Build { name: format!(" [{name}]"), path: path.into() })].into_iter().flatten().collect()
}

/// The measurements, and their figures so far.
struct Bench {
    lab: PathBuf,
    builds: Vec<Build>,
    text: String,
}

impl Bench {
    fn row(&mut self, name: &str, value: &str) {
        println!("{name}: {value}");
        writeln!(self.text, "{name:<44} {value}").unwrap();
    }

    /// What the figures were taken on.
    fn machine(&mut self) {
        let cpus = std::thread::available_parallelism().unwrap();
        self.row("machine", &format!("{} x {cpus}, Linux {}", std::env::consts::ARCH, proc::kernel()));
        self.row("load before", &proc::load());
        let engine = agent::engine_version(&self.lab);
        self.row("engine", &engine);
    }

    fn binaries(&mut self) {
        for build in self.builds.clone() {
            self.row(&format!("binary{}", build.name), &format!("{} bytes", fs::metadata(&build.path).unwrap().len()));
        }
    }

    /// Takes durations of each build in turn, and gives the median of each.
    fn in_turn(&self, measure: impl Fn(&Build, usize) -> Duration) -> Vec<(Build, Duration)> {
        let mut times = vec![Vec::new(); self.builds.len()];
        for round in 0..ROUNDS {
            for (build, times) in self.builds.iter().zip(&mut times) {
                times.push(measure(build, round));
            }
        }
        self.builds.iter().cloned().zip(times.into_iter().map(median)).collect()
    }

    /// The time from exec to the first response, with no service to manage.
    fn starting(&mut self) {
        let took = self.in_turn(|build, _| Agent::start(build, &self.lab, &agent::document(0, 0, "")).answered);
        for (build, took) in took {
            self.row(&format!("exec to /ping{}", build.name), &millis(took));
        }
    }

    /// Memory, writes and wake-ups of an agent with nothing to do.
    fn resting(&mut self) {
        for build in self.builds.clone() {
            for services in [0, MANY] {
                let agent = Agent::start(&build, &self.lab, &agent::document(1, services, ""));
                agent.runs(services);
                // It saves that it has reached the target, and idle threads end after ten seconds.
                std::thread::sleep(SETTLING);
                let before = (proc::wake_ups(agent.pid()), proc::written(agent.pid()));
                let files = agent.state_files();
                std::thread::sleep(IDLE);
                let woken = proc::wake_ups(agent.pid()).saturating_sub(before.0);
                let memory = proc::memory(agent.pid());
                self.row(
                    &format!("memory with {services} services{}", build.name),
                    &format!("{} KiB RSS, {} KiB PSS, {} KiB at most", memory.rss, memory.pss, memory.peak),
                );
                self.row(
                    &format!("an idle minute with {services} services{}", build.name),
                    &format!(
                        "{woken} wake-ups, {} bytes written, state files {}",
                        proc::written(agent.pid()) - before.1,
                        if agent.state_files() == files { "untouched" } else { "CHANGED" },
                    ),
                );
                hold("wake_ups_of_an_idle_minute", woken);
            }
        }
    }

    /// Memory that stays in use after bursts of requests, while their connections are open and after they were closed.
    fn bursting(&mut self) {
        for build in self.builds.clone() {
            let agent = Agent::start(&build, &self.lab, &agent::document(3, 0, ""));
            // Loads the code into memory.
            requests::load(agent::PORT, "/ping", 1, 100);
            std::thread::sleep(SETTLING);
            let before = proc::memory(agent.pid()).pss;
            let more = || proc::memory(agent.pid()).pss.saturating_sub(before);
            let mut open = 0;
            for _ in 0..ROUNDS {
                let connections = requests::burst(agent::PORT, "/ping", BURST, 20);
                open = more();
                drop(connections);
                std::thread::sleep(Duration::from_secs(2));
            }
            let closed = more();
            std::thread::sleep(Duration::from_secs(15));
            let later = more();
            self.row(
                &format!("memory after {ROUNDS} bursts of {BURST}{}", build.name),
                &format!("{open} KiB PSS more with the connections open, {closed} KiB once closed, {later} KiB after 15 s"),
            );
            // 3 KiB of the heap for each connection, and what the allocator cannot return to the kernel.
            hold("kib_kept_after_bursts", closed);
        }
    }
}

/// The median of the rounds' own ratios, and the interval of it.
fn ratio(ours: &[Duration], bare: &[Duration]) -> String {
    let of_round = |(ours, bare): (&Duration, &Duration)| 100 * ours.as_nanos() / bare.as_nanos().max(1);
    let mut ratios: Vec<_> = ours.iter().zip(bare).map(of_round).collect();
    ratios.sort_unstable();
    // Of n values n/2 are below their true median, give or take √n in 19 of 20 runs: twice the standard deviation.
    let beyond = (ratios.len() / 2).saturating_sub(ratios.len().isqrt() + 1);
    let [middle, from, to] = [ratios.len() / 2, beyond, ratios.len() - 1 - beyond].map(|it| ratios[it]);
    let number = |it: u128| format!("{}.{:02}", it / 100, it % 100);
    format!("{} ({} to {})", number(middle), number(from), number(to))
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn millis(time: Duration) -> String {
    format!("{}.{} ms", time.as_millis(), time.as_micros() % 1000 / 100)
}
