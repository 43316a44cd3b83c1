//! The whole agent in a simulated world, one life per seed.
//!
//! `SEED=7 cargo test --test sim one -- --nocapture` lives one life again and prints its trace. `LIVES=100000 FROM=5000` lives
//! more of them.

#![expect(clippy::unwrap_used, reason = "a test may fall over")]

mod life;
mod named;
mod people;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use life::{Story, live};

/// Lives in a plain test run.
const LIVES: u64 = 2000;

#[test]
fn every_life_ends_well() {
    let (from, lives) = (number("FROM", 0), number("LIVES", LIVES));
    let next = AtomicU64::new(from);
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from + lives {
                        break;
                    }
                    // The others need not go on.
                    if let Err(why) = judged(seed) {
                        next.store(u64::MAX / 2, Ordering::Relaxed);
                        assert!(why.is_empty(), "{why}");
                    }
                }
            });
        }
    });
}

#[test]
fn same_seed_same_life() {
    for seed in 0..20 {
        let (one, other) = (live(seed), live(seed));
        let differ = one.trace.lines().zip(other.trace.lines()).find(|(one, other)| one != other);
        assert_eq!(differ, None, "SEED={seed}");
        assert_eq!(one, other, "SEED={seed}");
    }
}

/// Lives the life in `SEED` and prints it; without one, the first.
#[test]
fn one() {
    let seed = number("SEED", 0);
    let story = live(seed);
    if std::env::var_os("SEED").is_some() {
        eprintln!("{}", story.trace);
    }
    assert_eq!(story.wrong, None, "SEED={seed}");
}

/// A life that went well, or everything about it.
fn judged(seed: u64) -> Result<(), String> {
    match catch_unwind(AssertUnwindSafe(|| live(seed))) {
        Ok(Story { wrong: None, .. }) => Ok(()),
        Ok(Story { wrong: Some(wrong), trace }) => Err(format!("{trace}\nSEED={seed}: {wrong}")),
        Err(_) => Err(format!("SEED={seed}: the agent fell over")),
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}
