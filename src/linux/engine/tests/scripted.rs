//! A fake engine whose responses a test writes, for what no real one can be brought to say.

use std::path::Path;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

use crate::linux::engine::{Engine, EngineSettings};

/// The response to the first requests: the engine's version.
pub(in crate::linux::engine) const HELLO: &str = r#"{"Version":"20.10.24","ApiVersion":"1.41"}"#;

/// A status and a document. `None`: the engine hangs.
pub(in crate::linux::engine) type Answer = Option<(u16, String)>;

/// Runs `asks` against an engine that responds as the test says. A request is given as `GET /containers/json`, and one with
/// filters as `GET /containers/json?filters`.
pub(in crate::linux::engine) async fn asked_of<T>(answer: impl Fn(&str) -> Answer, asks: impl AsyncFnOnce(&Engine) -> T) -> T {
    asked_with_bodies_of(|asked, _| answer(asked), asks).await
}

/// The same for a test that checks request bodies, too.
pub(in crate::linux::engine) async fn asked_with_bodies_of<T>(
    answer: impl Fn(&str, &str) -> Answer,
    asks: impl AsyncFnOnce(&Engine) -> T,
) -> T {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("s");
    let engine = engine(&socket);
    let one = async |mut stream: UnixStream| {
        let asked = asked(&mut stream).await;
        let mut words = asked.split(' ');
        let (verb, path) = (words.next().unwrap(), words.next().unwrap());
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let filters = if query.contains("filters=") { "?filters" } else { "" };
        let path = path.find("/v1.").map_or(path, |_| path[1..].find('/').map_or(path, |at| &path[1 + at..]));
        let sent = asked.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        let Some((status, body)) = answer(&format!("{verb} {path}{filters}"), sent) else {
            return std::future::pending().await;
        };
        // These have no body, whatever the test says.
        let body = if matches!(status, 204 | 304) { "" } else { &body };
        let length = body.len();
        let head = format!("HTTP/1.1 {status} So\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n");
        let _ = stream.write_all((head + body).as_bytes()).await; // The client may have hung up.
    };
    tokio::select! {
        biased;
        () = serve(&socket, one) => unreachable!("it serves without end"),
        done = asks(&engine) => done,
    }
}

/// The responses of an engine that has no objects.
pub(in crate::linux::engine) fn empty(asked: &str) -> (u16, String) {
    let body = match asked {
        "GET /containers/json" | "GET /images/json" | "GET /networks" => "[]",
        "GET /volumes" => "{}",
        "GET /version" | "GET /info" => HELLO,
        _ => return (404, r#"{"message":"there is none"}"#.to_owned()),
    };
    (200, body.to_owned())
}

/// A server at a socket, with concurrent connections.
pub(in crate::linux::engine) async fn serve(socket: &Path, answer: impl AsyncFn(UnixStream)) {
    let listener = UnixListener::bind(socket).unwrap();
    let mut open = FuturesUnordered::new();
    loop {
        tokio::select! {
            Some(()) = open.next(), if !open.is_empty() => {}
            accepted = listener.accept() => open.push(answer(accepted.unwrap().0)),
        }
    }
}

/// Reads a request, with its body.
pub(in crate::linux::engine) async fn asked(stream: &mut UnixStream) -> String {
    let (mut asked, mut part) = (String::new(), [0; 2048]);
    loop {
        let length = stream.read(&mut part).await.unwrap();
        asked += &String::from_utf8_lossy(&part[..length]);
        let lower = asked.to_lowercase();
        let Some((head, body)) = lower.split_once("\r\n\r\n").filter(|_| length > 0) else { return asked };
        let length = head.split_once("content-length: ").and_then(|(_, rest)| rest.lines().next()?.parse().ok());
        if body.len() >= length.unwrap_or(0) {
            return asked;
        }
    }
}

/// An adapter for the engine at a socket.
pub(in crate::linux::engine) fn engine(socket: &Path) -> Engine {
    Engine::connect(EngineSettings {
        hosts: vec![format!("unix://{}", socket.display())],
        root: "/nowhere".into(),
        logins: None,
        floor_bytes: 0,
        registries: None,
        arch: String::new(),
    })
}
