//! The port of the store of records.

use std::io::ErrorKind;
use std::time::Duration;

use crate::port::FileError;
use crate::sorted::{SortedMap, SortedSet};
use crate::state::boot_config::BootConfigRecord;
use crate::state::cloud::{AccountRecord, ReleasePin};
use crate::state::lease::Leases;
use crate::state::local_mode::LocalModeRecord;
use crate::state::target_trial::TargetTrialRecord;
use crate::state::{
    AppId, ContainerId, FailedRelease, FlashWrites, Identity, ImageRef, KeptData, Keys, LogCursors, ServiceKey, StartCount,
    Target,
};

/// The store of records that survive a power cut.
///
/// # Guarantees
/// - After [`Store::save`] returned, a power cut keeps the new record; before, the old one or the new one. Only
///   [`Record::Proved`] and [`Record::TargetTag`] may be lost by a power cut within seconds, and [`Record::Leases`] and
///   [`Record::BootWindow`], which another boot has no use for.
/// - A record that cannot be read is moved aside under a new name and reported; the others are not affected.
/// - [`Store::flash_writes`] counts every record that is written, when it is written. What is kept until the machine reboots is
///   not counted: it is in memory.
pub trait Store {
    /// Loads every stored record.
    async fn load(&self) -> Result<StoredState, StoreError>;
    /// Loads the account alone, after [`Store::load`]. Moves nothing aside: an account that cannot be read counts as absent.
    async fn account(&self) -> Result<Option<AccountRecord>, StoreError>;
    /// Saves a record, replacing the one of its kind.
    async fn save(&self, record: &Record) -> Result<(), StoreError>;
    /// Loads the newest cursors that were saved.
    async fn load_log_cursors(&self) -> Result<Option<LogCursors>, StoreError>;
    /// Saves how far logs were uploaded. May be called some ten times a second for [`CursorCopy::Boot`], which writes no flash.
    async fn save_log_cursors(&self, cursors: &LogCursors, copy: CursorCopy) -> Result<(), StoreError>;
    /// The stored ETag of the cloud's target. `None`: there is none, or it cannot be read. Changes nothing.
    async fn target_tag(&self) -> Option<TargetTag>;
    /// What was written to flash since the agent started, in the state directory and in other files of the agent. Reads memory
    /// only.
    fn flash_writes(&self) -> FlashWrites;
}

/// Which copy of the cursors is saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CursorCopy {
    /// One that is kept until the machine reboots.
    Boot,
    /// One that survives a power cut.
    Durable,
}

/// The ETag that the cloud gave a target's document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetTag {
    /// The ETag.
    pub etag: String,
    /// The target's fingerprint.
    pub fingerprint: String,
}

/// The stored records.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoredState {
    /// The device's identity.
    pub identity: Option<Identity>,
    /// The account in the cloud.
    pub account: Option<AccountRecord>,
    /// The release that the device is still to be pinned on.
    pub pin: Option<ReleasePin>,
    /// The API keys.
    pub keys: Option<Keys>,
    /// The targets.
    pub targets: StoredTargets,
    /// Services that the user stopped.
    pub stopped: SortedSet<ServiceKey>,
    /// Containers that wait for a reboot, each with the boot id under which that was first seen.
    pub awaiting: SortedMap<ContainerId, String>,
    /// Leases of apps. They count only in the boot that they are of.
    pub leases: StoredLeases,
    /// When the window that a reboot opens closes.
    pub boot_window: BootWindow,
    /// The start counter of a target that was never reached.
    pub trial: Option<StartCount>,
    /// Releases that failed, by app.
    pub failed_releases: SortedMap<AppId, FailedRelease>,
    /// What is kept of the data of volumes, by app.
    pub kept_data: SortedMap<AppId, KeptData>,
    /// What is remembered of the boot configuration.
    pub boot_config: BootConfigRecord,
    /// What is remembered of local mode.
    pub local_mode: LocalModeRecord,
    /// The target on trial, and the one that was kept after its trial.
    pub target_trial: TargetTrialRecord,
    /// Records that could not be read and were moved aside, described in words.
    pub complaints: Vec<String>,
}

/// The targets to keep across restarts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoredTargets {
    /// The last accepted target.
    pub wanted: Option<Target>,
    /// The last target that was reached. The same as `wanted`, most of the time.
    pub last_good: Option<Target>,
    /// Targets of which an app's release was proven good, where the last good target has another release of that app.
    pub good_apps: SortedMap<AppId, Target>,
    /// Images that were pulled for a target, or were about to be.
    pub pulled: SortedSet<ImageRef>,
}

/// Leases, and the boot that they are of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoredLeases {
    /// The boot id.
    pub boot_id: String,
    /// The leases.
    pub leases: Leases,
}

/// The window that the first start of the agent in a boot opens.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BootWindow {
    /// The boot id.
    pub boot_id: String,
    /// When it closes, as time since that boot.
    pub closes_up: Duration,
}

/// One record to be saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// The device's identity.
    Identity(Identity),
    /// The account in the cloud.
    Account(AccountRecord),
    /// The release that the device is still to be pinned on. `None`: that is settled, or was never asked for.
    Pin(Option<ReleasePin>),
    /// The API keys.
    Keys(Keys),
    /// The targets.
    Targets(Box<StoredTargets>),
    /// Services that the user stopped.
    Stopped(SortedSet<ServiceKey>),
    /// Containers that wait for a reboot, each with the boot id under which that was first seen.
    Awaiting(SortedMap<ContainerId, String>),
    /// Leases of apps. They are saved for this boot only, which costs no sync: a lease may be renewed every few seconds.
    Leases(StoredLeases),
    /// When the window that a reboot opens closes. Saved as leases are.
    BootWindow(BootWindow),
    /// The start counter of a target that was never reached.
    Trial(Option<StartCount>),
    /// Releases that failed, by app.
    FailedReleases(SortedMap<AppId, FailedRelease>),
    /// What is kept of the data of volumes, by app.
    KeptData(SortedMap<AppId, KeptData>),
    /// What is remembered of the boot configuration.
    BootConfig(Box<BootConfigRecord>),
    /// What is remembered of local mode.
    LocalMode(Box<LocalModeRecord>),
    /// The target on trial, and the one that was kept after its trial.
    TargetTrial(Box<TargetTrialRecord>),
    /// The wanted target was reached: the good one is the one with this fingerprint. It costs no sync, so that a release
    /// costs few; if it is lost, the target is marked as reached again after the next start.
    Proved(String),
    /// The ETag of the cloud's target. It costs no sync: if it is lost, the cloud sends the target once more.
    TargetTag(TargetTag),
}

/// Why a record could not be saved or loaded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// A file or directory of the store could not be used. May work later.
    #[error("{0}; {advice}", advice = advice(.0.kind))]
    File(FileError),
    /// A file is damaged. The agent mends it at its next start.
    #[error("cannot read `{path}`: {why}; start the agent, which mends it")]
    Damaged {
        /// The file.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// Another agent has the state directory.
    #[error("another agent runs with the state in `{path}`: stop it, or choose another place with --state-dir")]
    InUse {
        /// The directory.
        path: String,
    },
    /// A newer version of the agent wrote the state directory, and this version would misread it.
    #[error(
        "this version of boardkeeper ({own}) cannot read `{path}`: {writer} wrote it, in format {format}, and this one reads \
         formats up to {newest}; install that version again, or choose another place with --state-dir",
        own = env!("CARGO_PKG_VERSION"),
        writer = writer_words(.writer)
    )]
    NewerFormat {
        /// The directory.
        path: String,
        /// Its format.
        format: u32,
        /// The newest format that this version reads.
        newest: u32,
        /// The version that began the format. Empty: it is not known.
        writer: String,
    },
    /// The work was broken off. The record is saved or not, and may be saved again.
    #[error("{0}")]
    Interrupted(String),
}

/// Which versions can read a directory, by the version that began its format.
fn writer_words(version: &str) -> String {
    if version.is_empty() {
        "a newer version of boardkeeper".to_owned()
    } else {
        format!("boardkeeper {version} or a newer version")
    }
}

/// What to do about a file of the store that cannot be used.
const fn advice(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "make room on that file system",
        ErrorKind::ReadOnlyFilesystem => "mount it writable, or choose another place with --state-dir",
        ErrorKind::PermissionDenied => "run as its owner, or choose another place with --state-dir",
        _ => "check the disk, or choose another place with --state-dir",
    }
}
