//! How things were before we changed them, kept where a crash does not lose it: one file for each LED or line, in the runtime
//! directory, which is empty again after a reboot, as the LEDs are as the device tree has them.

use std::collections::BTreeMap;
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

/// The layout of a record. One of another layout is left for the program that wrote it.
const VERSION: u32 = 1;

/// Something that was changed, and how it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SavedState {
    /// A LED of the kernel's.
    Class {
        /// Its directory.
        dir: PathBuf,
        /// How it was.
        was: LedSnapshot,
        /// What we made of it, the latest last.
        ours: Vec<OurChanges>,
    },
    /// A GPIO line.
    Line {
        /// Which.
        address: LineAddress,
        /// Its direction.
        direction: Direction,
        /// Its level, where it was an output.
        level: LineLevel,
    },
}

/// A record as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedRecord {
    /// What it is about.
    pub before: SavedState,
    /// The process that wrote it.
    pub pid: u32,
    /// The run of the kernel in which it was written.
    pub boot_id: String,
    /// Whether it was changed to stay so, until somebody asks for it to be put back.
    pub left: bool,
}

/// Keeps the record under its name.
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
    let wire: RecordFile =
        serde_json::from_str(&text).map_err(|error| format!("{} is no record of ours: {error}", path.display()))?;
    if wire.version != VERSION {
        return Err(format!(
            "{} has layout {}, and we know {VERSION}: its own program must restore it",
            path.display(),
            wire.version
        ));
    }
    Ok(Some(wire.into()))
}

/// A claim to a LED, among programs of ours. Held for as long as this lives.
#[derive(Debug)]
pub struct LockFile {
    file: File,
}

impl LockFile {
    /// Takes the claim, or says who has it.
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
            // Who it is, is only for the message.
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

    /// Whether somebody else has it now. Cannot be told: nobody has.
    pub fn is_taken(path: &Path) -> bool {
        let Ok(file) = File::open(path) else { return false };
        flock(&file, FlockOperation::NonBlockingLockShared) == Err(Errno::WOULDBLOCK)
    }
}

impl Drop for LockFile {
    fn drop(&mut self) {
        // Closing unlocks too; this makes sure that it happened before anybody is told of the closing.
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

/// A record in its file.
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
    settings: BTreeMap<String, String>,
    brightness: Option<u32>,
    multi_intensity: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct WireOurs {
    trigger: String,
    settings: BTreeMap<String, String>,
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
    fn from(wire: RecordFile) -> Self {
        let before = match wire.before {
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
        Self { before, pid: wire.pid, boot_id: wire.boot_id, left: wire.left }
    }
}
