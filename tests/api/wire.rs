//! The API over a real connection, byte by byte.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::test_device::TestDevice;

/// What is answered to these bytes, up to the end of the connection.
async fn answer(bytes: &[u8]) -> String {
    let device = TestDevice::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let asks = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        // A connection may be reset after the answer, when we were still sending.
        let _ = timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await.unwrap();
        String::from_utf8(answer).unwrap()
    };
    tokio::select! {
        biased;
        answer = asks => answer,
        ended = axum::serve(listener, device.router()) => panic!("{ended:?}"),
    }
}

fn key() -> String {
    "d".repeat(64)
}

#[tokio::test]
async fn an_example_of_the_reference() {
    let request =
        format!("GET /ping?apikey={} HTTP/1.1\r\nHost: x\r\nContent-Type:application/json\r\nConnection: close\r\n\r\n", key());
    let got = answer(request.as_bytes()).await;
    let head =
        "HTTP/1.1 200 OK\r\ncontent-type: text/html; charset=utf-8\r\nx-content-type-options: nosniff\r\ncontent-length: 2\r\n";
    assert!(got.starts_with(head), "{got}");
    assert!(got.ends_with("\r\n\r\nOK"), "{got}");
}

#[tokio::test]
async fn head_tells_the_length_of_what_it_leaves_out() {
    let request = format!("HEAD /ping HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\r\n", key());
    let got = answer(request.as_bytes()).await;
    assert!(
        got.starts_with("HTTP/1.1 200 OK\r\n") && got.contains("content-length: 2\r\n") && got.ends_with("\r\n\r\n"),
        "{got}"
    );
}

#[tokio::test]
async fn a_body_that_announces_too_much_is_not_read() {
    let head = format!(
        "POST /v1/restart?apikey={} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n",
        key()
    );
    // The second does not fit into 32 bits: cut off to them, it is 1.
    for length in ["99999999", "4294967297"] {
        let got = answer(format!("{head}Content-Length: {length}\r\n\r\n{{").as_bytes()).await;
        assert!(got.starts_with("HTTP/1.1 413 Payload Too Large\r\n"), "{got}");
        assert!(got.ends_with("{\"status\":\"failed\",\"message\":\"the body is longer than 100 kB\"}"), "{got}");
    }
}

#[tokio::test]
async fn what_is_not_http_is_turned_away() {
    for bytes in [&b"\0\xff\r\n\r\n"[..], b"GET / HTTP/9.9\r\n\r\n", b"GET /\x01 HTTP/1.1\r\n\r\n"] {
        assert!(answer(bytes).await.starts_with("HTTP/1.1 400 Bad Request\r\n"));
    }
}
