//! What clients of the API are sent for as long as they read: the log of the containers, and
//! the host's journal; and what the agent counted, for its metrics.
//!
//! ```text
//! logs     the lines of the containers and of the agent              streams/logs.rs
//! journal  the host's journal                                        streams/journal.rs
//! counts   actions and restarts, counted as they happen              streams/counts.rs
//! ```
//!
//! A client has a bounded channel. Its end is noticed at once, and frees what was held for it. Without clients nothing is
//! read but what is counted, and no timer runs.

mod counts;
mod journal;
mod logs;

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::time::Instant;

use crate::port::{Clock, Host, Store, World};
use crate::request::{StreamRefusal, StreamRequest};
use crate::state::metrics::AgentMetrics;
use crate::state::{DeviceEvent, Status};
use crate::streams::counts::Counts;
use crate::streams::logs::LogStreams;

/// Serves the streams for as long as it is polled.
pub(crate) async fn run<W: World>(
    world: &W,
    status: watch::Receiver<Status>,
    events: broadcast::Receiver<Arc<DeviceEvent>>,
    mut inbox: mpsc::Receiver<StreamRequest>,
) -> Infallible {
    let begun = Instant::now();
    let (mut counts, mut counted_status, mut counted_events) = (Counts::default(), status.clone(), events.resubscribe());
    let mut logs = LogStreams::new(world.engine(), world.clock(), status, events);
    let mut journals = FuturesUnordered::new();
    loop {
        tokio::select! {
            biased;
            // What happened first: an action that ended before a request is in its answer.
            event = counted_events.recv() => match event {
                Ok(event) => counts.on_event(&event, Instant::now()),
                Err(RecvError::Lagged(_)) => counts.on_missed(),
                // The reconciler has ended, and so does the agent.
                Err(RecvError::Closed) => pending().await,
            },
            changed = counted_status.changed() => match changed {
                Ok(()) => counts.on_status(&counted_status.borrow_and_update()),
                Err(_) => pending().await,
            },
            request = inbox.recv() => match request {
                Some(StreamRequest::Logs { query, reply }) => logs.subscribe(query, reply),
                Some(StreamRequest::Metrics(reply)) => {
                    // The client may have gone.
                    let _ = reply.send(Ok(metrics(world, &mut counts, begun)));
                }
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

/// What was counted, and what is read only when it is asked for.
fn metrics<W: World>(world: &W, counts: &mut Counts, begun: Instant) -> AgentMetrics {
    AgentMetrics {
        started_secs: counts.started_secs(world.clock().now_secs(), begun.elapsed()),
        actions: counts.actions.clone(),
        restarts: counts.restarts.clone(),
        flash: world.store().flash_writes(),
        process: world.host().own_use(),
    }
}
