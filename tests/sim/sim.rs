//! The whole agent in a simulated world, one life per seed.
//!
//! `make sim SEED=7` repeats one life and prints its trace. Lives by the thousand and by the million are in `lives.rs`:
//! `make lives`.

#![expect(clippy::unwrap_used, reason = "a test may fall over")]

mod clients;
mod cloud;
mod crash_loops;
mod depends;
mod hooks;
mod leases;
mod life;
mod lives;
mod locked;
mod named;
mod networks;
mod random_calls;
mod refused;
mod releases;
mod scenario;
mod services;
mod shutdown;
mod signed;
mod snapshots;
mod target_trials;
mod views;
mod waits;
mod windows;
#[expect(dead_code, reason = "the suites of the ports use more of it")]
mod world;

use life::live;
use world::Trace;

/// Lives in a plain test run: a look at whether lives end well at all.
const LIVES: u64 = 100;

#[test]
fn every_life_ends_well() {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let bad = std::sync::Mutex::new(Vec::new());
    let live_some = |first: usize| {
        for seed in (0..LIVES).skip(first).step_by(threads) {
            if let Some(violation) = live(seed, Trace::Off).violation {
                bad.lock().unwrap().push(format!("SEED={seed}: {violation}"));
            }
        }
    };
    std::thread::scope(|scope| (0..threads).for_each(|first| drop(scope.spawn(move || live_some(first)))));
    let bad = bad.into_inner().unwrap();
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}

/// Seeds whose lives went wrong once, at a moment that no other test meets.
#[test]
fn lives_that_went_wrong_once_go_well() {
    let seeds = [
        2677,    // An end that was announced came although the logind that had announced it was gone.
        12_806,  // A reboot that came to nothing gave its locks back between the plan that counted on them and its kill.
        31_437,  // A machine never ended, because its agent fell over while it was to.
        37_120,  // Locks were taken by force again and again: one was that of a service that was gone.
        259_091, // The agent knew nothing of an app that was to go and was locked, since no engine answered, and rebooted.
        117_282, // An image that a container of ours had just been made of was taken for a foreign one, and stayed for ever.
        773_810, // An image was deleted as the target before wanted it, while one was killed for it.
        970_435, // Something was started on what was about to be killed, while the release was on its way.
        41_532,  // The first key was waited for as long as the disk took to keep it, and that was held against the API.
    ];
    for seed in seeds {
        assert_eq!(live(seed, Trace::Off).violation, None, "SEED={seed}");
    }
}

#[test]
fn same_seed_same_life() {
    for seed in 0..20 {
        let (one, other) = (live(seed, Trace::On), live(seed, Trace::On));
        let differ = one.trace.lines().zip(other.trace.lines()).find(|(one, other)| one != other);
        assert_eq!(differ, None, "SEED={seed}");
        assert_eq!(one, other, "SEED={seed}");
        let silent = live(seed, Trace::Off);
        assert_eq!(
            (silent.tally, silent.polls, silent.violation),
            (one.tally, one.polls, one.violation),
            "SEED={seed}, not told"
        );
    }
}

/// Lives the life in `SEED` and prints it; without one, the first.
#[test]
fn one() {
    let seed = std::env::var("SEED").map_or(0, |text| text.parse().unwrap());
    let outcome = live(seed, Trace::On);
    if std::env::var_os("SEED").is_some() {
        eprintln!("{}", outcome.trace);
    }
    assert_eq!(outcome.violation, None, "SEED={seed}");
}
