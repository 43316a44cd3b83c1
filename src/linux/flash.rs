//! Counts what the agent writes to flash, by purpose.

use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use crate::state::{FlashCount, FlashPurpose, FlashWrites};

/// What was written since the agent started. Its clones share one count, also over threads: files are written outside of the
/// agent's only thread.
#[derive(Debug, Clone, Default)]
pub struct FlashCounter(Arc<Mutex<FlashWrites>>);

/// What this process writes to flash, as a kernel counts a process's time. Files are written in many places, by functions that
/// commands use too.
static PROCESS: LazyLock<FlashCounter> = LazyLock::new(FlashCounter::default);

impl FlashCounter {
    /// The count of this process.
    #[must_use]
    pub fn of_process() -> Self {
        PROCESS.clone()
    }

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

/// Fails unless the process wrote so much at least meanwhile. Other tests of the process may write at the same time.
#[cfg(test)]
pub(in crate::linux) fn assert_written(purpose: FlashPurpose, bytes: usize, syncs: u64, work: impl FnOnce()) {
    let before = FlashCounter::of_process().so_far().of(purpose);
    work();
    let after = FlashCounter::of_process().so_far().of(purpose);
    let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
    assert!(after.bytes >= before.bytes + bytes && after.syncs >= before.syncs + syncs, "{purpose:?}: {before:?} {after:?}");
}
