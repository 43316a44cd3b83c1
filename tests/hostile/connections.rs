//! Clients that open more connections than they need.

use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::agent::{Agent, shown};

/// Connections that are held at once in a plain test run.
const HELD: usize = 1000;
/// Descriptors a test needs for itself.
const OWN: usize = 200;
/// Pings whose slowest hundredth counts.
const PINGS: usize = 300;
/// The longest an honest client may wait, on a machine that does other things too.
const SOON: Duration = Duration::from_secs(2);

const ATTACKER: [u8; 4] = [127, 0, 0, 2];
const NEIGHBOUR: [u8; 4] = [127, 0, 0, 3];

/// How many connections are to be held, and how many this process may have open at once.
fn wanted() -> (usize, usize) {
    let held = std::env::var("HELD").map_or(HELD, |text| text.parse().unwrap());
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.map_or(usize::MAX, |it| usize::try_from(it).unwrap());
    let needed = (held + OWN).min(most);
    if limit.current.is_some_and(|it| usize::try_from(it).unwrap() < needed) {
        setrlimit(Resource::Nofile, Rlimit { current: Some(u64::try_from(needed).unwrap()), maximum: limit.maximum }).unwrap();
    }
    (held, most.saturating_sub(OWN))
}

fn percentiles(mut took: Vec<Duration>) -> (Duration, Duration) {
    took.sort();
    (took[took.len() / 2], took[took.len() * 99 / 100])
}

fn pings(agent: &Agent, from: [u8; 4]) -> (Duration, Duration) {
    percentiles((0..PINGS).map(|_| agent.ping(from)).collect())
}

#[test]
fn an_app_that_opens_ten_thousand_connections_slows_no_other_client() {
    let agent = Agent::start();
    let (held, at_once) = wanted();
    let (calm, _) = pings(&agent, NEIGHBOUR);
    let before_kib = agent.memory_kib();
    let mut open: Vec<TcpStream> = Vec::new();
    for _ in 0..held {
        if open.len() >= at_once {
            // This process may have no more: the oldest go, as they did at the agent's end long ago.
            open.drain(..at_once / 2);
        }
        open.push(agent.connect(ATTACKER));
    }
    for from in [NEIGHBOUR, ATTACKER] {
        let (middle, slowest) = pings(&agent, from);
        eprintln!(
            "figure: {held} connections of {} held ({} at once); /ping of {}: p50 {middle:?} p99 {slowest:?}, without them {calm:?}",
            shown(ATTACKER),
            open.len(),
            shown(from),
        );
        assert!(slowest < SOON, "{slowest:?}");
    }
    let grown = agent.memory_kib().saturating_sub(before_kib);
    eprintln!("figure: the agent has {} descriptors and grew by {grown} KiB", agent.descriptors());
    assert!(agent.descriptors() < 350 && grown < 16 * 1024, "{} descriptors, {grown} KiB", agent.descriptors());
}

#[test]
fn an_app_that_connects_without_end_slows_no_other_client() {
    let agent = Agent::start();
    let (stop, made) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut open = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    open.push(agent.connect(ATTACKER));
                    made.fetch_add(1, Ordering::Relaxed);
                    if open.len() >= 100 {
                        open.clear();
                    }
                }
            });
        }
        let (middle, slowest) = pings(&agent, NEIGHBOUR);
        stop.store(true, Ordering::Relaxed);
        let made = made.load(Ordering::Relaxed);
        eprintln!("figure: while {made} connections came and went: /ping p50 {middle:?} p99 {slowest:?}");
        assert!(slowest < SOON, "{slowest:?}");
    });
}
