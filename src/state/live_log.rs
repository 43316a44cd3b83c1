//! A line of the log that clients on the device read, and what of the log they ask for.

use std::time::Duration;

use crate::sorted::SortedSet;
use crate::state::{AppId, EngineTime, OutputStream};

/// A line of a container, or of the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveLogLine {
    /// The text, at most 10,000 characters.
    pub text: String,
    /// When it was written, in milliseconds of the wall clock.
    pub at_ms: i64,
    /// Which app it is about. `None`: the device.
    pub app: Option<AppId>,
    /// The service that wrote it, and where. `None`: the agent.
    pub from: Option<(String, OutputStream)>,
}

/// What of the log a client is sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogQuery {
    /// The apps of the lines. `None`: all apps, and lines about the device.
    pub apps: Option<SortedSet<AppId>>,
    /// Only lines that this service wrote.
    pub service: Option<String>,
    /// What was written before. `None`: nothing of it.
    pub past: Option<LogPast>,
    /// Whether lines follow as they are written. If not, the stream ends after what was written before.
    pub follow: bool,
}

/// What was written before, of what the engine has kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogPast {
    /// From when on. `None`: from the oldest line on.
    pub since: Option<LogSince>,
    /// At most so many lines of each container, the newest. `None`: all.
    pub tail: Option<u32>,
}

/// From when on a log is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogSince {
    /// From this time on.
    At(EngineTime),
    /// From so long ago on.
    Ago(Duration),
}

impl LogQuery {
    /// Whether a line is among what is asked for.
    #[must_use]
    pub fn wants(&self, line: &LiveLogLine) -> bool {
        let of_app = self.apps.as_ref().is_none_or(|apps| line.app.is_some_and(|app| apps.contains(&app)));
        let of_service = |name: &String| line.from.as_ref().is_some_and(|(from, _)| from == name);
        of_app && self.service.as_ref().is_none_or(of_service)
    }
}
