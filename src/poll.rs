//! The loop that polls for targets.

use std::convert::Infallible;

use tokio::sync::mpsc;
use tracing::warn;

use crate::port::Targets;
use crate::request::{RejectedDocument, Request};
use crate::sorted::SortedMap;
use crate::state::history::Requester;

/// Sends every new target document to the reconciler, for as long as it is polled.
pub async fn run(targets: &impl Targets, requests: mpsc::Sender<Request>) -> Infallible {
    loop {
        let request = match targets.next().await {
            Ok(target) => {
                let by = Requester::new("the target file, address or medium");
                Request::By(by, Box::new(Request::Target(Box::new(target))))
            }
            Err(error) => {
                warn!(%error, "the target was not accepted; the last good one stays");
                // What a file names is no release of the cloud, to which alone it would matter.
                Request::Rejected(RejectedDocument { why: error.to_string(), releases: SortedMap::new() })
            }
        };
        // The reconciler lives as long as this loop.
        let _ = requests.send(request).await;
    }
}
