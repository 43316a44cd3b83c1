//! Drives LEDs and lines so that each can be restored: the previous state is recorded before anything is changed.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tracing::warn;

use crate::board::{LedLocation, Polarity};
use crate::linux::leds::class::{ClassLed, OurChanges, RestoreOutcome};
use crate::linux::leds::files::{LedFiles, refusal};
use crate::linux::leds::gpio::{Chip, Direction, Gpio, HeldLine, LineAddress, LineLevel, LineRequest};
use crate::linux::leds::location::{find_line, look_at_line, volts};
use crate::linux::leds::saved::{self, LedRecord, LockFile, SavedState};
use crate::port::LedError;
use crate::sorted::SortedMap;
use crate::state::{LedLevel, Pattern, Player};

/// What becomes of changes that were left on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PersistentChanges {
    /// They stay.
    Keep,
    /// They are restored, too.
    Include,
}

/// How many changes of ours are remembered for one LED. Two would do: the one that plays and the next one.
const REMEMBERED: usize = 4;

/// The only code that changes LEDs and lines.
pub struct LedDriver {
    files: Arc<dyn LedFiles>,
    gpio: Arc<dyn Gpio>,
    dir: PathBuf,
    who: &'static str,
    boot_id: String,
    held: SortedMap<String, HeldLed>,
}

/// A LED or line that this driver has changed, or is about to.
struct HeldLed {
    /// Held as long as this value: no other program of ours changes the LED.
    _lock: LockFile,
    before: SavedState,
    line: Option<Line>,
}

struct Line {
    held: Box<dyn HeldLine>,
    polarity: Polarity,
}

impl LedDriver {
    /// A driver that keeps its records in `leds` under the runtime directory. `who`: the holder's name in the lock files.
    pub fn new(files: Arc<dyn LedFiles>, gpio: Arc<dyn Gpio>, root: &Path, runtime: &Path, who: &'static str) -> Self {
        // A kernel without a boot id is taken for one that never reboots.
        let boot_id = files.read(&root.join("proc/sys/kernel/random/boot_id")).unwrap_or_default();
        Self { files, gpio, dir: runtime.join("leds"), who, boot_id, held: SortedMap::new() }
    }

    /// The files that the driver uses.
    pub fn files(&self) -> &dyn LedFiles {
        &*self.files
    }

    /// The lines that the driver uses.
    pub fn gpio(&self) -> &dyn Gpio {
        &*self.gpio
    }

    /// Begins a pattern from its start. `rounds`: after how many the kernel ends it, in case the agent is gone by then.
    pub fn play(&mut self, location: &LedLocation, pattern: &Pattern, rounds: Option<u32>) -> Result<Player, LedError> {
        self.acquire(location)?;
        let LedLocation::Class { dir, .. } = location else { return Ok(Player::Agent) };
        let mut failure = None;
        for plan in ClassLed::new(&*self.files, dir).plans(pattern, rounds)? {
            match self.carry_out(location, &plan) {
                // The kernel lists a trigger but rejects its settings, or we may not write them: the next plan asks for less.
                Err(error @ (LedError::Failed(_) | LedError::Permission(_))) => failure = Some(error),
                done => return done,
            }
        }
        Err(failure.unwrap_or_else(|| LedError::Failed(format!("{}: there is no way to make it blink", dir.display()))))
    }

    /// Lights or darkens a LED whatever it does now, in place of a pattern of ours, until it is released.
    pub fn hold(&mut self, location: &LedLocation, level: LedLevel) -> Result<(), LedError> {
        self.acquire(location)?;
        if let LedLocation::Class { .. } = location {
            self.carry_out(location, &OurChanges::by_hand())?;
        }
        self.set(location, level)
    }

    /// Lights or darkens a LED, after [`LedDriver::play`] returned [`Player::Agent`].
    pub fn set(&mut self, location: &LedLocation, level: LedLevel) -> Result<(), LedError> {
        let Some(led) = self.held.get(&key_of(location)) else { return self.hold(location, level) };
        self.set_level(led, level)
    }

    /// Restores one LED. One that is not held is as it was.
    pub fn release(&mut self, location: &LedLocation) -> Result<RestoreOutcome, LedError> {
        self.release_key(&key_of(location))
    }

    /// Restores everything that this driver changed. All are tried; the first error is returned.
    pub fn release_all(&mut self) -> Result<(), LedError> {
        let keys: Vec<String> = self.held.keys().cloned().collect();
        let failures: Vec<LedError> = keys.iter().filter_map(|key| self.release_key(key).err()).collect();
        failures.into_iter().next().map_or(Ok(()), Err)
    }

    fn set_level(&self, led: &HeldLed, level: LedLevel) -> Result<(), LedError> {
        match (&led.before, &led.line) {
            (SavedState::Class { dir, .. }, _) => ClassLed::new(&*self.files, dir).set(level),
            (SavedState::Line { address, .. }, Some(line)) => {
                let done = line.held.set(volts(line.polarity, level));
                done.map_err(|error| refusal(&format!("drive {address}"), &error))
            }
            (SavedState::Line { address, .. }, None) => Err(LedError::Vanished(format!("{address} is not held"))),
        }
    }

    /// Lets go of everything without restoring it. The records stay, for a later request to restore.
    pub fn leave_all(&mut self) -> Result<(), LedError> {
        for (key, led) in std::mem::take(&mut self.held) {
            saved::keep(&*self.files, &self.path(&key), &self.record(led.before, true))?;
        }
        Ok(())
    }

    /// Restores what killed programs left changed, and with `PersistentChanges::Include` also what was left changed on purpose.
    /// Skips what another program holds now. Returns an outcome for each record, by name.
    pub fn recover(&mut self, left: PersistentChanges) -> Vec<(String, Result<RestoreOutcome, LedError>)> {
        let names = self.files.list(&self.dir).unwrap_or_default();
        let keys = names.iter().filter_map(|name| name.strip_suffix(".json"));
        let mut found = Vec::new();
        for key in keys.filter(|key| !self.held.contains_key(*key)) {
            if let Some(outcome) = self.recover_one(key, left) {
                found.push((key.to_owned(), outcome));
            }
        }
        found
    }

    fn recover_one(&self, key: &str, left: PersistentChanges) -> Option<Result<RestoreOutcome, LedError>> {
        match LockFile::take(&self.lock_path(key), self.who) {
            // The holder is alive, and restores the LED itself.
            Err(LedError::Busy(_)) => None,
            Err(error) => Some(Err(error)),
            Ok(_lock) => self.recover_locked(key, left),
        }
    }

    fn recover_locked(&self, key: &str, left: PersistentChanges) -> Option<Result<RestoreOutcome, LedError>> {
        let path = self.path(key);
        let record = match saved::read(&*self.files, &path) {
            Ok(record) => record?,
            Err(why) => {
                warn!(why, "cannot tell how a LED was; it stays as it is");
                // The file is set aside for inspection.
                let _ = std::fs::rename(&path, path.with_extension("unreadable"));
                return Some(Err(LedError::Failed(why)));
            }
        };
        if record.left && left == PersistentChanges::Keep {
            return None;
        }
        // After a reboot everything is as the device tree has it.
        let outcome =
            if record.boot_id == self.boot_id { self.undo(&record.before, None) } else { Ok(RestoreOutcome::ChangedByOthers) };
        let over = matches!(outcome, Ok(_) | Err(LedError::Vanished(_)));
        let forgotten = if over { self.forget(key) } else { Ok(()) };
        Some(outcome.and_then(|outcome| forgotten.map(|()| outcome)))
    }

    /// Locks the LED and records its present state.
    fn acquire(&mut self, location: &LedLocation) -> Result<(), LedError> {
        let key = key_of(location);
        if let Some(led) = self.held.get(&key) {
            let SavedState::Class { dir, was, ours } = &led.before else { return Ok(()) };
            if ClassLed::new(&*self.files, dir).still_ours(was, ours)? {
                return Ok(());
            }
            // Another program has changed the LED since: that program's state is the one to restore.
            self.held.remove(&key);
            self.forget(&key)?;
        }
        let lock = LockFile::take(&self.lock_path(&key), self.who)?;
        if matches!(self.recorded(&key), Some(LedRecord { left: false, .. })) {
            // The program that wrote the record and does not hold the lock was killed: the record has the state before it.
            self.recover_locked(&key, PersistentChanges::Keep).transpose()?;
        }
        let led = self.read_before(&key, location, lock)?;
        self.held.insert(key, led);
        Ok(())
    }

    fn read_before(&self, key: &str, location: &LedLocation, lock: LockFile) -> Result<HeldLed, LedError> {
        match location {
            LedLocation::Class { dir, .. } => {
                let class = ClassLed::new(&*self.files, dir);
                let was = class.look()?;
                let before = match self.recorded(key).map(|record| record.before) {
                    // Left changed on purpose: the state to restore is the one before that.
                    Some(SavedState::Class { was, ours, dir }) if class.still_ours(&was, &ours)? => {
                        SavedState::Class { dir, was, ours }
                    }
                    Some(_) | None => SavedState::Class { dir: dir.clone(), was, ours: Vec::new() },
                };
                Ok(HeldLed { _lock: lock, before, line: None })
            }
            LedLocation::Line { polarity, .. } => {
                let (before, held) = self.take_line(key, location, *polarity)?;
                Ok(HeldLed { _lock: lock, before, line: Some(Line { held, polarity: *polarity }) })
            }
        }
    }

    /// Records a line's state, then requests the line as an output, dark.
    fn take_line(
        &self,
        key: &str,
        location: &LedLocation,
        polarity: Polarity,
    ) -> Result<(SavedState, Box<dyn HeldLine>), LedError> {
        let failed = |error: std::io::Error| refusal(&format!("take {location}"), &error);
        let (chip, info) = find_line(&*self.gpio, location)?;
        let (direction, level) = look_at_line(&*self.gpio, &chip, &info).map_err(failed)?;
        let address = LineAddress { chip: chip.name.clone(), device: chip.device.clone(), offset: info.offset };
        let kept = self.recorded(key).map(|record| record.before);
        let before = kept.unwrap_or(SavedState::Line { address, direction, level });
        saved::keep(&*self.files, &self.path(key), &self.record(before.clone(), false))?;
        let want = LineRequest::Output(volts(polarity, LedLevel::Dark));
        let held = self.gpio.request(&chip, info.offset, want).map_err(failed)?;
        Ok((before, held))
    }

    /// Records the change, then makes it.
    fn carry_out(&mut self, location: &LedLocation, plan: &OurChanges) -> Result<Player, LedError> {
        let key = key_of(location);
        let Some(HeldLed { before: SavedState::Class { dir, was, ours }, .. }) = self.held.get_mut(&key) else {
            return Ok(Player::Agent);
        };
        ours.retain(|it| it != plan);
        ours.push(plan.clone());
        let surplus = ours.len().saturating_sub(REMEMBERED);
        ours.drain(..surplus);
        let before = SavedState::Class { dir: dir.clone(), was: was.clone(), ours: ours.clone() };
        let SavedState::Class { dir, .. } = &before else { return Ok(Player::Agent) };
        saved::keep(&*self.files, &self.path(&key), &self.record(before.clone(), false))?;
        ClassLed::new(&*self.files, dir).play(plan)
    }

    fn release_key(&mut self, key: &str) -> Result<RestoreOutcome, LedError> {
        let Some(led) = self.held.get_mut(key) else { return Ok(RestoreOutcome::Exactly) };
        let line = led.line.take();
        let before = led.before.clone();
        let outcome = self.undo(&before, line);
        if let Ok(_) | Err(LedError::Vanished(_)) = &outcome {
            self.forget(key)?;
            self.held.remove(key);
        }
        outcome
    }

    /// Restores a LED or line. A held line is given back first, as it can have one holder only.
    fn undo(&self, before: &SavedState, line: Option<Line>) -> Result<RestoreOutcome, LedError> {
        match before {
            SavedState::Class { dir, was, ours } => ClassLed::new(&*self.files, dir).restore(was, ours),
            SavedState::Line { address, direction, level } => {
                drop(line);
                self.undo_line(address, *direction, *level).map(|()| RestoreOutcome::Exactly)
            }
        }
    }

    fn undo_line(&self, address: &LineAddress, direction: Direction, level: LineLevel) -> Result<(), LedError> {
        let failed = |error: std::io::Error| refusal(&format!("put back {address}"), &error);
        let chips = self.gpio.chips().map_err(failed)?;
        let same = |chip: &&Chip| chip.name == address.chip && chip.device == address.device;
        let Some(chip) = chips.iter().find(same) else {
            return Err(LedError::Vanished(format!("{address}: its chip went away")));
        };
        let want = if direction == Direction::Output { LineRequest::Output(level) } else { LineRequest::Input };
        self.gpio.take_over(chip, address.offset, want).map(drop).map_err(failed)
    }

    fn recorded(&self, key: &str) -> Option<LedRecord> {
        let record = saved::read(&*self.files, &self.path(key)).ok().flatten();
        record.filter(|record| record.boot_id == self.boot_id)
    }

    fn record(&self, before: SavedState, left: bool) -> LedRecord {
        LedRecord { before, pid: std::process::id(), boot_id: self.boot_id.clone(), left }
    }

    fn forget(&self, key: &str) -> Result<(), LedError> {
        let path = self.path(key);
        self.files.forget(&path).map_err(|error| refusal(&format!("remove {}", path.display()), &error))
    }

    fn path(&self, key: &str) -> PathBuf {
        self.dir.join(format!("{key}.json"))
    }

    fn lock_path(&self, key: &str) -> PathBuf {
        self.dir.join(format!("{key}.lock"))
    }
}

/// The name of the LED's files in the runtime directory, without extension.
fn key_of(location: &LedLocation) -> String {
    let plain = |text: &str| text.replace(['/', '\0'], "!");
    match location {
        LedLocation::Class { name, .. } => format!("led-{}", plain(name)),
        LedLocation::Line { device, offset, .. } => format!("line-{}-{offset}", plain(device)),
    }
}

impl Drop for LedDriver {
    fn drop(&mut self) {
        if let Err(error) = self.release_all() {
            warn!(%error, "a LED could not be restored; the next start, or `boardkeeper led restore`, tries again");
        }
    }
}
