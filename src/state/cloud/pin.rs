//! The pin of the device on the release that it was preloaded with.

use tokio::time::Instant;

/// A release that the device is to be pinned on in its cloud: a pinned device does not follow the releases of its fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleasePin {
    /// The number of the fleet whose release it is.
    pub fleet: u32,
    /// The release's commit.
    pub commit: String,
}

/// What became of the pin.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Pinning {
    /// No preloaded target asks for one, or it was settled before the agent started.
    #[default]
    NotAsked,
    /// The cloud is to pin the device. No target is requested before that is settled.
    Pending {
        /// The release's commit.
        commit: String,
        /// Why the last attempt failed. `None`: there was none yet.
        why: Option<String>,
        /// When the next attempt begins.
        next: Option<Instant>,
    },
    /// The device is pinned on the release of this commit.
    Pinned(String),
    /// The cloud refuses to pin the device, and is not asked again.
    Refused {
        /// The release's commit.
        commit: String,
        /// Why, and what to do.
        why: String,
    },
}
