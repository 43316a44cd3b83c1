//! Lives generated from a seed: saves, restarts, failures, garbage, and power cuts within the recovery from power cuts.
//!
//! `SEED=7 cargo test --test store one` repeats one life.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use boardkeeper::port::{Record, Store as _};
use boardkeeper::state::Target;

use super::layer::{Kind, Layer, Trouble};
use super::oracle::{Allowed, CUTS, DIR, FILES, KINDS, open, record};
use super::power_cut;
use super::rng::Rng;
use super::run;

/// Cuts in a plain test run, all tests of this file system together.
const ENOUGH: u64 = 100_000;

struct Life {
    rng: Rng,
    layer: Layer,
    allowed: Allowed,
    /// Records made so far, so that each is another one.
    made: usize,
    /// The target that was saved last, or was to be.
    wanted: Option<Target>,
}

/// Lives the life of a seed. Says what went wrong.
async fn live(seed: u64) -> Result<(), String> {
    let rng = Rng::new(seed);
    let mut life = Life { rng, layer: Layer::new(), allowed: Allowed::nothing(), made: 1, wanted: None };
    for _ in 0..12 {
        life.one_process().await?;
        if life.rng.below(4) > 0 {
            life.power_cut().await?;
        }
    }
    Ok(())
}

impl Life {
    /// Loads, and saves some records; and may be killed anywhere, or meet a disk that fails for a while.
    async fn one_process(&mut self) -> Result<(), String> {
        let trouble = self.trouble();
        self.layer.upset(trouble);
        let store = open(&self.layer);
        for attempt in 0.. {
            match store.load().await {
                Ok(memory) => {
                    // Where it says so, what was read may be lost again.
                    if memory.complaints.is_empty() {
                        self.allowed.found(&memory);
                    }
                    break;
                }
                Err(_) if self.layer.is_killed() => return Ok(()),
                Err(why) if attempt == 3 => return Err(format!("it never opens: {why}")),
                Err(_) => self.layer.upset(None),
            }
        }
        for _ in 0..self.rng.below(6) {
            self.made += 1;
            let record = match (self.rng.below(KINDS + 1), &self.wanted) {
                (KINDS, Some(wanted)) => Record::Proved(wanted.fingerprint()),
                (kind, _) => record(kind, self.made),
            };
            if let Record::Targets(it) = &record {
                self.wanted.clone_from(&it.wanted);
            }
            self.allowed.begins(&record);
            match store.save(&record).await {
                Ok(()) => self.allowed.saved(&record),
                Err(_) if self.layer.is_killed() => return Ok(()),
                Err(_) => (),
            }
            if self.rng.below(5) == 0 {
                let trouble = self.trouble();
                self.layer.upset(trouble);
            }
        }
        Ok(())
    }

    fn trouble(&mut self) -> Option<Trouble> {
        let kind = [Kind::Killed, Kind::Killed, Kind::Full, Kind::Broken].get(self.rng.below(6)).copied()?;
        Some(Trouble { at: self.rng.below(24), kind })
    }

    /// The power is cut, some of what was not synced arrives, and sometimes a file has gone bad meanwhile.
    async fn power_cut(&mut self) -> Result<(), String> {
        // Several states of the same cut are looked at; life goes on in the last of them.
        for _ in 0..4 {
            let left = power_cut::any(&self.layer.model(), &mut self.rng);
            let copy = power_cut::least(&left.model());
            self.allowed.opens(&copy).await?;
            if self.rng.below(3) == 0 {
                self.layer = left;
                return Ok(());
            }
        }
        let left = power_cut::any(&self.layer.model(), &mut self.rng);
        self.layer = left;
        if self.rng.below(3) == 0 {
            // Only what is there on the disk, and settled, can be distinguished from what a power cut took.
            let memory = self.allowed.opens(&self.layer).await?;
            self.allowed.found(&memory);
            let (name, garbage) = (FILES[self.rng.below(FILES.len())], format!("garbage {}", self.made));
            if self.layer.spoil(&Path::new(DIR).join(name), garbage.as_bytes()) {
                self.allowed.spoiled(name, garbage.as_bytes());
            }
        }
        Ok(())
    }
}

#[test]
fn every_life_keeps_what_was_acknowledged() {
    let enough = std::env::var("CUTS").map_or(ENOUGH, |text| text.parse().unwrap());
    let next = AtomicU64::new(std::env::var("FROM").map_or(0, |text| text.parse().unwrap()));
    let (began, before) = (tokio::time::Instant::now(), CUTS.load(Ordering::Relaxed));
    let live_some = || {
        run(async {
            while CUTS.load(Ordering::Relaxed) < enough {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                live(seed).await.unwrap_or_else(|why| panic!("SEED={seed}: {why}"));
            }
        });
    };
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..threads).map(|_| scope.spawn(live_some)).collect();
        for it in all {
            it.join().unwrap();
        }
    });
    let (cuts, took) = (CUTS.load(Ordering::Relaxed), began.elapsed().max(Duration::from_millis(1)));
    eprintln!(
        "figure: {cuts} power cuts, each opened twice, {} random lives; {} cuts/s",
        next.into_inner(),
        (cuts - before) * 1000 / u64::try_from(took.as_millis()).unwrap()
    );
    assert!(cuts >= enough);
}

/// Lives the life in `SEED`; without one, the first.
#[test]
fn one() {
    let seed = std::env::var("SEED").map_or(0, |text| text.parse().unwrap());
    run(live(seed)).unwrap_or_else(|why| panic!("SEED={seed}: {why}"));
}
