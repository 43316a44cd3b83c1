//! How the agent's cost grows with the services that it looks after, and with the containers of other programs.

use std::thread::sleep;

use serde_json::json;

use crate::agent::{self, Agent, PORT};
use crate::budget::hold;
use crate::canned::Canned;
use crate::counting::{APP, PAUSE, Script, each, grouped, look, settled};
use crate::{Bench, FOREIGN, MANY, SETTLING, proc, requests};

/// Services, and containers of other programs.
const SIZES: [(u32, u32); 6] = [(1, 0), (MANY, 0), (50, 0), (100, 0), (MOST, 0), (MANY, FOREIGN)];
/// The most services that are counted.
const MOST: u32 = 200;
/// How often each action is counted beyond as many others.
const TIMES: usize = 4;

/// A target that is read, planned and saved, and changes no service.
fn unchanged_target(agent: &Agent, engine: &Canned, times: usize) {
    let (services, made) = (engine.running(), engine.made());
    for it in 0..times {
        let mut document = agent::document(APP, services, "");
        document["device"]["config"] = json!({"BENCH": format!("{it} of {times}")});
        agent.wants(&document);
        proc::rests_for(agent.pid(), PAUSE);
    }
    assert_eq!((engine.running(), engine.made()), (services, made), "the containers stay");
}

/// Memory, what is on the disk, the state's size, and the instructions of a look and of a target.
pub(crate) fn growing(bench: &mut Bench) {
    for build in bench.builds.clone() {
        let (mut of_one, mut of_most) = (None, None);
        for (services, foreign) in SIZES {
            let (lab, (engine, agent)) = (bench.lab.clone(), settled(&build, services, foreign));
            sleep(SETTLING);
            let memory = proc::memory(agent.pid());
            of_one.get_or_insert(memory.rss);
            if services == MOST {
                of_most = Some(memory.rss);
            }
            let state = requests::text(PORT, "/agent/v1/state").len();
            let files: u64 = agent.state_files().iter().map(|(_, bytes, _)| bytes).sum();
            agent.stops();
            // The next agents find the containers that this one made.
            let [look, unchanged] =
                [look as Script, unchanged_target].map(|it| each(&build, &lab, [&engine; 2], services, (it, TIMES)));
            let beside = if foreign == 0 { String::new() } else { format!(" beside {foreign} foreign") };
            bench.row(
                &format!("{services} services{beside}{}", build.name),
                &format!(
                    "look {} instructions, unchanged target {}; {} KiB RSS, {} KiB PSS, {} KiB at most; state {state} bytes, files {files}",
                    grouped(look),
                    grouped(unchanged),
                    memory.rss,
                    memory.pss,
                    memory.peak,
                ),
            );
        }
        // A build that is compared may have other limits.
        if let (Some(one), Some(most), true) = (of_one, of_most, build.name.is_empty()) {
            hold("kib_of_a_service", most.saturating_sub(one) / u64::from(MOST - 1));
        }
    }
}
