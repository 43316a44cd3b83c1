//! The end of the machine's running: what was asked, and what came of it.

use std::fmt;

use tokio::time::Instant;

/// How a machine may be ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PowerAction {
    /// It comes back.
    Reboot,
    /// It stays off.
    PowerOff,
}

/// Whether the machine is about to end, and what came of it when it last was.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ShutdownStatus {
    /// Nothing was heard of an end.
    #[default]
    No,
    /// It ends. Nothing is changed any more.
    UnderWay {
        /// How. `None`: somebody else wants it, and did not say.
        ending: Option<PowerAction>,
        /// Who wants it.
        by: ShutdownOrigin,
        /// Since when.
        since: Instant,
        /// How far it has come.
        progress: ShutdownProgress,
    },
    /// It was to end, and did not. Everything goes on.
    Failed {
        /// How it was to end.
        ending: Option<PowerAction>,
        /// Why it did not.
        why: String,
        /// Since when that is known.
        since: Instant,
    },
}

/// How far the end of the machine has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShutdownProgress {
    /// logind is about to be asked for it.
    Asked,
    /// logind accepted it, or announced it. From here on the API takes no connection.
    Accepted,
}

/// Who wants the machine to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShutdownOrigin {
    /// Somebody who asked us.
    Request,
    /// A release whose services are started by the next boot.
    Release,
    /// Whoever configured the host so that it counts from the next boot.
    Configuration,
    /// Anybody else on the machine.
    Others,
}

impl ShutdownStatus {
    /// Whether the machine is about to end.
    #[must_use]
    pub const fn is_under_way(&self) -> bool {
        match self {
            Self::UnderWay { .. } => true,
            Self::No | Self::Failed { .. } => false,
        }
    }

    /// Whether logind has accepted the end.
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
