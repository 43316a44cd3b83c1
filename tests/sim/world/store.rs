//! A disk that keeps what it acknowledged, and little else.

use std::sync::Arc;

use boardkeeper::port::{CursorCopy, HistoryStore, Record, Store, StoreError, StoredState, StoredTargets, TargetTag};
use boardkeeper::state::boot_config::BootConfigRecord;
use boardkeeper::state::cloud::AccountRecord;
use boardkeeper::state::history::{HistoryEntry, KEPT, KEPT_OVER_BOOTS};
use boardkeeper::state::{EngineTime, FlashCount, FlashPurpose, FlashWrites, LogCursors};

use super::marks::Mark;
use super::{Model, Sim};

/// How saves behave.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum SaveMode {
    /// They succeed.
    #[default]
    Good,
    /// The record is saved, and the call fails.
    Lies,
    /// They take twenty seconds.
    Slow,
}

/// What is on the disk.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    /// What a load returns.
    pub(crate) kept: StoredState,
    /// The ETag of the cloud's target.
    pub(crate) tag: Option<TargetTag>,
    /// It is full.
    pub(crate) full: bool,
    /// It cannot be written.
    pub(crate) read_only: bool,
    /// A save failed, and none worked since.
    unsaved: bool,
    /// How every save behaves, besides random faults.
    pub(crate) mode: SaveMode,
    /// How far logs were uploaded, on the disk.
    cursors: Option<LogCursors>,
    /// The same, until the machine reboots.
    pub(super) boot_cursors: Option<LogCursors>,
    /// The history, on the disk.
    durable_history: Vec<HistoryEntry>,
    /// The history, until the machine reboots.
    pub(super) boot_history: Vec<HistoryEntry>,
    /// How often an agent crashed since the last load.
    pub(crate) cuts: u32,
    /// What was written to it.
    written: FlashWrites,
}

/// What the disk writes at least, in bytes.
const BLOCK_BYTES: u64 = 4096;

impl Disk {
    fn keep(&mut self, record: Record) {
        if let Some((purpose, syncs)) = wear(&record) {
            self.written.add(purpose, FlashCount { bytes: BLOCK_BYTES, syncs });
        }
        match record {
            Record::Identity(identity) => self.kept.identity = Some(identity),
            Record::Account(account) => self.kept.account = Some(account),
            Record::Pin(pin) => self.kept.pin = pin,
            Record::Keys(keys) => self.kept.keys = Some(keys),
            Record::Targets(targets) => self.kept.targets = *targets,
            Record::Stopped(stopped) => self.kept.stopped = stopped,
            Record::Awaiting(awaiting) => self.kept.awaiting = awaiting,
            Record::Leases(leases) => self.kept.leases = leases,
            Record::BootWindow(window) => self.kept.boot_window = window,
            Record::Trial(trial) => self.kept.trial = trial,
            Record::FailedReleases(failed) => self.kept.failed_releases = failed,
            Record::KeptData(kept) => self.kept.kept_data = kept,
            Record::BootConfig(record) => self.kept.boot_config = *record,
            Record::LocalMode(record) => self.kept.local_mode = *record,
            Record::TargetTrial(record) => self.kept.target_trial = *record,
            Record::TargetTag(tag) => self.tag = Some(tag),
            Record::Proved(it) => {
                let targets = &mut self.kept.targets;
                if targets.wanted.as_ref().is_some_and(|wanted| wanted.fingerprint() == it) {
                    targets.last_good.clone_from(&targets.wanted);
                    targets.good_apps.clear();
                }
            }
        }
    }

    /// The history, as it is kept until the machine reboots.
    pub(crate) fn boot_history(&self) -> &[HistoryEntry] {
        &self.boot_history
    }

    /// When the upload of logs began.
    pub(super) fn logs_began(&self) -> Option<EngineTime> {
        let both = [&self.cursors, &self.boot_cursors];
        both.into_iter().flatten().max_by_key(|it| it.saves).map(|it| it.began)
    }

    fn trouble(&self) -> Option<StoreError> {
        let why = match (self.full, self.read_only) {
            (true, _) => "no space left on device",
            (_, true) => "read-only file system",
            (false, false) => return None,
        };
        Some(StoreError::Interrupted(why.into()))
    }
}

impl Model {
    /// A record cannot be read any more, and is put aside. Of the identity there is a second copy.
    fn corrupt_record(&mut self) {
        let (reboots, has_cloud) = (self.targets.reboots, self.net.endpoint);
        let StoredState { account, targets, stopped, awaiting, boot_config, complaints, .. } = &mut self.disk.kept;
        let mut account_is_spoiled = false;
        let kind = match self.rngs.calls.below(3 + u64::from(reboots) + u64::from(has_cloud)) {
            0 => {
                *targets = StoredTargets::default();
                "targets"
            }
            1 => {
                stopped.clear();
                "stopped"
            }
            2 => {
                awaiting.clear();
                "awaiting"
            }
            3 if reboots => {
                *boot_config = BootConfigRecord::default();
                self.boot_record_was_lost = true;
                "boot configuration"
            }
            _ => {
                account_is_spoiled = account.take().is_some();
                "account"
            }
        };
        complaints.push(format!("{kind} cannot be read, and was put aside"));
        self.note(format_args!("{kind} cannot be read any more"));
        if account_is_spoiled {
            self.hit(Mark::AccountSpoiled);
        }
        self.hit(Mark::RecordSpoiled);
    }
}

/// A record being written. If it is dropped before it is done, the record is there, or not, or torn and put aside.
struct Writing<'a>(&'a Sim, Option<Record>);

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        let (Some(record), Ok(mut model)) = (self.1.take(), self.0.0.try_borrow_mut()) else { return };
        let mark = match model.rngs.partial.below(3) {
            0 => {
                model.disk.keep(record);
                model.forget_proven_writes();
                Mark::SaveCutNew
            }
            1 if matches!(record, Record::TargetTag(_)) => {
                model.disk.tag = None;
                Mark::SaveTorn
            }
            // Its file is replaced in memory.
            1 if matches!(record, Record::Leases(_) | Record::BootWindow(_)) => Mark::SaveCutOld,
            1 => {
                model.disk.kept.complaints = vec!["a record was torn, and put aside".into()];
                Mark::SaveTorn
            }
            _ => Mark::SaveCutOld,
        };
        model.hit(mark);
        model.hit(Mark::CutInSave);
    }
}

impl Store for Sim {
    async fn load(&self) -> Result<StoredState, StoreError> {
        self.pass(1, 50).await;
        self.with(|model| {
            if model.roll(model.rates.faults, Mark::LoadFails) {
                model.note("the disk cannot be read");
                return Err(StoreError::Interrupted("input/output error".into()));
            }
            if model.rngs.calls.happens(model.rates.faults / 4) {
                model.corrupt_record();
            }
            model.loaded = true;
            if std::mem::take(&mut model.disk.cuts) > 0 && model.disk.kept.identity.is_some() {
                model.hit(Mark::IdentityKept);
            }
            let memory = model.disk.kept.clone();
            model.disk.kept.complaints.clear();
            Ok(memory)
        })
    }

    async fn account(&self) -> Result<Option<AccountRecord>, StoreError> {
        self.pass(1, 50).await;
        self.with(|model| {
            if model.roll(model.rates.faults, Mark::LoadFails) {
                return Err(StoreError::Interrupted("input/output error".into()));
            }
            Ok(model.disk.kept.account.clone())
        })
    }

    async fn save(&self, record: &Record) -> Result<(), StoreError> {
        self.with(|model| model.check_save(record));
        if let Record::TargetTag(tag) = record {
            self.with(|model| model.check_tag(tag));
        }
        if let Record::Targets(targets) = record {
            self.with(|model| model.check_signed(targets));
        }
        let mut writing = Writing(self, Some(record.clone()));
        if let Record::Leases(_) | Record::BootWindow(_) = record {
            // In memory, until the machine reboots: no disk has a part in it.
            self.pass(1, 20).await;
            writing.1 = None;
            return self.with(|model| {
                model.disk.keep(record.clone());
                model.forget_proven_writes();
                Ok(())
            });
        }
        let slow = self.with(|model| model.roll(model.rates.hangs, Mark::SaveSlow));
        let least = if self.with(|model| model.disk.mode == SaveMode::Slow) { 20_000 } else { 1 };
        self.pass(least, if slow { 20_000 } else { least.max(60) }).await;
        writing.1 = None;
        self.with(|model| {
            let kind = name(record);
            if let Some(trouble) = model.disk.trouble() {
                model.hit(if model.disk.full { Mark::DiskFull } else { Mark::DiskReadOnly });
                model.disk.unsaved = true;
                model.note(format_args!("save {kind}: {trouble}"));
                return Err(trouble);
            }
            let fault = model.rngs.calls.happens(model.rates.faults);
            let lies = model.disk.mode == SaveMode::Lies;
            if fault && !lies && model.rngs.calls.happens(500) {
                model.note(format_args!("save {kind}: failed"));
                model.hit(Mark::SaveFails);
                model.disk.unsaved = true;
                return Err(StoreError::Interrupted("input/output error".into()));
            }
            model.disk.keep(record.clone());
            model.forget_proven_writes();
            if fault || lies {
                model.note(format_args!("save {kind}: kept, and called a failure"));
                model.hit(Mark::SaveLies);
                model.disk.unsaved = true;
                return Err(StoreError::Interrupted("input/output error".into()));
            }
            model.checker.kept(record);
            if std::mem::take(&mut model.disk.unsaved) {
                model.hit(Mark::SavedAgain);
            }
            Ok(())
        })
    }

    async fn load_log_cursors(&self) -> Result<Option<LogCursors>, StoreError> {
        self.pass(1, 50).await;
        self.with(|model| {
            let both = [&model.disk.cursors, &model.disk.boot_cursors];
            Ok(both.into_iter().flatten().max_by_key(|it| it.saves).cloned())
        })
    }

    async fn save_log_cursors(&self, cursors: &LogCursors, copy: CursorCopy) -> Result<(), StoreError> {
        self.pass(1, 20).await;
        self.with(|model| {
            match (copy, model.disk.trouble()) {
                (CursorCopy::Boot, _) => model.disk.boot_cursors = Some(cursors.clone()),
                (CursorCopy::Durable, None) => {
                    model.disk.cursors = Some(cursors.clone());
                    model.disk.written.add(FlashPurpose::LogCursors, FlashCount { bytes: BLOCK_BYTES, syncs: 2 });
                }
                (CursorCopy::Durable, Some(trouble)) => return Err(trouble),
            }
            model.lines.cursors_saved(copy);
            Ok(())
        })
    }

    async fn target_tag(&self) -> Option<TargetTag> {
        self.pass(1, 20).await;
        self.with(|model| model.disk.tag.clone())
    }

    fn flash_writes(&self) -> FlashWrites {
        self.with(|model| model.disk.written.clone())
    }
}

impl HistoryStore for Sim {
    async fn load_history(&self) -> Vec<HistoryEntry> {
        self.with(|model| {
            let Disk { durable_history, boot_history, .. } = &model.disk;
            let newest = |it: &[HistoryEntry]| it.last().map_or(0, |it| it.id);
            let kept = if newest(boot_history) > newest(durable_history) { boot_history } else { durable_history };
            kept.clone()
        })
    }

    async fn append_history(&self, entries: &[Arc<HistoryEntry>]) -> Result<(), StoreError> {
        self.with(|model| {
            let kept = &mut model.disk.boot_history;
            for entry in entries {
                let before = kept.last().map(|it| it.id);
                // After a reboot the first one follows the durable copy.
                assert!(before.is_none_or(|it| it + 1 == entry.id), "entry {} of the history follows {before:?}", entry.id);
                kept.push(HistoryEntry::clone(entry));
            }
            let surplus = kept.len().saturating_sub(KEPT);
            kept.drain(..surplus);
            Ok(())
        })
    }

    async fn save_history(&self, entries: &[Arc<HistoryEntry>]) -> Result<(), StoreError> {
        self.with(|model| {
            assert!(entries.len() <= KEPT_OVER_BOOTS, "{} entries are to be kept over boots", entries.len());
            let trouble = model.disk.trouble();
            if trouble.is_none() {
                model.disk.durable_history = entries.iter().map(|it| HistoryEntry::clone(it)).collect();
            }
            trouble.map_or(Ok(()), Err)
        })
    }
}

/// What a record is counted for, and how many syncs it takes. `None`: it is kept in memory.
const fn wear(record: &Record) -> Option<(FlashPurpose, u64)> {
    Some(match record {
        Record::Identity(_) | Record::Account(_) => (FlashPurpose::Identity, 4),
        Record::Pin(_) => (FlashPurpose::Identity, 2),
        Record::Keys(_) => (FlashPurpose::Keys, 2),
        Record::Targets(_) | Record::Trial(_) | Record::FailedReleases(_) | Record::KeptData(_) | Record::TargetTrial(_) => {
            (FlashPurpose::Targets, 2)
        }
        Record::Proved(_) | Record::TargetTag(_) => (FlashPurpose::Targets, 0),
        Record::Stopped(_) | Record::Awaiting(_) => (FlashPurpose::Services, 2),
        Record::BootConfig(_) => (FlashPurpose::BootConfig, 2),
        Record::LocalMode(_) => (FlashPurpose::LocalMode, 2),
        Record::Leases(_) | Record::BootWindow(_) => return None,
    })
}

const fn name(record: &Record) -> &'static str {
    match record {
        Record::Identity(_) => "identity",
        Record::Account(_) => "account",
        Record::Pin(_) => "pin",
        Record::Keys(_) => "keys",
        Record::Targets(_) => "targets",
        Record::Stopped(_) => "stopped",
        Record::Awaiting(_) => "awaiting",
        Record::Leases(_) => "leases",
        Record::BootWindow(_) => "boot window",
        Record::Trial(_) => "trial",
        Record::FailedReleases(_) => "failed releases",
        Record::KeptData(_) => "kept data",
        Record::BootConfig(_) => "boot configuration",
        Record::LocalMode(_) => "local mode",
        Record::TargetTrial(_) => "target trial",
        Record::Proved(_) => "proof",
        Record::TargetTag(_) => "tag",
    }
}
