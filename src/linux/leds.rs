//! The LED to identify the board by, driven through the kernel's LED class or a GPIO line.
//!
//! Only [`driver`] changes anything; before it does, it records the state to restore. [`class`] knows the rules of the LED
//! class, [`gpio`] the interfaces to lines, [`saved`] the records. `player` plays what the kernel cannot. [`simulated`] is a
//! board for users without one.

pub mod class;
pub mod driver;
pub mod facts;
pub mod files;
pub mod gpio;
pub mod guarded;
pub mod host;
pub mod lines;
pub mod location;
mod player;
pub mod saved;
pub mod simulated;

use std::fs::File;
use std::future::pending;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use inotify::{Inotify, WatchMask};

use crate::board::{FreeLine, LedChoice, LedLocation};
use crate::linux::leds::class::ClassLed;
use crate::linux::leds::driver::{LedDriver, PersistentChanges};
use crate::linux::leds::location::find;
use crate::linux::leds::player::Playback;
use crate::linux::leds::saved::LockFile;
use crate::linux::off_thread;
use crate::port::{self, ToolLock};
use crate::sorted::SortedMap;
use crate::state::{FreeLineInfo, LedInfo, LedLevel, LedRef, Pattern, Player};

pub use crate::port::LedError;

/// How often the lock is polled while the bring-up tool holds it.
const BENCH_LOOK: Duration = Duration::from_secs(1);

/// Lists the LEDs there are and chooses one.
pub type ChooseLed = dyn Fn() -> LedChoice + Send + Sync;

/// The LEDs of this board.
pub struct Leds {
    // Writing a trigger blocks in the kernel, so it is done on another thread. The call of a dropped future may still hold the
    // driver when the next one comes.
    work: Arc<Mutex<DriverState>>,
    choose: Arc<ChooseLed>,
    bench: PathBuf,
    /// Created once: closing one takes the kernel several milliseconds.
    watch: tokio::sync::Mutex<Option<LockEvents>>,
}

/// The driver and what it drives.
struct DriverState {
    driver: LedDriver,
    /// The LED that each was when last driven: another may have become the identify LED since.
    locations: SortedMap<LedRef, LedLocation>,
}

/// A LED that was found among those that may be driven.
enum FoundLed {
    /// It is there.
    At(LedLocation),
    /// It is a line, and the kernel has yet to say where.
    Line(FreeLine),
}

/// Reports writes to the lock file.
type LockEvents = inotify::EventStream<[u8; 256]>;

impl Leds {
    /// The LEDs that `choose` finds, driven by `driver`. `runtime`: the directory of its records.
    pub fn new(driver: LedDriver, choose: Box<ChooseLed>, runtime: &Path) -> Self {
        Self {
            work: Arc::new(Mutex::new(DriverState { driver, locations: SortedMap::new() })),
            choose: choose.into(),
            bench: tool_lock(runtime),
            watch: tokio::sync::Mutex::new(None),
        }
    }

    /// Runs `call` on the driver, on a thread where it may block.
    async fn with<T: Send + 'static>(
        &self,
        call: impl FnOnce(&mut DriverState) -> Result<T, LedError> + Send + 'static,
    ) -> Result<T, LedError> {
        let work = Arc::clone(&self.work);
        let done = off_thread(move || {
            // A panic with the lock held leaves the records of the state to restore, which is all that the next call needs.
            let mut work = work.lock().unwrap_or_else(PoisonError::into_inner);
            call(&mut work)
        });
        done.await.unwrap_or_else(|why| Err(LedError::Failed(format!("cannot drive the LED: {why}"))))
    }
}

/// The lock file that the bring-up tool holds for as long as it works.
#[must_use]
pub fn tool_lock(runtime: &Path) -> PathBuf {
    runtime.join("leds/bench.lock")
}

impl port::Leds for Leds {
    type Survey = LedChoice;

    async fn survey(&self) -> Result<LedChoice, LedError> {
        let choose = Arc::clone(&self.choose);
        self.with(move |_| Ok(choose())).await
    }

    async fn look(&self) -> Result<(LedChoice, Vec<(String, LedLevel)>), LedError> {
        let choose = Arc::clone(&self.choose);
        // One call on the other thread: each costs several wake-ups.
        self.with(move |work| {
            let survey = choose();
            let levels = location::all(&survey).filter_map(|it| Some((it.to_string(), work.level(&it)?))).collect();
            Ok((survey, levels))
        })
        .await
    }

    fn find(&self, survey: &LedChoice, which: &LedRef) -> Result<LedInfo, LedError> {
        match which {
            LedRef::Line(name) => lines::find(&survey.free_lines, name)
                .map(|line| LedInfo { name: line.pin.name.to_owned(), why: line.pin.place.to_owned() }),
            LedRef::Identify | LedRef::Named(_) => find(survey, which).map(|(_, led_info)| led_info),
        }
    }

    fn others(&self, survey: &LedChoice) -> Vec<LedInfo> {
        survey.others.iter().map(location::led_info).collect()
    }

    async fn lines(&self, survey: &LedChoice) -> Result<Vec<FreeLineInfo>, LedError> {
        let free_lines = survey.free_lines.clone();
        self.with(move |work| {
            let is_ours = |name: &str| work.locations.contains_key(&LedRef::Line(name.to_owned()));
            lines::list(work.driver.gpio(), &free_lines, is_ours)
        })
        .await
    }

    async fn show(
        &self,
        survey: &LedChoice,
        which: &LedRef,
        pattern: &Pattern,
        length: Option<Duration>,
    ) -> Result<Player, LedError> {
        let found = match which {
            LedRef::Line(name) => FoundLed::Line(*lines::find(&survey.free_lines, name)?),
            LedRef::Identify | LedRef::Named(_) => FoundLed::At(find(survey, which)?.0),
        };
        let (which, pattern) = (which.clone(), pattern.clone());
        let rounds = length.map(|length| pattern.rounds_in(length));
        self.with(move |work| {
            let location = match found {
                FoundLed::At(location) => location,
                FoundLed::Line(line) => lines::locate(work.driver.gpio(), &line)?,
            };
            // Another LED may have been this one until now.
            if work.locations.get(&which).is_some_and(|before| *before != location) {
                work.restore_one(&which)?;
            }
            work.locations.insert(which, location.clone());
            work.driver.play(&location, &pattern, rounds)
        })
        .await
    }

    async fn play(&self, which: &LedRef, pattern: &Pattern, since: tokio::time::Instant) -> LedError {
        // The player's thread may outlive this future by a moment, and must not keep the locks that the driver holds.
        let work = Arc::downgrade(&self.work);
        let which = which.clone();
        let set = move |level, play: &Playback| {
            let Some(work) = work.upgrade() else { return Ok(()) };
            let mut work = work.lock().unwrap_or_else(PoisonError::into_inner);
            // Checked with the driver locked: the code that stopped the player may have restored the LED.
            if play.is_over() { Ok(()) } else { work.set(&which, level) }
        };
        player::play(pattern.clone(), since.into_std(), set).await
    }

    async fn restore(&self, which: &LedRef) -> Result<(), LedError> {
        let which = which.clone();
        self.with(move |work| work.restore_one(&which)).await
    }

    async fn restore_all(&self) -> Result<(), LedError> {
        self.with(|work| {
            work.locations.clear();
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
                // The watch begins before the lock is checked, so that no change between the two is missed.
                *kept = watch_lock(&self.bench);
            }
            let state = if LockFile::is_taken(&self.bench) { ToolLock::Taken } else { ToolLock::Free };
            if state != now {
                return state;
            }
            match (now, kept.as_mut()) {
                // The kernel reports a closed file a moment before it releases the lock, so the lock is polled.
                (ToolLock::Taken, _) => tokio::time::sleep(BENCH_LOOK).await,
                (ToolLock::Free, Some(changes)) => {
                    changes.next().await;
                }
                // Without a runtime directory no program can take the lock.
                (ToolLock::Free, None) => pending().await,
            }
        }
    }
}

impl DriverState {
    /// What an LED shows. `None`: its driver does not say, or it is a bare line.
    fn level(&self, location: &LedLocation) -> Option<LedLevel> {
        let LedLocation::Class { dir, .. } = location else { return None };
        // A driver that fails is no failure of the LED: nothing is requested of it.
        let brightness = ClassLed::new(self.driver.files(), dir).brightness().ok()??;
        Some(if brightness > 0 { LedLevel::Lit } else { LedLevel::Dark })
    }

    fn set(&mut self, which: &LedRef, level: LedLevel) -> Result<(), LedError> {
        match self.locations.get(which) {
            Some(location) => self.driver.set(location, level),
            None => Err(LedError::None("it was put back meanwhile".into())),
        }
    }

    /// Restores what was driven as this LED, unless it is also driven as another.
    fn restore_one(&mut self, which: &LedRef) -> Result<(), LedError> {
        let Some(location) = self.locations.get(which) else { return Ok(()) };
        if !self.locations.iter().any(|(other, it)| other != which && it == location) {
            match self.driver.release(location) {
                Ok(_) | Err(LedError::Vanished(_)) => {}
                Err(error) => return Err(error),
            }
        }
        self.locations.remove(which);
        Ok(())
    }
}

/// Reports writes to a lock file. A program writes it after it has locked it.
fn watch_lock(lock_file: &Path) -> Option<LockEvents> {
    if !lock_file.exists() {
        std::fs::create_dir_all(lock_file.parent()?).ok()?;
        File::options().create(true).append(true).open(lock_file).ok()?;
    }
    let inotify = Inotify::init().ok()?;
    inotify.watches().add(lock_file, WatchMask::MODIFY | WatchMask::CLOSE_WRITE).ok()?;
    inotify.into_event_stream([0; 256]).ok()
}
