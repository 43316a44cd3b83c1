//! What clients of the API are sent for as long as they read: the log of the containers.
//!
//! ```text
//! logs     the lines of the containers and of the agent              streams/logs.rs
//! ```
//!
//! A client has a bounded channel. Its end is noticed at once, and frees what was held for it. Without clients nothing is
//! read and no timer runs.

mod logs;

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;

use tokio::sync::{broadcast, mpsc, watch};

use crate::port::World;
use crate::request::StreamRequest;
use crate::state::{DeviceEvent, Status};
use crate::streams::logs::LogStreams;

/// Serves the streams for as long as it is polled.
pub(crate) async fn run<W: World>(
    world: &W,
    status: watch::Receiver<Status>,
    events: broadcast::Receiver<Arc<DeviceEvent>>,
    mut inbox: mpsc::Receiver<StreamRequest>,
) -> Infallible {
    let mut logs = LogStreams::new(world.engine(), world.clock(), status, events);
    loop {
        tokio::select! {
            biased;
            request = inbox.recv() => match request {
                Some(StreamRequest::Logs { apps, reply }) => logs.subscribe(apps, reply),
                // The API is gone, and so is the agent.
                None => pending().await,
            },
            () = logs.step() => (),
        }
    }
}
