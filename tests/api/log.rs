//! Who asked for what is in the log, and no key ever is.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use axum::body::Body;
use boardkeeper::state::Peer;
use tracing::Level;

use crate::house::{House, ONE, WIDE, request};
use crate::lines;

/// What is logged while somebody reads, acts, is refused and is a stranger.
async fn logged() -> String {
    lines::keep(Level::DEBUG);
    let mut house = House::new();
    let (narrow, wide) = (house.key(ONE, "main"), house.key(WIDE, "main"));
    house.get("/v1/device").await;
    house.post("/v1/restart", "{\"appId\":2167}").await;
    house.post_with(&wide, "/v1/update", "").await;
    house.post_with(&narrow, "/v1/update", "").await;
    let peer = Peer { addr: IpAddr::V4(Ipv4Addr::LOCALHOST), local: true };
    house.call(request("POST", "/v1/purge?apikey=not-a-key").extension(peer).body(Body::empty()).unwrap()).await;
    let new = house.post_with(&narrow, "/v1/regenerate-api-key", "").await.body;
    house.call(request("GET", "/ping").header("Authorization", "Bearer not-a-key").body(Body::empty()).unwrap()).await;
    let text = lines::taken();
    for key in ["d".repeat(64), narrow, wide, new, "not-a-key".to_owned(), "apikey".to_owned()] {
        assert!(!text.contains(&key), "{key} in {text}");
    }
    text
}

#[tokio::test]
async fn acts_are_logged_with_who_asked() {
    let text = logged().await;
    for line in [
        "asked who=\"device key\" method=POST path=\"/v1/restart\"",
        "answered who=\"device key\" method=POST path=\"/v1/restart\" status=200",
        "asked who=\"service 3134/main\" method=POST path=\"/v1/update\"",
        "refused who=\"service 2167/main\" method=POST path=\"/v1/update\" status=401",
        "refused who=\"nobody\" from=127.0.0.1 method=POST path=\"/v1/purge\" status=401",
        "answered who=\"service 2167/main\" method=POST path=\"/v1/regenerate-api-key\" status=200",
    ] {
        assert!(text.contains(&format!(" INFO boardkeeper::api::audit: {line}")), "{line} is not in {text}");
    }
}

#[tokio::test]
async fn reads_are_logged_for_those_who_look_closer() {
    let text = logged().await;
    for line in [
        "answered who=\"device key\" method=GET path=\"/v1/device\" status=200",
        "refused who=\"nobody\" method=GET path=\"/ping\" status=401",
    ] {
        assert!(text.contains(&format!("DEBUG boardkeeper::api::audit: {line}")), "{line} is not in {text}");
    }
    assert!(text.lines().filter(|it| it.contains("method=GET")).all(|it| it.starts_with("DEBUG")), "{text}");
}

/// Whoever reaches the port could fill the journal otherwise.
#[tokio::test(start_paused = true)]
async fn a_stranger_does_not_fill_the_log() {
    lines::taken();
    lines::keep(Level::DEBUG);
    let mut house = House::new();
    let wide = house.key(WIDE, "main");
    let told = |text: &str| text.lines().filter(|it| it.contains(" INFO ") && it.contains("who=\"nobody\"")).count();
    for _ in 0..100 {
        house.call(request("POST", "/v1/reboot?apikey=not-a-key").body(Body::empty()).unwrap()).await;
    }
    let text = lines::taken();
    assert_eq!((told(&text), text.lines().count()), (10, 100), "{text}");
    // Those with a key are told all the same, and the next stranger after a while.
    house.post_with(&wide, "/v1/update", "").await;
    tokio::time::sleep(Duration::from_secs(11 * 60)).await;
    house.call(request("POST", "/v1/reboot").body(Body::empty()).unwrap()).await;
    let text = lines::taken();
    assert!(text.contains(" INFO boardkeeper::api::audit: answered who=\"service 3134/main\""), "{text}");
    assert!(text.contains("acts of strangers were refused, and not told one by one untold=90"), "{text}");
    assert_eq!(told(&text), 1, "{text}");
}
