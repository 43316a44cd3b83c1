//! Connections: kept, opened again, resumed, and what they cost.

use std::time::Duration;

use boardkeeper::linux::cloud::CloudClient;
use boardkeeper::port::{Cloud, TargetAnswer};
use boardkeeper::state::cloud::{ByteCount, DeviceReport, TrafficPurpose};
use tokio::time::{sleep, timeout};

use super::lab::{account, client};
use super::server::{CloudServer, Reply, Then, VALID};

const ETAG: &str = "W/\"7da-eiTuLxJXN6/72E68dlEoFeCJtQ8\"";

/// Bytes in both directions so far.
fn total(client: &CloudClient) -> u64 {
    client.traffic().0.values().map(|it| it.sent + it.received).sum()
}

fn unchanged() -> Reply {
    Reply::new("304 Not Modified", &format!("ETag: {ETAG}\r\n"), "")
}

#[tokio::test]
async fn one_connection_serves_everything_but_logs() {
    let server = CloudServer::tls(VALID, |_, _| unchanged());
    let (client, account) = (client(), account(&server.endpoint()));
    for _ in 0..3 {
        assert_eq!(client.target(&account, Some(ETAG)).await, Ok(TargetAnswer::NotModified));
        assert!(client.report(&account, &DeviceReport::default()).await.is_err());
        assert!(client.upload_logs(&account, &[]).await.is_err());
    }
    assert_eq!(server.connections().0, 2);
    let of = |path: &str| server.heard().into_iter().filter(|it| it.line.ends_with(path)).map(|it| it.connection).max();
    assert_ne!(of("/state"), of("/log-stream"));
}

#[tokio::test]
async fn logs_and_the_rest_do_not_wait_for_each_other() {
    let server = CloudServer::tls(VALID, |heard, _| {
        if heard.line.ends_with("log-stream") {
            std::thread::sleep(Duration::from_secs(3));
        }
        Reply::new("201 Created", "", "")
    });
    let (client, account) = (client(), account(&server.endpoint()));
    let logs = client.upload_logs(&account, &[]);
    let others = async {
        sleep(Duration::from_millis(300)).await;
        timeout(Duration::from_secs(2), client.report(&account, &DeviceReport::default())).await
    };
    let (logs, others) = futures_util::future::join(logs, others).await;
    assert_eq!((logs, others), (Ok(()), Ok(Ok(()))));
}

#[tokio::test]
async fn a_request_on_a_connection_that_was_closed_is_sent_again_once() {
    // The first answer says that the connection is kept, and then it is closed: before the second request, or by it.
    for wait in [Duration::from_millis(200), Duration::ZERO] {
        let server = CloudServer::tls(VALID, move |heard, before| match (heard.connection, before) {
            (1, 0) if !wait.is_zero() => Reply { then: Then::Close, ..unchanged() },
            (1, 1) => Reply::raw(""),
            _ => unchanged(),
        });
        let (client, account) = (client(), account(&server.endpoint()));
        assert!(client.target(&account, Some(ETAG)).await.is_ok());
        sleep(wait).await;
        assert_eq!(client.target(&account, Some(ETAG)).await, Ok(TargetAnswer::NotModified), "{wait:?}");
        assert_eq!(server.connections(), (2, 1), "{wait:?}");
    }
    let server = CloudServer::tls(VALID, |_, before| if before == 0 { unchanged() } else { Reply::raw("") });
    let (client, account) = (client(), account(&server.endpoint()));
    assert!(client.target(&account, Some(ETAG)).await.is_ok());
    assert!(client.target(&account, Some(ETAG)).await.is_err());
    assert_eq!(server.lines().len(), 3, "once again, and not for ever");
}

#[tokio::test]
async fn a_connection_is_not_used_for_longer_than_the_server_keeps_it() {
    let server = CloudServer::plain(|_, _| {
        let mut reply = unchanged();
        let text = String::from_utf8(reply.bytes).unwrap().replace("timeout=5", "timeout=1");
        reply.bytes = text.into_bytes();
        reply
    });
    let (client, account) = (client(), account(&server.endpoint()));
    for (wait, connections) in [(0, 1), (0, 1), (1100, 2)] {
        sleep(Duration::from_millis(wait)).await;
        assert!(client.target(&account, Some(ETAG)).await.is_ok());
        assert_eq!(server.connections().0, connections);
    }
}

#[tokio::test]
async fn a_call_that_is_broken_off_leaves_no_half_used_connection() {
    let server = CloudServer::tls(VALID, |_, before| {
        if before == 1 {
            std::thread::sleep(Duration::from_millis(500));
            return Reply::new("404 Not Found", "", "late");
        }
        unchanged()
    });
    let (client, account) = (client(), account(&server.endpoint()));
    assert!(client.target(&account, Some(ETAG)).await.is_ok());
    assert!(timeout(Duration::from_millis(100), client.target(&account, Some(ETAG))).await.is_err());
    assert_eq!(client.target(&account, Some(ETAG)).await, Ok(TargetAnswer::NotModified));
}

/// As many bytes as the server counts; and few.
#[tokio::test]
async fn a_poll_costs_few_bytes() {
    let server =
        CloudServer::tls(VALID, |_, before| Reply { then: if before == 0 { Then::Close } else { Then::Keep }, ..unchanged() });
    let (client, account) = (client(), account(&server.endpoint()));
    let mut costs = Vec::new();
    for _ in 0..3 {
        let before = total(&client);
        assert_eq!(client.target(&account, Some(ETAG)).await, Ok(TargetAnswer::NotModified));
        costs.push(total(&client) - before);
        // The server's last word on a connection.
        sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(server.connections(), (2, 1));
    eprintln!(
        "figure: a poll answered 304: {} bytes on a new connection, {} resumed, {} on an open one",
        costs[0], costs[1], costs[2]
    );
    assert!(costs[1] <= 1700 && costs[2] <= 520, "{costs:?}");
    let ByteCount { sent, received } = client.traffic().0[&TrafficPurpose::Poll];
    let (heard, said) = server.bytes();
    // The last word on a closed connection is 24 bytes, which the other side may not read any more.
    assert!(sent - heard <= 24 && said - received <= 24, "{sent} {received} {heard} {said}");
}

#[tokio::test]
async fn a_kept_connection_counts_for_the_request_in_flight() {
    let server = CloudServer::tls(VALID, |_, _| unchanged());
    let (client, account) = (client(), account(&server.endpoint()));
    let _ = client.report(&account, &DeviceReport::default()).await;
    let handshake = client.traffic().0[&TrafficPurpose::Report];
    let _ = client.target(&account, Some(ETAG)).await;
    let traffic = client.traffic();
    assert_eq!(traffic.0[&TrafficPurpose::Report], handshake);
    let poll = traffic.0[&TrafficPurpose::Poll];
    assert!(handshake.received > 700 && poll.received < 300 && poll.sent < 400, "{traffic:?}");
}
