//! The LED a person finds the board by, driven through the kernel's LED class or a GPIO line.
//!
//! [`driver`] is the only one that changes anything; it keeps how things were before it does. [`class`] knows the rules of the
//! LED class, [`gpio`] the interfaces to lines, [`saved`] the records, [`simulated`] a board for people who have none.

pub mod class;
pub mod driver;
pub mod facts;
pub mod files;
pub mod gpio;
pub mod host;
pub mod saved;
pub mod simulated;
pub mod wire;

use std::fs::File;
use std::future::pending;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use inotify::{Inotify, WatchMask};

use crate::linux::board::Choice;
use crate::linux::leds::driver::{Driver, Left};
use crate::linux::leds::saved::Claim;
use crate::linux::leds::wire::Wire;
use crate::port::{self, Bench};
use crate::state::{Lamp, Level, Pattern, Player};

pub use crate::port::LedError;

/// How often we look whether the bring-up tool is done, while it is at work.
const BENCH_LOOK: Duration = Duration::from_secs(1);

/// Looks which LED it is.
pub type Choose = dyn Fn() -> Choice + Send + Sync;

/// The LED of this board.
pub struct Leds {
    // Writing a trigger waits for the kernel, so it is done on another thread; a call that was dropped may still be at it when
    // the next one comes.
    driver: Arc<Mutex<Driver>>,
    choose: Arc<Choose>,
    bench: PathBuf,
    /// Made once: to close one takes the kernel several milliseconds.
    watch: tokio::sync::Mutex<Option<Watch>>,
}

/// Tells when the claim was written.
type Watch = inotify::EventStream<[u8; 256]>;

impl Leds {
    /// The LED that `choose` finds, driven by `driver`, whose records are under this runtime directory.
    pub fn new(driver: Driver, choose: Box<Choose>, runtime: &Path) -> Self {
        Self {
            driver: Arc::new(Mutex::new(driver)),
            choose: choose.into(),
            bench: bench(runtime),
            watch: tokio::sync::Mutex::new(None),
        }
    }

    /// Does something with the driver, on a thread where it may take its time.
    async fn with<T: Send + 'static>(
        &self,
        deed: impl FnOnce(&mut Driver, &Choose) -> Result<T, LedError> + Send + 'static,
    ) -> Result<T, LedError> {
        let (driver, choose) = (Arc::clone(&self.driver), Arc::clone(&self.choose));
        let work = tokio::task::spawn_blocking(move || {
            // Whoever panicked while he had it left a record of how things were; that is all the next one needs.
            let mut driver = driver.lock().unwrap_or_else(PoisonError::into_inner);
            deed(&mut driver, &*choose)
        });
        work.await.unwrap_or_else(|error| Err(LedError::Failed(format!("driving the LED broke off: {error}"))))
    }
}

/// The claim that the bring-up tool holds for as long as it works.
#[must_use]
pub fn bench(runtime: &Path) -> PathBuf {
    runtime.join("leds/bench.lock")
}

impl port::Leds for Leds {
    async fn find(&self) -> Result<Lamp, LedError> {
        self.with(|_, choose| {
            let choice = choose();
            Wire::of(&choice).map(|wire| Lamp { name: wire.to_string(), why: choice.why })
        })
        .await
    }

    async fn show(&self, pattern: &Pattern, length: Option<Duration>) -> Result<Player, LedError> {
        let (pattern, rounds) = (pattern.clone(), length.map(|length| pattern.rounds_in(length)));
        self.with(move |driver, choose| {
            let wire = Wire::of(&choose())?;
            // Another LED may have been the one until now.
            driver.release_others(&wire)?;
            driver.play(&wire, &pattern, rounds)
        })
        .await
    }

    async fn set(&self, level: Level) -> Result<(), LedError> {
        self.with(move |driver, _| driver.set_all(level)).await
    }

    async fn restore(&self) -> Result<(), LedError> {
        self.with(|driver, _| {
            driver.release_all()?;
            driver.recover(Left::Alone).into_iter().try_for_each(|(_, outcome)| match outcome {
                Ok(_) | Err(LedError::Vanished(_)) => Ok(()),
                Err(error) => Err(error),
            })
        })
        .await
    }

    async fn bench(&self, now: Bench) -> Bench {
        let mut kept = self.watch.lock().await;
        loop {
            if kept.is_none() {
                // Watched before it is asked, so that nothing happens in between.
                *kept = watch(&self.bench);
            }
            let state = if Claim::is_taken(&self.bench) { Bench::Taken } else { Bench::Free };
            if state != now {
                return state;
            }
            match (now, kept.as_mut()) {
                // The kernel tells of a closed file a moment before it gives up the lock, so we look.
                (Bench::Taken, _) => tokio::time::sleep(BENCH_LOOK).await,
                (Bench::Free, Some(changes)) => {
                    changes.next().await;
                }
                // Without a runtime directory nobody can claim the LED there.
                (Bench::Free, None) => pending().await,
            }
        }
    }
}

/// Tells when a claim was written, which it is after it was taken.
fn watch(claim: &Path) -> Option<Watch> {
    if !claim.exists() {
        std::fs::create_dir_all(claim.parent()?).ok()?;
        File::options().create(true).append(true).open(claim).ok()?;
    }
    let inotify = Inotify::init().ok()?;
    inotify.watches().add(claim, WatchMask::MODIFY | WatchMask::CLOSE_WRITE).ok()?;
    inotify.into_event_stream([0; 256]).ok()
}
