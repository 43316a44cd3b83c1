//! The upload of logs.

use tokio::time::Instant;

/// The upload of logs, as far as it went.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogUpload {
    /// When the cloud last accepted lines.
    pub accepted: Option<Instant>,
    /// Why the last upload failed. `None`: it did not.
    pub why: Option<String>,
    /// Lines that were dropped since the agent started, because more came than the cloud took.
    pub dropped_lines: u64,
}

/// A line of a log, as the cloud takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloudLogLine {
    /// The text, without its line end.
    pub text: String,
    /// Milliseconds since 1970, by the engine's clock.
    pub at_ms: i64,
    /// Where it comes from.
    pub source: LogSource,
}

/// Where a line of a log comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogSource {
    /// The agent itself.
    System,
    /// The standard output of the service of this number.
    Stdout(u32),
    /// The standard error of the service of this number.
    Stderr(u32),
}
