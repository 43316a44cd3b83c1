//! What the agent costs in instructions, which do not depend on the machine's other load as times do.
//!
//! `callgrind` runs the binary and counts. The binary is stripped, so what a single action costs is a difference: of two whole
//! runs, one of which does it twice as often. The engine is the one in memory, because events of a real one arrive at other
//! moments each time, and the agent looks as often as they do.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::agent::{self, Agent, Build, PORT, wait_until};
use crate::budget::hold;
use crate::canned::Canned;
use crate::{Bench, MANY, proc, requests};

/// How often each is counted. The least counts: what comes on top is a second look at what changed during the first.
const ROUNDS: usize = 3;
/// An agent that sleeps as long as this has finished what an event or a request had it do.
pub(crate) const PAUSE: Duration = Duration::from_millis(300);
/// The same after its start, and after a release has arrived.
const SETTLING: Duration = Duration::from_millis(1500);
pub(crate) const APP: u32 = 50;
/// Has every `prctl` of a program fail. The kernel's answer to `PR_GET_AUXV` names its vDSO, which valgrind has unmapped;
/// rustix would read it, and without the answer takes what valgrind says in `/proc/self/auxv`.
const WITHOUT_PRCTL: [&str; 10] =
    ["-D", "-f", "--seccomp-bpf", "-qq", "-o", "/dev/null", "-e", "trace=prctl", "-e", "inject=prctl:error=EINVAL"];

/// The name of a row, and of its limit in the budget.
type Row = (&'static str, &'static str);

/// What an agent does that is counted, so many times.
pub(crate) type Script = fn(&Agent, &Canned, usize);

/// One app of this many services, or none.
fn target(services: u32) -> Value {
    agent::document(if services == 0 { 0 } else { APP }, services, "")
}

/// The instructions of a whole run: an agent with this many services that has settled does something so many times, and stops.
fn run(build: &Build, lab: &Path, engine: &Canned, services: u32, (script, times): (Script, usize)) -> u64 {
    let log = lab.join("callgrind.log");
    let mut command = Command::new("strace");
    command.args(WITHOUT_PRCTL).args(["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    command.arg(format!("--log-file={}", log.display())).arg(&build.path);
    let (made, document) = (engine.made(), target(services));
    let agent = Agent::start_by(command, engine.home.path(), &engine.socket, &document);
    proc::rests_for(agent.pid(), SETTLING);
    assert_eq!(engine.made(), made, "its services ran already");
    script(&agent, engine, times);
    agent.stops();
    let said = fs::read_to_string(log).unwrap();
    let count = said.lines().find_map(|it| it.split_once("Collected : ")).unwrap_or_else(|| panic!("{said}"));
    count.1.trim().parse().unwrap()
}

/// An engine whose containers an agent has made that looks after this many services, and that agent.
pub(crate) fn settled(build: &Build, services: u32, foreign: u32) -> (Canned, Agent) {
    let engine = Canned::start(foreign);
    let document = target(services);
    let agent = Agent::start_by(Command::new(&build.path), engine.home.path(), &engine.socket, &document);
    wait_until("all services run", || engine.running() == services);
    proc::rests_for(agent.pid(), SETTLING);
    (engine, agent)
}

/// The instructions of doing something once, from two runs that differ by so many times.
pub(crate) fn each(build: &Build, lab: &Path, engines: [&Canned; 2], services: u32, (script, times): (Script, usize)) -> u64 {
    let once = run(build, lab, engines[0], services, (script, times));
    let twice = run(build, lab, engines[1], services, (script, 2 * times));
    twice.checked_sub(once).expect("more actions take more instructions") / times as u64
}

pub(crate) fn look(agent: &Agent, engine: &Canned, times: usize) {
    let before = engine.looks();
    for _ in 0..times {
        let seen = engine.looks();
        engine.is_changed();
        wait_until("it looks", || engine.looks() > seen);
        proc::rests_for(agent.pid(), PAUSE);
    }
    assert_eq!(engine.looks() - before, times, "it looks once for each event");
}

fn ping(_: &Agent, _: &Canned, times: usize) {
    requests::load(PORT, "/ping", 1, times);
}

/// A release that replaces the only service.
fn converge(agent: &Agent, engine: &Canned, times: usize) {
    for it in 0..times {
        let text = format!("release {it} of {times}");
        agent.wants(&agent::document(APP, 1, &text));
        wait_until("the release runs", || engine.runs_with(&format!("TEXT={text}")));
        proc::rests_for(agent.pid(), SETTLING);
    }
}

/// The instructions of a start and a stop, and of what a device does most.
pub(crate) fn counting(bench: &mut Bench) {
    let nothing: Script = |_, _, _| ();
    for build in bench.builds.clone() {
        let lab = bench.lab.clone();
        let whole = || run(&build, &lab, &Canned::start(0), 0, (nothing, 0));
        bench.counted(&build, ("exec to ready and stopped", "instructions_of_a_start"), whole);
        let differences: [(Row, u32, Script, usize); 3] = [
            (("convergence of 1 service", "instructions_of_a_convergence"), 1, converge, 3),
            (("look at 10 services", "instructions_of_a_look"), MANY, look, 10),
            (("/ping", "instructions_of_ping"), 0, ping, 1000),
        ];
        for (row, services, script, times) in differences {
            let one = || {
                let engines = [(), ()].map(|()| {
                    let (engine, agent) = settled(&build, services, 0);
                    agent.stops();
                    engine
                });
                each(&build, &lab, engines.each_ref(), services, (script, times))
            };
            bench.counted(&build, row, one);
        }
    }
}

impl Bench {
    fn counted(&mut self, build: &Build, (name, limit): Row, count: impl Fn() -> u64) {
        let mut counts: Vec<_> = (0..ROUNDS).map(|_| count()).collect();
        counts.sort_unstable();
        let (least, middle, most) = (counts[0], counts[ROUNDS / 2], counts[ROUNDS - 1]);
        let more = |it: u64| format!("{}.{}%", (it - least) * 100 / least, (it - least) * 1000 / least % 10);
        let words = format!("{} instructions; the median {} more, the most {}", grouped(least), more(middle), more(most));
        self.row(&format!("{name}{}", build.name), &words);
        // A build that is compared may have other limits.
        if build.name.is_empty() {
            hold(limit, least);
        }
    }
}

/// With commas between thousands.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups = digits.as_bytes().rchunks(3).rev().map(|it| String::from_utf8_lossy(it).into_owned());
    groups.collect::<Vec<_>>().join(",")
}
