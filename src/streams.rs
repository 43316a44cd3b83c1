//! What clients of the API are sent for as long as they read: the log of the containers, and
//! the host's journal.
//!
//! ```text
//! logs     the lines of the containers and of the agent              streams/logs.rs
//! journal  the host's journal                                        streams/journal.rs
//! ```
//!
//! A client has a bounded channel. Its end is noticed at once, and frees what was held for it. Without clients nothing is
//! read and no timer runs.

mod journal;
mod logs;

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{broadcast, mpsc, watch};

use crate::port::World;
use crate::request::{StreamRefusal, StreamRequest};
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
    let mut journals = FuturesUnordered::new();
    loop {
        tokio::select! {
            biased;
            request = inbox.recv() => match request {
                Some(StreamRequest::Logs { query, reply }) => logs.subscribe(query, reply),
                Some(StreamRequest::Journal { query, reply }) if journals.len() < journal::READERS => {
                    journals.push(journal::send(world.host(), query, reply));
                }
                Some(StreamRequest::Journal { reply, .. }) => {
                    // The client may have gone.
                    let _ = reply.send(Err(StreamRefusal::TooMany(journal::READERS)));
                }
                // The API is gone, and so is the agent.
                None => pending().await,
            },
            Some(()) = journals.next(), if !journals.is_empty() => (),
            () = logs.step() => (),
        }
    }
}
