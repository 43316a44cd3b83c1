//! What of the host's journal is read.

/// Which lines of the journal are read, and how they are written. The texts are valid: none begins with `-`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JournalQuery {
    /// Fields are written in full, also unprintable and long ones.
    pub all: bool,
    /// Lines that are written later follow, without end.
    pub follow: bool,
    /// Only the last lines, so many.
    pub count: Option<u32>,
    /// Only the lines of this systemd unit.
    pub unit: Option<String>,
    /// Only the lines with this syslog identifier: engines write a container's ID or name there.
    pub identifier: Option<String>,
    /// Only lines from this time on, as journalctl reads it.
    pub since: Option<String>,
    /// Only lines until this time.
    pub until: Option<String>,
    /// The form of a line. `None`: `short`.
    pub format: Option<String>,
}

impl JournalQuery {
    /// The forms of a line that journalctl knows.
    pub const FORMATS: [&str; 15] = [
        "short",
        "short-full",
        "short-iso",
        "short-iso-precise",
        "short-precise",
        "short-monotonic",
        "short-delta",
        "short-unix",
        "verbose",
        "export",
        "json",
        "json-pretty",
        "json-sse",
        "json-seq",
        "cat",
    ];
}
