//! Snapshots of volumes: their data as it was before a release began, to be put back when the app goes back.
//!
//! A snapshot is a volume of its own. It counts as complete only when the agent's record says so.

use crate::sorted::{SortedMap, SortedSet};
use crate::state::{AppId, ImageRef, Volume};

/// The label with which a volume asks that a rollback puts its data back too.
pub const SNAPSHOT_LABEL: &str = "io.boardkeeper.snapshot";

/// What is recorded of the data of an app's volumes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptData {
    /// The fingerprint of the release whose data it is: the last good one.
    pub release: String,
    /// A container of another release may have been started since.
    pub begun: bool,
    /// By the volume's name in the document.
    pub volumes: SortedMap<String, DataState>,
}

/// What is recorded of the data of one volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataState {
    /// Its snapshot is complete.
    Kept,
    /// There was nothing to copy.
    Absent,
    /// It is being put back: no container may have the volume before that is done, whatever release is wanted.
    PuttingBack,
}

impl DataState {
    /// Its name in the API and in files.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Absent => "absent",
            Self::PuttingBack => "putting_back",
        }
    }

    /// The state of this name.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        [Self::Kept, Self::Absent, Self::PuttingBack].into_iter().find(|it| it.word() == word)
    }

    /// Whether a snapshot belongs to it.
    #[must_use]
    pub const fn has_snapshot(self) -> bool {
        match self {
            Self::Kept | Self::PuttingBack => true,
            Self::Absent => false,
        }
    }
}

/// What an app's plan has to do with the data of its volumes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DataPlan {
    /// What is to be copied, and which way.
    pub demand: DataDemand,
    /// The fingerprint of the release whose data is kept.
    pub release: String,
    /// Volumes whose snapshot is complete.
    pub kept: SortedSet<String>,
    /// The record of all this is not on the disk: no container is started that relies on it.
    pub unsaved: bool,
    /// A target is on trial, and one that the device may return to has data of the app put back when a release fails: no
    /// container of another release is started that never ran, for what it writes would stay.
    pub guarded: bool,
}

/// What is to be copied. Volumes by their names in the document.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum DataDemand {
    /// Nothing.
    #[default]
    Nothing,
    /// The data of these volumes, before the first container of the release is started.
    Keep(SortedSet<String>),
    /// The snapshots of these volumes back into them, before any container is started.
    PutBack(SortedSet<String>),
}

/// A snapshot on the engine, complete or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeSnapshot {
    /// The name on the engine of the volume that holds the copy.
    pub name: String,
    /// The app.
    pub app: AppId,
    /// The volume that was copied, by its name in the document.
    pub volume: String,
}

impl VolumeSnapshot {
    /// The name on the engine of a volume's snapshot. No volume of an app has such a name: those begin with a number.
    #[must_use]
    pub fn engine_name(app: AppId, volume: &str) -> String {
        format!("boardkeeper-before-{app}_{volume}")
    }
}

/// A copy between a volume and its snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeCopy {
    /// The volume's name in the document.
    pub name: String,
    /// The volume on the engine. One that does not exist is created so.
    pub volume: Volume,
    /// The fingerprint of the release whose data it is.
    pub release: String,
    /// An image that is here, and has nothing to do with the data: the engine copies through containers.
    pub image: ImageRef,
}

impl VolumeCopy {
    /// The name on the engine of the snapshot.
    #[must_use]
    pub fn snapshot(&self) -> String {
        VolumeSnapshot::engine_name(self.volume.app, &self.name)
    }
}
