//! Proxies: which one a request goes through, and its `CONNECT`.

use std::net::IpAddr;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use percent_encoding::percent_decode_str;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use url::{Host, Url};

use crate::linux::cloud::endpoint::Endpoint;
use crate::state::Secret;
use crate::state::proxy_variables::ProxyVariables;

/// The most bytes of a proxy's answer to `CONNECT`.
const HEAD_BYTES: usize = 8 * 1024;

/// A proxy that opens connections for others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ConnectProxy {
    /// The variable that names it.
    pub variable: &'static str,
    /// Its name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Whether it speaks TLS itself.
    pub is_tls: bool,
    login: Option<Secret>,
}

impl ConnectProxy {
    /// The proxy through which an address is reached. `None`: it is reached without one.
    pub(super) fn choose(variables: &ProxyVariables, endpoint: &Endpoint) -> Result<Option<Self>, String> {
        let https = variables.https.as_ref().filter(|_| endpoint.is_tls).map(|it| ("HTTPS_PROXY", it));
        let Some((variable, text)) = https.or(variables.all.as_ref().map(|it| ("ALL_PROXY", it))) else { return Ok(None) };
        if variables.exceptions.as_deref().is_some_and(|it| is_excepted(it, &endpoint.host, endpoint.port)) {
            return Ok(None);
        }
        Self::parse(variable, text.reveal()).map(Some)
    }

    fn parse(variable: &'static str, text: &str) -> Result<Self, String> {
        // The text may have a password in it, so no error repeats it.
        let wrong =
            |why: &str| format!("{variable} is no proxy's address: {why}; write one like http://proxy.example.com:3128");
        let text = text.trim();
        let whole = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let url = Url::parse(&whole).map_err(|why| wrong(&why.to_string()))?;
        let (is_tls, default) = match url.scheme() {
            "http" => (false, 80),
            "https" => (true, 443),
            _ => return Err(wrong("only http and https are supported")),
        };
        let host = match url.host() {
            Some(Host::Domain(name)) => name.to_owned(),
            Some(Host::Ipv4(address)) => address.to_string(),
            Some(Host::Ipv6(address)) => address.to_string(),
            None => return Err(wrong("it has no host")),
        };
        let decoded = |it: &str| percent_decode_str(it).decode_utf8_lossy().into_owned();
        let login = (!url.username().is_empty())
            .then(|| Secret::new(format!("{}:{}", decoded(url.username()), decoded(url.password().unwrap_or_default()))));
        Ok(Self { variable, host, port: url.port().unwrap_or(default), is_tls, login })
    }

    /// The proxy's name, for messages.
    pub(super) fn shown(&self) -> String {
        format!("the proxy {} port {} of {}", self.host, self.port, self.variable)
    }

    /// Has the proxy connect this stream to an address.
    pub(super) async fn tunnel(
        &self,
        stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
        endpoint: &Endpoint,
    ) -> Result<(), String> {
        let address = match endpoint.host.parse() {
            Ok(IpAddr::V6(address)) => format!("[{address}]:{}", endpoint.port),
            Ok(IpAddr::V4(_)) | Err(_) => format!("{}:{}", endpoint.host, endpoint.port),
        };
        let login =
            self.login.as_ref().map(|it| format!("Proxy-Authorization: Basic {}\r\n", BASE64_STANDARD.encode(it.reveal())));
        let request = format!("CONNECT {address} HTTP/1.1\r\nHost: {address}\r\n{}\r\n", login.unwrap_or_default());
        let broken = |why: &dyn std::fmt::Display| format!("{} does not answer: {why}; check {}", self.shown(), self.variable);
        stream.write_all(request.as_bytes()).await.map_err(|why| broken(&why))?;
        stream.flush().await.map_err(|why| broken(&why))?;
        let head = head(stream).await.map_err(|why| broken(&why))?;
        match status(&head) {
            Some(200..300) => Ok(()),
            Some(407) => Err(format!(
                "{} demands a login (407); write it into {}, as in http://user:password@{}:{}",
                self.shown(),
                self.variable,
                self.host,
                self.port
            )),
            Some(status) => Err(format!(
                "{} answers {status} when it is asked for {address}; permit that in the proxy, or put {} into NO_PROXY",
                self.shown(),
                endpoint.host
            )),
            None => Err(broken(&"it is no HTTP proxy")),
        }
    }
}

/// Reads the head of an answer. The host behind the proxy sends nothing before it is sent something, so nothing comes after it.
async fn head(stream: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>, String> {
    let mut head = Vec::new();
    let mut part = [0; 512];
    while !head.windows(4).any(|it| it == b"\r\n\r\n") {
        let count = stream.read(&mut part).await.map_err(|why| why.to_string())?;
        if count == 0 {
            return Err("it hung up".to_owned());
        }
        head.extend_from_slice(&part[..count]);
        if head.len() > HEAD_BYTES {
            return Err("its answer does not end".to_owned());
        }
    }
    Ok(head)
}

fn status(head: &[u8]) -> Option<u16> {
    let line = std::str::from_utf8(head.split(|it| *it == b'\r').next()?).ok()?;
    line.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()
}

/// Whether a host is listed in `NO_PROXY`: by its name, by a domain that it is in, or by `*`.
fn is_excepted(list: &str, host: &str, port: u16) -> bool {
    let host = host.to_ascii_lowercase();
    list.split([',', ' ']).map(|it| it.trim().to_ascii_lowercase()).filter(|it| !it.is_empty()).any(|entry| {
        let of_this_port = format!(":{port}");
        let name = entry.strip_suffix(&of_this_port).unwrap_or(&entry);
        let name = name.trim_start_matches("*.").trim_start_matches(['.', '[']).trim_end_matches(']');
        name == "*" || host == name || host.strip_suffix(name).is_some_and(|it| it.ends_with('.'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(https: Option<&str>, all: Option<&str>, no: Option<&str>, to: &str) -> Result<Option<String>, String> {
        let secret = |it: &str| Secret::new(it.to_owned());
        let variables = ProxyVariables { https: https.map(secret), all: all.map(secret), exceptions: no.map(str::to_owned) };
        let chosen = ConnectProxy::choose(&variables, &Endpoint::parse(to).unwrap())?;
        Ok(chosen.map(|it| format!("{} {} {} {:?}", it.host, it.port, it.is_tls, it.login.map(|it| it.reveal().to_owned()))))
    }

    #[test]
    fn the_variables_are_read_as_other_programs_read_them() {
        let to = "https://api.example.com";
        let found = |https, all, no| choose(https, all, no, to).unwrap();
        assert_eq!(found(None, None, None), None);
        assert_eq!(found(Some("http://p:3128"), Some("http://q"), None).as_deref(), Some("p 3128 false None"));
        assert_eq!(found(None, Some("q"), None).as_deref(), Some("q 80 false None"));
        assert_eq!(found(Some("https://me:a%40b@p"), None, None).as_deref(), Some("p 443 true Some(\"me:a@b\")"));
        // That of https is for https.
        assert_eq!(choose(Some("p"), None, None, "http://api.example.com").unwrap(), None);
        assert_eq!(choose(Some("p"), Some("q:1"), None, "http://api.example.com").unwrap().as_deref(), Some("q 1 false None"));
    }

    #[test]
    fn exceptions_are_hosts_and_their_domains() {
        for no in ["*", "api.example.com", "x, .example.com", "*.example.com", "EXAMPLE.com", "com", "api.example.com:443"] {
            assert_eq!(choose(Some("p"), None, Some(no), "https://api.example.com").unwrap(), None, "{no}");
        }
        for no in ["", "pi.example.com", "example.co", "i.example.com", "api.example.com:444", "ample.com"] {
            assert!(choose(Some("p"), None, Some(no), "https://api.example.com").unwrap().is_some(), "{no}");
        }
        assert_eq!(choose(Some("p"), None, Some("[::1]"), "https://[::1]:8443").unwrap(), None);
    }

    #[test]
    fn a_wrong_variable_is_named_and_its_password_is_not() {
        for text in ["socks5://me:secret@p:1080", "http://", "http://me:secret@p:port"] {
            let why = choose(Some(text), None, None, "https://h").unwrap_err();
            assert!(why.contains("HTTPS_PROXY") && why.contains("write one like") && !why.contains("secret"), "{why}");
        }
    }
}
