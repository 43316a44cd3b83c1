//! Reboot and power-off: the request, and its outcome. A shutdown is either of the two here.

use std::fmt;

use tokio::time::Instant;

/// The kind of shutdown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PowerAction {
    /// The machine boots again.
    Reboot,
    /// The machine stays off.
    PowerOff,
}

/// Whether a shutdown is in progress, or the last one failed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ShutdownStatus {
    /// No shutdown was requested or announced.
    #[default]
    No,
    /// A shutdown is in progress. The agent changes nothing any more.
    UnderWay {
        /// The kind. `None`: another program requested the shutdown, and its kind is not known.
        ending: Option<PowerAction>,
        /// Where the request came from.
        by: ShutdownOrigin,
        /// Since when.
        since: Instant,
        /// How far the shutdown has come.
        progress: ShutdownProgress,
    },
    /// A shutdown was requested and did not happen. The agent continues as before.
    Failed {
        /// The kind that was requested.
        ending: Option<PowerAction>,
        /// Why it did not happen.
        why: String,
        /// Since when the failure is known.
        since: Instant,
    },
}

/// How far a shutdown has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShutdownProgress {
    /// The request is about to be sent to logind.
    Asked,
    /// logind accepted or announced the shutdown. From then on the API accepts no connection.
    Accepted,
}

/// Where a shutdown request came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShutdownOrigin {
    /// A request to the agent.
    Request,
    /// A release whose services start only after the next boot.
    Release,
    /// Host configuration that takes effect at the next boot.
    Configuration,
    /// Another program or user on the machine.
    Others,
}

impl ShutdownStatus {
    /// Whether a shutdown is in progress.
    #[must_use]
    pub const fn is_under_way(&self) -> bool {
        match self {
            Self::UnderWay { .. } => true,
            Self::No | Self::Failed { .. } => false,
        }
    }

    /// Whether logind has accepted the shutdown.
    #[must_use]
    pub const fn is_accepted(&self) -> bool {
        match self {
            Self::UnderWay { progress: ShutdownProgress::Accepted, .. } => true,
            Self::UnderWay { progress: ShutdownProgress::Asked, .. } | Self::No | Self::Failed { .. } => false,
        }
    }
}

impl fmt::Display for ShutdownOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Request => "request",
            Self::Release => "release",
            Self::Configuration => "configuration",
            Self::Others => "others",
        })
    }
}

impl fmt::Display for PowerAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reboot => "reboot",
            Self::PowerOff => "shutdown",
        })
    }
}
