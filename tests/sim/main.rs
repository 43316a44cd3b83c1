//! The whole agent in a simulated world, one life per seed.
//!
//! `SEED=7 cargo test --test sim one -- --nocapture` lives one life again and prints its trace. `LIVES=100000 FROM=5000` lives
//! more of them.

#![expect(clippy::unwrap_used, reason = "a test may fall over")]

mod life;
mod named;
mod people;
mod world;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use life::{Story, live};

/// Lives in a plain test run: some minutes of two processors without optimisation.
const LIVES: u64 = 2000;

/// So many bad lives are enough to see what is wrong.
const ENOUGH: usize = 20;

#[test]
fn every_life_ends_well() {
    let (from, lives) = (number("FROM", 0), number("LIVES", LIVES));
    let next = AtomicU64::new(from);
    let bad = Mutex::new(BTreeMap::new());
    let live_some = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= from + lives || bad.lock().unwrap().len() >= ENOUGH {
                break;
            }
            if let Err(why) = judged(seed) {
                bad.lock().unwrap().insert(seed, why);
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(live_some))));
    let bad = bad.into_inner().unwrap();
    let list: Vec<_> = bad.iter().map(|(seed, (why, _))| format!("SEED={seed}: {why}")).collect();
    let first = bad.values().next().map_or("", |(_, trace)| trace.as_str());
    assert!(bad.is_empty(), "{first}\n{}", list.join("\n"));
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

/// A life that went well; or why not, and everything that happened in it.
fn judged(seed: u64) -> Result<(), (String, String)> {
    match catch_unwind(AssertUnwindSafe(|| live(seed))) {
        Ok(Story { wrong: None, .. }) => Ok(()),
        Ok(Story { wrong: Some(wrong), trace }) => Err((wrong, trace)),
        Err(_) => Err(("the agent fell over".to_owned(), String::new())),
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}
