//! Records that survive a power cut: files, each replaced whole.
//!
//! One JSON file per kind of record. The new content goes to a temporary file, which is synced and renamed over the old file;
//! then the directory is synced. So at any moment there is a whole old file or a whole new one. Bytes that are on disk already
//! are not written again: flash wears. The device's identity and its account in the cloud have backup copies, because without
//! them the cloud would see another device.
//!
//! A file that cannot be read is renamed to `<name>.unreadable-<n>` and reported; the other records are loaded all the same.
//! The same goes for anything else of that name, be it a FIFO or a terabyte of zeros, and for a damaged file of keys: damaged
//! keys grant no access.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::{fmt, io};

use rustix::io::Errno;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use tracing::warn;

use crate::linux::flash::FlashCounter;
use crate::linux::off_thread;
use crate::port::{self, CursorCopy, FileError, Record, StoreError, StoredState, TargetTag};
use crate::sorted::SortedMap;
use crate::state::cloud::AccountRecord;
use crate::state::{FlashWrites, LogCursors, Target, TargetError};

mod accepted;
mod cursors;
mod directory_lock;
mod disk;
mod failed_releases;
mod for_boot;
mod format;
mod history;
mod kept_data;
mod local_mode;
mod reached;
mod readers;
mod target_tag;
mod target_trial;
mod wire;

pub use accepted::AcceptedDocuments;
pub use directory_lock::{DirectoryLock, hold};
pub use disk::{Disk, StoreFiles};
pub use format::{FORMAT, check_format};
pub use readers::{
    account_in as account, device_key, identity, keep_provisioned, provisioned, provisioned_path, remove_account, stored, uuid,
};

use disk::StateDirectory;
use for_boot::{BOOT_WINDOW, LEASES};
use format::FORMAT_FILE;
use reached::REACHED;

const IDENTITY: &str = "identity.json";
const IDENTITY_BACKUP: &str = "identity.backup.json";
const ACCOUNT: &str = "account.json";
const ACCOUNT_BACKUP: &str = "account.backup.json";
const PIN: &str = "pin.json";
const KEYS: &str = "keys.json";
const TARGETS: &str = "targets.json";
const STOPPED: &str = "stopped.json";
const AWAITING: &str = "awaiting-boot.json";
const TRIAL: &str = "trial.json";
/// In the state directory, and a newer copy in the runtime directory.
const LOG_CURSORS: &str = "log-cursors.json";
const BOOT_CONFIG: &str = "boot-file.json";
const FAILED_RELEASES: &str = "failed-releases.json";
const LOCAL_MODE: &str = "local-mode.json";
const TARGET_TRIAL: &str = "target-trial.json";
const KEPT_DATA: &str = "kept-data.json";
/// What the provisioning file said. Not a record: only the next start reads it.
const PROVISIONED: &str = "boot-config.json";
const RECORDS: [&str; 18] = [
    FORMAT_FILE,
    IDENTITY,
    IDENTITY_BACKUP,
    ACCOUNT,
    ACCOUNT_BACKUP,
    PIN,
    KEYS,
    TARGETS,
    STOPPED,
    AWAITING,
    TRIAL,
    LOG_CURSORS,
    BOOT_CONFIG,
    FAILED_RELEASES,
    LOCAL_MODE,
    TARGET_TRIAL,
    KEPT_DATA,
    history::HISTORY,
];
/// Size limit of a record, in bytes: a hundred times the longest seen.
const RECORD_BYTES: u64 = 4 << 20;
/// Size limit of the records of targets and of trials, in bytes. They have two documents of at most 4 MiB, and each of their
/// characters may take six bytes.
const TARGETS_BYTES: u64 = 64 << 20;
/// Suffix of a temporary file.
const DRAFT: &str = ".new";

/// Parses a target from a stored document.
pub type ParseTarget = dyn Fn(&str) -> Result<Target, TargetError> + Send + Sync;

/// The records, in a directory.
pub struct Store<F = Disk> {
    shared: Arc<SharedStore<F>>,
}

struct SharedStore<F> {
    files: StateDirectory<F>,
    /// For what need not outlive a reboot. `None`: nothing is kept there.
    runtime: Option<StateDirectory<F>>,
    parse: Box<ParseTarget>,
    /// Complaints from before there was a store. A load reports them with its own.
    complaints: Vec<String>,
    /// What is known of each file. Locked while writing: a save continues even if its caller no longer waits.
    known: Mutex<SortedMap<&'static str, Known>>,
}

/// What is known of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    /// Content of this hash was read. An earlier run of the agent may have ended before it was synced.
    Read([u8; 32]),
    /// Content of this hash is on disk.
    Settled([u8; 32]),
    /// The last write failed, although the file may read as if it had succeeded.
    Failed,
    /// It cannot be read, and could not be renamed yet. It is not overwritten.
    InTheWay,
}

impl Store {
    /// Records in the directory `path`, which is created if it is missing.
    #[must_use]
    pub fn new(path: &Path, parse: Box<ParseTarget>) -> Self {
        Self::over(Disk, path, parse)
    }
}

impl<F: StoreFiles> Store<F> {
    /// Records in the directory `path` of another implementation of file systems.
    #[must_use]
    pub fn over(files: F, path: &Path, parse: Box<ParseTarget>) -> Self {
        Self {
            shared: Arc::new(SharedStore {
                files: StateDirectory::new(files, path).counted_by(FlashCounter::default()),
                runtime: None,
                parse,
                complaints: Vec::new(),
                known: Mutex::default(),
            }),
        }
    }
}

impl Store {
    /// Keeps what need not outlive a reboot in the directory `path`.
    #[must_use]
    pub fn with_runtime_directory(self, path: &Path) -> Self {
        let before = Arc::into_inner(self.shared).expect("no load or save has begun");
        Self { shared: Arc::new(SharedStore { runtime: Some(StateDirectory::new(Disk, path)), ..before }) }
    }
}

impl<F: StoreFiles> Store<F> {
    /// Counts what is written together with what other adapters write.
    #[must_use]
    pub fn with_flash_counter(self, flash: FlashCounter) -> Self {
        let before = Arc::into_inner(self.shared).expect("no load or save has begun");
        Self { shared: Arc::new(SharedStore { files: before.files.counted_by(flash), ..before }) }
    }

    /// Adds complaints from before there was a store: a load reports them too.
    #[must_use]
    pub fn with_complaints(self, complaints: Vec<String>) -> Self {
        let before = Arc::into_inner(self.shared).expect("no load or save has begun");
        Self { shared: Arc::new(SharedStore { complaints, ..before }) }
    }
}

impl<F: StoreFiles> port::Store for Store<F> {
    async fn load(&self) -> Result<StoredState, StoreError> {
        let shared = Arc::clone(&self.shared);
        off_thread(move || shared.load()).await.map_err(StoreError::Interrupted)?
    }

    async fn account(&self) -> Result<Option<AccountRecord>, StoreError> {
        let shared = Arc::clone(&self.shared);
        off_thread(move || readers::account(&shared.files)).await.map_err(StoreError::Interrupted)?
    }

    async fn save(&self, record: &Record) -> Result<(), StoreError> {
        let shared = Arc::clone(&self.shared);
        if let Record::Proved(fingerprint) = record {
            let mark = format!("{REACHED}{fingerprint}");
            return off_thread(move || shared.mark_reached(&mark)).await.map_err(StoreError::Interrupted)?;
        }
        if let Record::TargetTag(tag) = record {
            let bytes = target_tag::encode(tag);
            return off_thread(move || shared.keep_target_tag(&bytes)).await.map_err(StoreError::Interrupted)?;
        }
        if let Some((name, bytes)) = for_boot::encode(record) {
            return off_thread(move || shared.keep_for_boot(name, &bytes)).await.map_err(StoreError::Interrupted)?;
        }
        let bytes_of = wire::files(record);
        off_thread(move || bytes_of.into_iter().try_for_each(|(name, bytes)| shared.keep(name, &bytes)))
            .await
            .map_err(StoreError::Interrupted)?
    }

    async fn load_log_cursors(&self) -> Result<Option<LogCursors>, StoreError> {
        let shared = Arc::clone(&self.shared);
        off_thread(move || shared.log_cursors()).await.map_err(StoreError::Interrupted)?
    }

    async fn save_log_cursors(&self, cursors: &LogCursors, copy: CursorCopy) -> Result<(), StoreError> {
        let (shared, bytes) = (Arc::clone(&self.shared), cursors::encode(cursors));
        off_thread(move || shared.keep_log_cursors(&bytes, copy)).await.map_err(StoreError::Interrupted)?
    }

    async fn target_tag(&self) -> Option<TargetTag> {
        let shared = Arc::clone(&self.shared);
        off_thread(move || shared.target_tag()).await.ok()?
    }

    fn flash_writes(&self) -> FlashWrites {
        self.shared.files.flash().map(FlashCounter::so_far).unwrap_or_default()
    }
}

impl<F: StoreFiles> fmt::Debug for Store<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Store").field(&self.shared.files).finish()
    }
}

impl<F: StoreFiles> SharedStore<F> {
    fn load(&self) -> Result<StoredState, StoreError> {
        self.files.prepare().map_err(|why| failed(&self.files, "make", "", &why))?;
        let mut damaged = Vec::new();
        self.settle_format(&mut damaged)?;
        let names = self.files.names().map_err(|why| failed(&self.files, "read", "", &why))?;
        for draft in names.iter().filter(|it| it.starts_with('.') && it.ends_with(DRAFT)) {
            // A leftover temporary file takes space but does no other harm: the next save replaces it.
            let _ = self.files.remove(draft);
        }
        let mut memory = StoredState {
            complaints: [self.complaints.clone(), damaged, self.files.doubts()].concat(),
            ..StoredState::default()
        };
        memory.identity = self.identity(&mut memory.complaints)?.map(wire::IdentityFile::into_state);
        memory.account = self.account(&mut memory.complaints)?.map(wire::AccountFile::into_state);
        memory.pin = self.read(PIN, &mut memory.complaints)?.and_then(wire::PinFile::into_state);
        memory.keys = self.read(KEYS, &mut memory.complaints)?.map(wire::KeysFile::into_state);
        memory.stopped = self.read(STOPPED, &mut memory.complaints)?.map(wire::StoppedFile::into_state).unwrap_or_default();
        memory.awaiting = self.read(AWAITING, &mut memory.complaints)?.map(wire::AwaitingFile::into_state).unwrap_or_default();
        memory.leases = self.read_for_boot(LEASES, for_boot::leases, &mut memory.complaints);
        memory.boot_window = self.read_for_boot(BOOT_WINDOW, for_boot::boot_window, &mut memory.complaints);
        memory.trial = self.read(TRIAL, &mut memory.complaints)?.and_then(wire::StartCountFile::into_state);
        memory.failed_releases = self
            .read(FAILED_RELEASES, &mut memory.complaints)?
            .map(failed_releases::FailedReleasesFile::into_state)
            .unwrap_or_default();
        memory.kept_data =
            self.read(KEPT_DATA, &mut memory.complaints)?.map(kept_data::KeptDataFile::into_state).unwrap_or_default();
        memory.boot_config =
            self.read(BOOT_CONFIG, &mut memory.complaints)?.map(wire::BootConfigFile::into_state).unwrap_or_default();
        if let Some(record) = self.read::<local_mode::LocalModeFile>(LOCAL_MODE, &mut memory.complaints)? {
            let (record, wrong) = record.into_state(&self.parse);
            memory.local_mode = record;
            memory.complaints.extend(wrong.map(|why| format!("the target that was pushed in local mode is dropped: {why}")));
        }
        if let Some(record) = self.read::<target_trial::TargetTrialFile>(TARGET_TRIAL, &mut memory.complaints)? {
            let (record, wrong) = record.into_state(&self.parse);
            memory.target_trial = record;
            memory.complaints.extend(wrong.map(|why| format!("the target on trial is dropped: {why}")));
        }
        if let Some(targets) = self.read::<wire::TargetsFile>(TARGETS, &mut memory.complaints)? {
            let (targeted, wrong) = targets.into_state(&self.parse);
            memory.targets = targeted;
            let proved = |it: &Target| names.contains(&format!("{REACHED}{}", it.fingerprint()));
            if memory.targets.wanted.as_ref().is_some_and(proved) {
                memory.targets.last_good.clone_from(&memory.targets.wanted);
            }
            if let Some(why) = wrong {
                self.known().remove(TARGETS);
                memory.complaints.push(self.put_aside(TARGETS, &why));
                // Save what could be parsed of it, or the next start would have none of it.
                self.mend(&Record::Targets(Box::new(memory.targets.clone())), &mut memory.complaints);
            }
        }
        if let Err(why) = self.fsync_all() {
            let lost = "a power cut may lose what was read";
            memory.complaints.push(format!("{}; {lost}", failed(&self.files, "sync", "", &why)));
        }
        Ok(memory)
    }

    /// Syncs what an earlier run of the agent wrote but may not have synced. The agent acts on it from now on, so a power cut
    /// must not undo it.
    fn fsync_all(&self) -> io::Result<()> {
        let mut known = self.known();
        for name in RECORDS {
            match self.files.sync(name) {
                Err(why) if why.kind() == io::ErrorKind::NotFound => (),
                // After a failed write the kernel counts the bytes as written: only writing new ones helps.
                Err(_) if known.get(name) != Some(&Known::InTheWay) => {
                    self.replace(name, &self.files.read(name, most_bytes(name))?)?;
                }
                synced => synced?,
            }
        }
        self.files.sync_names("")?;
        for (_, it) in known.iter_mut() {
            if let Known::Read(hash) = *it {
                *it = Known::Settled(hash);
            }
        }
        Ok(())
    }

    fn known(&self) -> MutexGuard<'_, SortedMap<&'static str, Known>> {
        // A thread that panicked while it held this lock left no half-written map behind.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn identity(&self, complaints: &mut Vec<String>) -> Result<Option<wire::IdentityFile>, StoreError> {
        let record = |it: wire::IdentityFile| Record::Identity(it.into_state());
        self.either([IDENTITY, IDENTITY_BACKUP], "the device's identity", record, complaints)
    }

    fn account(&self, complaints: &mut Vec<String>) -> Result<Option<wire::AccountFile>, StoreError> {
        let record = |it: wire::AccountFile| Record::Account(it.into_state());
        self.either([ACCOUNT, ACCOUNT_BACKUP], "the account in the cloud", record, complaints)
    }

    /// Either copy will do. Afterwards both exist.
    fn either<T: DeserializeOwned + Clone + PartialEq>(
        &self,
        [name, backup]: [&'static str; 2],
        what: &str,
        record: impl FnOnce(T) -> Record,
        complaints: &mut Vec<String>,
    ) -> Result<Option<T>, StoreError> {
        let first: Option<T> = self.read(name, complaints)?;
        let second = self.read(backup, complaints)?;
        if first == second {
            return Ok(first);
        }
        if first.is_none() {
            complaints.push(format!("{what} was taken from its second copy, `{}`", self.files.shown(backup)));
        }
        let found = first.or(second);
        if let Some(found) = &found {
            self.mend(&record(found.clone()), complaints);
        }
        Ok(found)
    }

    fn mend(&self, record: &Record, complaints: &mut Vec<String>) {
        for (name, bytes) in wire::files(record) {
            complaints.extend(self.keep(name, &bytes).err().map(|it| it.to_string()));
        }
    }

    /// The content of a file. `None`: it is missing or cannot be read.
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
            // The file is fine: the agent lacks the rights, or the machine has a passing fault.
            Err(why) => return Err(failed(&self.files, "read", name, &why)),
        };
        complaints.push(self.put_aside(name, &why));
        Ok(None)
    }

    /// Renames an unreadable file to a free name. Returns the complaint.
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
        self.files.sync_names(name)?;
        Ok(free)
    }

    /// Replaces a file. Once it returns, the new content survives a power cut.
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
            // After a failed write the content is written again, even if it is what the file reads as.
            Some(Known::Read(_) | Known::Settled(_) | Known::Failed) | None => self.replace(name, bytes),
        };
        if name == TARGETS && kept.is_ok() {
            // The record itself says which target is good.
            self.sweep();
        }
        known.insert(name, if kept.is_ok() { Known::Settled(hash) } else { Known::Failed });
        kept.map_err(|why| failed(&self.files, "keep", name, &why))
    }

    /// Syncs content that an earlier run of the agent wrote and may not have synced.
    fn settle(&self, name: &str) -> io::Result<()> {
        self.files.sync(name)?;
        self.files.sync_names(name)
    }

    /// Does something with a file. A directory of that name is renamed first.
    fn past_a_directory(&self, name: &str, call: impl Fn() -> io::Result<()>) -> io::Result<()> {
        match call() {
            Err(why) if why.kind() == io::ErrorKind::IsADirectory => {
                let free = self.move_aside(name)?;
                warn!("`{}` is a directory, not a file; it was put aside as `{free}`", self.files.shown(name));
                call()
            }
            done => done,
        }
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        // A save may come before any load; or someone removed the directory while the agent ran.
        self.files.prepare()?;
        let draft = format!(".{name}{DRAFT}");
        let written = self.past_a_directory(&draft, || self.files.write(&draft, bytes)).and_then(|()| self.files.sync(&draft));
        let named = written.and_then(|()| self.past_a_directory(name, || self.files.rename(&draft, name)));
        if let Err(why) = named {
            // A full disk needs the space; a broken one cannot be helped.
            let _ = self.files.remove(&draft);
            return Err(why);
        }
        self.files.sync_names(name)
    }
}

/// The size limit of a record, in bytes.
fn most_bytes(name: &str) -> u64 {
    if matches!(name, TARGETS | TARGET_TRIAL) { TARGETS_BYTES } else { RECORD_BYTES }
}

/// Parses a file. The error quotes nothing of the files of keys.
fn parsed<T: DeserializeOwned>(name: &str, bytes: &[u8]) -> Result<T, String> {
    serde_json::from_slice(bytes).map_err(|why| match (name, why.to_string()) {
        (KEYS | ACCOUNT | ACCOUNT_BACKUP, said) if said.contains("invalid type") => {
            format!("something is of another type at line {} column {}", why.line(), why.column())
        }
        (_, said) => said,
    })
}

/// Whether the file itself is unreadable, now and later.
fn is_spoiled(why: &io::Error) -> bool {
    if why.kind() == io::ErrorKind::InvalidData {
        return true;
    }
    let codes = [Errno::IO, Errno::UCLEAN, Errno::BADMSG, Errno::ISDIR, Errno::LOOP];
    codes.iter().any(|it| why.raw_os_error() == Some(it.raw_os_error()))
}

fn failed<F: StoreFiles>(files: &StateDirectory<F>, action: &'static str, name: &str, why: &io::Error) -> StoreError {
    StoreError::File(FileError::new(action, files.shown(name), why))
}

#[cfg(test)]
mod tests;
