//! Waiting for local mode to begin or to end.

use std::future::pending;

use tokio::sync::watch;

use crate::state::Status;

/// Whether local mode is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::linux) enum LocalMode {
    /// The device is used for development.
    On,
    /// The device runs its owner's target.
    Off,
}

/// Waits until local mode is on, or off.
pub(in crate::linux) async fn wait_for(status: &mut watch::Receiver<Status>, mode: LocalMode) {
    if status.wait_for(|it| it.access.local_mode == (mode == LocalMode::On)).await.is_err() {
        // The reconciler has ended, and so does the agent.
        pending::<()>().await;
    }
}
