//! The heap that the server needs for its connections.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use boardkeeper::http::serve;
use boardkeeper::linux::net::Listeners;
use boardkeeper::linux::net::networks::EngineNetworks;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::HEAP;
use crate::alone::alone;
use crate::budget::{hold, limit};

/// As many as the server has room for: 64 of each address.
const CONNECTIONS: u8 = 255;
const ADDRESSES: u8 = 4;
/// The server sees meanwhile that connections were closed.
const SETTLING: Duration = Duration::from_millis(500);
const REQUEST: &[u8] = b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n";

#[test]
fn a_burst_of_requests_leaves_its_connections_no_buffers() {
    let _alone = alone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let bound = Listeners::bind(
            Path::new("/"),
            &["127.0.0.1:0".parse().unwrap()],
            None,
            watch::channel(EngineNetworks::default()).1,
        );
        let listeners = bound.unwrap();
        let at = listeners.addresses()[0];
        let router = Router::new().route("/ping", get(async || "OK"));
        tokio::select! {
            () = serve(router, listeners, std::future::pending()) => (),
            () = bursts(at) => (),
        }
    });
}

async fn bursts(at: SocketAddr) {
    // What the server and the runtime allocate once, they allocate now.
    drop(burst(at).await);
    sleep(SETTLING).await;
    let before = HEAP.current_usage();
    HEAP.reset_peak_usage();
    let open = burst(at).await;
    let (held, most) = (HEAP.current_usage().saturating_sub(before), HEAP.peak_usage().saturating_sub(before));
    let count = open.len();
    drop(open);
    sleep(SETTLING).await;
    let kept = HEAP.current_usage().saturating_sub(before);
    eprintln!(
        "figure: after a burst on {count} connections: {} bytes held for each, {most} at most, {kept} once closed",
        held / count
    );
    // The test's own end of each is included. The buffers of an `http1::Connection` alone are 16 KiB.
    hold("heap_of_an_idle_connection", (held / count) as u64);
    hold("heap_kept_after_a_burst", kept as u64);
    let allowed = count as u64 * limit("heap_of_an_idle_connection") + limit("heap_of_a_request");
    assert!(most as u64 <= allowed, "{most} bytes, more than {allowed}");
}

/// Opens all connections, and sends a request on each before any answer is read. Gives them once they are idle.
async fn burst(at: SocketAddr) -> Vec<TcpStream> {
    let mut open = Vec::new();
    for n in 0..CONNECTIONS {
        let from = TcpSocket::new_v4().unwrap();
        from.bind(SocketAddr::from(([127, 0, 0, 2 + n % ADDRESSES], 0))).unwrap();
        open.push(from.connect(at).await.unwrap());
    }
    for stream in &mut open {
        stream.write_all(REQUEST).await.unwrap();
    }
    for stream in &mut open {
        let mut answer = Vec::new();
        while !answer.ends_with(b"OK") {
            assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0, "{answer:?}");
        }
    }
    open
}
