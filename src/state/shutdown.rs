//! The end of the machine's running: what was asked, and what came of it.

use std::fmt;

use tokio::time::Instant;

/// How a machine may be ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ending {
    /// It comes back.
    Reboot,
    /// It stays off.
    PowerOff,
}

/// Whether the machine is about to end, and what came of it when it last was.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Shutdown {
    /// Nothing was heard of an end.
    #[default]
    No,
    /// It ends. Nothing is changed any more.
    UnderWay {
        /// How. `None`: somebody else wants it, and did not say.
        ending: Option<Ending>,
        /// Who wants it.
        by: By,
        /// Since when.
        since: Instant,
        /// How far it has come.
        progress: Progress,
    },
    /// It was to end, and did not. Everything goes on.
    CameToNothing {
        /// How it was to end.
        ending: Option<Ending>,
        /// Why it did not.
        why: String,
        /// Since when that is known.
        since: Instant,
    },
}

/// How far the end of the machine has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// logind is about to be asked for it.
    Asked,
    /// logind accepted it, or announced it. From here on the API takes no connection.
    Accepted,
}

/// Who wants the machine to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// Somebody who asked us.
    Request,
    /// A release whose services are started by the next boot.
    Release,
    /// Whoever configured the host so that it counts from the next boot.
    Configuration,
    /// Anybody else on the machine.
    Others,
}

impl Shutdown {
    /// Whether the machine is about to end.
    #[must_use]
    pub const fn is_under_way(&self) -> bool {
        match self {
            Self::UnderWay { .. } => true,
            Self::No | Self::CameToNothing { .. } => false,
        }
    }

    /// Whether logind has accepted the end.
    #[must_use]
    pub const fn is_accepted(&self) -> bool {
        match self {
            Self::UnderWay { progress: Progress::Accepted, .. } => true,
            Self::UnderWay { progress: Progress::Asked, .. } | Self::No | Self::CameToNothing { .. } => false,
        }
    }
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Request => "request",
            Self::Release => "release",
            Self::Configuration => "configuration",
            Self::Others => "others",
        })
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reboot => "reboot",
            Self::PowerOff => "shutdown",
        })
    }
}
