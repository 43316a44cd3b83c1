//! The cloud's API, over HTTPS.
//!
//! ```text
//! endpoint    the API's address                                              cloud/endpoint.rs
//! proxy       the proxy on the way there                                     cloud/proxy.rs
//! connection  one connection, used for many requests                         cloud/connection.rs
//! tls_error   why there is none, in words                                    cloud/tls_error.rs
//! body        bodies, packed and unpacked                                    cloud/body.rs
//! answer      answers: the cloud's, its refusals, and those of others        cloud/answer.rs
//! fetch       a document at a URL, of a server that is no cloud              cloud/fetch.rs
//! wire        what the bodies say                                            cloud/wire.rs
//! ```
//!
//! A request costs its bytes, and a new connection costs three requests more. So a connection is kept as long as the server
//! keeps it, one for logs and one for everything else, and a new one resumes the TLS session of the last. Nothing is polled
//! between two requests: that the server has closed a connection is found when the next request is to be sent.

mod answer;
mod body;
mod connection;
mod endpoint;
pub(in crate::linux) mod fetch;
mod proxy;
mod tls_error;
mod wire;

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, ETAG, HOST, HeaderValue, IF_NONE_MATCH, USER_AGENT,
};
use hyper::{Method, Request, StatusCode};
use tokio::time::timeout;
use tracing::debug;
use url::{Position, Url};

use crate::linux::clock::Clock;
use crate::linux::cloud::answer::CloudAnswer;
use crate::linux::cloud::connection::{CloudConnection, Destination, ExchangeError};
use crate::linux::cloud::endpoint::Endpoint;
use crate::linux::cloud::proxy::ConnectProxy;
use crate::linux::escaped;
use crate::linux::registry_login::CloudLogin;
use crate::linux::traffic::TrafficCounter;
use crate::linux::trust::TrustStore;
use crate::port::{Clock as _, Cloud, CloudError, TargetAnswer};
use crate::sorted::SortedMap;
use crate::state::Secret;
use crate::state::cloud::{
    CloudAccount, CloudLogLine, DeviceReport, DeviceTag, RegisteredDevice, RegistrationForm, ReleasePin, Traffic,
    TrafficPurpose, VpnProfile,
};
use crate::state::proxy_variables::ProxyVariables;

/// How long a connection may take, the lookup of the name and TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a whole call may take. The cloud answers 401 to logs of a device it does not know after 55 s.
const CALL_TIMEOUT: Duration = Duration::from_secs(58);
/// A body shorter than this gets no shorter by packing, with the header that says so.
const PACKED_FROM: usize = 150;

/// Settings of a [`CloudClient`].
#[derive(Debug, Clone)]
pub struct CloudClientSettings {
    /// The host's root.
    pub root: PathBuf,
    /// The certificates that are trusted. Others may share it.
    pub trust: Rc<TrustStore>,
    /// Where bytes are counted. Others may share it.
    pub traffic: TrafficCounter,
    /// The `User-Agent`. The cloud's answers to one that begins with `Supervisor/` are shorter.
    pub user_agent: String,
    /// The proxies.
    pub proxies: ProxyVariables,
}

/// A client of the cloud's API.
pub struct CloudClient {
    settings: CloudClientSettings,
    registry_login: CloudLogin,
    clock: Clock,
    /// The connection for everything but logs.
    main: Lane,
    /// The connection for logs.
    logs: Lane,
    skew_secs: Cell<Option<i64>>,
}

/// A connection that waits for the next request.
type Lane = RefCell<Option<CloudConnection>>;

/// How a cloud was reached that answered a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReachedCloud {
    /// Host and port.
    pub address: String,
    /// The proxy on the way.
    pub proxy: Option<String>,
    /// By how many seconds this device's clock is ahead of the cloud's.
    pub skew_secs: Option<i64>,
}

/// A request, before it is known over which connection it goes.
struct CloudRequest<'a> {
    method: Method,
    endpoint: &'a str,
    path: String,
    key: Option<&'a Secret>,
    /// A key that the body has in it.
    body_key: Option<&'a Secret>,
    etag: Option<&'a str>,
    body: Option<RequestBody>,
    purpose: TrafficPurpose,
}

struct RequestBody {
    bytes: Bytes,
    kind: &'static str,
    is_packed: bool,
}

impl CloudClient {
    /// A client. It connects when it is first used.
    #[must_use]
    pub fn new(settings: CloudClientSettings) -> Self {
        let clock = Clock::new(&settings.root);
        Self {
            settings,
            registry_login: CloudLogin::default(),
            clock,
            main: Lane::default(),
            logs: Lane::default(),
            skew_secs: Cell::default(),
        }
    }

    /// A client with the same settings, and with connections of its own.
    #[must_use]
    pub fn beside(&self) -> Self {
        Self::new(self.settings.clone())
    }

    /// Says with which account the cloud is asked, for pulls from its registry.
    #[must_use]
    pub fn with_registry_login(self, registry_login: CloudLogin) -> Self {
        Self { registry_login, ..self }
    }

    /// The cloud's registry is another from now on.
    pub fn set_registry(&self, registry: Option<String>) {
        self.registry_login.set_registry(registry);
    }

    /// The device has left its cloud: no pull uses its account any more.
    pub fn forget_account(&self) {
        self.registry_login.forget();
    }

    /// Trusts other certificates from the next connection on, beside the host's: `balenaRootCA`, base64 of PEM.
    pub fn set_root_ca(&self, root_ca: Option<String>) {
        self.settings.trust.set_root_ca(root_ca);
    }

    /// Reaches a cloud without a key, and changes nothing there (`GET /connectivity-check`).
    pub async fn check(&self, endpoint: &str) -> Result<ReachedCloud, CloudError> {
        let request = CloudRequest::new(Method::GET, endpoint, "/connectivity-check", TrafficPurpose::ConnectivityCheck);
        self.call(&request).await?;
        let to = self.destination(endpoint)?;
        Ok(ReachedCloud {
            address: to.endpoint.authority,
            proxy: to.proxy.map(|it| it.shown()),
            skew_secs: self.skew_secs.get(),
        })
    }

    /// A file at a URL, without a key.
    pub async fn download(&self, url: &str) -> Result<Vec<u8>, CloudError> {
        let wrong = |why: &str| CloudError::Unreachable(format!("the URL cannot be used: {why}; write one like https://…"));
        let url = Url::parse(url).map_err(|why| wrong(&why.to_string()))?;
        if url.scheme() != "https" || !url.username().is_empty() || url.password().is_some() {
            return Err(wrong("it must be https, without a user"));
        }
        let (endpoint, path) = (&url[..Position::AfterPort], &url[Position::BeforePath..Position::AfterQuery]);
        let request = CloudRequest::new(Method::GET, endpoint, path, TrafficPurpose::Registration);
        let answer = self.expect(&request).await?;
        if answer.body.is_cut { Err(wrong("the answer is too long for a config.json")) } else { Ok(answer.body.bytes) }
    }

    fn destination(&self, endpoint: &str) -> Result<Destination, CloudError> {
        let endpoint = Endpoint::parse(endpoint)?;
        let proxy = ConnectProxy::choose(&self.settings.proxies, &endpoint).map_err(CloudError::Unreachable)?;
        Ok(Destination { endpoint, proxy, generation: self.settings.trust.generation() })
    }

    /// Sends a request, and returns the cloud's answer: a success, or 304.
    async fn call(&self, request: &CloudRequest<'_>) -> Result<CloudAnswer, CloudError> {
        let (to, answer) = self.answer(request).await?;
        let hidden: Vec<&Secret> = request.key.into_iter().chain(request.body_key).collect();
        let date = answer.date_secs();
        let judged = answer.judged(&to.endpoint, &hidden);
        if let (Some(date), Ok(_) | Err(CloudError::Refused { .. })) = (date, &judged) {
            self.skew_secs.set(Some(self.clock.now_secs() - date));
        }
        judged
    }

    /// Sends a request, and returns any answer.
    async fn answer(&self, request: &CloudRequest<'_>) -> Result<(Destination, CloudAnswer), CloudError> {
        let to = self.destination(request.endpoint)?;
        let lane = if request.purpose == TrafficPurpose::Logs { &self.logs } else { &self.main };
        let answer = timeout(CALL_TIMEOUT, self.exchange(lane, &to, request)).await.unwrap_or_else(|_| {
            Err(CloudError::Unreachable(format!(
                "{} takes the request and gives no whole answer within {} s; the agent tries again",
                to.endpoint.authority,
                CALL_TIMEOUT.as_secs()
            )))
        })?;
        Ok((to, answer))
    }

    async fn exchange(&self, lane: &Lane, to: &Destination, request: &CloudRequest<'_>) -> Result<CloudAnswer, CloudError> {
        let advised = |why: &str| CloudError::Unreachable(format!("{why}; the agent tries again"));
        let agent = &self.settings.user_agent;
        // Taken out for the call: one that is broken off leaves no half-used connection behind.
        let kept = lane.take();
        if let Some(mut kept) = kept
            && kept.is_usable(to).await
        {
            match kept.exchange(request.build(to, agent)?, request.purpose).await {
                Ok(answer) => return Ok(keep(lane, kept, answer)),
                // The server closed it at the same time. It did not read the request, or did not answer it.
                Err(ExchangeError::Unanswered(why)) => debug!(why, "the request is sent again on a new connection"),
                Err(ExchangeError::Broken(why)) => return Err(advised(&why)),
            }
        }
        let mut new = self.open(to, request.purpose).await?;
        match new.exchange(request.build(to, agent)?, request.purpose).await {
            Ok(answer) => Ok(keep(lane, new, answer)),
            Err(ExchangeError::Unanswered(why) | ExchangeError::Broken(why)) => Err(advised(&why)),
        }
    }

    async fn open(&self, to: &Destination, purpose: TrafficPurpose) -> Result<CloudConnection, CloudError> {
        let meter = self.settings.traffic.meter(purpose);
        let opened = timeout(CONNECT_TIMEOUT, CloudConnection::open(to.clone(), &self.settings.trust, meter)).await;
        let slow = || {
            let place = to.proxy.as_ref().map_or_else(String::new, |it| format!(" through {}", it.shown()));
            format!(
                "{} port {} does not answer within {} s{place}; check the network's firewall and proxy",
                to.endpoint.host,
                to.endpoint.port,
                CONNECT_TIMEOUT.as_secs()
            )
        };
        opened.unwrap_or_else(|_| Err(slow())).map_err(CloudError::Unreachable)
    }
}

/// Keeps a connection for the next request, if it can take one.
fn keep(lane: &Lane, connection: CloudConnection, answer: CloudAnswer) -> CloudAnswer {
    if connection.is_open() {
        lane.replace(Some(connection));
    }
    answer
}

impl<'a> CloudRequest<'a> {
    fn new(method: Method, endpoint: &'a str, path: impl Into<String>, purpose: TrafficPurpose) -> Self {
        let path = path.into();
        Self { method, endpoint, path, key: None, body_key: None, etag: None, body: None, purpose }
    }

    fn with_key(self, key: &'a Secret) -> Self {
        Self { key: Some(key), ..self }
    }

    fn with_json(self, bytes: Vec<u8>) -> Self {
        Self { body: Some(RequestBody { bytes: bytes.into(), kind: "application/json", is_packed: false }), ..self }
    }

    fn build(&self, to: &Destination, user_agent: &str) -> Result<Request<Full<Bytes>>, CloudError> {
        let mut request = Request::builder()
            .method(&self.method)
            .uri(to.endpoint.path(&self.path))
            .header(HOST, &to.endpoint.authority)
            .header(USER_AGENT, user_agent);
        if let Some(key) = self.key {
            let mut value = HeaderValue::try_from(format!("Bearer {}", key.reveal())).map_err(|_| {
                CloudError::Unreachable("the device's key is no key: write deviceApiKey of config.json anew".to_owned())
            })?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        if matches!(self.purpose, TrafficPurpose::Poll | TrafficPurpose::Vpn) {
            request = request.header(ACCEPT_ENCODING, "gzip");
        }
        // An ETag that cannot be sent is not sent: then the whole document comes.
        if let Some(etag) = self.etag.and_then(|it| HeaderValue::from_str(it).ok()) {
            request = request.header(IF_NONE_MATCH, etag);
        }
        let Some(body) = &self.body else { return built(request.body(Full::default())) };
        request = request.header(CONTENT_TYPE, body.kind);
        if body.is_packed {
            request = request.header(CONTENT_ENCODING, "gzip");
        }
        built(request.body(Full::new(body.bytes.clone())))
    }
}

fn built(request: Result<Request<Full<Bytes>>, hyper::http::Error>) -> Result<Request<Full<Bytes>>, CloudError> {
    request.map_err(|why| CloudError::Unreachable(format!("the request cannot be sent ({why}); check config.json")))
}

impl RequestBody {
    /// JSON, packed where that makes it shorter.
    fn json(bytes: Vec<u8>) -> Self {
        let packed = (bytes.len() >= PACKED_FROM).then(|| body::pack(&bytes)).filter(|it| it.len() + 24 < bytes.len());
        let is_packed = packed.is_some();
        Self { bytes: packed.unwrap_or(bytes).into(), kind: "application/json", is_packed }
    }
}

impl Cloud for CloudClient {
    async fn register(
        &self,
        endpoint: &str,
        provisioning_key: &Secret,
        form: &RegistrationForm,
    ) -> Result<RegisteredDevice, CloudError> {
        let request = CloudRequest::new(Method::POST, endpoint, "/device/register", TrafficPurpose::Registration)
            .with_key(provisioning_key)
            .with_json(wire::registration(form));
        let request = CloudRequest { body_key: Some(&form.key), ..request };
        let answer = self.expect(&request).await?;
        let id = wire::registered(&answer.body.bytes);
        id.map(|id| RegisteredDevice { id }).ok_or_else(|| self.not_json(endpoint))
    }

    async fn device_id(&self, endpoint: &str, key: &Secret, uuid: &str) -> Result<Option<u64>, CloudError> {
        let request =
            CloudRequest::new(Method::GET, endpoint, wire::device_query(uuid), TrafficPurpose::Registration).with_key(key);
        match self.expect(&request).await {
            Ok(answer) => wire::found(&answer.body.bytes).map_err(|_| self.not_json(endpoint)),
            Err(CloudError::Refused { status: 401 | 403, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn exchange_key(
        &self,
        endpoint: &str,
        provisioning_key: &Secret,
        device_id: u64,
        new_key: &Secret,
    ) -> Result<(), CloudError> {
        let path = format!("/api-key/device/{device_id}/device-key");
        let request = CloudRequest::new(Method::POST, endpoint, path, TrafficPurpose::Registration)
            .with_key(provisioning_key)
            .with_json(wire::new_key(new_key));
        self.expect(&CloudRequest { body_key: Some(new_key), ..request }).await.map(drop)
    }

    async fn release_id(&self, account: &CloudAccount, release: &ReleasePin) -> Result<Option<u64>, CloudError> {
        let path = wire::release_query(release);
        let request = CloudRequest::new(Method::GET, &account.endpoint, path, TrafficPurpose::Registration);
        let answer = self.expect(&request.with_key(&account.key)).await?;
        wire::found(&answer.body.bytes).map_err(|_| self.not_json(&account.endpoint))
    }

    async fn pin(&self, account: &CloudAccount, device_id: u64, release_id: u64) -> Result<(), CloudError> {
        let path = format!("/v7/device({device_id})");
        let request = CloudRequest::new(Method::PATCH, &account.endpoint, path, TrafficPurpose::Registration);
        self.expect(&request.with_key(&account.key).with_json(wire::pin(release_id))).await.map(drop)
    }

    async fn target(&self, account: &CloudAccount, etag: Option<&str>) -> Result<TargetAnswer, CloudError> {
        self.registry_login.set_account(account);
        let path = format!("/device/v3/{}/state", escaped(&account.uuid));
        let request = CloudRequest::new(Method::GET, &account.endpoint, path, TrafficPurpose::Poll).with_key(&account.key);
        let answer = self.call(&CloudRequest { etag, ..request }).await?;
        if answer.status == StatusCode::NOT_MODIFIED {
            return Ok(TargetAnswer::NotModified);
        }
        if !answer.is_json() {
            return Err(self.not_json(&account.endpoint));
        }
        let etag = Some(answer.text(ETAG).to_owned()).filter(|it| !it.is_empty());
        let text = String::from_utf8(answer.body.bytes).map_err(|_| self.not_json(&account.endpoint))?;
        Ok(TargetAnswer::Document { text, etag })
    }

    async fn report(&self, account: &CloudAccount, report: &DeviceReport) -> Result<(), CloudError> {
        let body = RequestBody::json(wire::report(&account.uuid, report));
        let request = CloudRequest::new(Method::PATCH, &account.endpoint, "/device/v3/state", TrafficPurpose::Report);
        self.expect(&CloudRequest { body: Some(body), ..request.with_key(&account.key) }).await.map(drop)
    }

    async fn upload_logs(&self, account: &CloudAccount, lines: &[CloudLogLine]) -> Result<(), CloudError> {
        let endpoint = account.logs_endpoint.as_deref().unwrap_or(&account.endpoint);
        let path = format!("/device/v2/{}/log-stream", escaped(&account.uuid));
        let bytes = body::pack(&wire::log_lines(lines)).into();
        let body = RequestBody { bytes, kind: "application/x-ndjson", is_packed: true };
        let request = CloudRequest::new(Method::POST, endpoint, path, TrafficPurpose::Logs).with_key(&account.key);
        self.expect(&CloudRequest { body: Some(body), ..request }).await.map(drop)
    }

    async fn vpn_profile(&self, account: &CloudAccount) -> Result<Option<VpnProfile>, CloudError> {
        let request = CloudRequest::new(Method::GET, &account.endpoint, "/os/v1/config", TrafficPurpose::Vpn);
        let answer = self.expect(&request.with_key(&account.key)).await?;
        wire::vpn_profile(&answer.body.bytes).map_err(|_| self.not_json(&account.endpoint))
    }

    async fn tags(&self, account: &CloudAccount) -> Result<Vec<DeviceTag>, CloudError> {
        let path = wire::tags_query(&account.uuid);
        let request = CloudRequest::new(Method::GET, &account.endpoint, path, TrafficPurpose::Registration);
        let answer = self.expect(&request.with_key(&account.key)).await?;
        wire::tags(&answer.body.bytes).map_err(|_| self.not_json(&account.endpoint))
    }

    async fn set_tags(&self, account: &CloudAccount, tags: &SortedMap<String, String>) -> Result<(), CloudError> {
        let body = wire::new_tags(&account.uuid, tags);
        let request = CloudRequest::new(Method::PATCH, &account.endpoint, "/device/v3/tags", TrafficPurpose::Registration);
        self.expect(&request.with_key(&account.key).with_json(body)).await.map(drop)
    }

    fn traffic(&self) -> Traffic {
        self.settings.traffic.so_far()
    }

    fn clock_skew(&self) -> Option<i64> {
        self.skew_secs.get()
    }
}

impl CloudClient {
    /// Sends a request that 304 is no answer to.
    async fn expect(&self, request: &CloudRequest<'_>) -> Result<CloudAnswer, CloudError> {
        let answer = self.call(request).await?;
        if answer.status == StatusCode::NOT_MODIFIED { Err(answer.refusal(&[])) } else { Ok(answer) }
    }

    fn not_json(&self, endpoint: &str) -> CloudError {
        match self.destination(endpoint) {
            Ok(to) => answer::foreign(&to.endpoint, "something else than the JSON that was asked for"),
            Err(error) => error,
        }
    }
}
