//! Marks of targets that were reached: empty files, so that a release costs few syncs.

use std::io;

use super::disk::StoreFiles;
use super::{SharedStore, failed};
use crate::port::StoreError;

/// Name prefix of the empty file that marks a target as reached; the target's fingerprint follows.
pub(super) const REACHED: &str = "proved-";

impl<F: StoreFiles> SharedStore<F> {
    /// Creates an empty file. It has no bytes that could be torn, and whether it survives a power cut makes no difference to
    /// its reader, so it is not synced.
    pub(super) fn mark_reached(&self, mark: &str) -> Result<(), StoreError> {
        let _turn = self.known();
        match self.files.make(mark) {
            Err(why) if why.kind() != io::ErrorKind::AlreadyExists => Err(failed(&self.files, "keep", mark, &why)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Removes the marks of targets that are no longer wanted: they do no harm, but would pile up.
    pub(super) fn sweep(&self) {
        for mark in self.files.names().unwrap_or_default().iter().filter(|it| it.starts_with(REACHED)) {
            let _ = self.files.remove(mark); // The next sweep tries again.
        }
    }
}
