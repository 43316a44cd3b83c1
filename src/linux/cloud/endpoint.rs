//! The address of a cloud's API.

use url::{Host, Url};

use crate::port::CloudError;

/// Where requests are sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// The name or address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Whether it speaks TLS.
    pub is_tls: bool,
    /// Host and port, as the `Host` header has them: the port is left out where it is the default.
    pub authority: String,
    /// What is before every path. Mostly empty.
    prefix: String,
}

impl Endpoint {
    /// Reads `https://api.example.com`.
    pub(super) fn parse(text: &str) -> Result<Self, CloudError> {
        let wrong = |why: &str| {
            CloudError::Unreachable(format!(
                "`{}` is no address of a cloud's API: {why}; write one like https://api.example.com as apiEndpoint in config.json",
                without_login(text)
            ))
        };
        let url = Url::parse(text.trim()).map_err(|why| wrong(&why.to_string()))?;
        let is_tls = match url.scheme() {
            "https" => true,
            "http" => false,
            _ => return Err(wrong("it is neither https nor http")),
        };
        let host = match url.host() {
            Some(Host::Domain(name)) => name.to_owned(),
            Some(Host::Ipv4(address)) => address.to_string(),
            Some(Host::Ipv6(address)) => address.to_string(),
            None => return Err(wrong("it has no host")),
        };
        let port = url.port_or_known_default().unwrap_or_default();
        let authority = url[url::Position::BeforeHost..url::Position::AfterPort].to_owned();
        Ok(Self { host, port, is_tls, authority, prefix: url.path().trim_end_matches('/').to_owned() })
    }

    /// The path of a request.
    pub(super) fn path(&self, path: &str) -> String {
        format!("{}{path}", self.prefix)
    }
}

/// What comes before an `@` may be a password.
fn without_login(text: &str) -> &str {
    text.rsplit_once('@').map_or(text, |(_, rest)| rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        let read = |text: &str| {
            let it = Endpoint::parse(text).unwrap();
            format!("{} {} {} {} {}", it.host, it.port, it.is_tls, it.authority, it.path("/x"))
        };
        assert_eq!(read("https://api.balena-cloud.com"), "api.balena-cloud.com 443 true api.balena-cloud.com /x");
        assert_eq!(read(" http://[::1]:8080/base/ "), "::1 8080 false [::1]:8080 /base/x");
        assert_eq!(read("https://user:pass@h:443"), "h 443 true h /x");
    }

    #[test]
    fn what_is_no_address_is_said_with_what_to_do() {
        for text in ["", "api.example.com", "ftp://secret@h", "https://", "http://h:99999"] {
            let why = Endpoint::parse(text).unwrap_err().to_string();
            assert!(why.contains("write one like") && !why.contains("secret"), "{why}");
        }
    }
}
