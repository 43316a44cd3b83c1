//! What outlives a power cut: files, each replaced whole.
//!
//! One JSON file per kind of record. It is written beside the old one, synced, renamed over it, and the directory is synced; so
//! at any moment there is a whole old file or a whole new one. Bytes that are there already are not written again: flash wears.
//! Who the device is has a second copy, because without it the device would be another one to its cloud.
//!
//! A file that cannot be read is put aside as `<name>.unreadable-<n>` and complained of, and the others are read all the same. So is
//! whatever else has its name, be it a FIFO or a terabyte of zeros, and keys that are damaged: they open nothing.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::{fmt, io};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use tracing::warn;

use crate::linux::off_thread;
use crate::port::{self, Record, StoreError, StoredState, TargetError};
use crate::state::{Identity, Secret, Target};

mod disk;
mod wire;

pub use disk::{Disk, StoreFiles};

use disk::StateDirectory;

const IDENTITY: &str = "identity.json";
const IDENTITY_BACKUP: &str = "identity.backup.json";
const KEYS: &str = "keys.json";
const TARGETS: &str = "targets.json";
const STOPPED: &str = "stopped.json";
const AWAITING: &str = "awaiting-boot.json";
const TRIAL: &str = "trial.json";
/// What the provisioning file said. It is no record: nothing but the next start reads it.
const PROVISIONED: &str = "boot-config.json";
const RECORDS: [&str; 7] = [IDENTITY, IDENTITY_BACKUP, KEYS, TARGETS, STOPPED, AWAITING, TRIAL];
/// The most bytes of a record: a hundred times what the longest seen has.
const RECORD_BYTES: u64 = 4 << 20;
/// That of targets has two documents of at most 4 MiB, and each of their characters may take six.
const TARGETS_BYTES: u64 = 64 << 20;
/// What the empty file is called that says that a target was reached, before the target's fingerprint.
const PROVED: &str = "proved-";
/// What a file is called until it is whole.
const DRAFT: &str = ".new";

/// Makes a target of a document that was kept.
pub type ParseTarget = dyn Fn(&str) -> Result<Target, TargetError> + Send + Sync;

/// Records in a directory.
pub struct Store<F = Disk> {
    shelf: Arc<Shelf<F>>,
}

struct Shelf<F> {
    files: StateDirectory<F>,
    parse: Box<ParseTarget>,
    /// What the loaded records complain of besides.
    told: Vec<String>,
    /// What is known of each file. Held while writing: a save that nobody waits for any more still runs.
    known: Mutex<BTreeMap<&'static str, Known>>,
}

/// What is known of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    /// Bytes of this hash were read; an earlier life may have ended before they were on the disk.
    Read([u8; 32]),
    /// Bytes of this hash are on the disk.
    Settled([u8; 32]),
    /// It could not be kept, but may look as if it was.
    Failed,
    /// It cannot be read, and has not been put aside yet. It is not written over.
    InTheWay,
}

impl Store {
    /// Records in the directory `path`, which is made when it is not there.
    #[must_use]
    pub fn new(path: &Path, parse: Box<ParseTarget>) -> Self {
        Self::over(Disk, path, parse)
    }
}

impl<F: StoreFiles> Store<F> {
    /// Records in the directory `path` of file systems of another kind.
    #[must_use]
    pub fn over(files: F, path: &Path, parse: Box<ParseTarget>) -> Self {
        Self {
            shelf: Arc::new(Shelf {
                files: StateDirectory::new(files, path),
                parse,
                told: Vec::new(),
                known: Mutex::default(),
            }),
        }
    }
}

impl<F: StoreFiles> Store<F> {
    /// The same, and what is loaded has these complaints too: what was wrong before there was a store.
    #[must_use]
    pub fn telling(self, told: Vec<String>) -> Self {
        let before = Arc::into_inner(self.shelf).expect("no load or save has begun");
        Self { shelf: Arc::new(Shelf { told, ..before }) }
    }
}

impl<F: StoreFiles> port::Store for Store<F> {
    async fn load(&self) -> Result<StoredState, StoreError> {
        let shared = Arc::clone(&self.shelf);
        off_thread(move || shared.load()).await.map_err(StoreError)?
    }

    async fn save(&self, record: &Record) -> Result<(), StoreError> {
        let shared = Arc::clone(&self.shelf);
        if let Record::Proved(fingerprint) = record {
            let mark = format!("{PROVED}{fingerprint}");
            return off_thread(move || shared.mark(&mark)).await.map_err(StoreError)?;
        }
        let bytes_of = wire::files(record);
        off_thread(move || bytes_of.into_iter().try_for_each(|(name, bytes)| shared.keep(name, &bytes)))
            .await
            .map_err(StoreError)?
    }
}

/// A directory that no other agent may use meanwhile.
#[derive(Debug)]
pub struct DirectoryLock {
    /// The kernel's lock lasts as long as it is open.
    _directory: Option<File>,
}

/// Keeps the directory `path` for this agent until the hold is dropped or the process ends. Fails only where another agent has it:
/// a directory that cannot be made or locked is complained of when something is to be kept in it.
pub fn hold(path: &Path) -> Result<DirectoryLock, StoreError> {
    // Whether the way to it is on the disk is the store's business.
    let made = || StateDirectory::new(Disk, path).prepare().and_then(|()| File::open(path));
    let Ok(directory) = File::open(path).or_else(|_| made()) else { return Ok(DirectoryLock { _directory: None }) };
    match flock(&directory, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => Err(StoreError(format!(
            "another agent runs with the state in `{}`: stop it, or choose another place with --state-dir",
            path.display()
        ))),
        Err(_) | Ok(()) => Ok(DirectoryLock { _directory: Some(directory) }),
    }
}

/// Who the device is, where its directory says so. Nothing is changed, and nothing complained of: the store does that.
#[must_use]
pub fn identity(path: &Path) -> Option<Identity> {
    let files = StateDirectory::new(Disk, path);
    let read = |name| serde_json::from_slice::<wire::IdentityFile>(&files.read(name, RECORD_BYTES).ok()?).ok();
    read(IDENTITY).or_else(|| read(IDENTITY_BACKUP)).map(wire::IdentityFile::into_state)
}

/// What was kept of the device's provisioning file. `None`: the directory has no identity.
#[must_use]
pub fn provisioned(path: &Path) -> Option<Vec<u8>> {
    identity(path)?;
    let kept = StateDirectory::new(Disk, path).read(PROVISIONED, most_bytes(PROVISIONED));
    // Without it the device goes on all the same.
    Some(kept.unwrap_or_else(|_| b"{}".to_vec()))
}

/// Keeps what the device's provisioning file says, for a start at which it cannot be read.
pub fn keep_provisioned(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let shelf = Store::new(path, Box::new(|_| Err(TargetError("there is no target in it".to_owned())))).shelf;
    shelf.keep(PROVISIONED, bytes)
}

/// The device's key, for whoever may read the directory. Nothing is changed. `None`: the agent never ran.
pub fn device_key(path: &Path) -> Result<Option<Secret>, StoreError> {
    let files = StateDirectory::new(Disk, path);
    let damaged =
        |why: &str| StoreError(format!("cannot read `{}`: {why}; start the agent, which mends it", files.shown(KEYS)));
    match files.read(KEYS, most_bytes(KEYS)) {
        Ok(bytes) => {
            let keys = parsed::<wire::KeysFile>(KEYS, &bytes).map_err(|why| damaged(&why))?;
            Ok(Some(keys.into_state().device))
        }
        Err(why) if is_spoiled(&why) => Err(damaged(&why.to_string())),
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(why) => Err(failed(&files, "read", KEYS, &why)),
    }
}

impl<F: StoreFiles> fmt::Debug for Store<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Store").field(&self.shelf.files).finish()
    }
}

impl<F: StoreFiles> Shelf<F> {
    fn load(&self) -> Result<StoredState, StoreError> {
        self.files.prepare().map_err(|why| failed(&self.files, "make", "", &why))?;
        let names = self.files.names().map_err(|why| failed(&self.files, "read", "", &why))?;
        for draft in names.iter().filter(|it| it.starts_with('.') && it.ends_with(DRAFT)) {
            // It takes room, and is in nobody's way: the next save replaces it.
            let _ = self.files.remove(draft);
        }
        let mut memory =
            StoredState { complaints: [self.told.clone(), self.files.doubts()].concat(), ..StoredState::default() };
        memory.identity = self.identity(&mut memory.complaints)?.map(wire::IdentityFile::into_state);
        memory.keys = self.read(KEYS, &mut memory.complaints)?.map(wire::KeysFile::into_state);
        memory.stopped = self.read(STOPPED, &mut memory.complaints)?.map(wire::StoppedFile::into_state).unwrap_or_default();
        memory.awaiting = self.read(AWAITING, &mut memory.complaints)?.map(wire::AwaitingFile::into_state).unwrap_or_default();
        memory.trial = self.read(TRIAL, &mut memory.complaints)?.and_then(wire::StartCountFile::into_state);
        if let Some(targets) = self.read::<wire::TargetsFile>(TARGETS, &mut memory.complaints)? {
            let (targeted, wrong) = targets.into_state(&self.parse);
            memory.targets = targeted;
            let proved = |it: &Target| names.contains(&format!("{PROVED}{}", it.fingerprint()));
            if memory.targets.wanted.as_ref().is_some_and(proved) {
                memory.targets.good.clone_from(&memory.targets.wanted);
            }
            if let Some(why) = wrong {
                self.known().remove(TARGETS);
                memory.complaints.push(self.put_aside(TARGETS, &why));
                // What could be read of it is kept, or it would be forgotten the next time.
                self.mend(&Record::Targets(Box::new(memory.targets.clone())), &mut memory.complaints);
            }
        }
        if let Err(why) = self.fsync_all() {
            let lost = "a power cut may lose what was read";
            memory.complaints.push(format!("{}; {lost}", failed(&self.files, "sync", "", &why).0));
        }
        Ok(memory)
    }

    /// What an earlier life wrote without living to sync it is acted on from here on, so it must not be lost any more.
    fn fsync_all(&self) -> io::Result<()> {
        let mut known = self.known();
        for name in RECORDS {
            match self.files.sync(name) {
                Err(why) if why.kind() == io::ErrorKind::NotFound => (),
                // A kernel that could not write the bytes takes them for written from then on: only new ones help.
                Err(_) if known.get(name) != Some(&Known::InTheWay) => {
                    self.replace(name, &self.files.read(name, most_bytes(name))?)?;
                }
                synced => synced?,
            }
        }
        self.files.sync_names()?;
        for it in known.values_mut() {
            if let Known::Read(hash) = *it {
                *it = Known::Settled(hash);
            }
        }
        Ok(())
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<&'static str, Known>> {
        // A thread that fell over while it held this left no half-written map behind.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Either copy will do, and both are there afterwards.
    fn identity(&self, complaints: &mut Vec<String>) -> Result<Option<wire::IdentityFile>, StoreError> {
        let first: Option<wire::IdentityFile> = self.read(IDENTITY, complaints)?;
        let second = self.read(IDENTITY_BACKUP, complaints)?;
        if first == second {
            return Ok(first);
        }
        if first.is_none() {
            complaints
                .push(format!("the device's identity was taken from its second copy, `{}`", self.files.shown(IDENTITY_BACKUP)));
        }
        let identity = first.or(second);
        if let Some(identity) = &identity {
            self.mend(&Record::Identity(identity.clone().into_state()), complaints);
        }
        Ok(identity)
    }

    fn mend(&self, record: &Record, complaints: &mut Vec<String>) {
        for (name, bytes) in wire::files(record) {
            complaints.extend(self.keep(name, &bytes).err().map(|it| it.0));
        }
    }

    /// What is in a file. `None`: nothing, or nothing that can be read.
    fn read<T: DeserializeOwned>(&self, name: &'static str, complaints: &mut Vec<String>) -> Result<Option<T>, StoreError> {
        let why = match self.files.read(name, most_bytes(name)) {
            Ok(bytes) => match parsed(name, &bytes) {
                Ok(record) => {
                    self.known().insert(name, Known::Read(Sha256::digest(bytes).into()));
                    return Ok(Some(record));
                }
                Err(why) => why,
            },
            Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(why) if is_spoiled(&why) => why.to_string(),
            // Nothing is wrong with the file, but with who we are, or with the machine for now.
            Err(why) => return Err(failed(&self.files, "read", name, &why)),
        };
        complaints.push(self.put_aside(name, &why));
        Ok(None)
    }

    /// Gives a file a name that nobody has, and tells it.
    fn put_aside(&self, name: &'static str, why: &str) -> String {
        let shown = self.files.shown(name);
        match self.move_aside(name) {
            Ok(free) => format!("`{shown}` cannot be read ({why}); it was put aside as `{free}`"),
            Err(error) => {
                self.known().insert(name, Known::InTheWay);
                format!("`{shown}` cannot be read ({why}), nor put aside ({error}): nothing is saved there until it can")
            }
        }
    }

    fn move_aside(&self, name: &str) -> io::Result<String> {
        let taken = self.files.names()?;
        let free =
            (1_u32..=u32::MAX).map(|n| format!("{name}.unreadable-{n}")).find(|it| !taken.contains(it)).unwrap_or_default();
        if taken.iter().any(|it| it == name) {
            self.files.rename(name, &free)?;
        }
        self.files.sync_names()?;
        Ok(free)
    }

    /// Makes an empty file. It has no bytes that could be torn, and whether it is there after a cut is all the same to whoever
    /// asks, so it is not synced.
    fn mark(&self, mark: &str) -> Result<(), StoreError> {
        let _turn = self.known();
        match self.files.make(mark) {
            Err(why) if why.kind() != io::ErrorKind::AlreadyExists => Err(failed(&self.files, "keep", mark, &why)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Marks of targets that are not wanted any more are in nobody's way, but would gather.
    fn sweep(&self) {
        for mark in self.files.names().unwrap_or_default().iter().filter(|it| it.starts_with(PROVED)) {
            let _ = self.files.remove(mark); // The next one tries again.
        }
    }

    /// Replaces a file. When it returns, a power cut keeps the new bytes.
    fn keep(&self, name: &'static str, bytes: &[u8]) -> Result<(), StoreError> {
        let mut known = self.known();
        let hash: [u8; 32] = Sha256::digest(bytes).into();
        let before = known.get(name).copied();
        let kept = match before {
            Some(Known::Settled(it)) if it == hash => return Ok(()),
            Some(Known::Read(it)) if it == hash => self.settle(name).or_else(|_| self.replace(name, bytes)),
            None if self.files.read(name, most_bytes(name)).is_ok_and(|old| old == bytes) => {
                self.settle(name).or_else(|_| self.replace(name, bytes))
            }
            Some(Known::InTheWay) => {
                self.move_aside(name).map_err(|why| failed(&self.files, "put aside", name, &why))?;
                self.replace(name, bytes)
            }
            // What failed is written again, although it may be what is read there.
            Some(Known::Read(_) | Known::Settled(_) | Known::Failed) | None => self.replace(name, bytes),
        };
        if name == TARGETS && kept.is_ok() {
            // The record itself says which one is good.
            self.sweep();
        }
        known.insert(name, if kept.is_ok() { Known::Settled(hash) } else { Known::Failed });
        kept.map_err(|why| failed(&self.files, "keep", name, &why))
    }

    /// An earlier life wrote these bytes, and may have ended before they were synced.
    fn settle(&self, name: &str) -> io::Result<()> {
        self.files.sync(name)?;
        self.files.sync_names()
    }

    /// Does something with a file. A directory that has its name is put aside first.
    fn past_a_directory(&self, name: &str, deed: impl Fn() -> io::Result<()>) -> io::Result<()> {
        match deed() {
            Err(why) if why.kind() == io::ErrorKind::IsADirectory => {
                let free = self.move_aside(name)?;
                warn!("`{}` is a directory, not a file; it was put aside as `{free}`", self.files.shown(name));
                deed()
            }
            done => done,
        }
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        // Saved before anything was loaded; or somebody removed it under our feet.
        self.files.prepare()?;
        let draft = format!(".{name}{DRAFT}");
        let written = self.past_a_directory(&draft, || self.files.write(&draft, bytes)).and_then(|()| self.files.sync(&draft));
        let named = written.and_then(|()| self.past_a_directory(name, || self.files.rename(&draft, name)));
        if let Err(why) = named {
            // A disk that is full needs the room; one that is broken cannot be helped.
            let _ = self.files.remove(&draft);
            return Err(why);
        }
        self.files.sync_names()
    }
}

/// The most bytes of a record that is read.
fn most_bytes(name: &str) -> u64 {
    if name == TARGETS { TARGETS_BYTES } else { RECORD_BYTES }
}

/// What is in a file. The error repeats nothing of the file of keys.
fn parsed<T: DeserializeOwned>(name: &str, bytes: &[u8]) -> Result<T, String> {
    serde_json::from_slice(bytes).map_err(|why| match (name, why.to_string()) {
        (KEYS, said) if said.contains("invalid type") => {
            format!("something is of another type at line {} column {}", why.line(), why.column())
        }
        (_, said) => said,
    })
}

/// Whether it is the file that cannot be read, now or later.
fn is_spoiled(why: &io::Error) -> bool {
    if why.kind() == io::ErrorKind::InvalidData {
        return true;
    }
    let codes = [Errno::IO, Errno::UCLEAN, Errno::BADMSG, Errno::ISDIR, Errno::LOOP];
    codes.iter().any(|it| why.raw_os_error() == Some(it.raw_os_error()))
}

fn failed<F: StoreFiles>(files: &StateDirectory<F>, deed: &str, name: &str, why: &io::Error) -> StoreError {
    let advice = match why.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "make room on that file system",
        io::ErrorKind::ReadOnlyFilesystem => "mount it writable, or choose another place with --state-dir",
        io::ErrorKind::PermissionDenied => "run as its owner, or choose another place with --state-dir",
        _ => "check the disk, or choose another place with --state-dir",
    };
    StoreError(format!("cannot {deed} `{}`: {why}; {advice}", files.shown(name)))
}

#[cfg(test)]
mod tests;
