//! The LED a person finds the board by, driven through the kernel's LED class or a GPIO line.
//!
//! [`driver`] is the only one that changes anything; it keeps how things were before it does. [`class`] knows the rules of the
//! LED class, [`gpio`] the interfaces to lines, [`saved`] the records, `player` plays what the kernel cannot, [`simulated`] is a
//! board for people who have none.

pub mod class;
pub mod driver;
pub mod facts;
pub mod files;
pub mod gpio;
pub mod host;
mod player;
pub mod saved;
pub mod simulated;
pub mod wire;

use std::collections::BTreeMap;
use std::fs::File;
use std::future::pending;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use inotify::{Inotify, WatchMask};

use crate::linux::board::{LedChoice, LedLocation};
use crate::linux::leds::driver::{LedDriver, PersistentChanges};
use crate::linux::leds::player::Playback;
use crate::linux::leds::saved::LockFile;
use crate::linux::leds::wire::find;
use crate::port::{self, ToolLock};
use crate::state::{LedInfo, LedLevel, LedRef, Pattern, Player};

pub use crate::port::LedError;

/// How often we look whether the bring-up tool is done, while it is at work.
const BENCH_LOOK: Duration = Duration::from_secs(1);

/// Looks which LEDs there are.
pub type ChooseLed = dyn Fn() -> LedChoice + Send + Sync;

/// The LEDs of this board.
pub struct Leds {
    // Writing a trigger waits for the kernel, so it is done on another thread; a call that was dropped may still be at it when
    // the next one comes.
    work: Arc<Mutex<DriverState>>,
    choose: Arc<ChooseLed>,
    bench: PathBuf,
    /// Made once: to close one takes the kernel several milliseconds.
    watch: tokio::sync::Mutex<Option<LockEvents>>,
}

/// What is being driven.
struct DriverState {
    driver: LedDriver,
    /// Which LED each was, when it was last driven: another may be the one to find the device by since.
    wires: BTreeMap<LedRef, LedLocation>,
}

/// Tells when the claim was written.
type LockEvents = inotify::EventStream<[u8; 256]>;

impl Leds {
    /// The LEDs that `choose` finds, driven by `driver`, whose records are under this runtime directory.
    pub fn new(driver: LedDriver, choose: Box<ChooseLed>, runtime: &Path) -> Self {
        Self {
            work: Arc::new(Mutex::new(DriverState { driver, wires: BTreeMap::new() })),
            choose: choose.into(),
            bench: tool_lock(runtime),
            watch: tokio::sync::Mutex::new(None),
        }
    }

    /// Does something with the driver, on a thread where it may take its time.
    async fn with<T: Send + 'static>(
        &self,
        deed: impl FnOnce(&mut DriverState, &ChooseLed) -> Result<T, LedError> + Send + 'static,
    ) -> Result<T, LedError> {
        let (work, choose) = (Arc::clone(&self.work), Arc::clone(&self.choose));
        let done = tokio::task::spawn_blocking(move || {
            // Whoever panicked while he had it left a record of how things were; that is all the next one needs.
            let mut work = work.lock().unwrap_or_else(PoisonError::into_inner);
            deed(&mut work, &*choose)
        });
        done.await.unwrap_or_else(|error| Err(LedError::Failed(format!("driving the LED broke off: {error}"))))
    }
}

/// The claim that the bring-up tool holds for as long as it works.
#[must_use]
pub fn tool_lock(runtime: &Path) -> PathBuf {
    runtime.join("leds/bench.lock")
}

impl port::Leds for Leds {
    async fn find(&self, which: &LedRef) -> Result<LedInfo, LedError> {
        let which = which.clone();
        self.with(move |_, choose| find(&choose(), &which).map(|(_, lamp)| lamp)).await
    }

    async fn others(&self) -> Vec<LedInfo> {
        let lamps = |choice: LedChoice| choice.others.iter().map(wire::lamp).collect();
        // It fails only where the process ends.
        self.with(move |_, choose| Ok(lamps(choose()))).await.unwrap_or_default()
    }

    async fn show(&self, which: &LedRef, pattern: &Pattern, length: Option<Duration>) -> Result<Player, LedError> {
        let (which, pattern) = (which.clone(), pattern.clone());
        let rounds = length.map(|length| pattern.rounds_in(length));
        self.with(move |work, choose| {
            let (wire, _) = find(&choose(), &which)?;
            // Another LED may have been the one until now.
            if work.wires.get(&which).is_some_and(|before| *before != wire) {
                work.put_back(&which)?;
            }
            work.wires.insert(which, wire.clone());
            work.driver.play(&wire, &pattern, rounds)
        })
        .await
    }

    async fn play(&self, which: &LedRef, pattern: &Pattern, since: tokio::time::Instant) -> LedError {
        // Its thread may outlive us by a moment, and must not keep what we have claimed.
        let work = Arc::downgrade(&self.work);
        let which = which.clone();
        let set = move |level, play: &Playback| {
            let Some(work) = work.upgrade() else { return Ok(()) };
            let mut work = work.lock().unwrap_or_else(PoisonError::into_inner);
            // Looked at while nobody else can drive it: who stopped us may have put it back.
            if play.is_over() { Ok(()) } else { work.set(&which, level) }
        };
        player::play(pattern.clone(), since.into_std(), set).await
    }

    async fn put_back(&self, which: &LedRef) -> Result<(), LedError> {
        let which = which.clone();
        self.with(move |work, _| work.put_back(&which)).await
    }

    async fn restore(&self) -> Result<(), LedError> {
        self.with(|work, _| {
            work.wires.clear();
            work.driver.release_all()?;
            work.driver.recover(PersistentChanges::Keep).into_iter().try_for_each(|(_, outcome)| match outcome {
                Ok(_) | Err(LedError::Vanished(_)) => Ok(()),
                Err(error) => Err(error),
            })
        })
        .await
    }

    async fn bench(&self, now: ToolLock) -> ToolLock {
        let mut kept = self.watch.lock().await;
        loop {
            if kept.is_none() {
                // Watched before it is asked, so that nothing happens in between.
                *kept = watch(&self.bench);
            }
            let state = if LockFile::is_taken(&self.bench) { ToolLock::Taken } else { ToolLock::Free };
            if state != now {
                return state;
            }
            match (now, kept.as_mut()) {
                // The kernel tells of a closed file a moment before it gives up the lock, so we look.
                (ToolLock::Taken, _) => tokio::time::sleep(BENCH_LOOK).await,
                (ToolLock::Free, Some(changes)) => {
                    changes.next().await;
                }
                // Without a runtime directory nobody can claim the LED there.
                (ToolLock::Free, None) => pending().await,
            }
        }
    }
}

impl DriverState {
    fn set(&mut self, which: &LedRef, level: LedLevel) -> Result<(), LedError> {
        match self.wires.get(which) {
            Some(wire) => self.driver.set(wire, level),
            None => Err(LedError::None("it was put back meanwhile".into())),
        }
    }

    /// Puts back what was driven as this one, unless it is driven as another, too.
    fn put_back(&mut self, which: &LedRef) -> Result<(), LedError> {
        let Some(wire) = self.wires.get(which) else { return Ok(()) };
        if !self.wires.iter().any(|(other, it)| other != which && it == wire) {
            match self.driver.release(wire) {
                Ok(_) | Err(LedError::Vanished(_)) => {}
                Err(error) => return Err(error),
            }
        }
        self.wires.remove(which);
        Ok(())
    }
}

/// Tells when a claim was written, which it is after it was taken.
fn watch(claim: &Path) -> Option<LockEvents> {
    if !claim.exists() {
        std::fs::create_dir_all(claim.parent()?).ok()?;
        File::options().create(true).append(true).open(claim).ok()?;
    }
    let inotify = Inotify::init().ok()?;
    inotify.watches().add(claim, WatchMask::MODIFY | WatchMask::CLOSE_WRITE).ok()?;
    inotify.into_event_stream([0; 256]).ok()
}
