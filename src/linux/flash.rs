//! Counts what the agent writes to flash, by purpose.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::state::{FlashCount, FlashPurpose, FlashWrites};

/// What was written since the agent started. Its clones share one count, also over threads: files are written outside of the
/// agent's only thread.
#[derive(Debug, Clone, Default)]
pub struct FlashCounter(Arc<Mutex<FlashWrites>>);

impl FlashCounter {
    /// What was written so far.
    #[must_use]
    pub fn so_far(&self) -> FlashWrites {
        self.counts().clone()
    }

    /// Counts content that a file system took.
    pub(in crate::linux) fn wrote(&self, purpose: FlashPurpose, bytes: usize) {
        self.counts().add(purpose, FlashCount { bytes: u64::try_from(bytes).unwrap_or(u64::MAX), syncs: 0 });
    }

    /// Counts calls of `fsync`.
    pub(in crate::linux) fn synced(&self, purpose: FlashPurpose, syncs: u64) {
        self.counts().add(purpose, FlashCount { bytes: 0, syncs });
    }

    fn counts(&self) -> MutexGuard<'_, FlashWrites> {
        // Sums are whole whatever became of the thread that added to them.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
