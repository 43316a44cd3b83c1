//! The port of the service manager.

use std::time::Duration;

/// The service manager (`sd_notify`).
///
/// # Guarantees
/// - Notifying never blocks, and nothing depends on its being received.
pub trait ServiceManager {
    /// Sends a notification.
    fn notify(&self, notification: &Notification);
    /// The watchdog timeout, after which the manager restarts the agent. `None`: there is no watchdog.
    fn watchdog_timeout(&self) -> Option<Duration>;
}

/// A notification to the service manager.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notification {
    /// The agent has started, and the API answers.
    Ready,
    /// The current activity.
    Status(String),
    /// Watchdog heartbeat.
    Watchdog,
    /// The agent is stopping.
    Stopping,
}
