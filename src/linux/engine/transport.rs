//! The connections to an engine: one for each request, closed if the response exceeds its size limit.
//!
//! The client's own transports read a response to its end however long it is, and could use up the memory of a board.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bollard::errors::Error;
use bollard::{API_DEFAULT_VERSION, BollardRequest, ClientVersion, Docker, body_full, body_try_stream};
use futures_util::{Stream, StreamExt, stream};
use http_body_util::BodyExt;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request, Response, Uri};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tracing::{debug, trace};

use crate::linux::engine::items::ItemReader;

/// Size limit of a response, in bytes. The list of a thousand containers takes three million, and the progress of a pull some
/// hundred for each half megabyte. An event stream that reaches the limit is subscribed to anew, and misses nothing.
pub(super) const ANSWER_BYTES: u64 = 16 * 1024 * 1024;

/// Size limit of one event, or of one line of a pull, in bytes. The client parses a line from its start whenever more of it
/// arrives, so that the work grows with its square. An event carries its container's labels.
const LINE_BYTES: u64 = 1024 * 1024;

/// How much of a response is read ahead of its reader, in bytes. The response's head must fit.
const BUFFER_BYTES: usize = 16 * 1024;

/// The client's timeout for the first byte of a response, in seconds. Far longer than any timeout of the agent, which are those
/// that count.
const NEVER_SECS: u64 = 24 * 3600;

/// A client for the engine at `unix:///…`, `tcp://…` or `http://…`, of which `api` is the newest version of the API. Does
/// not connect yet.
pub(super) fn client(host: &str, api: &str) -> Result<Docker, Error> {
    let number = |it: &str| it.parse::<usize>().ok();
    let api = api.split_once('.').and_then(|(major, minor)| Some((number(major)?, number(minor)?)));
    let (major_version, minor_version) = api.ok_or_else(|| not_understood("it names no version of its API"))?;
    let newest = ClientVersion { major_version, minor_version };
    let version = if newest < *API_DEFAULT_VERSION { &newest } else { API_DEFAULT_VERSION };
    let place = Place::of(host);
    let name = place.name();
    let ask = move |request| ask(place.clone(), request);
    Docker::connect_with_custom_transport(ask, Some(name), NEVER_SECS, version)
}

/// Requests a document from the engine at a host, and reads it whole.
pub(super) async fn get(host: &str, path: &str) -> Result<Value, Error> {
    call(host, Method::GET, path, None).await
}

/// Sends a request to the engine at a host, with a JSON document or without. The response is a document, or empty, which is
/// returned as `null`.
pub(super) async fn call(host: &str, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Error> {
    let body = open(host, method, path, body).await?.into_body().collect().await?.to_bytes();
    if body.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(&body).map_err(|error| not_understood(&error.to_string()))
}

/// Requests a list from the engine at a host, and passes its items on. One item is in memory at a time.
pub(super) async fn items(host: &str, path: &str, each: &mut dyn FnMut(Value)) -> Result<(), Error> {
    let mut parts = open(host, Method::GET, path, None).await?.into_body().into_data_stream();
    let mut list = ItemReader::default();
    while let Some(part) = parts.next().await {
        list.read(&part?, each).map_err(|why| not_understood(&why))?;
    }
    list.end(each).map_err(|why| not_understood(&why))
}

/// Requests a stream of values from the engine at a host, one on each line. A line that is no JSON is `null`: the lines after
/// it count.
pub(super) async fn lines(host: &str, path: &str) -> Result<impl Stream<Item = Result<Value, Error>> + use<>, Error> {
    Ok(values(open(host, Method::GET, path, None).await?))
}

/// Has the engine at a host pull an image, and returns the lines of its progress.
pub(super) async fn pull(
    host: &str,
    path: &str,
    credentials: Option<HeaderValue>,
) -> Result<impl Stream<Item = Result<Value, Error>> + use<>, Error> {
    let place = Place::of(host);
    let mut request = Request::post(format!("{}{path}", place.name()));
    if let Some(credentials) = credentials {
        request = request.header("X-Registry-Auth", credentials);
    }
    Ok(values(send(place, request.body(body_full(Bytes::new()))).await?).map(failed))
}

/// Sends an archive to the engine at a host, and returns the lines of its progress.
pub(super) async fn upload<S: Stream<Item = io::Result<Bytes>> + Send + 'static>(
    host: &str,
    path: &str,
    parts: S,
) -> Result<impl Stream<Item = Result<Value, Error>> + use<S>, Error> {
    let place = Place::of(host);
    let request = Request::post(format!("{}{path}", place.name())).header(CONTENT_TYPE, "application/x-tar");
    Ok(values(send(place, request.body(body_try_stream(parts))).await?).map(failed))
}

/// An engine that fails after its response has begun reports that in a line.
fn failed(line: Result<Value, Error>) -> Result<Value, Error> {
    let line = line?;
    match line.pointer("/errorDetail/message").and_then(Value::as_str) {
        Some(error) => Err(Error::DockerStreamError { error: error.to_owned() }),
        None => Ok(line),
    }
}

/// The values of a response, one on each line.
fn values(response: Response<Incoming>) -> impl Stream<Item = Result<Value, Error>> {
    let mut rest = Vec::new();
    let values = move |part: Result<Bytes, hyper::Error>| {
        stream::iter(match part {
            Ok(part) => whole_lines(&mut rest, &part).into_iter().map(Ok).collect(),
            Err(error) => vec![Err(Error::from(error))],
        })
    };
    // The last line may lack its end.
    let end = stream::iter([Ok(Bytes::from_static(b"\n"))]);
    response.into_body().into_data_stream().chain(end).flat_map(values)
}

/// The values of the lines that end in a part of a response. An unfinished line is kept in `rest`.
fn whole_lines(rest: &mut Vec<u8>, part: &[u8]) -> Vec<Value> {
    let Some(end) = part.iter().rposition(|it| *it == b'\n') else {
        rest.extend_from_slice(part);
        return Vec::new();
    };
    let (lines, next) = part.split_at(end + 1);
    rest.extend_from_slice(lines);
    let lines = std::mem::replace(rest, next.to_vec());
    let lines = lines.split(|it| *it == b'\n').filter(|it| !it.trim_ascii().is_empty());
    lines.map(|line| serde_json::from_slice(line).unwrap_or_default()).collect()
}

/// Requests a stream of bytes that has no end of its own from the engine at a host. Parts are read as the caller takes them.
pub(super) async fn bytes(host: &str, path: &str) -> Result<impl Stream<Item = Result<Bytes, Error>> + use<>, Error> {
    let response = open(host, Method::GET, path, None).await?;
    Ok(response.into_body().into_data_stream().map(|part| part.map_err(Error::from)))
}

/// Sends JSON to the engine at a host, and returns the stream of bytes that it answers with.
pub(super) async fn post(
    host: &str,
    path: &str,
    body: &Value,
) -> Result<impl Stream<Item = Result<Bytes, Error>> + use<>, Error> {
    let response = open(host, Method::POST, path, Some(body)).await?;
    Ok(response.into_body().into_data_stream().map(|part| part.map_err(Error::from)))
}

/// Sends a request to the engine at a host.
async fn open(host: &str, method: Method, path: &str, body: Option<&Value>) -> Result<Response<Incoming>, Error> {
    let place = Place::of(host);
    let request = Request::builder().method(method).uri(format!("{}{path}", place.name()));
    let request = request.header(CONTENT_TYPE, "application/json");
    let body = body.map(Value::to_string).unwrap_or_default();
    send(place, request.body(body_full(body.into()))).await
}

/// Sends a request to the engine. A status other than success is an error.
async fn send(place: Place, request: hyper::http::Result<BollardRequest>) -> Result<Response<Incoming>, Error> {
    let response = ask(place, request.map_err(|error| not_understood(&error.to_string()))?).await?;
    let status_code = response.status();
    if status_code.is_success() {
        return Ok(response);
    }
    let body = response.into_body().collect().await?.to_bytes();
    let error = serde_json::from_slice::<Value>(&body).ok();
    let error = error.as_ref().and_then(|it| it.get("message")).and_then(Value::as_str).map(str::to_owned);
    let message = error.unwrap_or_else(|| String::from_utf8_lossy(&body).into_owned());
    Err(Error::DockerResponseServerError { status_code: status_code.as_u16(), message })
}

/// The error for a response that arrived whole but cannot be understood.
pub(super) fn not_understood(why: &str) -> Error {
    Error::JsonDataError { message: why.to_owned(), column: 0 }
}

/// A connection to an engine, on which nothing was sent yet.
#[derive(Debug)]
pub(in crate::linux) enum EngineStream {
    /// To its socket on this machine.
    Unix(UnixStream),
    /// To an address.
    Tcp(TcpStream),
}

/// Where an engine listens.
#[derive(Debug, Clone)]
enum Place {
    Unix(String),
    Tcp(String),
}

impl Place {
    /// The address of a host, `unix:///…`, `tcp://…` or `http://…`.
    fn of(host: &str) -> Self {
        match host.strip_prefix("unix://") {
            Some(path) => Self::Unix(path.to_owned()),
            None => Self::Tcp(host.split_once("://").map_or(host, |(_, rest)| rest).trim_end_matches('/').to_owned()),
        }
    }

    /// The authority of a request's URL.
    fn name(&self) -> String {
        match self {
            // Engines require a host name there, and ignore it.
            Self::Unix(_) => "http://engine".to_owned(),
            Self::Tcp(address) => format!("http://{address}"),
        }
    }
}

/// A connection to the engine at a host, for a client that speaks to it directly.
pub(super) async fn dial(host: &str) -> io::Result<EngineStream> {
    match Place::of(host) {
        Place::Unix(path) => UnixStream::connect(path).await.map(EngineStream::Unix),
        Place::Tcp(address) => TcpStream::connect(address).await.map(EngineStream::Tcp),
    }
}

async fn ask(place: Place, request: BollardRequest) -> Result<Response<Incoming>, Error> {
    trace!(method = %request.method(), path = request.uri().path(), "engine request");
    match place {
        Place::Unix(path) => over(UnixStream::connect(path).await?, request).await,
        Place::Tcp(address) => over(TcpStream::connect(address).await?, request).await,
    }
}

async fn over<S>(stream: S, mut request: BollardRequest) -> Result<Response<Incoming>, Error>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let kind = Kind::of(request.method(), request.uri().path());
    let mut client = hyper::client::conn::http1::Builder::new();
    client.max_buf_size(BUFFER_BYTES);
    let (mut asks, connection) = client.handshake(TokioIo::new(Bounded::new(stream, kind))).await?;
    drive(async move {
        if let Err(error) = connection.await {
            debug!(%error, "a connection to the engine broke");
        }
    });
    if let Some(name) = request.uri().authority().and_then(|it| HeaderValue::from_str(it.as_str()).ok()) {
        request.headers_mut().insert(HOST, name);
    }
    if let Some(path) = request.uri().path_and_query().cloned() {
        *request.uri_mut() = Uri::from(path);
    }
    Ok(asks.send_request(request).await?)
}

/// Runs a connection in the background. It ends with its response, or when no caller waits for that any more.
#[expect(clippy::disallowed_methods, reason = "the client wants the answer before its end; its own transports do the same")]
fn drive(connection: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(connection);
}

/// A stream with a limit on what is read.
#[derive(Debug)]
struct Bounded<S> {
    stream: S,
    left_bytes: u64,
    kind: Kind,
    line_bytes: u64,
    /// The last byte other than carriage returns.
    last: u8,
}

/// The form of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// One value.
    Whole,
    /// One value on each line.
    Lines,
    /// Bytes without end, of which few are kept.
    Endless,
}

impl Kind {
    /// The form of the response to a request.
    fn of(method: &Method, path: &str) -> Self {
        match path {
            _ if path.ends_with("/events") || path.ends_with("/images/create") => Self::Lines,
            _ if !path.starts_with("/v1.") || !path.contains("/containers/") => Self::Whole,
            _ if path.ends_with("/logs") || path.ends_with("/archive") && *method == Method::GET => Self::Endless,
            _ => Self::Whole,
        }
    }
}

impl<S> Bounded<S> {
    fn new(stream: S, kind: Kind) -> Self {
        Self { stream, left_bytes: ANSWER_BYTES, kind, line_bytes: 0, last: 0 }
    }

    /// Counts bytes that were read.
    fn count(&mut self, bytes: &[u8]) {
        if self.kind == Kind::Endless {
            return;
        }
        self.left_bytes = self.left_bytes.saturating_sub(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        if self.kind == Kind::Whole {
            return;
        }
        for &byte in bytes {
            // A chunk boundary within a value has a newline too, from the chunked transfer coding; but no value ends there.
            let ends = byte == b'\n' && self.last == b'}';
            self.line_bytes = if ends { 0 } else { self.line_bytes.saturating_add(1) };
            self.last = if byte == b'\r' { self.last } else { byte };
        }
    }

    /// The limit that was exceeded, if any.
    fn excess(&self) -> Option<String> {
        const MIB: u64 = 1024 * 1024;
        if self.left_bytes == 0 {
            return Some(format!("the answer is longer than {} MiB", ANSWER_BYTES / MIB));
        }
        (self.line_bytes > LINE_BYTES).then(|| format!("a line of the answer is longer than {} MiB", LINE_BYTES / MIB))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Bounded<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Some(why) = self.excess() {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, why)));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.count(buffer.filled().get(before..).unwrap_or_default());
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Bounded<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use tokio::io::AsyncWriteExt;

    use super::*;
    use crate::linux::engine::tests::scripted::{HELLO, asked, engine, serve};
    use crate::port::{Engine as _, EngineError};
    use crate::state::{EngineAction, ImageRef};

    /// An engine that responds to every request but the first ones with the same part, without end.
    async fn endless(socket: &Path, head: &str, part: &[u8]) {
        serve(socket, async |stream| say(stream, head, part).await).await;
    }

    async fn say(mut stream: UnixStream, head: &str, part: &[u8]) {
        let asked = asked(&mut stream).await;
        if ["/version", "/info", "/images/r.example"].iter().any(|it| asked.contains(it)) {
            let status = if asked.contains("/images/") { "404 Not Found" } else { "200 OK" };
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{HELLO}", HELLO.len());
            let _ = stream.write_all(answer.as_bytes()).await;
            return;
        }
        let _ = stream.write_all(head.as_bytes()).await;
        while stream.write_all(part).await.is_ok() {}
    }

    #[tokio::test]
    async fn an_engine_that_never_ends_an_answer_is_told_from_one_that_does() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("s");
        let chunk = [b"10000\r\n", vec![b'a'; 0x10000].as_slice(), b"\r\n"].concat();
        let chunk_head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n{\"status\":\"\r\n";
        let engine = engine(&socket);
        let asks = async {
            let error = engine.observe().await.unwrap_err();
            assert!(matches!(&error, EngineError::Unreachable(why) if why.contains("longer than 16 MiB")), "{error}");
            let pull = EngineAction::Pull(ImageRef::new("r.example/app:1"));
            let error = engine.execute(&pull, &|_| ()).await.unwrap_err();
            assert!(matches!(&error, EngineError::Unreachable(_)), "{error}");
        };
        tokio::select! {
            biased;
            () = endless(&socket, chunk_head, &chunk) => {}
            done = tokio::time::timeout(Duration::from_secs(900), asks) => done.unwrap(),
        }
    }

    #[test]
    fn a_line_that_comes_in_parts_is_one_and_one_that_is_no_json_is_null() {
        let mut rest = Vec::new();
        assert_eq!(whole_lines(&mut rest, b"{\"a\":").len(), 0);
        assert_eq!(whole_lines(&mut rest, b"1}\r\n\nnonsense\n{\"b\""), [serde_json::json!({"a": 1}), Value::Null]);
        assert_eq!(whole_lines(&mut rest, b":2}\n"), [serde_json::json!({"b": 2})]);
        assert_eq!(rest, b"");
    }

    #[test]
    fn a_line_ends_where_its_value_does() {
        let mut of = Bounded::new((), Kind::Lines);
        of.count(b"15\r\n{\"status\":\"x\"}\r\n\r\n");
        assert_eq!(of.line_bytes, 2);
        of.count(b"5\r\n{\"sta\r\n");
        of.count(b"9\r\ntus\":\"x");
        assert!(of.line_bytes > 20 && of.excess().is_none());
        of.count(&vec![b'x'; 1024 * 1024]);
        assert!(of.excess().is_some());
    }

    #[tokio::test]
    async fn an_answer_nested_without_end_is_no_answer() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("s");
        let engine = engine(&socket);
        let asks = async {
            let error = engine.observe().await.unwrap_err();
            assert!(matches!(&error, EngineError::Refused(why) if why.contains("not understood")), "{error}");
        };
        let lists = vec![b'['; 100_000];
        let nested = "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n";
        tokio::select! {
            biased;
            () = endless(&socket, nested, &lists) => {}
            done = tokio::time::timeout(Duration::from_secs(60), asks) => done.unwrap(),
        }
    }

    /// Lists forty containers, each slow to inspect; records how many were inspected at once at most.
    async fn crowded(socket: &Path, most: &std::cell::Cell<usize>) {
        let now = std::cell::Cell::new(0);
        let labels = r#"{"io.balena.supervised":"1","io.balena.app-id":"1","io.balena.service-name":"s"}"#;
        let list = |it| format!(r#"{{"Id":"{it}","Names":["/{it}"],"State":"running","Labels":{labels}}}"#);
        let list = (0..40).map(list).collect::<Vec<_>>().join(",");
        let answer = async |mut stream: UnixStream| {
            let asked = asked(&mut stream).await;
            let path = asked.split(' ').nth(1).unwrap();
            let (status, body) = match path {
                it if it.contains("/containers/json") => ("200 OK", format!("[{list}]")),
                it if it.contains("/containers/") => {
                    now.set(now.get() + 1);
                    most.set(most.get().max(now.get()));
                    tokio::time::sleep(Duration::from_millis(30)).await;
                    now.set(now.get() - 1);
                    ("404 Not Found", "{}".to_owned())
                }
                it if it.contains("/images/json") || it.contains("/networks") => ("200 OK", "[]".to_owned()),
                it if it.contains("/volumes") => ("200 OK", "{}".to_owned()),
                _ => ("200 OK", HELLO.to_owned()),
            };
            let head = format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len());
            let _ = stream.write_all((head + &body).as_bytes()).await;
        };
        serve(socket, answer).await;
    }

    #[tokio::test]
    async fn of_many_containers_sixteen_are_asked_about_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("s");
        let engine = engine(&socket);
        let most = std::cell::Cell::new(0);
        tokio::select! {
            biased;
            () = crowded(&socket, &most) => {}
            seen = engine.observe() => assert_eq!(seen.unwrap().containers, []),
        }
        assert_eq!(most.get(), 16);
    }
}
