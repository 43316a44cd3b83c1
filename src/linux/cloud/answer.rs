//! Answers, sorted by what the caller can do: the cloud's own, its refusals, and those of others in its place.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hyper::header::{CONNECTION, CONTENT_TYPE, DATE, HeaderName, LOCATION, RETRY_AFTER};
use hyper::{HeaderMap, StatusCode};
use serde_json::Value;
use url::Url;

use crate::linux::cloud::body::ReadBody;
use crate::linux::cloud::endpoint::Endpoint;
use crate::port::CloudError;
use crate::state::Secret;

/// The longest text of a refusal, in characters.
const WHY_CHARS: usize = 200;
/// The longest wait that a server can ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 60 * 60);
/// How long a connection may be used again where the server does not say.
const KEPT: Duration = Duration::from_secs(60);

/// An answer that was read to its end, or to the limit.
#[derive(Debug, Clone)]
pub(super) struct CloudAnswer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: ReadBody,
}

impl CloudAnswer {
    /// The cloud's answer. 304 is one: only some requests expect it. `hidden`: keys that no error may repeat.
    pub(super) fn judged(self, endpoint: &Endpoint, hidden: &[&Secret]) -> Result<Self, CloudError> {
        if self.is_portal() {
            return Err(foreign_page(endpoint));
        }
        if self.is_redirect() {
            return Err(self.redirected(endpoint));
        }
        if self.status.is_success() || self.status == StatusCode::NOT_MODIFIED {
            return Ok(self);
        }
        Err(self.refusal(hidden))
    }

    /// The refusal, with what the body says in one line.
    pub(super) fn refusal(&self, hidden: &[&Secret]) -> CloudError {
        let mut why = self.why();
        for secret in hidden {
            why = why.replace(secret.reveal(), "…");
        }
        CloudError::Refused { status: self.status.as_u16(), why, retry_after: self.retry_after() }
    }

    /// Whether it may be a JSON document.
    pub(super) fn is_json(&self) -> bool {
        let kind = self.text(CONTENT_TYPE).to_ascii_lowercase();
        kind.contains("json") || (kind.is_empty() && self.body.bytes.trim_ascii_start().starts_with(b"{"))
    }

    /// A header as text. Empty if it is missing or not text.
    pub(super) fn text(&self, name: HeaderName) -> &str {
        self.headers.get(name).and_then(|it| it.to_str().ok()).unwrap_or_default()
    }

    /// When it was sent, by the server's clock, in seconds since 1970.
    pub(super) fn date_secs(&self) -> Option<i64> {
        let date = httpdate::parse_http_date(self.text(DATE)).ok()?;
        i64::try_from(date.duration_since(UNIX_EPOCH).ok()?.as_secs()).ok()
    }

    /// How long its connection may be used again. `None`: not at all.
    pub(super) fn kept_for(&self) -> Option<Duration> {
        if self.body.is_cut || self.text(CONNECTION).to_ascii_lowercase().contains("close") {
            return None;
        }
        let says = self.text(HeaderName::from_static("keep-alive"));
        let timeout = says.split(',').find_map(|it| it.trim().strip_prefix("timeout=")?.trim().parse().ok());
        Some(timeout.map_or(KEPT, |secs| Duration::from_secs(secs).min(KEPT)))
    }

    fn retry_after(&self) -> Option<Duration> {
        let text = self.text(RETRY_AFTER).trim();
        if let Ok(secs) = text.parse::<u64>() {
            return Some(Duration::from_secs(secs).min(LONGEST_WAIT));
        }
        let then = httpdate::parse_http_date(text).ok()?;
        // By the server's own clock, for this device's may be wrong.
        let now = httpdate::parse_http_date(self.text(DATE)).unwrap_or_else(|_| now());
        Some(then.duration_since(now).unwrap_or_default().min(LONGEST_WAIT))
    }

    /// Whether it is the page of a captive portal, or of another site.
    pub(super) fn is_portal(&self) -> bool {
        self.status == StatusCode::NETWORK_AUTHENTICATION_REQUIRED || (self.status.is_success() && self.is_page())
    }

    /// Only the target and its like are sent to a page's reader: the cloud has no page for a device.
    fn is_page(&self) -> bool {
        let start = String::from_utf8_lossy(&self.body.bytes[..self.body.bytes.len().min(64)]).trim().to_ascii_lowercase();
        ["<!doctype html", "<html", "<head"].iter().any(|it| start.starts_with(it))
            || (self.text(CONTENT_TYPE).to_ascii_lowercase().starts_with("text/html") && start.starts_with('<'))
    }

    fn is_redirect(&self) -> bool {
        match self.status.as_u16() {
            301 => true,
            302 | 303 | 307 | 308 => !self.text(LOCATION).is_empty(),
            _ => false,
        }
    }

    fn redirected(&self, endpoint: &Endpoint) -> CloudError {
        let scheme = if endpoint.is_tls { "https" } else { "http" };
        let own = Url::parse(&format!("{scheme}://{}/", endpoint.authority)).ok();
        let place = Some(self.text(LOCATION)).filter(|it| !it.is_empty());
        let to = own.as_ref().and_then(|it| it.join(place?).ok());
        let from = &endpoint.authority;
        let Some((to, host)) = to.as_ref().and_then(|it| Some((it, it.host_str()?))) else {
            return CloudError::Foreign(format!(
                "{from} redirects ({}) without saying where to; check apiEndpoint in config.json",
                self.status.as_u16()
            ));
        };
        let shown = to.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        if own.as_ref().and_then(Url::host_str) == Some(host) && to.scheme() == "https" && !endpoint.is_tls {
            return CloudError::Foreign(format!(
                "{from} answers over https only: write https://{shown} as apiEndpoint in config.json; where the cloud is meant to \
                 serve plain http, name this device's address in its TRUST_PROXY"
            ));
        }
        CloudError::Foreign(format!(
            "{from} redirects to {}://{shown}, and the device's key is sent to no other address: if the cloud has moved there, \
             write it as apiEndpoint in config.json; if it is a captive portal, sign in to the network",
            to.scheme()
        ))
    }

    /// What the body says: text, a JSON string, or `error` or `message` of a JSON object. Else what the status means.
    fn why(&self) -> String {
        let text = String::from_utf8_lossy(&self.body.bytes);
        let message = match serde_json::from_slice(&self.body.bytes) {
            Ok(Value::String(text)) => text,
            Ok(Value::Object(fields)) => {
                let field = |name: &str| fields.get(name).and_then(Value::as_str).map(str::to_owned);
                let inner = || fields.get("error")?.get("message")?.as_str().map(str::to_owned);
                field("message").or_else(inner).or_else(|| field("error")).unwrap_or_else(|| text.into_owned())
            }
            _ if self.is_page() => title(&text).unwrap_or_default(),
            _ => text.into_owned(),
        };
        let line = one_line(&message);
        if line.is_empty() { self.status.canonical_reason().unwrap_or("no reason given").to_owned() } else { line }
    }
}

/// An answer that is no answer of a cloud's.
pub(super) fn foreign_page(endpoint: &Endpoint) -> CloudError {
    CloudError::Foreign(format!(
        "{} answers with a web page, so it is a captive portal or another site: sign in to the network, or check apiEndpoint in \
         config.json",
        endpoint.authority
    ))
}

/// An answer that is not what such a request is answered with.
pub(super) fn foreign(endpoint: &Endpoint, what: &str) -> CloudError {
    CloudError::Foreign(format!(
        "{} answers with {what}, so it is no cloud of this agent's: check apiEndpoint in config.json",
        endpoint.authority
    ))
}

/// A page's title.
fn title(page: &str) -> Option<String> {
    // Of the same length in bytes, as only ASCII changes.
    let lower = page.to_ascii_lowercase();
    let from = lower.find("<title>")? + "<title>".len();
    let to = from + lower[from..].find("</title>")?;
    Some(page[from..to].to_owned())
}

fn one_line(text: &str) -> String {
    let plain: String = text.chars().map(|it| if it.is_control() || it == '\u{fffd}' { ' ' } else { it }).collect();
    plain.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(WHY_CHARS).collect()
}

fn now() -> SystemTime {
    #[expect(clippy::disallowed_methods, reason = "an answer without a date is measured by this device's clock")]
    SystemTime::now()
}

#[cfg(test)]
mod tests;
