//! The time from a target to its services running, beside a client that makes the same calls to the engine without any logic.
//!
//! Both are timed by the engine's own events, and which of them begins changes from round to round. The ratio is the median of
//! the rounds' own, with the interval that holds the true one in 19 of 20 runs: an engine's own time varies by a fifth.

use std::path::Path;
use std::time::Duration;

use crate::agent::{self, Agent, Build};
use crate::{Bench, FOREIGN, MANY, SETTLING, bare, median, millis, proc, ratio};

/// How often each number of services is brought up. Few take less time, and their ratio is less sure.
const ROUNDS_OF: [(u32, usize); 4] = [(1, 31), (5, 21), (MANY, 15), (50, 7)];
/// How often one service of ten is replaced.
const ROUNDS_OF_REPLACING: usize = 21;
/// How often a service is brought up on the crowded engine.
const ROUNDS_OF_CROWDED: usize = 21;

/// From a target to all services running.
pub(crate) fn bringing_up(bench: &mut Bench) {
    for (services, rounds) in ROUNDS_OF {
        bench.beside_bare(
            (&format!("target to {services} running"), rounds),
            |build, lab, app| {
                let agent = Agent::start(build, lab, &agent::document(0, 0, ""));
                agent.brings_up(&agent::document(app, services, ""), services)
            },
            |lab| bare::bring_up(&agent::socket(lab), services),
        );
    }
}

/// From a target in which one service of ten differs to the new one running.
pub(crate) fn replacing(bench: &mut Bench) {
    bench.beside_bare(
        (&format!("one of {MANY} replaced"), ROUNDS_OF_REPLACING),
        |build, lab, app| {
            let agent = Agent::start(build, lab, &agent::document(app, MANY, "before"));
            agent.runs(MANY);
            Agent::has_settled();
            agent.brings_up(&agent::document(app, MANY, "after"), 1)
        },
        |lab| {
            bare::bring_up(&agent::socket(lab), MANY);
            agent::rest();
            bare::replace_one(&agent::socket(lab))
        },
    );
}

/// What containers of other programs cost.
pub(crate) fn crowded(bench: &mut Bench) {
    agent::wipe(&bench.lab);
    bare::crowd(&agent::socket(&bench.lab), FOREIGN);
    for build in bench.builds.clone() {
        let agent = Agent::start(&build, &bench.lab, &agent::document(0, 0, ""));
        std::thread::sleep(SETTLING);
        let memory = proc::memory(agent.pid());
        bench.row(
            &format!("memory beside {FOREIGN} foreign containers{}", build.name),
            &format!("{} KiB RSS, {} KiB PSS, {} KiB at most", memory.rss, memory.pss, memory.peak),
        );
    }
    bench.beside_bare(
        (&format!("target to 1 running beside {FOREIGN} foreign"), ROUNDS_OF_CROWDED),
        |build, lab, app| {
            let agent = Agent::start(build, lab, &agent::document(0, 0, ""));
            Agent::has_settled();
            agent.brings_up(&agent::document(app, 1, ""), 1)
        },
        |lab| {
            agent::rest();
            bare::bring_up(&agent::socket(lab), 1)
        },
    );
    agent::wipe_crowd(&bench.lab);
}

impl Bench {
    /// Measures each build and the bare client in turn, each from an engine without containers of the bench.
    fn beside_bare(
        &mut self,
        (name, rounds): (&str, usize),
        measure: impl Fn(&Build, &Path, u32) -> Duration,
        without_logic: impl Fn(&Path) -> Duration,
    ) {
        let (mut ours, mut bare) = (vec![Vec::new(); self.builds.len()], Vec::new());
        for round in 0..rounds {
            let app = 10 + u32::try_from(round).unwrap();
            let mut measure_bare = || {
                agent::wipe(&self.lab);
                bare.push(without_logic(&self.lab));
            };
            if round % 2 == 1 {
                measure_bare();
            }
            for (build, times) in self.builds.iter().zip(&mut ours) {
                agent::wipe(&self.lab);
                times.push(measure(build, &self.lab, app));
            }
            if round % 2 == 0 {
                measure_bare();
            }
        }
        agent::wipe(&self.lab);
        for (build, times) in self.builds.clone().into_iter().zip(ours) {
            let ratio = ratio(&times, &bare);
            let value =
                format!("{}; bare client {}; {ratio} times as long", millis(median(times)), millis(median(bare.clone())));
            self.row(&format!("{name}{}", build.name), &value);
        }
    }
}
