//! The shapes of a response, with the content types Express gives them, which clients and the cloud's proxy rely on.

use axum::body::Body;
use axum::http::header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, REFERRER_POLICY};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::state::device::EndlessAnswer;
use crate::state::lease::Lease;
use crate::state::{IdentifyOutcome, Secret};

/// A response.
#[derive(Debug)]
pub(super) enum ApiResponse {
    /// A text.
    Text(StatusCode, PlainText),
    /// The status, and its reason phrase as the text.
    Status(StatusCode),
    /// JSON.
    Json(StatusCode, String),
    /// JSON from a file in this repository.
    File(Vec<u8>),
    /// A file of the page.
    Page(&'static WebFile),
    /// 304: the client has this file of the page already.
    PageUnchanged(&'static WebFile),
    /// A text of this type.
    Typed(&'static str, String),
    /// A key, as text. Keys are hex digits, which the cloud's proxy passes.
    Key(Secret),
    /// A stream of this type, which ends with the server.
    Stream(&'static str, Body),
    /// No body; a header says which LED blinks.
    Identified(IdentifyOutcome),
    /// Another response, with a header that names the services that do not run.
    WithNotStarted(Box<ApiResponse>, HeaderValue),
    /// 204, and no body.
    Nothing,
    /// 405, and the methods the path has.
    WrongMethod(String),
}

/// A file of the page.
#[derive(Debug)]
pub(super) struct WebFile {
    /// Its name in `/web/`.
    pub(super) name: &'static str,
    /// Its content type.
    pub(super) kind: &'static str,
    /// Its contents.
    pub(super) body: &'static [u8],
    /// Its entity tag, between quotes.
    pub(super) tag: &'static [u8],
}

/// What the page may load: its own files, and this API. It sends no forms and is in no frame.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
                           base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A text that the cloud's proxy passes on. It replaces any other by `Bad API response from supervisor`.
#[derive(Debug, Clone, Copy)]
pub(super) struct PlainText(&'static str);

impl PlainText {
    /// Meant for constants, so that a text the proxy would reject does not compile.
    pub(super) const fn new(text: &'static str) -> Self {
        assert!(passes(text.as_bytes()), "outside of [A-Za-z0-9\\s:'.?!,/-]");
        Self(text)
    }
}

const fn passes(text: &[u8]) -> bool {
    let mut rest = text;
    while let [first, after @ ..] = rest {
        let mark = matches!(first, b':' | b'\'' | b'.' | b'?' | b'!' | b',' | b'/' | b'-' | b' ' | b'\t' | b'\n');
        if !mark && !first.is_ascii_alphanumeric() {
            return false;
        }
        rest = after;
    }
    true
}

/// A failure with a reason, in the shape later supervisors give it.
#[derive(Serialize)]
struct FailureBody<'a> {
    status: &'static str,
    message: &'a str,
}

/// A failure and its reason.
pub(super) fn failed(status: StatusCode, message: &str) -> ApiResponse {
    json(status, &FailureBody { status: "failed", message })
}

/// What a 423 says of the lease that it is because of, beside its message.
#[derive(Serialize)]
pub(super) struct LeaseFields<'a> {
    owner: &'a str,
    reason: &'a str,
    ends: String,
}

impl<'a> LeaseFields<'a> {
    pub(super) fn of(lease: &'a Lease) -> Self {
        Self { owner: &lease.owner, reason: &lease.reason, ends: lease.ends() }
    }
}

/// The answer to a request that a lease holds up.
pub(super) fn leased(lease: &Lease, message: &str) -> ApiResponse {
    #[derive(Serialize)]
    struct LeasedBody<'a> {
        #[serde(flatten)]
        failure: FailureBody<'a>,
        #[serde(flatten)]
        lease: LeaseFields<'a>,
    }
    let failure = FailureBody { status: "failed", message };
    json(StatusCode::LOCKED, &LeasedBody { failure, lease: LeaseFields::of(lease) })
}

/// A value as JSON.
pub(super) fn json(status: StatusCode, it: &impl Serialize) -> ApiResponse {
    ApiResponse::Json(status, serde_json::to_string(it).expect("our answers have text keys and no failing parts"))
}

impl ApiResponse {
    /// The same response, with a header that names services which do not run. The body stays as in the reference.
    pub(super) fn with_not_started(self, services: &[(String, &'static str)]) -> Self {
        let named = services.iter().map(|(name, why)| format!("{name}={why}")).collect::<Vec<_>>().join(", ");
        match HeaderValue::from_str(&named) {
            Ok(header) if !services.is_empty() => Self::WithNotStarted(Box::new(self), header),
            // Service names are letters, digits and marks, which are valid in a header.
            Ok(_) | Err(_) => self,
        }
    }

    /// The response's status.
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Text(status, _) | Self::Status(status) | Self::Json(status, _) => *status,
            Self::File(_) | Self::Page(_) | Self::Typed(..) | Self::Key(_) | Self::Stream(..) | Self::Identified(_) => {
                StatusCode::OK
            }
            Self::WithNotStarted(response, _) => response.status(),
            Self::Nothing => StatusCode::NO_CONTENT,
            Self::PageUnchanged(_) => StatusCode::NOT_MODIFIED,
            Self::WrongMethod(_) => StatusCode::METHOD_NOT_ALLOWED,
        }
    }
}

impl IntoResponse for ApiResponse {
    fn into_response(self) -> Response {
        const HTML: &str = "text/html; charset=utf-8";
        const TEXT: &str = "text/plain; charset=utf-8";
        const JSON: &str = "application/json; charset=utf-8";
        let status = self.status();
        match self {
            Self::Text(_, text) => typed(status, const { HeaderValue::from_static(HTML) }, text.0),
            Self::Status(_) => {
                typed(status, const { HeaderValue::from_static(TEXT) }, status.canonical_reason().unwrap_or_default())
            }
            Self::Json(_, body) => typed(status, const { HeaderValue::from_static(JSON) }, body),
            Self::File(body) => typed(status, const { HeaderValue::from_static(JSON) }, body),
            Self::Page(file) => file.with_headers(typed(status, HeaderValue::from_static(file.kind), file.body)),
            Self::PageUnchanged(file) => file.with_headers(status.into_response()),
            Self::Typed(kind, body) => typed(status, HeaderValue::from_static(kind), body),
            Self::Key(key) => typed(status, const { HeaderValue::from_static(HTML) }, key.reveal().to_owned()),
            Self::Stream(kind, body) => {
                // The connection ends with the stream.
                let mut response = (status, [(CONTENT_TYPE, kind), (CONNECTION, "close")], body).into_response();
                response.extensions_mut().insert(EndlessAnswer);
                response
            }
            Self::Identified(led) => {
                let led = HeaderValue::from_str(&led.to_string()).expect("it displays as printable ASCII");
                (status, [("identify-led", led)]).into_response()
            }
            Self::WithNotStarted(response, services) => ([("services-not-started", services)], *response).into_response(),
            Self::Nothing => status.into_response(),
            Self::WrongMethod(allow) => {
                let why = failed(status, &format!("this path takes {allow} only"));
                let allow = HeaderValue::from_str(&allow).expect("names of methods are a valid header");
                ([(ALLOW, allow)], why).into_response()
            }
        }
    }
}

impl WebFile {
    /// The response with the headers that each answer about a file of the page has. A browser asks each time whether the file
    /// is still the same, so that the page and the agent are of one version.
    fn with_headers(&self, mut response: Response) -> Response {
        let headers = response.headers_mut();
        headers.insert(ETAG, HeaderValue::from_bytes(self.tag).expect("hex digits and quotes"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        // The policy of a document counts for all that it loads.
        if self.kind.starts_with("text/html") {
            headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(PAGE_POLICY));
        }
        response
    }
}

fn typed(status: StatusCode, kind: HeaderValue, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alphabet_is_that_of_the_proxy() {
        let marks = ":'.?!,/- \t\n";
        for byte in 0..=u8::MAX {
            let character = char::from(byte);
            assert_eq!(passes(&[byte]), character.is_ascii_alphanumeric() || marks.contains(character), "{character:?}");
        }
    }

    #[test]
    fn the_names_of_the_statuses_we_send_are_plain_too() {
        for status in [StatusCode::OK, StatusCode::UNAUTHORIZED] {
            assert!(passes(status.canonical_reason().unwrap_or_default().as_bytes()));
        }
    }
}
