//! A file that could not be used, as several ports report it.

use std::io;

/// A file or directory that could not be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot {action} `{path}`: {why}")]
pub struct FileError {
    /// What was to be done with it, such as "read".
    pub action: &'static str,
    /// Its path on the host.
    pub path: String,
    /// The kind of the operating system's error.
    pub kind: io::ErrorKind,
    /// The operating system's error, in words.
    pub why: String,
}

impl FileError {
    /// The error of an action on a file.
    pub fn new(action: &'static str, path: impl Into<String>, source: &io::Error) -> Self {
        Self { action, path: path.into(), kind: source.kind(), why: source.to_string() }
    }
}
