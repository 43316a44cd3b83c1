//! Who asks, and which apps they may touch.

use axum::extract::Request;
use axum::http::header::AUTHORIZATION;

use crate::api::form;
use crate::state::{Access, Caller, Peer};

/// The most credentials of one request that are looked at: a stranger must not have us hash a whole URL's worth of them.
const CREDENTIALS: usize = 8;

/// Who asks. One valid key is enough, whatever the others are; of several, the one that opens most counts.
pub(super) fn caller(request: &Request, access: &Access) -> Option<Caller> {
    let known = credentials(request).take(CREDENTIALS).filter_map(|key| access.caller(&key).cloned());
    // The device's key comes first in the order of callers.
    known.min().or_else(|| is_let_in_locally(request, access).then_some(Caller::Local))
}

/// Whether a caller may touch, or look at, this app.
pub(super) fn opens(caller: &Caller, app: i64) -> bool {
    match caller {
        Caller::Device | Caller::Local => true,
        Caller::Service { key, .. } => i64::from(key.app.0) == app,
    }
}

/// Everything in a request that may be a key. Headers first: a query may bring more than are looked at.
fn credentials(request: &Request) -> impl Iterator<Item = String> {
    let headers = request.headers().get_all(AUTHORIZATION).iter().filter_map(|it| key_of(it.to_str().ok()?));
    let query = request.uri().query().unwrap_or_default();
    let queried = form::pairs(query.as_bytes()).filter_map(|(name, value)| (name == "apikey").then_some(value));
    headers.chain(queried).filter(|key| !key.is_empty())
}

fn key_of(header: &str) -> Option<String> {
    let (scheme, key) = header.trim().split_once(' ')?;
    let known = ["apikey", "bearer"].iter().any(|it| scheme.eq_ignore_ascii_case(it));
    known.then(|| key.trim().to_owned())
}

fn is_let_in_locally(request: &Request, access: &Access) -> bool {
    access.local_mode && request.extensions().get::<Peer>().is_some_and(|peer| peer.local)
}
