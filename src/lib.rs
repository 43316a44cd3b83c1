//! An agent that keeps the containers on a board as its owner wants them.
//!
//! # Bird's-eye view
//!
//! ```text
//!   file ──target──▶ poll ──┐                                                  ┌─▶ api (reads)
//!                           ├─ mpsc<Request>(16) ─▶ reconcile ─ watch<Status> ─┤
//!   client ─request─▶ api ──┤        ▲             │  ▲                        └─▶ notify (systemd)
//!                           │        └─ Response ──┘  │ Engine::observe
//!                           │      target ──▶ plan ──▶ Plan{steps, waiting} ──▶ Engine::execute
//!                           └─ mpsc<LedRequest>(16) ─▶ led ─ watch<LedStatus> ─▶ api (reads)
//! ```
//!
//! There is one writer, [`reconcile`]. It holds the only target and the only view of the current state; every other part
//! sends it a [`request::Request`] or watches the [`state::Status`] it publishes. [`connectivity`] and [`led`] publish what
//! they know in the same way, each on a channel that it alone writes.
//!
//! # Invariants
//!
//! * `state`, `document`, `plan`, `request`, `board`, `backoff` do no I/O, read no clock and cannot fail for reasons outside
//!   their arguments.
//! * Only `linux` touches the machine; only `api`, `document`, `linux` and `config` know the wire formats. `tests/tidy.rs`
//!   checks the table of which module may name which.
//! * The agent is one thread and one tree of futures. Nothing is spawned, so nothing is shared, so nothing is locked.
//! * Given the same [`port::World`] the agent does the same things in the same order. `tests/sim` runs it twice to check.
//! * Nothing on the engine that does not carry our labels is ever touched.

// In reading order.
mod apart;
pub mod api;
pub mod backoff;
pub mod board;
pub mod boot_config;
pub mod cli;
pub mod cloud;
pub mod config;
pub mod connectivity;
pub mod document;
mod followers;
mod history;
pub mod http;
pub mod journal;
pub mod json;
pub mod led;
pub mod linux;
pub mod notify;
pub mod plan;
pub mod poll;
pub mod port;
pub mod reconcile;
pub mod request;
pub mod sorted;
pub mod state;
mod streams;
mod system_words;
#[cfg(test)]
mod testing;

use std::convert::Infallible;
use std::future::pending;

use tokio::sync::{broadcast, mpsc, watch};

pub use crate::apart::apart;
use crate::port::World;

/// Capacity of the request queue; senders wait when it is full.
const REQUEST_QUEUE: usize = 16;
/// How many events are kept for tasks that read them later. A task that is further behind learns how many it missed.
const EVENT_QUEUE: usize = 128;

/// Runs the agent for as long as it is polled.
///
/// `serve` receives the API once the channels behind it exist, and those channels; the caller decides which sockets to listen
/// on, and which service manager to notify.
pub async fn run<W, S>(world: &W, settings: reconcile::ReconcilerSettings, cloud: cloud::CloudSettings, serve: S)
where
    W: World,
    S: AsyncFnOnce(api::ApiService, api::ApiHandle),
{
    let (requests, inbox) = mpsc::channel(REQUEST_QUEUE);
    let (publish, status) = watch::channel(state::Status::default());
    let started = tokio::time::Instant::now();
    let (led_requests, led_inbox) = mpsc::channel(REQUEST_QUEUE);
    let (led_publish, led_status) = watch::channel(state::LedStatus::default());
    let leds = request::LedHandle { requests: led_requests, status: led_status };
    let (report, connectivity) = watch::channel(state::Connectivity::default());
    let (report_vpn, vpn) = watch::channel(state::VpnState::default());
    let (cloud_publish, cloud_status) = watch::channel(state::cloud::CloudStatus::default());
    let (announce, events) = broadcast::channel(EVENT_QUEUE);
    let (record, history) = watch::channel(state::history::History::default());
    let (stream_requests, stream_inbox) = mpsc::channel(REQUEST_QUEUE);
    let stream_events = events.resubscribe();
    let (tags, tag_inbox) = mpsc::channel(REQUEST_QUEUE);
    let links = cloud::CloudLinks {
        status: status.clone(),
        events,
        requests: requests.clone(),
        publish: cloud_publish,
        tags: tag_inbox,
    };
    let (local_engine, _) = watch::channel(state::local_engine::LocalEngine::default());
    let handle = api::ApiHandle {
        requests: requests.clone(),
        status: status.clone(),
        connectivity: connectivity.clone(),
        vpn,
        cloud: cloud_status,
        leds,
        history: history.clone(),
        streams: stream_requests,
        tags,
        local_engine,
        started,
    };
    let publishers = reconcile::ReconcilerPublishers { status: publish, events: announce, history: record };
    let report = connectivity::ConnectivityPublishers { connectivity: report, vpn: report_vpn };
    let service = api::ApiService::new(handle.clone());
    tokio::select! {
        biased;
        never = apart(reconcile::run(world, inbox, publishers, settings)) => match never {},
        never = apart(connectivity::run(world.net(), status.clone(), report)) => match never {},
        never = apart(history::run(world.store(), status.clone(), history)) => match never {},
        never = apart(journal::run(world.host(), status.clone())) => match never {},
        never = apart(streams::run(world, status, stream_events, stream_inbox)) => match never {},
        never = apart(poll::run(world.targets(), requests)) => match never {},
        never = apart(cloud::run(world, cloud, links)) => match never {},
        never = apart(led::run(world.leds(), led_inbox, led_publish, handle.requests.clone())) => match never {},
        never = apart(forward_reachability(connectivity, handle.leds.requests.clone())) => match never {},
        () = apart(serve(service, handle)) => (),
    }
}

/// Forwards to the LED task whether the cloud is reached.
async fn forward_reachability(
    mut connectivity: watch::Receiver<state::Connectivity>,
    leds: mpsc::Sender<request::LedRequest>,
) -> Infallible {
    let mut sent = request::CloudReachability::Up;
    loop {
        let now = match *connectivity.borrow_and_update() {
            state::Connectivity::Offline { .. } => request::CloudReachability::Down,
            state::Connectivity::Unknown | state::Connectivity::Online => request::CloudReachability::Up,
        };
        if now != sent {
            // The LED task lives as long as this future.
            let _ = leds.send(request::LedRequest::CloudReachability(now)).await;
            sent = now;
        }
        if connectivity.changed().await.is_err() {
            pending::<()>().await;
        }
    }
}
