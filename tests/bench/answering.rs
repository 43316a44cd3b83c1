//! What the agent's answers cost.

use std::time::Duration;

use crate::agent::{self, Agent};
use crate::bare_server::{self, BareServer};
use crate::{BURST, Bench, MANY, ROUNDS, median, proc, ratio, requests};

/// Requests per second, the slowest hundredth of them, and the processor time of each; those of `/ping` beside a server of
/// the same libraries without any logic.
pub(crate) fn answering(bench: &mut Bench) {
    let bare = BareServer::start();
    for build in bench.builds.clone() {
        let agent = Agent::start(&build, &bench.lab, &agent::document(2, MANY, ""));
        agent.runs(MANY);
        for connections in [1, 16, BURST] {
            let (mut ours, mut least) = (Loads::default(), Loads::default());
            for _ in 0..ROUNDS {
                ours.take(agent.pid(), agent::PORT, "/ping", connections);
                least.take(bare.pid(), bare_server::PORT, "/ping", connections);
            }
            bench.row(&format!("/ping, {connections} at a time{}", build.name), &ours.beside(&least));
            bench.row("  a bare server", &least.summary());
            let mut device = Loads::default();
            device.take(agent.pid(), agent::PORT, "/v1/device", connections);
            bench.row(&format!("/v1/device, {connections} at a time{}", build.name), &device.summary());
        }
    }
}

/// The same load several times.
#[derive(Default)]
struct Loads {
    /// The time that each took.
    took: Vec<Duration>,
    p50: Vec<Duration>,
    p99: Vec<Duration>,
    slowest: Duration,
    /// The server's processor time for one request.
    processor: Vec<Duration>,
    requests: u32,
}

impl Loads {
    /// Puts a load on a server.
    fn take(&mut self, pid: u32, port: u16, path: &str, connections: usize) {
        let each = (20_000 / connections).max(200);
        self.requests = u32::try_from(connections * each).unwrap();
        let before = proc::processor_time(pid);
        let load = requests::load(port, path, connections, each);
        self.processor.push(proc::processor_time(pid).saturating_sub(before) / self.requests);
        self.took.push(load.took);
        self.p50.push(load.p50);
        self.p99.push(load.p99);
        self.slowest = self.slowest.max(load.slowest);
    }

    fn summary(&self) -> String {
        let [took, p50, p99, processor] = [&self.took, &self.p50, &self.p99, &self.processor].map(|it| median(it.clone()));
        format!(
            "{} per second, p50 {} µs, p99 {} µs, slowest {} µs; processor {} µs each",
            u128::from(self.requests) * 1_000_000 / took.as_micros(),
            p50.as_micros(),
            p99.as_micros(),
            self.slowest.as_micros(),
            processor.as_micros(),
        )
    }

    fn beside(&self, bare: &Self) -> String {
        let [took, p99, processor] =
            [(&self.took, &bare.took), (&self.p99, &bare.p99), (&self.processor, &bare.processor)].map(|(a, b)| ratio(a, b));
        format!("{}; of a bare server's: time {took}, p99 {p99}, processor {processor}", self.summary())
    }
}
