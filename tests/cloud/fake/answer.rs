//! Answers, with the headers that the recorded ones have.

use std::io::{self, Write};

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::Response;
use hyper::body::{Bytes, Frame};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// The body of an answer on its way.
pub(super) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// Bodies of JSON from this size on are compressed.
const COMPRESSED: usize = 1024;

/// An answer, before it is one of HTTP.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    kind: &'static str,
    body: Vec<u8>,
}

impl Answer {
    /// Without a body.
    pub(super) fn empty(status: u16) -> Self {
        Self { status, headers: Vec::new(), kind: "", body: Vec::new() }
    }

    /// JSON.
    pub(super) fn json(status: u16, body: &Value) -> Self {
        Self { kind: "application/json; charset=utf-8", body: body.to_string().into_bytes(), ..Self::empty(status) }
    }

    /// A JSON string.
    pub(super) fn words(status: u16, words: &str) -> Self {
        Self::json(status, &Value::from(words))
    }

    /// Text that counts as a page.
    pub(super) fn html(status: u16, text: &str) -> Self {
        Self { kind: "text/html; charset=utf-8", body: text.as_bytes().to_vec(), ..Self::empty(status) }
    }

    /// Text.
    pub(super) fn text(status: u16, text: &str) -> Self {
        Self { kind: "text/plain; charset=utf-8", ..Self::html(status, text) }
    }

    /// 401, for a key that is missing or unknown.
    pub(super) fn key_required() -> Self {
        Self::json(401, &serde_json::json!({"error": "API key required"}))
    }

    /// The same with a header.
    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// As HTTP. Bodies that are empty are chunked, as Express sends them.
    pub(super) fn response(self, takes_gzip: bool) -> Response<Body> {
        let mut response = Response::builder().status(self.status);
        for (name, value) in &self.headers {
            response = response.header(*name, value);
        }
        if self.body.is_empty() {
            let has_none = self.status == 304 || self.status == 204;
            let body = if has_none { whole(Vec::new()) } else { pieces(Vec::new()) };
            return response.body(body).unwrap();
        }
        response = response.header("Content-Type", self.kind).header("Vary", "Accept-Encoding");
        if !self.headers.iter().any(|(name, _)| *name == "ETag") {
            response = response.header("ETag", etag(&self.body));
        }
        if takes_gzip && self.body.len() >= COMPRESSED && self.kind.contains("json") {
            let packed = gzip(&self.body);
            return response.header("Content-Encoding", "gzip").body(pieces(vec![Ok(packed)])).unwrap();
        }
        response.header("Content-Length", self.body.len()).body(whole(self.body)).unwrap()
    }

    /// As HTTP, but the connection breaks in the middle of the body.
    pub(super) fn broken(self) -> Response<Body> {
        let (half, size) = (self.body[..self.body.len() / 2].to_vec(), self.body.len().max(1));
        let broken = pieces(vec![Ok(half), Err(io::Error::other("broken on purpose"))]);
        Response::builder()
            .status(self.status)
            .header("Content-Type", self.kind)
            .header("Content-Length", size)
            .body(broken)
            .unwrap()
    }
}

/// The `ETag` of a body: its length in hexadecimal, and a hash of 27 characters.
pub(super) fn etag(body: &[u8]) -> String {
    let hash = STANDARD_NO_PAD.encode(&Sha256::digest(body)[..20]);
    format!("W/\"{:x}-{hash}\"", body.len())
}

/// A body that never ends.
pub(super) fn endless() -> Response<Body> {
    let piece = Bytes::from(vec![b' '; 16 * 1024]);
    let body = StreamBody::new(stream::repeat_with(move || Ok(Frame::data(piece.clone()))));
    Response::builder().status(200).header("Content-Type", "application/json").body(body.boxed_unsync()).unwrap()
}

fn whole(body: Vec<u8>) -> Body {
    Full::new(Bytes::from(body)).map_err(|never| match never {}).boxed_unsync()
}

fn pieces(pieces: Vec<io::Result<Vec<u8>>>) -> Body {
    StreamBody::new(stream::iter(pieces.into_iter().map(|it| it.map(|it| Frame::data(Bytes::from(it)))))).boxed_unsync()
}

/// Compresses.
pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
