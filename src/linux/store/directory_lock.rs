//! The lock of a state directory: two agents must not write the same records.

use std::fs::File;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::disk::{Disk, StateDirectory};
use super::format;
use crate::port::StoreError;

/// A directory locked against other agents.
#[derive(Debug)]
pub struct DirectoryLock {
    /// The kernel releases the lock when this is closed.
    _directory: Option<File>,
}

/// Locks the directory `path` for this agent, until the result is dropped or the process ends, and marks its format. Fails only
/// if another agent holds the lock, or a newer version wrote the directory. A directory that cannot be created or locked is
/// reported when something is saved to it, not here.
pub fn hold(path: &Path) -> Result<DirectoryLock, StoreError> {
    // Syncing the parent directories is left to the store.
    let made = || StateDirectory::new(Disk, path).prepare().and_then(|()| File::open(path));
    let Ok(directory) = File::open(path).or_else(|_| made()) else { return Ok(DirectoryLock { _directory: None }) };
    if flock(&directory, FlockOperation::NonBlockingLockExclusive) == Err(Errno::WOULDBLOCK) {
        return Err(StoreError::InUse { path: path.display().to_string() });
    }
    format::mark(path)?;
    Ok(DirectoryLock { _directory: Some(directory) })
}
