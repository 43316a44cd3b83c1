//! Who asked for what, in the log. The query is left out, for it may be a key.

use std::net::IpAddr;

use axum::extract::Request;
use axum::http::{Method, StatusCode};
use tracing::field::display;
use tracing::{debug, info};

use crate::api::auth::Callers;
use crate::state::Peer;

/// As much of a path as is logged: ours are shorter, and a stranger must not fill the log.
const PATH_CHARS: usize = 100;

/// What the log says of one request.
pub(super) struct Audit {
    who: String,
    from: Option<IpAddr>,
    method: Method,
    path: String,
}

impl Audit {
    pub(super) fn new(request: &Request, callers: Option<&Callers>) -> Self {
        let who = callers.map_or_else(|| "nobody".to_owned(), ToString::to_string);
        let from = request.extensions().get::<Peer>().map(|peer| peer.addr);
        Self { who, from, method: request.method().clone(), path: request.uri().path().chars().take(PATH_CHARS).collect() }
    }

    /// It was let in. Said before it is done, because whoever asked may hang up and take the answer's line with them.
    pub(super) fn accepted(&self) {
        let Self { who, from, method, path } = self;
        let from = from.map(display);
        if self.is_read() {
            debug!(who, from, %method, path, "asked");
        } else {
            info!(who, from, %method, path, "asked");
        }
    }

    /// It was answered so.
    pub(super) fn answered(&self, status: StatusCode) {
        let Self { who, from, method, path } = self;
        let from = from.map(display);
        let what = if status == StatusCode::UNAUTHORIZED { "refused" } else { "answered" };
        if self.is_read() {
            debug!(who, from, %method, path, status = status.as_u16(), "{what}");
        } else {
            info!(who, from, %method, path, status = status.as_u16(), "{what}");
        }
    }

    fn is_read(&self) -> bool {
        self.method == Method::GET || self.method == Method::HEAD
    }
}
