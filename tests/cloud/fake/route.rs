//! Which call a request is, who sent it, and which part of the cloud answers.

use hyper::Method;
use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::answer::Answer;
use super::fault::Fault;
use super::{Shared, State, odata, register, relay, report, target, token};

/// The kinds of calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    /// `POST /device/register`.
    Register,
    /// `GET /v7/device?$filter=uuid eq …`.
    DeviceId,
    /// `GET /v7/release?$filter=commit eq …`.
    ReleaseId,
    /// `POST /api-key/device/ID/device-key`.
    ExchangeKey,
    /// `GET /device/v3/UUID/state`.
    Target,
    /// `PATCH /device/v3/state`.
    Report,
    /// `PATCH /device/v3/tags`.
    Tags,
    /// `POST /device/v2/UUID/log-stream`.
    Logs,
    /// `GET /auth/v1/token`.
    RegistryToken,
    /// `GET /os/v1/config`.
    OsConfig,
    /// `GET /services/vpn/auth/UUID`.
    VpnAuth,
    /// `GET /ping` and `/connectivity-check`.
    Ping,
    /// Another one below `/v7`.
    Odata,
    /// `POST /supervisor/URL`.
    Supervisor,
    /// What the cloud does not know.
    Unknown,
    /// For faults: all of them.
    Any,
}

/// A request that has arrived whole.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: Method,
    /// Path and query.
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Call {
    /// Of a method and a path.
    pub(super) fn of(method: &Method, path: &str) -> Self {
        let path = path.split('?').next().unwrap_or_default();
        let words: Vec<_> = path.split('/').filter(|it| !it.is_empty()).collect();
        match (method.as_str(), &words[..]) {
            ("POST", ["device", "register"]) => Self::Register,
            ("GET", ["v7", "device"]) => Self::DeviceId,
            ("GET", ["v7", "release"]) => Self::ReleaseId,
            ("POST", ["api-key", "device", _, "device-key"]) => Self::ExchangeKey,
            ("GET", ["device", "v3", _, "state"]) => Self::Target,
            ("PATCH", ["device", "v3", "state"]) => Self::Report,
            ("PATCH", ["device", "v3", "tags"]) => Self::Tags,
            ("POST", ["device", "v2", _, "log-stream"]) => Self::Logs,
            ("GET", ["auth", "v1", "token"]) => Self::RegistryToken,
            ("GET", ["os", "v1", "config"]) => Self::OsConfig,
            ("GET", ["services", "vpn", "auth", _]) => Self::VpnAuth,
            ("GET", ["ping" | "connectivity-check"]) => Self::Ping,
            (_, ["v7", ..]) => Self::Odata,
            ("POST", ["supervisor", ..]) => Self::Supervisor,
            _ => Self::Unknown,
        }
    }
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|it| it.0.eq_ignore_ascii_case(name)).map(|it| it.1.as_str())
    }

    /// The key that it is sent with: as Bearer, or in the query.
    pub(crate) fn key(&self) -> Option<String> {
        let bearer = self.header("authorization").and_then(|it| it.strip_prefix("Bearer ")).map(str::to_owned);
        bearer.or_else(|| self.query("apikey"))
    }

    /// A field of the query.
    pub(crate) fn query(&self, name: &str) -> Option<String> {
        let (_, query) = self.path.split_once('?')?;
        let value = query.split('&').find_map(|it| it.strip_prefix(name)?.strip_prefix('='))?;
        Some(percent_decode_str(&value.replace('+', " ")).decode_utf8_lossy().into_owned())
    }

    /// The path's part of this number.
    pub(crate) fn part(&self, number: usize) -> &str {
        let path = self.path.split('?').next().unwrap_or_default();
        path.split('/').filter(|it| !it.is_empty()).nth(number).unwrap_or_default()
    }

    /// The body as JSON, also a compressed one. What is none is null.
    pub(crate) fn json(&self) -> Value {
        let packed = self.header("content-encoding") == Some("gzip");
        let body = if packed { super::logs::unpacked(&self.body) } else { self.body.clone() };
        serde_json::from_slice(&body).unwrap_or_default()
    }
}

/// Answers a request that has arrived whole. Not one for logs: those are read as they arrive.
pub(super) async fn answer(shared: &Shared, call: Call, request: &Request, fault: Option<&Fault>) -> Answer {
    if call == Call::Supervisor {
        return relay::answer(shared, request).await;
    }
    let state: &mut State = &mut shared.state();
    let model = &mut state.model;
    match call {
        Call::Register => register::answer(model, request),
        Call::Target => target::answer(model, request, fault),
        Call::Report => report::answer(model, request, fault),
        Call::DeviceId => odata::device_id(model, request),
        Call::ReleaseId => odata::release_id(model, request),
        Call::ExchangeKey => odata::exchange_key(model, request),
        Call::Tags => odata::tags(model, request),
        Call::RegistryToken => token::answer(model, request),
        Call::OsConfig => odata::os_config(model, request),
        Call::VpnAuth => odata::vpn_auth(model, request),
        Call::Odata => odata::answer(model, request),
        Call::Ping if request.path.starts_with("/ping") => Answer::text(200, "OK"),
        Call::Ping => Answer::empty(204),
        Call::Logs | Call::Supervisor | Call::Unknown | Call::Any => Answer::html(404, "Not Found"),
    }
}
