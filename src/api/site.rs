//! Whether a request comes from a web page of another site.
//!
//! A browser sends requests for any page that is open in it, from the addresses of the browser's machine. A request that is
//! accepted without a key must not have headers that say that it was such a page: `Origin`, `Referer` and `Sec-Fetch-Site`
//! name the page, and `Host` is another name if a page's own name was made to resolve to the device (DNS rebinding). Programs
//! send no `Origin`, and a `Host` that is the address they connect to. A valid key makes all of this irrelevant: a page does
//! not know one.

use axum::extract::Request as HttpRequest;
use axum::http::header::{HOST, ORIGIN, REFERER};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version};

use crate::api::response::{ApiResponse, failed};
use crate::state::Status;
use crate::state::device::ServedConnection;
use crate::state::own_names::{OwnNames, RequestHost};

/// The header by which browsers describe the page that sends a request.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Checks what HTTP requires of the `Host` header: HTTP/1.1 has one, and no version has two.
pub(super) fn has_one_host(request: &HttpRequest) -> Result<(), ApiResponse> {
    let count = request.headers().get_all(HOST).iter().count();
    let why = match count {
        1 => return Ok(()),
        // HTTP/1.0 does not have the header.
        0 if request.version() < Version::HTTP_11 => return Ok(()),
        0 => "the request has no Host header; HTTP/1.1 wants one",
        _ => "the request has several Host headers; send one",
    };
    Err(failed(StatusCode::BAD_REQUEST, why))
}

/// Why a request counts as another site's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CrossSite {
    /// A web page of another site sends it, according to headers that only browsers send.
    Page,
    /// Its `Host` is not this device.
    Host,
}

impl CrossSite {
    /// The response that rejects it.
    pub(super) fn refusal(self) -> ApiResponse {
        let why = match self {
            Self::Page => {
                "the request comes from a web page of another site; without a key only programs on the device are answered"
            }
            Self::Host => {
                "the Host header is no address or name of this device; without a key use one of its addresses, localhost or its \
                 hostname"
            }
        };
        failed(StatusCode::FORBIDDEN, why)
    }
}

/// Whether a request is another site's. `None`: it looks like one of a program on the device or its network.
pub(super) fn foreign(request: &HttpRequest, status: &Status) -> Option<CrossSite> {
    let own = OwnNames { status, reached: request.extensions().get::<ServedConnection>().and_then(|it| it.reached) };
    let headers = request.headers();
    let target = request.uri().authority().map(|it| RequestHost::of(it.host()));
    let mut hosts = headers.get_all(HOST).iter().map(host).chain(target.map(Some));
    if is_of_foreign_page(headers, own) {
        Some(CrossSite::Page)
    } else if hosts.any(|it| it.is_none_or(|it| !own.has(&it))) {
        Some(CrossSite::Host)
    } else {
        None
    }
}

fn is_of_foreign_page(headers: &HeaderMap, own: OwnNames<'_>) -> bool {
    // A page on loopback is on the browser's machine. That is this device only if the request came over loopback too.
    let looped = headers.get(HOST).and_then(host).is_some_and(|it| it.is_loopback());
    let is_own = |page: &HeaderValue| page_of(page).is_some_and(|it| own.has(&it) && (looped || !it.is_loopback()));
    // Programs may write anything into `Referer`; a browser writes a URL.
    let is_url = |page: &HeaderValue| page.as_bytes().windows(3).any(|it| it == b"://");
    headers.get_all(SEC_FETCH_SITE).iter().any(|it| it.as_bytes().eq_ignore_ascii_case(b"cross-site"))
        || headers.get_all(ORIGIN).iter().any(|it| !is_own(it))
        || headers.get_all(REFERER).iter().any(|it| is_url(it) && !is_own(it))
}

/// The host of a `Host` header. `None`: it names none.
fn host(value: &HeaderValue) -> Option<RequestHost> {
    let authority: Authority = value.to_str().ok()?.parse().ok()?;
    // User information is not allowed there.
    (!authority.as_str().contains('@')).then(|| RequestHost::of(authority.host()))
}

/// The host of a page's URL. `None`: it has none that could be this device's, such as `null`.
fn page_of(value: &HeaderValue) -> Option<RequestHost> {
    let (scheme, rest) = value.to_str().ok()?.split_once("://")?;
    let web = ["http", "https"].iter().any(|it| scheme.eq_ignore_ascii_case(it));
    let authority: Authority = rest.split(['/', '?', '#']).next()?.parse().ok()?;
    (web && !authority.as_str().contains('@')).then(|| RequestHost::of(authority.host()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read_as_browsers_write_them() {
        let named = |text: &'static str| host(&HeaderValue::from_static(text));
        let address = |text: &str| Some(RequestHost::Address(text.parse().unwrap()));
        let name = |text: &str| Some(RequestHost::Name(text.to_owned()));
        for (text, read) in [
            ("127.0.0.1", address("127.0.0.1")),
            ("127.0.0.1:48484", address("127.0.0.1")),
            ("[::1]", address("::1")),
            ("[fe80::1]:48484", address("fe80::1")),
            ("[::ffff:10.0.0.1]:1", address("10.0.0.1")),
            ("Kitchen.LOCAL.:48484", name("kitchen.local")),
            ("kitchen", name("kitchen")),
            ("evil@127.0.0.1", None),
            ("", None),
            ("127.0.0.1/x", None),
        ] {
            assert_eq!(named(text), read, "{text}");
        }
        assert_eq!(page_of(&HeaderValue::from_static("http://Kitchen:8080/a?b")), name("kitchen"));
        for none in ["null", "file://", "", "evil", "ftp://127.0.0.1", "chrome-extension://127.0.0.1", "http://"] {
            assert_eq!(page_of(&HeaderValue::from_static(none)), None, "{none}");
        }
    }
}
