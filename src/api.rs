//! The HTTP API, which can ask and can read, and can do nothing else.
//!
//! One table, [`routes`], says what there is. A request goes through these gates in this order: its `Host` header (400), its key (401,
//! or 403 where it comes from another site's page), the table (404, 405), what the key opens (401), and what this release has (501). What is left is answered from the watched [`Status`], or handed to
//! the reconciler as an [`Action`]. A read never waits for the engine.
//!
//! ```text
//! routes       the table, and how a path is found in it                api/route.rs
//! auth         keys, and who may do what                               api/auth.rs
//! site         whether a web page of another site asks                 api/site.rs
//! guesses      wrong keys, by address                                  api/guesses.rs
//! audit, mask  who asked for what, in the log; and no key              api/audit.rs api/mask.rs
//! body, form   what a request says                                     api/body.rs api/form.rs
//! sent         the shapes an answer has                                api/sent.rs
//! v1, agent    the routes                                              api/v1.rs api/v1/read.rs api/agent.rs
//! light        those of the board and its LEDs                         api/light.rs
//! ```
//!
//! Why not axum's own router: paths are matched as Express matches them (any case, one trailing slash), and a route that does
//! not exist is a secret to those without a key. Both need the table before the key, and one table is better than two.

mod agent;
mod audit;
mod auth;
mod body;
mod form;
mod guess_limit;
mod leds;
mod mask;
mod response;
mod route;
mod site;
mod v1;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request as HttpRequest, State};
use axum::http::header::X_CONTENT_TYPE_OPTIONS;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use tokio::sync::mpsc::error::SendTimeoutError;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout};

pub use route::{Endpoint, Route, routes};

use crate::request::{Action, LedHandle, Request, RequestResult};
use crate::state::device::{AnswerDelay, ConcurrentRequests};
use crate::state::{ClientAddress, ConnectivityCheck, Status};
use audit::{Audit, UnauthenticatedLog};
use auth::{AuthFailure, AuthenticatedCallers, CREDENTIALS};
use guess_limit::KeyGuessLimiter;
use response::{ApiResponse, failed};
use route::RouteMatch;
use site::CrossSite;

/// All the API can reach of the agent.
#[derive(Debug, Clone)]
pub struct ApiHandle {
    /// Where requests go.
    pub requests: mpsc::Sender<Request>,
    /// What may be read.
    pub status: watch::Receiver<Status>,
    /// The LED.
    pub leds: LedHandle,
    /// When the agent started.
    pub started: Instant,
}

/// The most bytes of a URL: the longest that means anything has a path of 60 and a key of 128; the rest is for queries of others.
const URL_BYTES: usize = 4096;

/// Requests of one address that wait beside a service's. More would only wait for each other: the reconciler does one at a time
/// for an app.
const BESIDE_A_SERVICE: usize = 16;

/// And beside one of the device's owner, who must not be kept out by a service of the same address. Fewer than half of the
/// connections an address may have, so that one that waits for nothing is always to be found.
const BESIDE_AN_OWNER: usize = 32;

/// How long a request waits until the agent has read its keys. It takes some milliseconds.
const KEYS_WAIT: Duration = Duration::from_secs(5);

/// How long a request waits for room in the reconciler's inbox.
const INBOX_WAIT: Duration = Duration::from_secs(5);

/// How long a request waits until it was done. The socket timeout of the supervisors our clients know is as long.
const DONE_WAIT: Duration = Duration::from_secs(15 * 60);

/// The API, ready to be served. The server puts a [`ClientAddress`] into the extensions of each request; a request without one did not come
/// from the device. [`LocalAddress`](crate::state::device::Reached) beside it says which address of the device the client connected to.
/// The server sends a response with [`AnswerDelay`] in its extensions so much later.
pub fn router(door: ApiHandle) -> Router {
    let house = AppState {
        api: door,
        unauthenticated_log: Arc::new(UnauthenticatedLog::new()),
        guess_limiter: Arc::new(KeyGuessLimiter::new()),
    };
    Router::new().fallback(handle).layer(DefaultBodyLimit::max(body::LIMIT_BYTES)).with_state(house)
}

/// What all requests share.
#[derive(Clone)]
struct AppState {
    api: ApiHandle,
    unauthenticated_log: Arc<UnauthenticatedLog>,
    guess_limiter: Arc<KeyGuessLimiter>,
}

/// A request that was let in.
struct ApiRequest {
    api: ApiHandle,
    callers: AuthenticatedCallers,
    /// What stands in the path where the route has a parameter.
    param: String,
    request: HttpRequest,
}

async fn handle(State(house): State<AppState>, request: HttpRequest) -> Response {
    let mut response = answer(&house, request).await;
    // A browser must not guess that an answer is a script or a page.
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

async fn answer(
    AppState { api: door, unauthenticated_log: strangers, guess_limiter: guesses }: &AppState,
    request: HttpRequest,
) -> Response {
    if request.uri().path_and_query().is_some_and(|it| it.as_str().len() > URL_BYTES) {
        return failed(StatusCode::URI_TOO_LONG, "the URL is longer than 4 kB").into_response();
    }
    door.wait_for_keys().await;
    let callers = AuthenticatedCallers::of(&request, &door.status.borrow());
    let audit = Audit::new(&request, callers.as_ref().ok());
    let guesses = (callers.is_err() && auth::tries_a_key(&request)).then_some(guesses);
    let from = request.extensions().get::<ClientAddress>().map(|peer| peer.addr);
    let sent = match admit(door, callers, request) {
        Ok((verb, call)) => {
            audit.accepted();
            serve(verb, call).await.unwrap_or_else(|sent| sent)
        }
        Err(sent) => sent,
    };
    let status = sent.status();
    audit.answered(status, strangers);
    let mut response = sent.into_response();
    if let (Some(guesses), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) = (guesses, status) {
        response.extensions_mut().insert(AnswerDelay(guesses.count(from)));
    }
    response
}

/// What is asked, by somebody who may ask it; or what is answered at the door.
fn admit(
    door: &ApiHandle,
    callers: Result<AuthenticatedCallers, AuthFailure>,
    request: HttpRequest,
) -> Result<(Endpoint, ApiRequest), ApiResponse> {
    site::has_one_host(&request)?;
    let found = route::find(request.method(), request.uri().path());
    // Health needs no key. Web pages of other sites are refused all the same.
    if let RouteMatch::Route(Route { endpoint: Endpoint::Healthy, .. }, _) = found {
        return Err(match callers {
            Err(AuthFailure::Foreign(foreign)) => foreign.refusal(),
            Err(_) if site::foreign(&request, &door.status.borrow()) == Some(CrossSite::Page) => CrossSite::Page.refusal(),
            Ok(_) | Err(_) => v1::healthy(door),
        });
    }
    let callers = callers.map_err(|unknown| match unknown {
        AuthFailure::Keyless | AuthFailure::WrongKey => ApiResponse::Status(StatusCode::UNAUTHORIZED),
        AuthFailure::Foreign(foreign) => foreign.refusal(),
        AuthFailure::TooManyKeys => {
            failed(StatusCode::BAD_REQUEST, &format!("the request brings more than {CREDENTIALS} keys; one is enough"))
        }
    })?;
    let (route, param) = match found {
        RouteMatch::Route(route, param) => (route, param),
        RouteMatch::OtherMethods(allow) => return Err(ApiResponse::WrongMethod(allow)),
        RouteMatch::Nothing => {
            return Err(failed(StatusCode::NOT_FOUND, "there is no such path; GET /agent/v1/openapi.json lists all"));
        }
    };
    if !route.endpoint.is_open_to(&callers, &door.status.borrow().access) {
        return Err(failed(StatusCode::UNAUTHORIZED, "Unauthorized"));
    }
    if route.endpoint.waits() && is_crowded(&callers, &request) {
        let why = "too many requests of this address wait already; nothing was begun, ask again when they are answered";
        return Err(failed(StatusCode::TOO_MANY_REQUESTS, why));
    }
    Ok((route.endpoint, ApiRequest { api: door.clone(), callers, param, request }))
}

/// Whether so many requests of the same address wait that one more would hold up others.
fn is_crowded(callers: &AuthenticatedCallers, request: &HttpRequest) -> bool {
    let ConcurrentRequests(others) = request.extensions().get().copied().unwrap_or_default();
    others >= if callers.own_the_device() { BESIDE_AN_OWNER } else { BESIDE_A_SERVICE }
}

async fn serve(verb: Endpoint, call: ApiRequest) -> Result<ApiResponse, ApiResponse> {
    match verb {
        Endpoint::Ping => Ok(v1::ping()),
        Endpoint::Healthy => Ok(v1::healthy(&call.api)),
        Endpoint::Update => v1::update(call).await,
        Endpoint::EnableConnectivityCheck => v1::check(call, ConnectivityCheck::On).await,
        Endpoint::DisableConnectivityCheck => v1::check(call, ConnectivityCheck::Off).await,
        Endpoint::HostConfig => v1::host_config(call).await,
        Endpoint::ConfigureHost => v1::configure_host(call).await,
        Endpoint::End(ending) => v1::end(call, ending).await,
        Endpoint::Restart => v1::restart(call).await,
        Endpoint::Purge => v1::purge(call).await,
        Endpoint::Stop => v1::stop(call).await,
        Endpoint::Start => v1::start(call).await,
        Endpoint::RegenerateKey => v1::regenerate_key(call).await,
        Endpoint::App => v1::app(&call),
        Endpoint::Device => Ok(v1::device(&call.api.status.borrow())),
        Endpoint::Blink => Ok(leds::blink(&call.api.leds).await),
        Endpoint::State => Ok(agent::state(&call)),
        Endpoint::Leds => Ok(leds::leds(&call.api.leds)),
        Endpoint::Hold => leds::hold(call).await,
        Endpoint::ReleaseLed => leds::let_go(call).await,
        Endpoint::Board => Ok(leds::board(&call.api.status.borrow())),
        Endpoint::OpenApi => Ok(agent::openapi()),
        Endpoint::NotYet => Err(failed(StatusCode::NOT_IMPLEMENTED, "this release of the agent does not have this endpoint")),
    }
}

impl ApiHandle {
    /// Until the keys are read nobody can be told from a stranger, so who comes with the agent's first breath waits for them.
    async fn wait_for_keys(&self) {
        let mut status = self.status.clone();
        // After that time they are turned away like anybody whose key is not known.
        let _ = timeout(KEYS_WAIT, status.wait_for(|it| it.access.is_known())).await.is_ok();
    }

    /// Hands something to the reconciler, and waits for what it says. What was handed over is done even if nobody waits.
    async fn ask(&self, intent: Action) -> Result<RequestResult, ApiResponse> {
        let unavailable = |why| failed(StatusCode::SERVICE_UNAVAILABLE, why);
        let (reply, answer) = oneshot::channel();
        match self.requests.send_timeout(Request { action: intent, reply }, INBOX_WAIT).await {
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
