//! The log names each caller and request, and never a key.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use axum::body::Body;
use boardkeeper::state::ClientAddress;
use tracing::Level;

use crate::lines;
use crate::test_device::{ONE, TestDevice, WIDE, request};

/// What is logged while callers read, act, are refused or have no key.
async fn logged() -> String {
    lines::keep(Level::DEBUG);
    let mut device = TestDevice::new();
    let (narrow, wide) = (device.key(ONE, "main"), device.key(WIDE, "main"));
    device.get("/v1/device").await;
    device.post("/v1/restart", "{\"appId\":2167}").await;
    device.post_with(&wide, "/v1/update", "").await;
    device.post_with(&narrow, "/v1/update", "").await;
    let peer = ClientAddress { addr: IpAddr::V4(Ipv4Addr::LOCALHOST), local: true };
    device.call(request("POST", "/v1/purge?apikey=not-a-key").extension(peer).body(Body::empty()).unwrap()).await;
    let new = device.post_with(&narrow, "/v1/regenerate-api-key", "").await.body;
    device.call(request("GET", "/ping").header("Authorization", "Bearer not-a-key").body(Body::empty()).unwrap()).await;
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
        "refused who=\"unauthenticated\" from=127.0.0.1 method=POST path=\"/v1/purge\" status=401",
        "answered who=\"service 2167/main\" method=POST path=\"/v1/regenerate-api-key\" status=200",
    ] {
        assert!(text.contains(&format!(" INFO boardkeeper::api::audit: {line}")), "{line} is not in {text}");
    }
}

#[tokio::test]
async fn reads_are_logged_for_those_who_look_closer() {
    let text = logged().await;
    let line = "DEBUG boardkeeper::api::audit: answered who=\"device key\" method=GET path=\"/v1/device\" status=200";
    assert!(text.contains(line), "{text}");
    let reads = text.lines().filter(|it| it.contains("method=GET") && !it.contains("refused"));
    assert!(reads.into_iter().all(|it| it.starts_with("DEBUG")), "{text}");
}

#[tokio::test]
async fn who_was_kept_from_reading_is_logged() {
    let text = logged().await;
    let line = " INFO boardkeeper::api::audit: refused who=\"unauthenticated\" method=GET path=\"/ping\" status=401";
    assert!(text.contains(line), "{text}");
    let mut device = TestDevice::new();
    let narrow = device.key(ONE, "main");
    device.call(request("GET", &format!("/v1/apps/3134?apikey={narrow}")).body(Body::empty()).unwrap()).await;
    let text = lines::taken();
    let line = " INFO boardkeeper::api::audit: refused who=\"service 2167/main\" method=GET path=\"/v1/apps/3134\" status=401";
    assert!(text.contains(line), "{text}");
}

/// A caller forgets the `?`, pastes a key of another device, or puts the key in place of the method.
#[tokio::test]
async fn a_key_in_a_path_is_not_logged() {
    lines::keep(Level::TRACE);
    let mut device = TestDevice::new();
    let (device_key, service) = ("d".repeat(64), device.key(ONE, "main"));
    let foreign = "0123456789abcdef".repeat(2);
    let person = "sesame_opens_it_all";
    for local_mode in [false, true] {
        device.say(|it| it.access.local_mode = local_mode);
        for key in [device_key.as_str(), &service, &foreign, person, &service.to_uppercase()] {
            let escaped = key.bytes().map(|it| format!("%{it:02X}")).collect::<Vec<_>>().concat();
            for path in [
                format!("/v1/restart/{key}"),
                format!("/{key}"),
                format!("/v1/restart&apikey={key}"),
                format!("/v1/apps/{key}/stop"),
                format!("/agent/v1/leds/{key}/pattern"),
                format!("/v1/{}{key}", "x/".repeat(40)),
                format!("/v1/restart/{escaped}"),
                format!("/v1/restart/{}", escaped.replace('%', "%25")),
                format!("/ping?apikey={key}&apikey={escaped}"),
                format!("http://{key}/ping"),
            ] {
                for (name, value) in [
                    ("Authorization", format!("Bearer {device_key}")),
                    ("Authorization", format!("Basic {key}")),
                    (key, key.to_owned()),
                ] {
                    for method in ["POST", "GET", key] {
                        let asking =
                            request(method, &path).header(name, value.as_str()).header("Content-Type", "application/json");
                        let peer = ClientAddress { addr: IpAddr::V4(Ipv4Addr::LOCALHOST), local: true };
                        let body = format!("{{\"appId\":\"{key}\", {key}}}");
                        device.call(asking.extension(peer).body(Body::from(body)).unwrap()).await;
                        let text = lines::taken();
                        let decoded = text.replace("%25", "%").to_lowercase();
                        for spelled in [key, &key[..20.min(key.len())], &escaped] {
                            assert!(!decoded.contains(&spelled.to_lowercase()), "{method} {path}: {text}");
                        }
                    }
                }
            }
        }
    }
}

/// Any client that reaches the port could fill the journal otherwise.
#[tokio::test(start_paused = true)]
async fn a_client_without_a_key_does_not_fill_the_log() {
    lines::taken();
    lines::keep(Level::DEBUG);
    let mut device = TestDevice::new();
    let wide = device.key(WIDE, "main");
    let told = |text: &str| text.lines().filter(|it| it.contains(" INFO ") && it.contains("who=\"unauthenticated\"")).count();
    for n in 0..100 {
        let asking = if n % 2 == 0 { ("POST", "/v1/reboot?apikey=not-a-key") } else { ("GET", "/v1/device") };
        device.call(request(asking.0, asking.1).body(Body::empty()).unwrap()).await;
    }
    let text = lines::taken();
    assert_eq!((told(&text), text.lines().count()), (10, 100), "{text}");
    // Requests with a key are logged all the same, and the next without one after a while.
    device.post_with(&wide, "/v1/update", "").await;
    tokio::time::sleep(Duration::from_secs(11 * 60)).await;
    device.call(request("POST", "/v1/reboot").body(Body::empty()).unwrap()).await;
    let text = lines::taken();
    assert!(text.contains(" INFO boardkeeper::api::audit: answered who=\"service 3134/main\""), "{text}");
    assert!(text.contains("requests without a known key were refused, and not logged one by one untold=90"), "{text}");
    assert_eq!(told(&text), 1, "{text}");
}
