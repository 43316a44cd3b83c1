//! The HTTP API. It can send requests to the reconciler and read its status, and nothing else.
//!
//! One table, [`routes`], lists all endpoints. A request is checked in this order: its `Host` header (400), its key (401, or
//! 403 if it comes from another site's page), the table (404, 405), what the key may do (401), and how many requests of the
//! same address wait already (429). What is left is answered from the watched [`Status`], or sent to the reconciler as a
//! [`Request`]. A read never waits for the engine.
//!
//! ```text
//! route        the table, how a path is found in it, the endpoints     api/route.rs api/route/
//! auth         keys, and what callers may do                           api/auth.rs
//! site         whether a web page of another site sent a request       api/site.rs
//! guess_limit  delays for wrong keys, by address                       api/guess_limit.rs
//! audit, mask  the request log, with keys masked                       api/audit.rs api/mask.rs
//! body, form   the fields of a request                                 api/body.rs api/form.rs
//! response     the shapes of a response                                api/response.rs
//! metrics_text metrics as text, in two formats                         api/metrics_text.rs
//! packed       texts that the binary holds packed                      api/packed.rs
//! ```
//!
//! Why not axum's own router: paths are matched as Express matches them (any case, one trailing slash), and callers without a
//! key must not learn which routes exist. Both need the table before the key check, and one table is better than two.

mod audit;
mod auth;
mod body;
mod form;
mod guess_limit;
mod mask;
mod metrics_text;
mod packed;
mod response;
mod route;
mod site;

use std::net::IpAddr;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request as HttpRequest;
use axum::http::header::X_CONTENT_TYPE_OPTIONS;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::future::{BoxFuture, Either, Ready, ready};
use tokio::sync::mpsc::error::SendTimeoutError;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout};

pub use metrics_text::{MetricFamily, MetricKind};
pub use route::{Route, RouteAccess, metric_families, routes};

use crate::request::{LedHandle, Refusal, Reply, Request, StreamRequest, TagRequest};
use crate::state::cloud::CloudStatus;
use crate::state::device::{AnswerDelay, ServedConnection};
use crate::state::history::{History, Requester};
use crate::state::local_engine::LocalEngine;
use crate::state::{ClientAddress, Connectivity, Status, VpnState};
use audit::{Audit, UnauthenticatedLog};
use auth::{AuthFailure, AuthenticatedCallers, MAX_CREDENTIALS};
use guess_limit::KeyGuessLimiter;
use response::{ApiResponse, failed};
use route::{Handler, RouteMatch};
use site::CrossSite;

/// All of the agent that the API can reach.
#[derive(Debug, Clone)]
pub struct ApiHandle {
    /// The reconciler's inbox.
    pub requests: mpsc::Sender<Request>,
    /// What the reconciler publishes.
    pub status: watch::Receiver<Status>,
    /// Whether the device reaches its cloud.
    pub connectivity: watch::Receiver<Connectivity>,
    /// Whether the VPN is up.
    pub vpn: watch::Receiver<VpnState>,
    /// What became of the requests to the cloud.
    pub cloud: watch::Receiver<CloudStatus>,
    /// The LEDs.
    pub leds: LedHandle,
    /// What was done and seen, and why.
    pub history: watch::Receiver<History>,
    /// Requests about the device's tags in its cloud.
    pub tags: mpsc::Sender<TagRequest>,
    /// The inbox of the task that serves streams.
    pub streams: mpsc::Sender<StreamRequest>,
    /// Whether the engine is forwarded in local mode. The adapter that forwards it is the only writer.
    pub local_engine: watch::Sender<LocalEngine>,
    /// When the agent started.
    pub started: Instant,
}

/// The most bytes of a URL: the longest that means anything has a path of 60 and a key of 128; the rest is for query
/// parameters this API ignores.
const URL_BYTES: usize = 4096;

/// A service's request is rejected if this many others of its address are in flight. More would only wait for each other: the
/// reconciler handles one at a time for an app.
const MAX_BESIDE_SERVICE: usize = 16;

/// The same limit for the device's owner, whom a service at the same address must not keep out. At most half of the
/// connections an address may have, so that an idle one can always be displaced.
const MAX_BESIDE_OWNER: usize = 32;

/// How long a request waits for the agent to load its keys, which takes some milliseconds.
const KEYS_WAIT: Duration = Duration::from_secs(5);

/// How long a request waits for a free slot in the reconciler's inbox.
const INBOX_WAIT: Duration = Duration::from_secs(5);

/// How long a request waits for the reconciler's response. The supervisors that clients know have the same socket timeout.
const DONE_WAIT: Duration = Duration::from_secs(15 * 60);

/// The API as a service. The server puts a [`ClientAddress`] into the extensions of each request; a request without one did
/// not come from the device. [`ServedConnection`] beside it says more of the connection. The server delays a response that has
/// [`AnswerDelay`] in its extensions by that time.
pub fn router(api: ApiHandle) -> Router {
    ApiService::new(api).router()
}

/// A response, or what waits for it.
type Answer = Either<Ready<Response>, BoxFuture<'static, Response>>;

/// The API without axum's router, whose way to its only handler costs more than the rest of a short request.
#[derive(Debug, Clone)]
pub struct ApiService(Arc<AppState>);

/// The state that all requests share.
#[derive(Debug)]
struct AppState {
    api: Arc<ApiHandle>,
    unauthenticated_log: UnauthenticatedLog,
    guess_limiter: KeyGuessLimiter,
}

/// A request that passed all checks.
struct ApiRequest {
    api: RequestHandle,
    callers: AuthenticatedCallers,
    /// The path's segment in place of the route's parameter; empty if it has none.
    param: String,
    request: HttpRequest,
}

/// The agent, as one request reaches it.
struct RequestHandle {
    agent: Arc<ApiHandle>,
    /// Who sends the request, for the history. `None`: it sends the reconciler nothing.
    requester: Option<Requester>,
}

impl Deref for RequestHandle {
    type Target = ApiHandle;

    fn deref(&self) -> &ApiHandle {
        &self.agent
    }
}

/// Channels of its own, for an endpoint that follows what is published.
impl DerefMut for RequestHandle {
    fn deref_mut(&mut self) -> &mut ApiHandle {
        Arc::make_mut(&mut self.agent)
    }
}

impl ApiService {
    /// The service that answers for an agent.
    pub fn new(api: ApiHandle) -> Self {
        Self(Arc::new(AppState {
            api: Arc::new(api),
            unauthenticated_log: UnauthenticatedLog::new(),
            guess_limiter: KeyGuessLimiter::new(),
        }))
    }

    /// The service behind axum's router.
    pub fn router(self) -> Router {
        Router::new().fallback(move |request| self.answer(request))
    }

    /// The response to a request: at once, where nothing is waited for.
    pub fn answer(&self, request: HttpRequest) -> Answer {
        if request.uri().path_and_query().is_some_and(|it| it.as_str().len() > URL_BYTES) {
            let why = failed(StatusCode::URI_TOO_LONG, "the URL is longer than 4 kB");
            return Either::Left(ready(complete(why)));
        }
        if self.0.api.status.borrow().access.is_known() {
            return begin(&self.0, request);
        }
        let state = Arc::clone(&self.0);
        Either::Right(Box::pin(async move {
            state.api.wait_for_keys().await;
            begin(&state, request).await
        }))
    }
}

/// Answers a request after the keys are loaded.
fn begin(state: &Arc<AppState>, request: HttpRequest) -> Answer {
    let api = &state.api;
    let callers = AuthenticatedCallers::of(&request, &api.status.borrow());
    let closing = Closing {
        audit: Audit::new(&request, callers.as_ref().ok()),
        tries_wrong_key: callers.is_err() && is_a_guess(&request),
        from: request.extensions().get::<ClientAddress>().map(|peer| peer.addr),
    };
    let (route, callers, param) = match admit(api, callers, &request) {
        Ok(admitted) => admitted,
        Err(rejection) => return Either::Left(ready(closing.of(rejection, state))),
    };
    // Only an endpoint that waits sends the reconciler anything.
    let requester = route.waits().then(|| requester(&callers, &request));
    let call = ApiRequest { api: RequestHandle { agent: Arc::clone(api), requester }, callers, param, request };
    // A health check comes every few seconds; its answer is logged, and that is enough.
    if !route.access.is_without_key() {
        closing.audit.accepted();
    }
    match route.handler {
        Handler::Now(handler) => Either::Left(ready(closing.of(handler(&call), state))),
        Handler::Waits(handler) => {
            let (answered, state) = (handler(call), Arc::clone(state));
            Either::Right(Box::pin(async move {
                let outcome = answered.await.unwrap_or_else(|rejection| rejection);
                closing.of(outcome, &state)
            }))
        }
    }
}

/// What is done with the outcome of a request.
struct Closing {
    audit: Audit,
    tries_wrong_key: bool,
    from: Option<IpAddr>,
}

impl Closing {
    fn of(self, outcome: ApiResponse, state: &AppState) -> Response {
        let status = outcome.status();
        self.audit.answered(status, &state.unauthenticated_log);
        let mut response = complete(outcome);
        if self.tries_wrong_key && matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            response.extensions_mut().insert(AnswerDelay(state.guess_limiter.count(self.from)));
        }
        response
    }
}

/// A response with the header that all have: a browser must not guess that a response is a script or a page.
fn complete(outcome: ApiResponse) -> Response {
    let mut response = outcome.into_response();
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, const { HeaderValue::from_static("nosniff") });
    response
}

/// Whether a request with no valid key tries one, or another secret.
fn is_a_guess(request: &HttpRequest) -> bool {
    auth::tries_a_key(request) || route::is_guessable(request.method(), request.uri().path())
}

/// The endpoint, who uses it and the path's parameter, if they may; otherwise the response that rejects the request.
fn admit(
    api: &ApiHandle,
    callers: Result<AuthenticatedCallers, AuthFailure>,
    request: &HttpRequest,
) -> Result<(&'static Route, AuthenticatedCallers, String), ApiResponse> {
    site::has_one_host(request)?;
    let found = route::find(request.method(), request.uri().path());
    let access = if let RouteMatch::Route(route, _) = &found { Some(route.access) } else { None };
    let is_page = access == Some(RouteAccess::Page);
    let is_public = access.is_some_and(RouteAccess::is_without_key);
    let callers = match callers {
        Ok(callers) => callers,
        Err(_) if is_page => AuthenticatedCallers::none(),
        Err(AuthFailure::Foreign(foreign)) => return Err(foreign.refusal()),
        Err(_) if is_public && site::foreign(request, &api.status.borrow()) == Some(CrossSite::Page) => {
            return Err(CrossSite::Page.refusal());
        }
        Err(_) if is_public => AuthenticatedCallers::none(),
        Err(AuthFailure::Keyless | AuthFailure::WrongKey) => return Err(ApiResponse::Status(StatusCode::UNAUTHORIZED)),
        Err(AuthFailure::TooManyKeys) => {
            let why = format!("the request brings more than {MAX_CREDENTIALS} keys; one is enough");
            return Err(failed(StatusCode::BAD_REQUEST, &why));
        }
    };
    let (route, param) = match found {
        RouteMatch::Route(route, param) => (route, param),
        RouteMatch::OtherMethods(allow) => return Err(ApiResponse::WrongMethod(allow)),
        RouteMatch::Nothing => {
            return Err(failed(StatusCode::NOT_FOUND, "there is no such path; GET /agent/v1/openapi.json lists all"));
        }
    };
    if !route.is_open_to(&callers, &api.status.borrow().access) {
        return Err(failed(StatusCode::UNAUTHORIZED, "Unauthorized"));
    }
    if route.waits() && has_too_many_in_flight(&callers, request) {
        let why = "too many requests of this address wait already; nothing was begun, ask again when they are answered";
        return Err(failed(StatusCode::TOO_MANY_REQUESTS, why));
    }
    Ok((route, callers, param))
}

fn requester(callers: &AuthenticatedCallers, request: &HttpRequest) -> Requester {
    let from = request.extensions().get::<ClientAddress>().map(|peer| format!(" from {}", peer.addr));
    Requester::new(&format!("{callers}{}", from.unwrap_or_default()))
}

/// Whether so many requests of the same address are in flight that one more would hold up others.
fn has_too_many_in_flight(callers: &AuthenticatedCallers, request: &HttpRequest) -> bool {
    let others = request.extensions().get::<ServedConnection>().map_or(0, |it| it.concurrent_requests);
    others >= if callers.own_the_device() { MAX_BESIDE_OWNER } else { MAX_BESIDE_SERVICE }
}

impl ApiHandle {
    /// Requests that arrive before the keys are loaded wait, at most `KEYS_WAIT`; then they count as unauthenticated.
    async fn wait_for_keys(&self) {
        let mut status = self.status.clone();
        // After a timeout no key is known, so the caller is rejected like any other with an unknown key.
        let _ = timeout(KEYS_WAIT, status.wait_for(|it| it.access.is_known())).await.is_ok();
    }
}

impl RequestHandle {
    /// Sends the reconciler something for the history. An identify must not wait for it: if the reconciler has too much to do,
    /// the history lacks it.
    fn note(&self, request: Request) {
        let request = match &self.requester {
            Some(requester) => Request::By(requester.clone(), Box::new(request)),
            None => request,
        };
        let _ = self.requests.try_send(request);
    }

    /// Sends a request to the reconciler and awaits its response. A request that was sent is carried out even if the client
    /// disconnects.
    async fn send<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Result<Result<T, Refusal>, ApiResponse> {
        let unavailable = |why| failed(StatusCode::SERVICE_UNAVAILABLE, why);
        let (reply, answer) = oneshot::channel();
        let request = match &self.requester {
            Some(requester) => Request::By(requester.clone(), Box::new(request(reply))),
            None => request(reply),
        };
        match self.requests.send_timeout(request, INBOX_WAIT).await {
            Ok(()) => {}
            Err(SendTimeoutError::Timeout(_)) => {
                return Err(unavailable("the agent has too much to do; nothing was begun, ask again"));
            }
            Err(SendTimeoutError::Closed(_)) => return Err(unavailable("the agent is stopping; nothing was begun")),
        }
        match timeout(DONE_WAIT, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(unavailable("the agent is stopping")),
            Err(_) => Err(unavailable("it is not done after 15 minutes, and still tried; GET /agent/v1/state says why")),
        }
    }
}
