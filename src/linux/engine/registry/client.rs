//! A client of the distribution API: it fetches a token first if the registry demands one, and follows redirects to blobs.

use std::cell::RefCell;
use std::pin::pin;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bollard::auth::DockerCredentials;
use futures_util::future::{Either, select};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::header::{ACCEPT, AUTHORIZATION, HOST, HeaderName, HeaderValue, LOCATION, USER_AGENT, WWW_AUTHENTICATE};
use hyper::{HeaderMap, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use url::{Position, Url};

use crate::linux::dial;
use crate::linux::engine::RegistryAccess;
use crate::linux::engine::login::RegistryLogin;
use crate::linux::engine::registry::manifest::{self, EngineMachine, ManifestKind, RemoteImage};
use crate::linux::engine::registry::place::{ImageLocation, Transport, without_port};
use crate::linux::traffic::TrafficCounter;
use crate::state::cloud::TrafficPurpose;

/// How many redirects in a row are followed.
const DETOURS: usize = 3;

/// A client of one registry, used for one image.
pub(super) struct RegistryClient {
    host: String,
    way: Transport,
    tls: Option<TlsConnector>,
    traffic: TrafficCounter,
    login: Option<DockerCredentials>,
    /// The `Authorization` header of each request, once the registry has demanded one.
    pass: RefCell<Option<HeaderValue>>,
}

/// A response that was read to its end.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

impl RegistryClient {
    pub(super) async fn new(
        access: &RegistryAccess,
        host: &str,
        way: Transport,
        login: &RegistryLogin,
    ) -> Result<Self, String> {
        let tls = match way {
            Transport::Plain => None,
            Transport::Tls => Some(TlsConnector::from(access.trust.for_registry(host).await?)),
        };
        let login = match login {
            RegistryLogin::Found(credentials) | RegistryLogin::Device(credentials) => Some((**credentials).clone()),
            RegistryLogin::None | RegistryLogin::Helper => None,
        };
        Ok(Self { host: host.to_owned(), way, tls, traffic: access.traffic.clone(), login, pass: RefCell::default() })
    }

    /// An image for a machine, as the registry describes it.
    pub(super) async fn image(&self, place: &ImageLocation, machine: &EngineMachine) -> Result<RemoteImage, String> {
        let mut reference = place.reference.clone();
        for _ in 0..2 {
            let path = format!("/v2/{}/manifests/{reference}", place.repository);
            match manifest::read(&self.get(&path).await?, machine)? {
                ManifestKind::Image(found) => return Ok(found),
                ManifestKind::Index(digest) => reference = digest,
            }
        }
        Err("its registry has lists of lists of images".to_owned())
    }

    /// The engine's names (diff ids) of an image's layers.
    pub(super) async fn diff_ids(&self, place: &ImageLocation, found: &RemoteImage) -> Result<Vec<String>, String> {
        manifest::diff_ids(&self.get(&format!("/v2/{}/blobs/{}", place.repository, found.config)).await?)
    }

    async fn get(&self, path: &str) -> Result<Bytes, String> {
        let own = self.url(path)?;
        let mut answer = self.ask(&own, true).await?;
        if answer.status == StatusCode::UNAUTHORIZED && self.pass.borrow().is_none() {
            let wants = text(&answer.headers, WWW_AUTHENTICATE);
            let pass = self.pass_for(&wants).await?;
            *self.pass.borrow_mut() = Some(pass);
            answer = self.ask(&own, true).await?;
        }
        let mut here = own.clone();
        for _ in 0..DETOURS {
            if !answer.status.is_redirection() {
                break;
            }
            here = self.elsewhere(&here, &text(&answer.headers, LOCATION))?;
            // The credentials are for the registry, and for no other host it redirects to.
            answer = self.ask(&here, here.origin() == own.origin()).await?;
        }
        if answer.status == StatusCode::OK {
            Ok(answer.body)
        } else {
            Err(format!("{} answers {}", name(&here), answer.status))
        }
    }

    fn url(&self, path: &str) -> Result<Url, String> {
        let scheme = if self.way == Transport::Tls { "https" } else { "http" };
        Url::parse(&format!("{scheme}://{}{path}", self.host)).map_err(|error| format!("{} is no host: {error}", self.host))
    }

    /// The target of a redirect, resolved against the address it came from. No redirect leads from TLS to plain HTTP, or the
    /// other way round.
    fn elsewhere(&self, here: &Url, there: &str) -> Result<Url, String> {
        let url = here.join(there).map_err(|error| format!("{} points at what is no address: {error}", name(here)))?;
        let allowed = if self.way == Transport::Tls { "https" } else { "http" };
        if url.scheme() == allowed && url.has_host() {
            Ok(url)
        } else {
            Err(format!("{} points at {}, and only {allowed} is followed", name(here), url.scheme()))
        }
    }

    /// The `Authorization` header that answers a challenge: the credentials themselves, or a token obtained with them.
    async fn pass_for(&self, challenge: &str) -> Result<HeaderValue, String> {
        if let Some(token) = self.login.as_ref().and_then(|it| it.registrytoken.as_deref()) {
            return secret("Bearer", token);
        }
        let (scheme, rest) = challenge.split_once(' ').unwrap_or((challenge, ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return self.basic()?.ok_or_else(|| format!("{} wants credentials", self.host));
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(format!("{} asks for an unsupported authentication scheme", self.host));
        }
        let wants = parameters(rest);
        let want = |name: &str| wants.iter().find(|(it, _)| it.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str());
        let realm = want("realm").ok_or_else(|| format!("{} does not say where it gives tokens", self.host))?;
        let mut url = self.elsewhere(&self.url("/")?, realm)?;
        for name in ["service", "scope"] {
            if let Some(value) = want(name) {
                url.query_pairs_mut().append_pair(name, value);
            }
        }
        let answer = self.send(&url, self.basic()?).await?;
        if answer.status != StatusCode::OK {
            return Err(format!("{} gives no token: {}", name(&url), answer.status));
        }
        // The parser's error message might repeat a secret.
        let token: Token = serde_json::from_slice(&answer.body).map_err(|_| format!("{} gives no token", self.host))?;
        let token = token.token.or(token.access_token).ok_or_else(|| format!("{} gives no token", self.host))?;
        secret("Bearer", &token)
    }

    /// The `Authorization` header with the credentials themselves, if there are any.
    fn basic(&self) -> Result<Option<HeaderValue>, String> {
        let Some(login) = &self.login else { return Ok(None) };
        let (Some(user), Some(password)) = (&login.username, &login.password) else { return Ok(None) };
        secret("Basic", &BASE64_STANDARD.encode(format!("{user}:{password}"))).map(Some)
    }

    async fn ask(&self, url: &Url, with_pass: bool) -> Result<Answer, String> {
        let pass = with_pass.then(|| self.pass.borrow().clone()).flatten();
        self.send(url, pass).await
    }

    async fn send(&self, url: &Url, pass: Option<HeaderValue>) -> Result<Answer, String> {
        let broken = |error: &dyn std::fmt::Display| format!("{} does not answer: {error}", name(url));
        let host = without_port(name(url)).to_owned();
        let port = url.port_or_known_default().unwrap_or_default();
        let stream = dial::connect(&host, port).await.map_err(|error| broken(&error))?;
        let stream = self.traffic.meter(TrafficPurpose::Registry).on(stream);
        let request = request(url, pass)?;
        let Some(tls) = &self.tls else { return exchange(stream, request).await.map_err(|error| broken(&error)) };
        let whom = ServerName::try_from(host).map_err(|error| broken(&error))?;
        let stream = tls.connect(whom, stream).await.map_err(|error| broken(&error))?;
        exchange(stream, request).await.map_err(|error| broken(&error))
    }
}

/// The host, and the port if it is not the default: all that is logged of an address, since a query may hold a signature.
fn name(url: &Url) -> &str {
    &url[Position::BeforeHost..Position::AfterPort]
}

/// A header as text. Empty if it is missing or not text.
fn text(headers: &HeaderMap, name: HeaderName) -> String {
    headers.get(name).and_then(|it| it.to_str().ok()).unwrap_or_default().to_owned()
}

fn request(url: &Url, pass: Option<HeaderValue>) -> Result<Request<Empty<Bytes>>, String> {
    let mut request = Request::builder()
        .uri(&url[Position::BeforePath..Position::AfterQuery])
        .header(HOST, name(url))
        .header(ACCEPT, manifest::KINDS)
        .header(USER_AGENT, concat!("boardkeeper/", env!("CARGO_PKG_VERSION")))
        .body(Empty::new())
        .map_err(|error| format!("{} cannot be asked: {error}", name(url)))?;
    if let Some(pass) = pass {
        request.headers_mut().insert(AUTHORIZATION, pass);
    }
    Ok(request)
}

/// Sends a request, and reads the response to its end, up to [`manifest::DOCUMENT_BYTES`].
async fn exchange<S>(stream: S, request: Request<Empty<Bytes>>) -> Result<Answer, Box<dyn std::error::Error + Send + Sync>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut asks, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let answer = async move {
        let (head, body) = asks.send_request(request).await?.into_parts();
        let body = Limited::new(body, manifest::DOCUMENT_BYTES).collect().await?.to_bytes();
        Ok(Answer { status: head.status, headers: head.headers, body })
    };
    // The connection makes progress only while it is polled; if it ends first, the response it brought is still to be read.
    match select(pin!(answer), pin!(connection)).await {
        Either::Left((answer, _)) => answer,
        Either::Right((_, answer)) => answer.await,
    }
}

/// A header value that is hidden from logs.
fn secret(scheme: &str, text: &str) -> Result<HeaderValue, String> {
    let mut value =
        HeaderValue::try_from(format!("{scheme} {text}")).map_err(|_| "a token cannot be sent as it is".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

/// Parses `a="b",c="d"` of a challenge. There may be commas within quotes.
fn parameters(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = text.trim();
    while let Some((name, after)) = rest.split_once('=') {
        let (value, left) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => after.split_once(',').unwrap_or((after, "")),
        };
        found.push((name.trim().to_owned(), value.trim().to_owned()));
        rest = left.trim_start_matches([',', ' ']);
    }
    found
}
