//! Whether a connection's first request comes from a program that uses the engine's API, and not from a web browser.
//!
//! A web page that is open in a browser near the board can have the browser send requests to any address (CSRF), and reads the
//! responses if the page's own name was made to resolve to the board (DNS rebinding). The engine would obey. So a request is
//! refused that has a header which only browsers send, or a `Host` that is no address or name of this device. The page cannot
//! leave these headers out: `Origin`, `Referer`, `Host` and `Sec-*` are the browser's alone, and of `Accept-Language`, which
//! every browser sends with every request, a page can change the value only.
//!
//! The first request of a connection is enough. A browser's connections carry requests of that browser only, each with these
//! headers; so the first one is refused, and no second one follows. A proxy may send requests of several clients over one
//! connection; its requests have `Via` or `Forwarded`, and are refused too. A check of all requests would have to follow the
//! length of every body and response, and connections that stop being HTTP (`exec`, `attach`, `build` with a session).

use hyper::http::uri::Authority;

use crate::state::own_names::{OwnNames, RequestHost};

/// The longest head, in bytes. `docker build` sends the credentials of every registry in one header.
const HEAD_BYTES: usize = 64 * 1024;
/// The most headers of a request.
const HEADERS: usize = 64;

/// Headers that browsers and proxies send, and clients of an engine do not. Beside them, every `Sec-…`.
const FOREIGN: [&str; 8] =
    ["Origin", "Referer", "Accept-Language", "Upgrade-Insecure-Requests", "Cookie", "Via", "Forwarded", "X-Forwarded-For"];

/// What the first bytes of a connection are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The beginning of a head.
    Incomplete,
    /// The head of a request of a program.
    Admitted,
    /// Anything else.
    Refused(ForwardRefusal),
}

/// Why a connection is not forwarded.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ForwardRefusal {
    /// The status code and its reason phrase.
    pub(super) status: &'static str,
    /// The reason, for the client and the log.
    pub(super) why: String,
}

impl ForwardRefusal {
    fn forbidden(why: String) -> Verdict {
        Verdict::Refused(Self { status: "403 Forbidden", why })
    }

    fn malformed(why: &str) -> Verdict {
        Verdict::Refused(Self { status: "400 Bad Request", why: why.to_owned() })
    }

    /// The whole response, with an error in the form of the engine's own.
    pub(super) fn response(&self) -> String {
        let body = format!("{}\n", serde_json::json!({ "message": self.why }));
        format!(
            "HTTP/1.1 {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            self.status,
            body.len()
        )
    }
}

/// Checks the head of a connection's first request, as far as it has arrived.
pub(super) fn check(sent: &[u8], own: OwnNames<'_>) -> Verdict {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(sent) {
        Ok(httparse::Status::Complete(_)) => (),
        Ok(httparse::Status::Partial) if sent.len() <= HEAD_BYTES => return Verdict::Incomplete,
        Ok(httparse::Status::Partial) => return ForwardRefusal::malformed("the head of the request is longer than 64 kB"),
        Err(_) => return ForwardRefusal::malformed("this is no request of HTTP/1.1, as the engine's API has them"),
    }
    let is_foreign = |name: &str| {
        let sec = name.get(..4).is_some_and(|it| it.eq_ignore_ascii_case("sec-"));
        sec || FOREIGN.iter().any(|it| it.eq_ignore_ascii_case(name))
    };
    if let Some(header) = request.headers.iter().find(|it| is_foreign(it.name)) {
        return ForwardRefusal::forbidden(format!(
            "the request has the header {}, as web browsers and proxies send it; the engine is for programs that connect to it \
             directly",
            header.name
        ));
    }
    let mut hosts = request.headers.iter().filter(|it| it.name.eq_ignore_ascii_case("host")).map(|it| it.value);
    let is_own = |text: &[u8]| host(text).is_some_and(|it| own.has(&it));
    match (hosts.next(), hosts.next()) {
        (Some(_), Some(_)) => ForwardRefusal::malformed("the request has several Host headers; send one"),
        (None, _) if request.version == Some(1) => {
            ForwardRefusal::malformed("the request has no Host header; HTTP/1.1 wants one")
        }
        (host, _) if host.is_none_or(is_own) && request.path.and_then(authority).is_none_or(|it| is_own(it.as_bytes())) => {
            Verdict::Admitted
        }
        _ => ForwardRefusal::forbidden(
            "the Host header is no address or name of this device; use one of its addresses or its hostname".to_owned(),
        ),
    }
}

/// Method and path of the first request, for the log. The query may hold secrets of a build.
pub(super) fn summary(sent: &[u8]) -> String {
    let line = sent.split(|it| *it == b'\r' || *it == b'?').next().unwrap_or_default();
    String::from_utf8_lossy(line).into_owned()
}

/// The host of a `Host` header. `None`: it names none.
fn host(text: &[u8]) -> Option<RequestHost> {
    let authority: Authority = std::str::from_utf8(text).ok()?.parse().ok()?;
    // User information is not allowed there.
    (!authority.as_str().contains('@')).then(|| RequestHost::of(authority.host()))
}

/// The authority of a target in absolute form, as requests to a proxy have it.
fn authority(target: &str) -> Option<&str> {
    target.split_once("://").filter(|(scheme, _)| !scheme.contains('/')).and_then(|(_, rest)| rest.split(['/', '?']).next())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Status;

    fn verdict(head: &str) -> Verdict {
        let mut status = Status::default();
        status.device.ip_addresses = vec!["192.168.1.7".to_owned()];
        status.metrics.hostnames = vec!["kitchen".to_owned()];
        check(head.as_bytes(), OwnNames { status: &status, reached: "10.0.0.7".parse().ok() })
    }

    fn refused(head: &str) -> String {
        match verdict(head) {
            Verdict::Refused(refusal) => format!("{}: {}", refusal.status, refusal.why),
            other => panic!("{head}: {other:?}"),
        }
    }

    #[test]
    fn clients_of_an_engine_are_admitted() {
        for host in ["192.168.1.7:2375", "10.0.0.7:2375", "kitchen:2375", "kitchen.local:2375", "127.0.0.1:2375", "localhost"] {
            let head = format!(
                "POST /v1.41/build?t=x HTTP/1.1\r\nHost: {host}\r\nUser-Agent: Docker-Client/20.10\r\n\
                 Content-Type: application/x-tar\r\nX-Registry-Config: e30=\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde"
            );
            assert_eq!(verdict(&head), Verdict::Admitted, "{host}");
        }
        assert_eq!(verdict("GET /_ping HTTP/1.0\r\n\r\n"), Verdict::Admitted, "HTTP/1.0 has no Host header");
        let hijacks = "POST /exec/1/start HTTP/1.1\r\nHost: 10.0.0.7\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n";
        assert_eq!(verdict(hijacks), Verdict::Admitted);
    }

    #[test]
    fn browsers_and_proxies_are_refused() {
        for header in [
            "Origin: http://evil.example",
            "origin: null",
            "Referer: http://192.168.1.7/",
            "Accept-Language: en",
            "accept-language:",
            "Upgrade-Insecure-Requests: 1",
            "Sec-Fetch-Site: none",
            "sec-websocket-key: x",
            "Cookie: a=b",
            "Via: 1.1 proxy",
            "Forwarded: for=10.0.0.9",
            "X-Forwarded-For: 10.0.0.9",
        ] {
            let why = refused(&format!("GET /info HTTP/1.1\r\nHost: 192.168.1.7:2375\r\n{header}\r\n\r\n"));
            assert!(why.starts_with("403") && why.contains(header.split(':').next().unwrap()), "{why}");
        }
    }

    #[test]
    fn another_host_is_refused() {
        for head in [
            "GET / HTTP/1.1\r\nHost: evil.example:2375\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: 192.168.1.8\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x@192.168.1.7\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: \r\n\r\n",
            "GET http://evil.example/info HTTP/1.1\r\nHost: 192.168.1.7\r\n\r\n",
            "GET / HTTP/1.0\r\nHost: evil.example\r\n\r\n",
        ] {
            assert!(refused(head).starts_with("403"), "{head}");
        }
        let absolute = "GET http://192.168.1.7:2375/info HTTP/1.1\r\nHost: 192.168.1.7\r\n\r\n";
        assert_eq!(verdict(absolute), Verdict::Admitted);
    }

    #[test]
    fn what_is_no_request_is_refused_at_once() {
        let several = "GET / HTTP/1.1\r\nHost: kitchen\r\nHost: kitchen\r\n\r\n";
        for head in ["\x16\x03\x01\x02", "SSH-2.0-x\r\n", "GET / HTTP/2.0\r\n\r\n", "GET / HTTP/1.1\r\n\r\n", several] {
            assert!(refused(head).starts_with("400"), "{head}");
        }
        let many = format!("GET / HTTP/1.1\r\nHost: kitchen\r\n{}\r\n", "A: b\r\n".repeat(HEADERS));
        assert!(refused(&many).starts_with("400"));
        let long = format!("GET / HTTP/1.1\r\nHost: kitchen\r\nA: {}", "b".repeat(HEAD_BYTES));
        assert!(refused(&long).contains("64 kB"));
    }

    #[test]
    fn a_head_that_arrives_byte_by_byte_is_judged_when_it_is_complete() {
        let head = "GET /info HTTP/1.1\r\nHost: kitchen\r\nReferer: http://kitchen/\r\n\r\n";
        for end in 0..head.len() {
            assert_eq!(verdict(&head[..end]), Verdict::Incomplete, "{end}");
        }
        assert!(refused(head).starts_with("403"));
        assert_eq!(summary(b"POST /build?buildargs=secret HTTP/1.1\r\n"), "POST /build");
    }
}
