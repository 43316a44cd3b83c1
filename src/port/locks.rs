//! The port of the update locks.

use std::io::ErrorKind;

use futures_util::Stream;

use crate::port::FileError;
use crate::sorted::{SortedMap, SortedSet};
use crate::state::{AppId, Force, HeldLock, LockHolders, LockState, ServiceKey};

/// The update locks of apps: files in a directory that each service shares with the agent.
///
/// # Guarantees
/// - Taking is all or nothing: where another program holds one lock, none of ours is left behind.
/// - A lock that is not ours is never removed, except with [`Force::Yes`].
/// - Nothing is read or written outside the lock directories, whatever a container puts there.
/// - Whatever a service does to its directory holds up its own app, and no other.
/// - A lock made by a service is never taken for ours, whichever user the service runs as. Locks left behind by an earlier
///   supervisor are, and are released with ours.
pub trait Locks {
    /// Who holds the locks of these apps, where only the given services of each app can hold one. Apps without locks are left
    /// out. Locks of ours are reported for every service.
    async fn observe(&self, apps: &SortedMap<AppId, LockHolders>) -> Result<SortedMap<AppId, LockState>, LockError>;
    /// Apps whose services have lock directories, whether there is a lock in them or not.
    async fn apps(&self) -> Result<SortedSet<AppId>, LockError>;
    /// Takes the locks of these services of an app.
    async fn take(&self, app: AppId, services: &SortedSet<String>, force: Force) -> Result<(), LockError>;
    /// Releases every lock of ours of an app.
    async fn release(&self, app: AppId) -> Result<(), LockError>;
    /// Creates a service's lock directory, if missing. If the engine creates it first, the directory is the engine's, and the
    /// agent may lack access.
    async fn prepare(&self, key: &ServiceKey) -> Result<(), LockError>;
    /// Forgets any earlier hand-over notification of a service.
    async fn expect_hand_over(&self, key: &ServiceKey) -> Result<(), LockError>;
    /// Waits until a new container of the service notifies that it is ready to take over.
    async fn handed_over(&self, key: &ServiceKey) -> Result<(), LockError>;
    /// An item whenever a lock may have been released. Never ends.
    fn changes(&self) -> impl Stream<Item = ()>;
}

/// Why a lock could not be taken or released.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LockError {
    /// Another program holds the lock.
    #[error("Lockfile exists for {{ service: {} }} at {}", .0.service, .0.path)]
    Held(HeldLock),
    /// A file or directory of the locks could not be used. May work later.
    #[error("{0}{advice}", advice = advice(.0.kind))]
    File(FileError),
    /// The locks cannot be used as they are. Says what, where and what to do.
    #[error("{0}")]
    Failed(String),
}

/// What to do about a file of the locks that cannot be used.
const fn advice(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::PermissionDenied => "; run as root, or as the owner of the directory",
        ErrorKind::StorageFull => "; make room in /tmp",
        ErrorKind::ReadOnlyFilesystem => "; mount /tmp writable",
        ErrorKind::DirectoryNotEmpty => "; empty it by hand",
        _ => "",
    }
}
