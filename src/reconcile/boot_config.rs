//! The file in which the board's firmware or boot loader is configured: written as the target wants it, then in force from the
//! next boot, which the plan asks for once.
//!
//! ```text
//! written   saved before the file is written, so that a power cut in between is noticed
//! booted    as `written`, once another boot finds the file as written
//! good      as `booted`, once the agent settles, or runs for ten minutes
//! ```
//!
//! While `written` is not `booted`, the plan waits for a boot and asks for one. A file that is found otherwise after a boot was
//! undone by another program: after [`MAX_UNDONE`] boots no more are asked for. While `booted` is not `good`, starts are
//! counted; after too many the good variables are written again, and the target's are rejected until they change.
//!
//! What the agent cannot do: a board that does not boot far enough to start it stays as it is. For that the file that was good
//! is kept beside the new one.

use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use crate::boot_config::{self, variables, with_variables};
use crate::port::{Clock, Host, Record, World};
use crate::reconcile::persistence::save;
use crate::reconcile::{Context, Reconciler};
use crate::state::boot_config::{BootConfigProgress, BootConfigRecord, BootConfigStatus, BootFile, BootVariables};
use crate::state::{Difference, Target};

/// Minimum interval between two looks at the file.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// After this uptime the file is not what kills the agent.
const STABLE_AFTER: Duration = Duration::from_secs(10 * 60);
/// Boots that find the file otherwise than it was written, before no more are asked for.
const MAX_UNDONE: u32 = 2;

const NO_FILE: &str =
    "this board has no file for it that the agent knows; remove the variables that begin with HOST_CONFIG_ or HOST_EXTLINUX_";

/// The file, and what is remembered of it.
#[derive(Debug)]
pub(super) struct BootConfigTracker {
    record: BootConfigRecord,
    /// What the disk has of it. `None`: not known, because a save failed.
    saved: Option<BootConfigRecord>,
    /// What the last look wanted in the file, and when it was. `None`: no look yet.
    looked: Option<(BootVariables, Instant)>,
    /// Whether the last look could read the file, or found that there is none.
    is_read: bool,
    /// What the last look found.
    found: FoundFile,
    /// Why variables are not in force.
    problems: Vec<String>,
    started: Instant,
}

/// What a look at the file found.
#[derive(Debug, Clone, PartialEq, Eq)]
enum FoundFile {
    /// There was no look, and no need for one.
    Unneeded,
    /// It is as wanted. Its path.
    AsWanted(String),
    /// It cannot be as wanted, for this reason.
    Failed(String),
}

impl BootConfigTracker {
    /// The agent starts, with the record as stored.
    pub(super) fn new(record: BootConfigRecord) -> Self {
        Self {
            saved: Some(record.clone()),
            record,
            looked: None,
            is_read: false,
            found: FoundFile::Unneeded,
            problems: Vec::new(),
            started: Instant::now(),
        }
    }

    /// Counts this start, if the machine booted with variables that are not known to be good.
    pub(super) async fn start<W: World>(&mut self, context: &Context<'_, W>) {
        if self.record.is_empty() {
            return;
        }
        let before = self.record.clone();
        if let Ok(Some(file)) = context.world.host().boot_file().await {
            self.note_boot(&file, &context.world.clock().boot_id());
        }
        if self.record.is_on_trial() {
            self.record.starts = (self.record.starts + 1).min(BootConfigRecord::MAX_STARTS + 1);
            if self.record.starts > BootConfigRecord::MAX_STARTS {
                self.record.rejected = Some(self.record.booted.clone());
            }
        }
        if self.record != before {
            // If the disk does not take the record, this start is not counted, and nothing worse follows.
            self.save(context).await;
        }
    }

    /// Makes the file as the target wants it.
    pub(super) async fn apply<W: World>(&mut self, target: &Target, context: &Context<'_, W>) {
        let asked = variables(&target.config);
        self.record.rejected.take_if(|it| *it != asked);
        let is_rejected = self.record.rejected.is_some();
        let wanted = if is_rejected { self.record.good.clone() } else { asked };
        // Even if nothing is wanted, the agent looks until it has seen the file: its record may be lost, its block still there.
        let is_done = self.is_read && wanted.is_empty() && self.record.is_empty() && self.found == FoundFile::Unneeded;
        if self.looked.as_ref().is_none_or(|(it, at)| *it != wanted || (!is_done && at.elapsed() >= LOOK_EVERY)) {
            let found = self.write(&wanted, context).await;
            self.looked = Some((wanted, Instant::now()));
            self.on_found(found, is_rejected);
        }
        if !self.is_saved() {
            self.save(context).await;
        }
    }

    /// The machine is as wanted, or ran long enough: what it booted with is good.
    pub(super) async fn on_good<W: World>(&mut self, context: &Context<'_, W>) {
        if self.record.is_on_trial() && self.record.rejected.as_ref() != Some(&self.record.booted) {
            self.record.good.clone_from(&self.record.booted);
            self.record.starts = 0;
            info!("the device works with its boot configuration");
            self.save(context).await;
        }
    }

    /// As [`BootConfigTracker::on_good`], after enough uptime.
    pub(super) async fn on_uptime<W: World>(&mut self, context: &Context<'_, W>) {
        if self.started.elapsed() >= STABLE_AFTER {
            self.on_good(context).await;
        }
    }

    /// The file's path, if it takes effect at the next boot and a reboot is to be asked for.
    pub(super) fn awaits_boot(&self) -> Option<String> {
        match &self.found {
            FoundFile::AsWanted(path) if self.is_pending() && !self.is_undone() => Some(path.clone()),
            FoundFile::AsWanted(_) | FoundFile::Unneeded | FoundFile::Failed(_) => None,
        }
    }

    /// When the next look at a file is due that could not be made as wanted.
    pub(super) fn next_retry(&self) -> Option<Instant> {
        let (_, at) = self.looked.as_ref().filter(|_| matches!(self.found, FoundFile::Failed(_)))?;
        Some(*at + LOOK_EVERY)
    }

    /// What to publish.
    pub(super) fn status(&self) -> BootConfigStatus {
        let (path, progress) = match &self.found {
            FoundFile::Unneeded => (None, BootConfigProgress::Unmanaged),
            FoundFile::Failed(_) => (None, BootConfigProgress::Failed),
            FoundFile::AsWanted(path) if self.is_undone() => (Some(path), BootConfigProgress::Failed),
            FoundFile::AsWanted(path) if self.is_pending() => (Some(path), BootConfigProgress::AwaitsBoot),
            FoundFile::AsWanted(path) => (Some(path), BootConfigProgress::Applied),
        };
        let on_trial = (self.record.is_on_trial() && self.record.starts > 0).then(|| self.record.clone());
        BootConfigStatus { path: path.cloned(), progress, problems: self.problems.clone(), on_trial }
    }

    /// The same problems as differences from the target.
    pub(super) fn differences(&self) -> impl Iterator<Item = Difference> {
        self.problems.iter().map(|why| Difference { what: "boot configuration".to_owned(), why: why.clone() })
    }

    /// Writes the file, if it is not as wanted. `None`: nothing is wanted, and nothing of the agent's is there.
    async fn write<W: World>(&mut self, wanted: &BootVariables, context: &Context<'_, W>) -> Result<Option<BootFile>, String> {
        let host = context.world.host();
        let is_idle = wanted.is_empty() && self.record.is_empty();
        let file = host.boot_file().await;
        self.is_read = file.is_ok();
        let file = match file {
            Ok(Some(file)) => file,
            Ok(None) | Err(_) if is_idle => return Ok(None),
            Ok(None) => return Err(NO_FILE.to_owned()),
            Err(why) => return Err(why.to_string()),
        };
        let bytes = with_variables(file.format, &file.bytes, wanted).map_err(|why| format!("`{}`: {why}", file.path))?;
        if is_idle && bytes == file.bytes {
            return Ok(None);
        }
        self.note_boot(&file, &context.world.clock().boot_id());
        if bytes == file.bytes {
            self.note_written(wanted);
            return Ok(Some(file));
        }
        let was_good = !self.is_pending() && !self.record.is_on_trial();
        let before = self.record.clone();
        if self.record.written != *wanted {
            self.record.written.clone_from(wanted);
            (self.record.undone, self.record.starts) = (0, 0);
        }
        if !self.is_saved() && !self.save(context).await {
            self.record = before;
            return Err("the agent cannot save what it is about to write; make room in its state directory".to_owned());
        }
        let new = BootFile { bytes, ..file.clone() };
        host.write_boot_file(&new, was_good.then_some(&file.bytes)).await.map_err(|why| why.to_string())?;
        let read = host.boot_file().await.map_err(|why| why.to_string())?;
        if read.as_ref() != Some(&new) {
            return Err(format!("`{}` does not read as it was written; check the disk", new.path));
        }
        info!(path = new.path, "the boot configuration is written; it counts from the next boot");
        Ok(Some(new))
    }

    /// The first look in another boot: what it booted with is known.
    fn note_boot(&mut self, file: &BootFile, boot_id: &str) {
        let record = &mut self.record;
        if record.boot_id == boot_id {
            return;
        }
        boot_id.clone_into(&mut record.boot_id);
        let is_as_written = with_variables(file.format, &file.bytes, &record.written).is_ok_and(|it| it == file.bytes);
        if is_as_written {
            record.booted.clone_from(&record.written);
            record.undone = 0;
        } else if record.written != record.booted {
            record.undone = record.undone.saturating_add(1);
        }
    }

    /// The file is as wanted without a write: other variables mean the same, or the record was lost.
    fn note_written(&mut self, wanted: &BootVariables) {
        let record = &mut self.record;
        if record.written == *wanted {
            return;
        }
        if record.written == record.booted {
            if record.good == record.booted {
                record.good.clone_from(wanted);
            }
            record.booted.clone_from(wanted);
        }
        record.written.clone_from(wanted);
    }

    fn on_found(&mut self, found: Result<Option<BootFile>, String>, is_rejected: bool) {
        let mut problems = Vec::new();
        if is_rejected {
            problems.push(format!(
                "the agent was started {} times with the target's HOST_ variables without settling, so those before are back; \
                 change the variables",
                BootConfigRecord::MAX_STARTS
            ));
        }
        self.found = match found {
            Ok(None) => FoundFile::Unneeded,
            Ok(Some(file)) => {
                if self.is_undone() {
                    problems.push(format!("another program undoes the changes of `{}` at every boot; stop it", file.path));
                }
                problems.extend(self.looked.iter().flat_map(|(wanted, _)| boot_config::problems(file.format, wanted)));
                FoundFile::AsWanted(file.path)
            }
            Err(why) => {
                problems.push(why.clone());
                FoundFile::Failed(why)
            }
        };
        if self.problems != problems {
            for problem in &problems {
                warn!("boot configuration: {problem}");
            }
        }
        self.problems = problems;
    }

    fn is_pending(&self) -> bool {
        self.record.written != self.record.booted && !self.record.boot_id.is_empty()
    }

    fn is_undone(&self) -> bool {
        self.is_pending() && self.record.undone >= MAX_UNDONE
    }

    async fn save<W: World>(&mut self, context: &Context<'_, W>) -> bool {
        let is_saved = save(context.world, &Record::BootConfig(Box::new(self.record.clone()))).await;
        self.saved = is_saved.then(|| self.record.clone());
        is_saved
    }

    fn is_saved(&self) -> bool {
        self.saved.as_ref() == Some(&self.record)
    }
}

impl<W: World> Reconciler<'_, W> {
    /// Makes the boot configuration as the target wants it, whether or not the engine answers.
    pub(super) async fn apply_boot_config(&mut self) {
        if self.shutdown.is_in_progress() {
            return;
        }
        if let Some(target) = self.targets.completed() {
            self.boot_config.apply(target, &self.context).await;
        }
        self.boot_config.on_uptime(&self.context).await;
        if let Some(at) = self.boot_config.next_retry() {
            self.observed.schedule().resync_by(at);
        }
    }
}

#[cfg(test)]
mod tests;
