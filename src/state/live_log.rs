//! A line of the log that clients on the device follow.

use crate::state::{AppId, OutputStream};

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
