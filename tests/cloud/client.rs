//! Just enough HTTPS to ask the fake cloud what a device asks, and to see the bytes of the answer.

use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::fake::FakeCloud;

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    /// Status line and headers.
    pub(crate) head: String,
    /// As it arrived, but in one piece.
    pub(crate) body: Vec<u8>,
}

impl Reply {
    /// A header's value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|it| {
            let (found, value) = it.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }
}

/// What trusts the fake cloud, and resumes sessions.
pub(crate) struct Client {
    config: Arc<ClientConfig>,
    port: u16,
}

/// A connection.
pub(crate) type Line = StreamOwned<ClientConnection, TcpStream>;

impl Client {
    pub(crate) fn new(cloud: &FakeCloud) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(cloud.root().as_bytes()).unwrap()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let config = Arc::new(builder.with_root_certificates(roots).with_no_client_auth());
        Self { config, port: cloud.port() }
    }

    /// A new connection.
    pub(crate) fn connect(&self) -> io::Result<Line> {
        let stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        let name = ServerName::try_from("127.0.0.1").unwrap();
        Ok(StreamOwned::new(ClientConnection::new(Arc::clone(&self.config), name).map_err(io::Error::other)?, stream))
    }

    /// A request with its own connection.
    pub(crate) fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> io::Result<Reply> {
        let mut line = self.connect()?;
        send(&mut line, method, path, &[headers, &[("Connection", "close")]].concat(), body)
    }

    /// The same with a key and JSON. No key: an empty one.
    pub(crate) fn ask(&self, method: &str, path: &str, key: &str, body: &Value) -> Reply {
        let bearer = format!("Bearer {key}");
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let mut headers = vec![("Content-Type", "application/json")];
        headers.extend((!key.is_empty()).then_some(("Authorization", bearer.as_str())));
        self.send(method, path, &headers, body.as_bytes()).unwrap()
    }
}

/// A request on a connection that stays.
pub(crate) fn send(line: &mut Line, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> io::Result<Reply> {
    let mut request = format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n");
    for (name, value) in headers {
        write!(request, "{name}: {value}\r\n").unwrap();
    }
    if !body.is_empty() || method != "GET" {
        write!(request, "Content-Length: {}\r\n", body.len()).unwrap();
    }
    request.push_str("\r\n");
    line.write_all(&[request.as_bytes(), body].concat())?;
    receive(line)
}

fn receive(line: &mut Line) -> io::Result<Reply> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(byte(line)?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let status = head.split(' ').nth(1).and_then(|it| it.parse().ok()).ok_or_else(|| io::Error::other(head.clone()))?;
    let mut reply = Reply { status, head, body: Vec::new() };
    if reply.header("transfer-encoding") == Some("chunked") {
        loop {
            let mut size = String::new();
            while !size.ends_with("\r\n") {
                size.push(char::from(byte(line)?));
            }
            let size = usize::from_str_radix(size.trim(), 16).map_err(io::Error::other)?;
            let mut piece = vec![0; size + 2];
            line.read_exact(&mut piece)?;
            if size == 0 {
                return Ok(reply);
            }
            reply.body.extend_from_slice(&piece[..size]);
        }
    }
    let size = reply.header("content-length").and_then(|it| it.parse().ok()).unwrap_or(0);
    reply.body = vec![0; size];
    line.read_exact(&mut reply.body)?;
    Ok(reply)
}

fn byte(line: &mut Line) -> io::Result<u8> {
    let mut one = [0];
    line.read_exact(&mut one)?;
    Ok(one[0])
}
