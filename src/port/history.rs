//! The port of the kept history.

use std::sync::Arc;

use crate::port::StoreError;
use crate::state::history::HistoryEntry;

/// Where the history is kept: until the machine reboots, and the newest entries over reboots.
///
/// # Guarantees
/// - After [`HistoryStore::save_history`] returned, a power cut keeps those entries. It may take what was appended since.
pub trait HistoryStore {
    /// The history as it was kept, oldest first, with numbers that have no gap. What cannot be read is forgotten.
    async fn load_history(&self) -> Vec<HistoryEntry>;
    /// Adds entries to what is kept until the machine reboots, which writes no flash. They follow those that were kept before.
    async fn append_history(&self, entries: &[Arc<HistoryEntry>]) -> Result<(), StoreError>;
    /// Replaces the entries that are kept over reboots.
    async fn save_history(&self, entries: &[Arc<HistoryEntry>]) -> Result<(), StoreError>;
}
