//! The states before our changes, kept where a crash does not lose them: one file for each LED or line, in the runtime
//! directory. A reboot empties that directory, and leaves the LEDs as the device tree has them.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::linux::leds::class::{LedSnapshot, OurChanges};
use crate::linux::leds::files::{LedFiles, refusal};
use crate::linux::leds::gpio::{Direction, LineAddress, LineLevel};
use crate::port::LedError;
use crate::sorted::SortedMap;

/// The layout version of a record. A record of another version is left for the program that wrote it.
const VERSION: u32 = 1;

/// A LED or line that was changed, and its previous state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SavedState {
    /// A LED of the kernel's LED class.
    Class {
        /// Its directory.
        dir: PathBuf,
        /// Its previous state.
        was: LedSnapshot,
        /// Our changes, the latest last.
        ours: Vec<OurChanges>,
    },
    /// A GPIO line.
    Line {
        /// The line.
        address: LineAddress,
        /// Its previous direction.
        direction: Direction,
        /// Its previous level, if it was an output.
        level: LineLevel,
    },
}

/// A record as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedRecord {
    /// The LED or line, and its previous state.
    pub before: SavedState,
    /// The process that wrote it.
    pub pid: u32,
    /// The kernel's boot id when it was written.
    pub boot_id: String,
    /// Whether the change was left on purpose, until a request to restore it.
    pub left: bool,
}

/// Writes the record.
pub fn keep(files: &dyn LedFiles, path: &Path, record: &LedRecord) -> Result<(), LedError> {
    let text = serde_json::to_string_pretty(&RecordFile::from(record)).expect("a record is strings and numbers");
    files.keep(path, &text).map_err(|error| match refusal(&format!("write {}", path.display()), &error) {
        LedError::ReadOnly(_) => LedError::ReadOnly(format!(
            "cannot write {}: its file system is read-only, and no LED is changed unless how it was can be kept: \
             name another directory with --runtime-dir",
            path.display()
        )),
        other => other,
    })
}

/// Reads a record. `Ok(None)`: there is none.
pub fn read(files: &dyn LedFiles, path: &Path) -> Result<Option<LedRecord>, String> {
    let text = match files.read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("cannot read {}: {error}", path.display())),
    };
    let file: RecordFile =
        serde_json::from_slice(text.as_bytes()).map_err(|error| format!("{} is no record of ours: {error}", path.display()))?;
    if file.version != VERSION {
        return Err(format!(
            "{} has layout {}, and we know {VERSION}: its own program must restore it",
            path.display(),
            file.version
        ));
    }
    Ok(Some(file.into()))
}

/// An exclusive lock on a LED, among programs of ours. Held for as long as this value lives.
#[derive(Debug)]
pub struct LockFile {
    file: File,
}

impl LockFile {
    /// Takes the lock; if another program holds it, the error names the holder.
    pub fn take(path: &Path, who: &str) -> Result<Self, LedError> {
        let failed = |error: io::Error| refusal(&format!("lock {}", path.display()), &error);
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir).map_err(failed)?;
        }
        let mut file = File::options().create(true).read(true).write(true).truncate(false).open(path).map_err(failed)?;
        if let Err(error) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
            if error != Errno::WOULDBLOCK {
                return Err(failed(error.into()));
            }
            let mut holder = String::new();
            // The holder is read for the message only.
            let _ = file.read_to_string(&mut holder);
            let holder = if holder.trim().is_empty() { "another program" } else { holder.trim() };
            return Err(LedError::Busy(format!("{} is held by {holder}", path.display())));
        }
        let mut write = || -> io::Result<()> {
            file.set_len(0)?;
            file.seek(SeekFrom::Start(0))?;
            file.write_all(format!("{who}, pid {}\n", std::process::id()).as_bytes())
        };
        write().map_err(failed)?;
        Ok(Self { file })
    }

    /// Whether another program holds the lock now. A file that cannot be opened counts as not locked.
    pub fn is_taken(path: &Path) -> bool {
        let Ok(file) = File::open(path) else { return false };
        flock(&file, FlockOperation::NonBlockingLockShared) == Err(Errno::WOULDBLOCK)
    }
}

impl Drop for LockFile {
    fn drop(&mut self) {
        // Closing unlocks too; unlocking first makes sure that watchers find the lock free when the close is reported.
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

/// The format of a record's file.
#[derive(Serialize, Deserialize)]
struct RecordFile {
    version: u32,
    boot_id: String,
    pid: u32,
    left: bool,
    before: WireBefore,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum WireBefore {
    Led { dir: PathBuf, was: WireSnapshot, ours: Vec<WireOurs> },
    Line { chip: String, device: String, offset: u32, output: bool, level: LineLevel },
}

#[derive(Serialize, Deserialize)]
struct WireSnapshot {
    trigger: String,
    settings: SortedMap<String, String>,
    brightness: Option<u32>,
    multi_intensity: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct WireOurs {
    trigger: String,
    settings: SortedMap<String, String>,
}

impl From<&LedRecord> for RecordFile {
    fn from(record: &LedRecord) -> Self {
        let before = match record.before.clone() {
            SavedState::Class { dir, was, ours } => {
                let ours = ours.into_iter().map(|it| WireOurs { trigger: it.trigger, settings: it.settings }).collect();
                let LedSnapshot { trigger, settings, brightness, intensity } = was;
                let was = WireSnapshot { trigger, settings, brightness, multi_intensity: intensity };
                WireBefore::Led { dir, was, ours }
            }
            SavedState::Line { address: LineAddress { chip, device, offset }, direction, level } => {
                WireBefore::Line { chip, device, offset, output: direction == Direction::Output, level }
            }
        };
        Self { version: VERSION, boot_id: record.boot_id.clone(), pid: record.pid, left: record.left, before }
    }
}

impl From<RecordFile> for LedRecord {
    fn from(file: RecordFile) -> Self {
        let before = match file.before {
            WireBefore::Led { dir, was, ours } => {
                let ours = ours.into_iter().map(|it| OurChanges { trigger: it.trigger, settings: it.settings }).collect();
                let WireSnapshot { trigger, settings, brightness, multi_intensity: intensity } = was;
                SavedState::Class { dir, was: LedSnapshot { trigger, settings, brightness, intensity }, ours }
            }
            WireBefore::Line { chip, device, offset, output, level } => {
                let direction = if output { Direction::Output } else { Direction::Input };
                SavedState::Line { address: LineAddress { chip, device, offset }, direction, level }
            }
        };
        Self { before, pid: file.pid, boot_id: file.boot_id, left: file.left }
    }
}
