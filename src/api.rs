//! The HTTP API, which can ask and can read, and can do nothing else.

use axum::Router;
use axum::routing::get;
use tokio::sync::{mpsc, watch};

use crate::intent::Ask;
use crate::state::Status;

/// All the API can reach of the agent.
#[derive(Debug, Clone)]
pub struct Door {
    /// Where requests go.
    pub intents: mpsc::Sender<Ask>,
    /// What may be read.
    pub status: watch::Receiver<Status>,
}

/// The routes, in the order of the published reference.
pub fn router(door: Door) -> Router {
    Router::new().route("/ping", get(async || "OK")).with_state(door)
}
