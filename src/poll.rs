//! The loop that polls for targets.

use std::convert::Infallible;

use tokio::sync::{mpsc, oneshot};
use tracing::warn;

use crate::port::Targets;
use crate::request::{Action, Request};

/// Sends every new target document to the reconciler, for as long as it is polled.
pub async fn run(targets: &impl Targets, intents: mpsc::Sender<Request>) -> Infallible {
    loop {
        let intent = match targets.next().await {
            Ok(target) => Action::Target(Box::new(target)),
            Err(error) => {
                warn!(%error, "the target was not accepted; the last good one stays");
                Action::Rejected(error.to_string())
            }
        };
        let (reply, _) = oneshot::channel();
        // The reconciler lives as long as this loop.
        let _ = intents.send(Request { action: intent, reply }).await;
    }
}
