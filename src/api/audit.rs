//! The request log: which caller requested what. The query is left out, because it may be a key; keys elsewhere are masked.
//!
//! Every request of a caller with a key is logged. Requests without one are rate-limited in the log: a client that reaches the
//! port could fill the journal otherwise.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::extract::Request as HttpRequest;
use axum::http::{Method, StatusCode, Uri};
use tokio::time::Instant;
use tracing::field::{Value, display};
use tracing::{debug, info};

use crate::api::auth::AuthenticatedCallers;
use crate::api::mask::{mask, mask_word};
use crate::state::ClientAddress;

/// How many requests without a known key that are refused, or change something, are logged at the default level in each
/// [`WINDOW`]. The others are counted, and logged at debug level.
const LOGGED_PER_WINDOW: u32 = 10;
const WINDOW: Duration = Duration::from_secs(10 * 60);

/// The number of these in the present window. Window and number share one atomic, so that no lock is needed.
#[derive(Debug)]
pub(super) struct UnauthenticatedLog {
    created_at: Instant,
    /// The window's number in the upper half, the count in the lower one.
    counted: AtomicU64,
}

impl UnauthenticatedLog {
    pub(super) fn new() -> Self {
        Self { created_at: Instant::now(), counted: AtomicU64::new(0) }
    }

    /// Counts one more. Returns whether to log it, and how many were not logged in the last window that had any.
    fn count(&self) -> (bool, u32) {
        let window = (self.created_at.elapsed().as_secs() / WINDOW.as_secs()) & u64::from(u32::MAX);
        let before = self.counted.load(Ordering::Relaxed);
        let count = u32::try_from(before & u64::from(u32::MAX)).unwrap_or(u32::MAX);
        let same = before >> 32 == window;
        let now = if same { count.saturating_add(1) } else { 1 };
        self.counted.store(window << 32 | u64::from(now), Ordering::Relaxed);
        (now <= LOGGED_PER_WINDOW, if same { 0 } else { count.saturating_sub(LOGGED_PER_WINDOW) })
    }
}

/// What the log says of one request. Its texts are made when a line is logged: most reads log none.
pub(super) struct Audit {
    callers: Option<AuthenticatedCallers>,
    from: Option<IpAddr>,
    method: Method,
    uri: Uri,
    is_read: bool,
}

impl Audit {
    pub(super) fn new(request: &HttpRequest, callers: Option<&AuthenticatedCallers>) -> Self {
        let from = request.extensions().get::<ClientAddress>().map(|peer| peer.addr);
        let is_read = [Method::GET, Method::HEAD].contains(request.method());
        Self { callers: callers.cloned(), from, method: request.method().clone(), uri: request.uri().clone(), is_read }
    }

    /// Logs that the request was accepted, before it is carried out: a client that disconnects would take the response's log
    /// line with it.
    pub(super) fn accepted(&self) {
        // The fields of a line that is not logged are not made.
        if self.is_read {
            debug!(who = self.who(), from = self.from(), method = self.method(), path = self.path(), "asked");
        } else {
            info!(who = self.who(), from = self.from(), method = self.method(), path = self.path(), "asked");
        }
    }

    /// Logs the response's status.
    pub(super) fn answered(&self, status: StatusCode, unauthenticated_log: &UnauthenticatedLog) {
        let refused = [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].contains(&status);
        let what = if refused { "refused" } else { "answered" };
        let status = status.as_u16();
        // Successful reads are logged at debug level only; refused ones are logged.
        if self.is_read && !refused || !self.is_logged(unauthenticated_log) {
            debug!(who = self.who(), from = self.from(), method = self.method(), path = self.path(), status, "{what}");
        } else {
            info!(who = self.who(), from = self.from(), method = self.method(), path = self.path(), status, "{what}");
        }
    }

    fn who(&self) -> String {
        self.callers.as_ref().map_or_else(|| "unauthenticated".to_owned(), ToString::to_string)
    }

    fn from(&self) -> Option<impl Value> {
        self.from.map(display)
    }

    /// A method may be any token, and so may be a key too.
    fn method(&self) -> impl Value {
        display(mask_word(self.method.as_str()))
    }

    fn path(&self) -> String {
        mask(self.uri.path())
    }

    /// Whether the request is logged at the default level: always if the caller is known.
    fn is_logged(&self, unauthenticated_log: &UnauthenticatedLog) -> bool {
        if self.callers.is_some() {
            return true;
        }
        let (logged, untold) = unauthenticated_log.count();
        if untold > 0 {
            info!(untold, "requests without a known key were refused, and not logged one by one");
        }
        logged
    }
}
