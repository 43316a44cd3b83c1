//! The history: a file of one line of JSON for each entry in the runtime directory, which is appended to and not synced, and a
//! durable copy of the newest ones.

use std::io;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tracing::warn;

use super::disk::{StateDirectory, StoreFiles};
use super::{DRAFT, RECORD_BYTES, SharedStore, Store, failed, is_spoiled};
use crate::linux::off_thread;
use crate::port::{HistoryStore, StoreError};
use crate::sorted::SortedMap;
use crate::state::AppId;
use crate::state::history::{FieldChange, HistoryAction, HistoryEntry, HistoryObject, HistoryOutcome, KEPT, Requester};

/// In the state directory the newest entries, and in the runtime directory all that are kept.
pub(super) const HISTORY: &str = "history.jsonl";

#[derive(Serialize, Deserialize)]
struct EntryLine {
    id: u64,
    at_ms: i64,
    action: String,
    object: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    app: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    service: Option<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    why: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    changes: Vec<(String, Option<String>, Option<String>)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    by: Option<String>,
    outcome: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    millis: Option<u64>,
}

impl EntryLine {
    fn of(it: &HistoryEntry) -> Self {
        Self {
            id: it.id,
            at_ms: it.at_ms,
            action: it.action.word().to_owned(),
            object: it.object.word().to_owned(),
            name: it.name.clone(),
            app: it.app.map(|it| it.0),
            service: it.service.clone(),
            why: it.why.clone(),
            changes: it.changes.iter().map(|it| (it.field.clone(), it.old.clone(), it.new.clone())).collect(),
            by: it.asked_by.as_ref().map(|it| it.words().to_owned()),
            outcome: it.outcome.word().to_owned(),
            error: if let HistoryOutcome::Failed(why) = &it.outcome { Some(why.clone()) } else { None },
            millis: it.millis,
        }
    }

    /// `None`: a later release of the agent wrote it, or it is damaged.
    fn into_entry(self) -> Option<HistoryEntry> {
        let outcome = match self.outcome.as_str() {
            "done" => HistoryOutcome::Done,
            "failed" => HistoryOutcome::Failed(self.error.unwrap_or_default()),
            "cancelled" => HistoryOutcome::Cancelled,
            "seen" => HistoryOutcome::Seen,
            _ => return None,
        };
        Some(HistoryEntry {
            id: self.id,
            at_ms: self.at_ms,
            action: HistoryAction::ALL.into_iter().find(|it| it.word() == self.action)?,
            object: HistoryObject::ALL.into_iter().find(|it| it.word() == self.object)?,
            name: self.name,
            app: self.app.map(AppId),
            service: self.service,
            why: self.why,
            changes: self.changes.into_iter().map(|(field, old, new)| FieldChange { field, old, new }).collect(),
            asked_by: self.by.map(|it| Requester::new(&it)),
            outcome,
            millis: self.millis,
        })
    }
}

/// The lines of these entries.
pub(super) fn encode(entries: &[Arc<HistoryEntry>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in entries {
        bytes.extend(serde_json::to_vec(&EntryLine::of(entry)).expect("texts and numbers can be written as JSON"));
        bytes.push(b'\n');
    }
    bytes
}

/// Entries by their numbers. A line that is damaged, as the last one may be after a power cut, is left out.
fn decode(bytes: &[u8]) -> SortedMap<u64, HistoryEntry> {
    let lines = bytes.split(|it| *it == b'\n').filter_map(|line| serde_json::from_slice::<EntryLine>(line).ok());
    lines.filter_map(EntryLine::into_entry).map(|it| (it.id, it)).collect()
}

impl<F: StoreFiles> SharedStore<F> {
    /// The entries that are kept, in ascending order without a gap.
    pub(super) fn history(&self) -> Vec<HistoryEntry> {
        let mut entries = read(&self.files);
        entries.extend(self.runtime.as_ref().map(read).unwrap_or_default());
        let mut kept: Vec<HistoryEntry> = Vec::new();
        for (_, entry) in entries.into_iter().rev().take(KEPT) {
            if kept.last().is_some_and(|newer| newer.id != entry.id + 1) {
                // What is before a gap is as good as gone: readers rely on numbers without one.
                break;
            }
            kept.push(entry);
        }
        kept.reverse();
        kept
    }

    pub(super) fn append_history(&self, bytes: &[u8]) -> Result<(), StoreError> {
        let Some(files) = &self.runtime else { return Ok(()) };
        let append = || {
            files.prepare()?;
            if files.append(HISTORY, bytes)? > RECORD_BYTES / 2 {
                let all: Vec<_> = decode(&files.read(HISTORY, RECORD_BYTES)?).into_iter().map(|(_, it)| Arc::new(it)).collect();
                let draft = format!(".{HISTORY}{DRAFT}");
                files.write(&draft, &encode(&all[all.len().saturating_sub(KEPT)..]))?;
                files.rename(&draft, HISTORY)?;
            }
            Ok(())
        };
        append().map_err(|why| failed(files, "keep", HISTORY, &why))
    }

    pub(super) fn keep_history(&self, bytes: &[u8]) -> Result<(), StoreError> {
        self.keep(HISTORY, bytes)
    }
}

impl<F: StoreFiles> HistoryStore for Store<F> {
    async fn load_history(&self) -> Vec<HistoryEntry> {
        let shared = Arc::clone(&self.shared);
        off_thread(move || shared.history()).await.unwrap_or_default()
    }

    async fn append_history(&self, entries: &[Arc<HistoryEntry>]) -> Result<(), StoreError> {
        let (shared, bytes) = (Arc::clone(&self.shared), encode(entries));
        off_thread(move || shared.append_history(&bytes)).await.map_err(StoreError::Interrupted)?
    }

    async fn save_history(&self, entries: &[Arc<HistoryEntry>]) -> Result<(), StoreError> {
        let (shared, bytes) = (Arc::clone(&self.shared), encode(entries));
        off_thread(move || shared.keep_history(&bytes)).await.map_err(StoreError::Interrupted)?
    }
}

/// A copy. One that cannot be read counts as empty, and the next save replaces it.
fn read<F: StoreFiles>(files: &StateDirectory<F>) -> SortedMap<u64, HistoryEntry> {
    match files.read(HISTORY, RECORD_BYTES) {
        Ok(bytes) => decode(&bytes),
        Err(why) if why.kind() == io::ErrorKind::NotFound => SortedMap::new(),
        Err(why) => {
            if is_spoiled(&why) {
                // It would be in the way of every entry to come.
                let _ = files.remove(HISTORY);
            }
            warn!("`{}` cannot be read ({why}); what happened before is forgotten", files.shown(HISTORY));
            SortedMap::new()
        }
    }
}

#[cfg(test)]
mod tests;
