//! Waits for the last report before the machine goes down.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use crate::state::Status;
use crate::state::cloud::{CloudStatus, Registration};

/// How long the agent waits at most, when systemd stops it because the machine goes down. An answer takes a few round trips;
/// no reboot should be held up for longer by a network that fails.
const LONGEST: Duration = Duration::from_secs(2);

/// While the machine goes down: returns when the cloud was informed of it, or cannot be informed. At once where the machine
/// stays up, or has no cloud.
pub async fn wait_for_farewell(status: &watch::Receiver<Status>, cloud: &mut watch::Receiver<CloudStatus>) {
    let is_registered = matches!(cloud.borrow().registration, Registration::Registered { .. });
    if is_registered && status.borrow().shutdown.is_under_way() {
        // Either way the agent stops now.
        let _ = timeout(LONGEST, cloud.wait_for(|it| it.reporting.farewell_over)).await;
    }
}
