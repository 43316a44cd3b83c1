//! The port of the container engine.

use futures_util::Stream;

use crate::sorted::SortedSet;
use crate::state::{
    Container, ContainerId, DownloadProgress, EngineAction, EngineLogLine, Image, ImageRef, LogCursor, Network, Volume,
    VolumeSnapshot,
};

/// A container engine.
///
/// # Guarantees
/// - [`Engine::observe`] reports supervised containers, networks and volumes only, and every image.
/// - [`Engine::execute`] is cancel-safe: the action was then done, or not, or half, and the next observation shows which.
/// - Actions are idempotent: starting what runs, removing what is gone, creating what exists *with the same label and hash*
///   succeed. Creating under a name that a foreign container has is rejected.
/// - After [`EngineAction::KeepData`] and [`EngineAction::PutDataBack`] the copy is whole, and on the disk: a power cut keeps
///   it. It has every file, directory, link and device with its owner, mode and content, and its time to the second.
/// - Every call ends, even if the engine hangs.
/// - [`Engine::logs`] gives each line once and in the order of its stream, and none twice to a reader that goes on from
///   [`EngineLogLine::next`], be it after an engine's crash. A line is at most 10,000 characters long; what is read ahead of
///   the caller takes some ten kilobytes, however long the lines are.
///
/// # Assumptions
/// - No container writes to a volume while it is copied.
/// - No two actions on the same image, network or volume, or on containers of the same service, are in flight at once.
///
/// # Caveats
/// - What another program changed may be missing in observations of the next ten seconds, if the engine reports no event of it.
/// - A clock that is set back has lines repeated, or left out until it catches up, where a reader goes on from a cursor.
pub trait Engine {
    /// Takes a snapshot of everything supervised.
    async fn observe(&self) -> Result<EngineSnapshot, EngineError>;

    /// Rejects images with [`EngineError::Full`] that are of use only together, and are known not to fit beside each other.
    /// If it is not known whether they fit, they are not rejected.
    async fn check_room(&self, images: &SortedSet<ImageRef>) -> Result<(), EngineError>;

    /// Rejects volumes with [`EngineError::Full`], by their names, whose data is known to be too large to be copied: more than
    /// is copied at all, or more than fits beside it. If it is not known how large they are, they are not rejected.
    async fn check_copies(&self, volumes: &SortedSet<String>) -> Result<(), EngineError>;

    /// Performs one action. A pull reports its progress, of which no number falls.
    async fn execute(&self, deed: &EngineAction, progress: &dyn Fn(DownloadProgress)) -> Result<(), EngineError>;

    /// An item whenever something of ours may have changed, and when the engine came back. Never ends.
    fn events(&self) -> impl Stream<Item = ()>;

    /// The lines of a container's output from a cursor on, as they are written. Ends when the container does not run any more
    /// and every line was read; a container that is started again is read on from the last line's cursor. One that was removed,
    /// or is being removed, has no lines any more. An error is the last item: [`EngineError::Unreachable`] may be over soon,
    /// any other stays, such as a logging driver that keeps no lines.
    fn logs(&self, container: ContainerId, from: LogCursor) -> impl Stream<Item = Result<EngineLogLine, EngineError>>;

    /// The lines of a container's output from a cursor on that are written already; with `tail` the newest of them, at most so
    /// many. Ends after them, also while the container runs; [`Engine::logs`] goes on from the last line's cursor. Otherwise as
    /// [`Engine::logs`].
    fn past_logs(
        &self,
        container: ContainerId,
        from: LogCursor,
        tail: Option<u32>,
    ) -> impl Stream<Item = Result<EngineLogLine, EngineError>>;

    /// What the container's health check printed when it last ran. `None`: it has no check, it did not run yet, or the engine
    /// does not say.
    async fn health_output(&self, container: &ContainerId) -> Option<String>;
}

/// The objects on an engine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EngineSnapshot {
    /// Supervised containers.
    pub containers: Vec<Container>,
    /// Every image.
    pub images: Vec<Image>,
    /// Supervised networks.
    pub networks: Vec<Network>,
    /// Supervised volumes.
    pub volumes: Vec<Volume>,
    /// Snapshots of volumes that this agent made, complete or not.
    pub snapshots: Vec<VolumeSnapshot>,
}

/// Why the engine did not perform an action.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// The engine did not answer. Retry later.
    #[error("the container engine does not answer: {0}")]
    Unreachable(String),
    /// The engine answered with an error. Says why, where and what to do.
    #[error("{0}")]
    Refused(String),
    /// The registry has no such image, or none for this board. Waiting does not mend that. Says what to do.
    #[error("{0}")]
    Missing(String),
    /// A container uses the image or the volume that was to be removed, be it a foreign one. Says which, where the engine does.
    #[error("{0}")]
    InUse(String),
    /// Not enough disk space. Nothing was begun, or it was given up. Says how much is missing where.
    #[error("{0}")]
    Full(String),
}
