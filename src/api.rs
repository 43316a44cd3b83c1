//! The HTTP API, which can ask and can read, and can do nothing else.
//!
//! One table, [`routes`], says what there is. A request goes through these gates in this order: its `Host` header (400), its key (401,
//! or 403 where it comes from another site's page), the table (404, 405), what the key opens (401), and what this release has (501). What is left is answered from the watched [`Status`], or handed to
//! the reconciler as an [`Intent`]. A read never waits for the engine.
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
mod guesses;
mod light;
mod mask;
mod route;
mod sent;
mod site;
mod v1;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::header::X_CONTENT_TYPE_OPTIONS;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use tokio::sync::mpsc::error::SendTimeoutError;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout};

pub use route::{Route, Verb, routes};

use crate::intent::{Answer, Ask, Intent, Light};
use crate::state::device::{Beside, HeldBack};
use crate::state::{Check, Peer, Status};
use audit::{Audit, Strangers};
use auth::{CREDENTIALS, Callers, Unknown};
use guesses::Guesses;
use route::Found;
use sent::{Sent, failed};
use site::Foreign;

/// All the API can reach of the agent.
#[derive(Debug, Clone)]
pub struct Door {
    /// Where requests go.
    pub intents: mpsc::Sender<Ask>,
    /// What may be read.
    pub status: watch::Receiver<Status>,
    /// The LED.
    pub light: Light,
    /// When the agent started.
    pub born: Instant,
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

/// The API, ready to be served. The server puts a [`Peer`] into the extensions of each request; a request without one did not come
/// from the device. [`Reached`](crate::state::device::Reached) beside it says which address of the device the client connected to.
/// The server sends a response with [`HeldBack`] in its extensions so much later.
pub fn router(door: Door) -> Router {
    let house = House { door, strangers: Arc::new(Strangers::new()), guesses: Arc::new(Guesses::new()) };
    Router::new().fallback(handle).layer(DefaultBodyLimit::max(body::LIMIT_BYTES)).with_state(house)
}

/// What all requests share.
#[derive(Clone)]
struct House {
    door: Door,
    strangers: Arc<Strangers>,
    guesses: Arc<Guesses>,
}

/// A request that was let in.
struct Call {
    door: Door,
    callers: Callers,
    /// What stands in the path where the route has a parameter.
    param: String,
    request: Request,
}

async fn handle(State(house): State<House>, request: Request) -> Response {
    let mut response = answer(&house, request).await;
    // A browser must not guess that an answer is a script or a page.
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

async fn answer(House { door, strangers, guesses }: &House, request: Request) -> Response {
    if request.uri().path_and_query().is_some_and(|it| it.as_str().len() > URL_BYTES) {
        return failed(StatusCode::URI_TOO_LONG, "the URL is longer than 4 kB").into_response();
    }
    door.opens().await;
    let callers = Callers::of(&request, &door.status.borrow());
    let audit = Audit::new(&request, callers.as_ref().ok());
    let guesses = (callers.is_err() && auth::tries_a_key(&request)).then_some(guesses);
    let from = request.extensions().get::<Peer>().map(|peer| peer.addr);
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
        response.extensions_mut().insert(HeldBack(guesses.count(from)));
    }
    response
}

/// What is asked, by somebody who may ask it; or what is answered at the door.
fn admit(door: &Door, callers: Result<Callers, Unknown>, request: Request) -> Result<(Verb, Call), Sent> {
    site::has_one_host(&request)?;
    let found = route::find(request.method(), request.uri().path());
    // Health needs no key. Web pages of other sites are refused all the same.
    if let Found::Route(Route { verb: Verb::Healthy, .. }, _) = found {
        return Err(match callers {
            Err(Unknown::Foreign(foreign)) => foreign.refusal(),
            Err(_) if site::foreign(&request, &door.status.borrow()) == Some(Foreign::Page) => Foreign::Page.refusal(),
            Ok(_) | Err(_) => v1::healthy(door),
        });
    }
    let callers = callers.map_err(|unknown| match unknown {
        Unknown::Keyless | Unknown::WrongKey => Sent::Status(StatusCode::UNAUTHORIZED),
        Unknown::Foreign(foreign) => foreign.refusal(),
        Unknown::TooManyKeys => {
            failed(StatusCode::BAD_REQUEST, &format!("the request brings more than {CREDENTIALS} keys; one is enough"))
        }
    })?;
    let (route, param) = match found {
        Found::Route(route, param) => (route, param),
        Found::OtherMethods(allow) => return Err(Sent::WrongMethod(allow)),
        Found::Nothing => {
            return Err(failed(StatusCode::NOT_FOUND, "there is no such path; GET /agent/v1/openapi.json lists all"));
        }
    };
    if !route.verb.is_open_to(&callers, &door.status.borrow().access) {
        return Err(failed(StatusCode::UNAUTHORIZED, "Unauthorized"));
    }
    if route.verb.waits() && is_crowded(&callers, &request) {
        let why = "too many requests of this address wait already; nothing was begun, ask again when they are answered";
        return Err(failed(StatusCode::TOO_MANY_REQUESTS, why));
    }
    Ok((route.verb, Call { door: door.clone(), callers, param, request }))
}

/// Whether so many requests of the same address wait that one more would hold up others.
fn is_crowded(callers: &Callers, request: &Request) -> bool {
    let Beside(others) = request.extensions().get().copied().unwrap_or_default();
    others >= if callers.own_the_device() { BESIDE_AN_OWNER } else { BESIDE_A_SERVICE }
}

async fn serve(verb: Verb, call: Call) -> Result<Sent, Sent> {
    match verb {
        Verb::Ping => Ok(v1::ping()),
        Verb::Healthy => Ok(v1::healthy(&call.door)),
        Verb::Update => v1::update(call).await,
        Verb::CheckOn => v1::check(call, Check::On).await,
        Verb::CheckOff => v1::check(call, Check::Off).await,
        Verb::HostConfig => v1::host_config(call).await,
        Verb::ConfigureHost => v1::configure_host(call).await,
        Verb::End(ending) => v1::end(call, ending).await,
        Verb::Restart => v1::restart(call).await,
        Verb::Purge => v1::purge(call).await,
        Verb::Stop => v1::stop(call).await,
        Verb::Start => v1::start(call).await,
        Verb::RegenerateKey => v1::regenerate_key(call).await,
        Verb::App => v1::app(&call),
        Verb::Device => Ok(v1::device(&call.door.status.borrow())),
        Verb::Blink => Ok(light::blink(&call.door.light).await),
        Verb::State => Ok(agent::state(&call)),
        Verb::Leds => Ok(light::leds(&call.door.light)),
        Verb::Hold => light::hold(call).await,
        Verb::LetGo => light::let_go(call).await,
        Verb::Board => Ok(light::board(&call.door.status.borrow())),
        Verb::OpenApi => Ok(agent::openapi()),
        Verb::NotYet => Err(failed(StatusCode::NOT_IMPLEMENTED, "this release of the agent does not have this endpoint")),
    }
}

impl Door {
    /// Until the keys are read nobody can be told from a stranger, so who comes with the agent's first breath waits for them.
    async fn opens(&self) {
        let mut status = self.status.clone();
        // After that time they are turned away like anybody whose key is not known.
        let _ = timeout(KEYS_WAIT, status.wait_for(|it| it.access.is_known())).await.is_ok();
    }

    /// Hands something to the reconciler, and waits for what it says. What was handed over is done even if nobody waits.
    async fn ask(&self, intent: Intent) -> Result<Answer, Sent> {
        let unavailable = |why| failed(StatusCode::SERVICE_UNAVAILABLE, why);
        let (reply, answer) = oneshot::channel();
        match self.intents.send_timeout(Ask { intent, reply }, INBOX_WAIT).await {
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
