//! A device built by the tests, and a fake reconciler that answers from it and records requests.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, HOST};
use axum::http::{HeaderMap, Request as HttpRequest, StatusCode};
use boardkeeper::api::{self, ApiHandle};
use boardkeeper::request::{
    LedHandle, LedRequest, Refusal, Request, ServiceSelector, StreamRefusal, StreamRequest, TagRefusal, TagRequest,
};
use boardkeeper::sorted::{SortedMap, SortedSet};
use boardkeeper::state::cloud::{CloudStatus, DeviceTag, ReportedVersions};
use boardkeeper::state::device::{AnswerDelay, ServedConnection, ServerStop};
use boardkeeper::state::history::{History, Requester};
use boardkeeper::state::host::HostConfig;
use boardkeeper::state::journal::JournalQuery;
use boardkeeper::state::keys::{Grant, KeyScope};
use boardkeeper::state::live_log::{LiveLogLine, LogQuery};
use boardkeeper::state::local_engine::LocalEngine;
use boardkeeper::state::metrics::AgentMetrics;
use boardkeeper::state::{
    AppId, BoardFacts, Caller, Connectivity, ContainerId, Current, Device, EngineState, Force, FreeLineInfo, HeldLock,
    HeldPattern, IdentifyOutcome, Keys, LedActivity, LedLevel, LedPurpose, LedRef, LedRefusal, LedStatus, LockState, Pattern,
    Player, Secret, ServiceKey, Status, VpnState,
};
use http_body_util::BodyExt;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tower::ServiceExt;

pub(crate) use crate::objects::{container, step};
use crate::openapi;
pub(crate) use crate::received::Received;

mod answers;

/// The commit of the reference's examples.
pub(crate) const COMMIT: &str = "414e65cd378a69a96f403b75f14b40b55856f860";
/// The uuid of every app.
const UUID: &str = "b0a2dcee9e25a4d1b0a2dcee9e25a4d1";
/// An app of one service, whose key reaches the app only.
pub(crate) const ONE: AppId = AppId(2167);
/// An app of one service, whose key reaches the device.
pub(crate) const WIDE: AppId = AppId(3134);
/// An app of two services, whose keys reach the app only.
pub(crate) const TWO: AppId = AppId(4000);

/// The API of a device.
pub(crate) struct TestDevice {
    router: Router,
    inbox: Option<mpsc::Receiver<Request>>,
    led_requests: Option<mpsc::Receiver<LedRequest>>,
    stream_requests: mpsc::Receiver<StreamRequest>,
    tag_requests: mpsc::Receiver<TagRequest>,
    /// What the cloud's task answers to requests about tags, and those that were set.
    pub(crate) tags: Result<Vec<DeviceTag>, TagRefusal>,
    pub(crate) set_tags: Vec<SortedMap<String, String>>,
    led_status: watch::Sender<LedStatus>,
    pub(crate) history: watch::Sender<History>,
    /// Who sent requests to the reconciler.
    pub(crate) requesters: Vec<Requester>,
    /// What was entered of identifies: why one failed.
    pub(crate) identified: Vec<Option<String>>,
    publish: watch::Sender<Status>,
    /// Whether the cloud is reached.
    pub(crate) connectivity: watch::Sender<Connectivity>,
    /// Whether the VPN is up.
    pub(crate) vpn: watch::Sender<VpnState>,
    /// The lines of the log, and which apps' were requested. After the lines the stream ends.
    pub(crate) log: Vec<LiveLogLine>,
    pub(crate) followed: Vec<LogQuery>,
    /// What the agent counted.
    pub(crate) counted: AgentMetrics,
    /// What of the journal was requested.
    pub(crate) journal_queries: Vec<JournalQuery>,
    /// Whether a stream goes on after these lines, for as long as this lives.
    pub(crate) keeps_streams: bool,
    kept: Vec<mpsc::Sender<Arc<LiveLogLine>>>,
    /// The refusal of the next streams.
    pub(crate) refuses_streams: Option<StreamRefusal>,
    /// What became of the requests to the cloud.
    pub(crate) cloud: watch::Sender<CloudStatus>,
    /// Whether the engine is forwarded.
    pub(crate) local_engine: watch::Sender<LocalEngine>,
    pub(crate) keys: Keys,
    /// Every request that the reconciler got.
    pub(crate) asked: Vec<Received>,
    /// What the LED arbiter answers. `None`: nothing, for ever.
    pub(crate) identifies: Option<IdentifyOutcome>,
    /// Requests for an LED, and what the LED arbiter answers.
    pub(crate) held: Vec<(LedRef, Option<(Pattern, Duration)>)>,
    pub(crate) holds: Result<HeldPattern, LedRefusal>,
    /// The free GPIO lines.
    pub(crate) lines: Result<Vec<(FreeLineInfo, LedActivity)>, LedRefusal>,
    /// The refusal of the next requests, instead of the honest answer.
    pub(crate) refuses: Option<Refusal>,
    /// Services that do not run although a restart or a purge is done.
    pub(crate) except: Vec<(String, &'static str)>,
    /// How the host is configured.
    pub(crate) host: HostConfig,
    /// Whether replies are dropped.
    pub(crate) hangs_up: bool,
}

/// The response.
pub(crate) struct Response {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// How long the server is to hold it back.
    pub(crate) held_back: Duration,
    pub(crate) body: String,
}

impl TestDevice {
    pub(crate) fn new() -> Self {
        let keys = Keys {
            device: Secret::new("d".repeat(64)),
            root: Secret::new("r".repeat(64)),
            generations: SortedMap::new(),
            kept: SortedMap::new(),
        };
        let (intents, inbox) = mpsc::channel(2);
        let (publish, status) = watch::channel(device());
        let (requests, led_requests) = mpsc::channel(2);
        let (led_status, shown) = watch::channel(LedStatus::default());
        let (report, connectivity) = watch::channel(Connectivity::Unknown);
        let (cloud_report, cloud) = watch::channel(CloudStatus::default());
        let (tags, tag_requests) = mpsc::channel(2);
        let (streams, stream_requests) = mpsc::channel(2);
        let (vpn_report, vpn) = watch::channel(VpnState::default());
        let (local_engine, _) = watch::channel(LocalEngine::default());
        let (record, history) = watch::channel(History::default());
        let leds = LedHandle { requests, status: shown };
        let router = api::router(ApiHandle {
            requests: intents,
            status,
            connectivity,
            vpn,
            cloud,
            leds,
            history,
            streams,
            tags,
            local_engine: local_engine.clone(),
            started: Instant::now(),
        });
        let mut device = Self {
            router,
            inbox: Some(inbox),
            led_requests: Some(led_requests),
            stream_requests,
            tag_requests,
            tags: Ok(Vec::new()),
            set_tags: Vec::new(),
            led_status,
            history: record,
            requesters: Vec::new(),
            identified: Vec::new(),
            publish,
            connectivity: report,
            vpn: vpn_report,
            log: Vec::new(),
            followed: Vec::new(),
            counted: AgentMetrics::default(),
            journal_queries: Vec::new(),
            keeps_streams: false,
            kept: Vec::new(),
            refuses_streams: None,
            cloud: cloud_report,
            local_engine,
            keys,
            asked: Vec::new(),
            identifies: Some(IdentifyOutcome::By("ACT".to_owned())),
            held: Vec::new(),
            lines: Ok(Vec::new()),
            holds: Ok(HeldPattern { led: "ACT".to_owned(), owner: LedPurpose::Pattern, player: Some(Player::Kernel) }),
            refuses: None,
            except: Vec::new(),
            host: HostConfig::default(),
            hangs_up: false,
        };
        device.publish_keys();
        device
    }

    /// Changes the reconciler's status.
    pub(crate) fn say(&self, change: impl FnOnce(&mut Status)) {
        self.publish.send_modify(change);
    }

    /// Changes what the reconciler observed.
    pub(crate) fn see(&self, change: impl FnOnce(&mut Current)) {
        self.say(|status| change(Arc::make_mut(&mut status.current)));
    }

    pub(crate) fn key(&self, app: AppId, service: &str) -> String {
        self.keys.of(&ServiceKey::new(app, service), UUID).reveal().to_owned()
    }

    /// Another process holds the lock of this app's first service.
    pub(crate) fn lock(&self, app: AppId, service: &str) {
        let path = format!("/tmp/balena-supervisor/services/{app}/{service}/updates.lock");
        let held = HeldLock { service: service.to_owned(), path, since_secs: 1_700_000_000 };
        self.see(|it| drop(it.locks.insert(app, LockState::Held(held))));
    }

    /// With the device's key.
    pub(crate) async fn delete(&mut self, path: &str) -> Response {
        let key = self.keys.device.reveal().to_owned();
        self.call(request("DELETE", &format!("{path}?apikey={key}")).body(Body::empty()).unwrap()).await
    }

    /// Changes the LED arbiter's status.
    pub(crate) fn show(&self, change: impl FnOnce(&mut LedStatus)) {
        self.led_status.send_modify(change);
    }

    /// The reconciler and the LED arbiter end.
    pub(crate) fn end(&mut self) {
        (self.inbox, self.led_requests) = (None, None);
    }

    /// With the device's key.
    pub(crate) async fn get(&mut self, path: &str) -> Response {
        let key = self.keys.device.reveal().to_owned();
        self.call(request("GET", path).header("Authorization", format!("Bearer {key}")).body(Body::empty()).unwrap()).await
    }

    /// With the device's key in the query, and JSON, as the reference's examples have it.
    pub(crate) async fn post(&mut self, path: &str, body: &str) -> Response {
        let key = self.keys.device.reveal().to_owned();
        self.post_with(&key, path, body).await
    }

    /// The same with another key.
    pub(crate) async fn post_with(&mut self, key: &str, path: &str, body: &str) -> Response {
        let request = request("POST", &format!("{path}?apikey={key}")).header(CONTENT_TYPE, "application/json");
        self.call(request.body(Body::from(body.to_owned())).unwrap()).await
    }

    /// Asks, and lets the agent's tasks answer.
    pub(crate) async fn begin(&mut self, request: HttpRequest<Body>) -> axum::response::Response {
        let mut forgotten = Vec::new();
        let mut response = Box::pin(self.router.clone().oneshot(request));
        let response = loop {
            let (Some(inbox), Some(led_requests)) = (&mut self.inbox, &mut self.led_requests) else { break response.await };
            tokio::select! {
                biased;
                response = &mut response => break response,
                ask = inbox.recv() => self.answer(ask.unwrap()),
                Some(ask) = self.stream_requests.recv() => match ask {
                    StreamRequest::Logs { query, reply } => {
                        self.followed.push(query);
                        let (lines, given) = mpsc::channel(100);
                        for line in &self.log {
                            lines.try_send(Arc::new(line.clone())).unwrap();
                        }
                        self.kept.extend(self.keeps_streams.then_some(lines));
                        drop(reply.send(self.refuses_streams.clone().map_or(Ok(given), Err)));
                    }
                    StreamRequest::Metrics(reply) => drop(reply.send(self.refuses_streams.clone().map_or(Ok(self.counted.clone()), Err))),
                    StreamRequest::Journal { query, reply } => {
                        self.journal_queries.push(query);
                        let (parts, given) = mpsc::channel(2);
                        for part in ["one\n", "two\n"] {
                            parts.try_send(part.as_bytes().to_vec()).unwrap();
                        }
                        drop(reply.send(self.refuses_streams.clone().map_or(Ok(given), Err)));
                    }
                },
                Some(ask) = self.tag_requests.recv() => match ask {
                    TagRequest::Read(reply) => drop(reply.send(self.tags.clone())),
                    TagRequest::Set(tags, reply) => {
                        self.set_tags.push(tags);
                        drop(reply.send(self.tags.clone().map(drop)));
                    }
                },
                ask = led_requests.recv() => match (ask.unwrap(), &self.identifies) {
                    (LedRequest::Look(asker), Some(_)) => drop(asker.send(vec![("ACT".to_owned(), LedLevel::Lit)])),
                    (LedRequest::Identify(asker), Some(identified)) => drop(asker.send(identified.clone())),
                    (LedRequest::Hold { which, pattern, length, by, reply: asker }, Some(_)) => {
                        self.requesters.extend(by);
                        self.held.push((which, Some((pattern, length))));
                        drop(asker.send(self.holds.clone()));
                    }
                    (LedRequest::Lines(asker), Some(_)) => drop(asker.send(self.lines.clone())),
                    (LedRequest::Release { which, by, reply: asker }, Some(_)) => {
                        self.requesters.extend(by);
                        self.held.push((which, None));
                        drop(asker.send(self.holds.clone().map(drop)));
                    }
                    (ask, _) => forgotten.push(ask),
                },
            }
        };
        response.unwrap()
    }

    /// Asks, and reads the whole response.
    pub(crate) async fn call(&mut self, mut request: HttpRequest<Body>) -> Response {
        if request.uri().path().to_lowercase().starts_with("/agent/v1/events") {
            // The server has stopped: the events end with those that are due.
            request
                .extensions_mut()
                .insert(ServedConnection { stop: Some(ServerStop(watch::channel(()).1)), ..ServedConnection::default() });
        }
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let (parts, body) = self.begin(request).await.into_parts();
        let body = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        let held_back = parts.extensions.get().map_or(Duration::ZERO, |AnswerDelay(long)| *long);
        let got = Response { status: parts.status, headers: parts.headers, held_back, body };
        openapi::check(&method, &path, &got);
        assert_eq!(got.headers["x-content-type-options"], "nosniff", "{method} {path}");
        got
    }

    /// The router, for requests that the reconciler does not answer.
    pub(crate) fn router(&self) -> Router {
        self.router.clone()
    }

    fn renew(&mut self, caller: Caller) -> Result<Secret, Refusal> {
        let key = match caller {
            Caller::Device => {
                self.keys.device = Secret::new("e".repeat(64));
                self.keys.device.clone()
            }
            Caller::Service { key, .. } => {
                self.keys.renew(&key);
                self.keys.of(&key, UUID)
            }
            Caller::Local => return Err(Refusal::UnknownKey),
        };
        self.publish_keys();
        Ok(key)
    }

    pub(crate) fn publish_keys(&mut self) {
        let services = [
            (ONE, "main", KeyScope::App),
            (WIDE, "main", KeyScope::Device),
            (TWO, "web", KeyScope::App),
            (TWO, "db", KeyScope::App),
        ];
        let grant = |(app, service, reach)| Grant { service: ServiceKey::new(app, service), app_uuid: UUID.to_owned(), reach };
        let services = services.map(grant);
        let local_mode = self.publish.borrow().access.local_mode;
        let mut access = self.keys.access(services);
        access.local_mode = local_mode;
        self.say(|status| status.access = access);
    }

    fn containers(&self, app: AppId) -> Vec<ContainerId> {
        self.publish.borrow().current.containers.iter().filter(|it| it.key.app == app).map(|it| it.id.clone()).collect()
    }

    fn only(&self, app: AppId) -> Result<ContainerId, Refusal> {
        match self.containers(app).as_slice() {
            [] => Err(Refusal::UnknownApp(app)),
            [id] => Ok(id.clone()),
            [..] => Err(Refusal::SeveralServices),
        }
    }

    fn selected(&self, app: AppId, service: &ServiceSelector) -> Result<ContainerId, Refusal> {
        let ServiceSelector::Named(name) = service else { return self.only(app) };
        let status = self.publish.borrow();
        let named = status.current.containers.iter().find(|it| it.key == ServiceKey::new(app, name));
        named.map(|it| it.id.clone()).ok_or(if self.containers(app).is_empty() {
            Refusal::UnknownApp(app)
        } else {
            Refusal::NoContainer
        })
    }

    fn unlocked(&self, app: AppId, force: Force) -> Result<(), Refusal> {
        match (self.publish.borrow().current.locks.get(&app).and_then(LockState::held), force) {
            (Some(held), Force::No) => Err(Refusal::Locked(held.clone())),
            (Some(_), Force::Yes) | (None, _) => Ok(()),
        }
    }
}

impl Response {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// The message of a failure.
    pub(crate) fn message(&self) -> String {
        let body = self.json();
        assert_eq!(body["status"], "failed");
        body["message"].as_str().unwrap().to_owned()
    }

    pub(crate) fn kind(&self) -> &str {
        self.headers.get(CONTENT_TYPE).map_or("", |it| it.to_str().unwrap())
    }
}

pub(crate) fn request(method: &str, path: &str) -> axum::http::request::Builder {
    bare_request(method, path).header(HOST, "127.0.0.1:48484")
}

/// Without a `Host` header.
pub(crate) fn bare_request(method: &str, path: &str) -> axum::http::request::Builder {
    HttpRequest::builder().method(method).uri(path)
}

fn device() -> Status {
    let device = Device {
        uuid: "0123456789abcdef0123456789abcdef".to_owned(),
        name: "still-water".to_owned(),
        device_type: "raspberrypi3".to_owned(),
        arch: "armv7hf".to_owned(),
        os_version: "Resin OS 1.0.4 (fido)".to_owned(),
        os_variant: Some("prod".to_owned()),
        api_port: 48484,
        supervisor_version: "1.6.0".to_owned(),
        // As the published reference has it.
        reported: ReportedVersions {
            os_version: "Resin OS 1.0.4 (fido)".to_owned(),
            os_variant: "prod".to_owned(),
            supervisor_version: "1.6.0".to_owned(),
        },
        mac_address: "00:11:22:33:44:55".to_owned(),
        ip_addresses: vec!["192.168.0.114".to_owned(), "10.42.0.3".to_owned()],
        engine_socket: None,
        api_endpoint: None,
        cloud_key: None,
        host_features: SortedSet::new(),
        board_rev: None,
        board: BoardFacts::default(),
    };
    let apps = [(ONE, "main", 'a'), (WIDE, "main", 'b'), (TWO, "web", 'c'), (TWO, "db", '9')];
    let containers = apps.map(|(app, service, id)| container(app, service, id)).into();
    let current = Arc::new(Current { containers, ..Current::default() });
    Status { device, current, engine: EngineState::Up, observed_at: Some(Instant::now()), ..Status::default() }
}
