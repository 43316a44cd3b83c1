//! A reconciler that is busy, slow or gone, and clients that disconnect early.

use std::time::Duration;

use axum::body::{Body, Bytes};
use boardkeeper::state::Force;
use boardkeeper::state::device::ServedConnection;
use futures_util::stream;
use tokio::time::{Instant, timeout};
use tower::ServiceExt;

use crate::test_device::{ONE, Received, TestDevice, request};

fn restart() -> axum::http::Request<Body> {
    let request = request("POST", &format!("/v1/restart?apikey={}", "d".repeat(64))).header("Content-Type", "application/json");
    request.body(Body::from("{\"appId\":2167}")).unwrap()
}

#[tokio::test(start_paused = true)]
async fn reads_do_not_wait_for_a_reconciler_that_is_stuck() {
    let mut device = TestDevice::new();
    let before = Instant::now();
    for path in ["/ping", "/v1/device", "/v1/apps/2167", "/agent/v1/state", "/agent/v1/board", "/v1/healthy"] {
        let request = request("GET", &format!("{path}?apikey={}", "d".repeat(64))).body(Body::empty()).unwrap();
        assert_eq!(device.router().oneshot(request).await.unwrap().status().as_u16(), 200, "{path}");
    }
    assert_eq!(before.elapsed(), Duration::ZERO);
    device.end();
    assert_eq!(device.get("/ping").await.status.as_u16(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_hangs_up_loses_nothing() {
    let mut device = TestDevice::new();
    assert!(timeout(Duration::from_secs(1), device.router().oneshot(restart())).await.is_err());
    assert_eq!(device.post("/v1/update", "").await.status.as_u16(), 204);
    assert_eq!(device.asked[0], Received::Restart(ONE, Force::No));
    assert_eq!(device.asked.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_full_inbox_is_said_after_five_seconds() {
    let mut device = TestDevice::new();
    for _ in 0..2 {
        assert!(timeout(Duration::from_secs(1), device.router().oneshot(restart())).await.is_err());
    }
    let before = Instant::now();
    let got = device.router().oneshot(restart()).await.unwrap();
    assert_eq!((got.status().as_u16(), before.elapsed()), (503, Duration::from_secs(5)));
    // What was taken is still done, and nothing else.
    assert_eq!(device.post("/v1/update", "").await.status.as_u16(), 204);
    assert_eq!(device.asked.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn what_takes_too_long_is_still_pursued() {
    let device = TestDevice::new();
    let before = Instant::now();
    let got = device.router().oneshot(restart()).await.unwrap();
    assert_eq!((got.status().as_u16(), before.elapsed()), (503, Duration::from_secs(900)));
}

#[tokio::test]
async fn an_agent_that_stops_says_so() {
    let mut device = TestDevice::new();
    device.hangs_up = true;
    for path in ["/v1/update", "/v1/regenerate-api-key", "/v1/apps/2167/stop", "/v1/apps/2167/start"] {
        let got = device.post(path, "").await;
        assert_eq!((got.status.as_u16(), got.message().as_str()), (503, "the agent is stopping"), "{path}");
    }
    device.end();
    let got = device.post("/v1/purge", "{\"appId\":2167}").await;
    assert_eq!((got.status.as_u16(), got.message().as_str()), (503, "the agent is stopping; nothing was begun"));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_arrive_is_not_waited_for() {
    let mut device = TestDevice::new();
    let never = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
    let broken = Body::from_stream(stream::iter([Ok(Bytes::from("{")), Err(std::io::Error::other("cut"))]));
    for (body, status) in [(never, 408), (broken, 400)] {
        let mut slow = restart();
        *slow.body_mut() = body;
        assert_eq!(device.call(slow).await.status.as_u16(), status);
    }
    assert_eq!(device.asked, []);
}

#[tokio::test(start_paused = true)]
async fn who_comes_before_the_keys_are_read_waits_for_them() {
    let mut device = TestDevice::new();
    device.say(|status| status.access = boardkeeper::state::Access::default());
    let request = request("GET", &format!("/ping?apikey={}", "d".repeat(64))).body(Body::empty()).unwrap();
    let early = device.router().oneshot(request);
    let late = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        device.publish_keys();
    };
    let (got, ()) = tokio::join!(early, late);
    assert_eq!(got.unwrap().status().as_u16(), 200);
}

#[tokio::test]
async fn many_that_wait_for_one_address_keep_out_neither_reads_nor_the_owner() {
    let mut device = TestDevice::new();
    let service = device.key(ONE, "main");
    let device_key = "d".repeat(64);
    for (key, method, path, beside, status) in [
        (&service, "POST", "/v1/regenerate-api-key", 15, 200),
        (&device_key, "POST", "/v1/update", 16, 204),
        (&device_key, "POST", "/v1/update", 31, 204),
        (&device_key, "POST", "/v1/update", 32, 429),
        (&device_key, "GET", "/v1/device/host-config", 32, 429),
        (&device_key, "GET", "/v1/device", 10_000, 200),
        (&device_key, "GET", "/ping", 10_000, 200),
    ] {
        let mut asking = request(method, &format!("{path}?apikey={key}")).body(Body::empty()).unwrap();
        asking.extensions_mut().insert(ServedConnection { concurrent_requests: beside, ..ServedConnection::default() });
        assert_eq!(device.call(asking).await.status.as_u16(), status, "{path} {beside}");
    }
    let service = device.key(ONE, "main");
    let mut asking = request("POST", &format!("/v1/regenerate-api-key?apikey={service}")).body(Body::empty()).unwrap();
    asking.extensions_mut().insert(ServedConnection { concurrent_requests: 16, ..ServedConnection::default() });
    let got = device.call(asking).await;
    assert!(got.status.as_u16() == 429 && got.message().contains("nothing was begun"), "{}", got.body);
}

#[tokio::test]
async fn a_url_has_an_end() {
    let mut device = TestDevice::new();
    let got = device.get(&format!("/ping?{}", "x".repeat(4090))).await;
    assert_eq!(got.status.as_u16(), 200);
    let asking = request("GET", &format!("/nowhere?{}", "x".repeat(4096))).body(Body::empty()).unwrap();
    let got = device.call(asking).await;
    assert_eq!((got.status.as_u16(), got.message().as_str()), (414, "the URL is longer than 4 kB"));
}
