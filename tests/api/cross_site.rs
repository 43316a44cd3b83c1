//! Web pages of other sites, open in a browser near the device, and programs on it, in local mode, where no key is needed.

use std::net::IpAddr;

use axum::body::Body;
use axum::http::request::Builder;
use axum::http::{StatusCode, Version};
use boardkeeper::api::{self, RouteAccess};
use boardkeeper::state::device::ServedConnection;
use boardkeeper::state::{ClientAddress, Force};

use crate::test_device::{ONE, Received, Response, TestDevice, bare_request, request};

const EVIL: &str = "http://evil.example";
const CONTAINER: &str = "172.17.0.2";

fn device() -> TestDevice {
    let device = TestDevice::new();
    device.say(|it| {
        it.access.local_mode = true;
        it.metrics.hostnames = vec!["Kitchen".to_owned(), "pantry.example.org".to_owned()];
    });
    device
}

/// From a caller that local mode admits, to an address of the device.
fn local(request: Builder) -> Builder {
    let peer = ClientAddress { addr: CONTAINER.parse().unwrap(), local: true };
    request
        .extension(peer)
        .extension(ServedConnection { reached: Some(IpAddr::from([172, 17, 0, 1])), ..ServedConnection::default() })
}

async fn ask(device: &mut TestDevice, request: Builder) -> Response {
    device.call(request.body(Body::from("appId=2167&force=on")).unwrap()).await
}

#[tokio::test]
async fn a_web_page_of_another_site_is_refused_on_every_route() {
    for route in api::routes().iter().filter(|it| it.access != RouteAccess::Page) {
        let path = route.path.replace("{appId}", "2167");
        for (name, value) in [
            ("Origin", EVIL),
            ("Origin", "null"),
            ("Referer", "http://evil.example/page"),
            ("Sec-Fetch-Site", "cross-site"),
            ("Host", "evil.example:48484"),
        ] {
            for kind in ["application/json", "application/x-www-form-urlencoded", "text/plain"] {
                let mut device = device();
                let asking = bare_request(route.method.as_str(), &path).header(name, value).header("Content-Type", kind);
                let asking = if name == "Host" { asking } else { asking.header("Host", "127.0.0.1") };
                let got = ask(&mut device, local(asking)).await;
                assert_eq!(got.status, StatusCode::FORBIDDEN, "{} {path} with {name}: {value}: {}", route.method, got.body);
                assert!(got.message().contains("without a key"), "{}", got.body);
                assert!(!got.headers.contains_key("access-control-allow-origin"));
                assert!(device.asked.is_empty() && device.held.is_empty());
            }
        }
    }
}

#[tokio::test]
async fn a_form_of_another_site_does_not_purge_an_app() {
    let mut device = device();
    let form = |asking: Builder| local(asking.header("Content-Type", "application/x-www-form-urlencoded"));
    let got = ask(&mut device, form(request("POST", "/v1/purge").header("Origin", EVIL))).await;
    assert_eq!((got.status.as_u16(), device.asked.len()), (403, 0), "{}", got.body);
    // A program sends the same without an `Origin`.
    assert_eq!(ask(&mut device, form(request("POST", "/v1/purge"))).await.status.as_u16(), 200);
    assert_eq!(device.asked, [Received::Purge(ONE, Force::Yes)]);
}

#[tokio::test]
async fn a_page_whose_name_was_made_to_resolve_to_the_device_reads_nothing() {
    let mut device = device();
    for host in [
        "evil.example",
        "evil.example:48484",
        "203.0.113.5",
        "0.0.0.0:48484",
        "[2001:db8::1]",
        "kitchen.evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "evil@127.0.0.1",
        "kitchen.local.evil",
        "org",
        "",
    ] {
        let got = ask(&mut device, local(bare_request("GET", "/v1/apps/2167").header("Host", host))).await;
        assert_eq!(got.status.as_u16(), 403, "{host}: {}", got.body);
    }
    // A proxy's form of the request names a host of its own.
    let got = ask(&mut device, local(request("GET", "http://evil.example/v1/apps/2167"))).await;
    assert_eq!(got.status.as_u16(), 403);
    assert_eq!(ask(&mut device, local(request("GET", "http://127.0.0.1/v1/apps/2167"))).await.status.as_u16(), 200);
}

#[tokio::test]
async fn programs_on_the_device_name_it_as_they_like() {
    let mut device = device();
    for host in [
        "127.0.0.1:48484",
        "127.0.0.2",
        "[::1]:48484",
        "localhost",
        "LocalHost:48484",
        "kitchen:48484",
        "KITCHEN.local",
        "kitchen.local.:48484",
        "pantry.example.org",
        "pantry",
        "pantry.local",
        // The address in services' environment, the names of the device, and the bridge that got the request.
        "10.114.104.1:48484",
        "192.168.0.114:48484",
        "10.42.0.3",
        "172.17.0.1:48484",
        "host.docker.internal:48484",
    ] {
        for path in ["/v1/apps/2167", "/v1/healthy"] {
            let got = ask(&mut device, local(bare_request("GET", path).header("Host", host))).await;
            assert_eq!(got.status.as_u16(), 200, "{host} {path}: {}", got.body);
        }
    }
}

#[tokio::test]
async fn a_page_of_the_device_itself_is_let_in() {
    let mut device = device();
    for (host, origin, status) in [
        ("192.168.0.114:48484", "http://192.168.0.114:48484", 200),
        ("192.168.0.114:48484", "http://192.168.0.114", 200),
        ("kitchen.local:48484", "http://kitchen.local:8080", 200),
        ("localhost:48484", "http://localhost:3000", 200),
        ("192.168.0.114:48484", "http://192.168.0.115", 403),
        // That is the machine of the browser, which is not this device.
        ("192.168.0.114:48484", "http://localhost:3000", 403),
        ("192.168.0.114:48484", "file://", 403),
        ("192.168.0.114:48484", "https://kitchen.local.evil.example", 403),
        ("192.168.0.114:48484", "", 403),
    ] {
        let asking = bare_request("POST", "/v1/update").header("Host", host).header("Origin", origin);
        let got = ask(&mut device, local(asking.header("Sec-Fetch-Site", "same-site"))).await;
        assert_eq!(got.status.as_u16(), if status == 200 { 204 } else { status }, "{origin} to {host}: {}", got.body);
    }
    // One of two is enough to be another site's.
    let two = request("GET", "/ping").header("Origin", "http://127.0.0.1").header("Origin", EVIL);
    assert_eq!(ask(&mut device, local(two)).await.status.as_u16(), 403);
}

/// It sends a token of the cloud, and no `Origin`.
#[tokio::test]
async fn todays_command_line_goes_on_working_in_local_mode() {
    let mut device = device();
    let token = "eyJhbGciOiJIUzI1NiJ9.eyJpZCI6MX0.c2lnbmF0dXJl";
    for _ in 0..100 {
        let asking = bare_request("GET", "/v1/device").header("Host", "kitchen.local:48484");
        let got = ask(&mut device, local(asking.header("Authorization", format!("Bearer {token}")))).await;
        assert_eq!((got.status.as_u16(), got.held_back.as_millis()), (200, 0));
    }
}

#[tokio::test]
async fn a_valid_key_makes_the_site_irrelevant() {
    for local_mode in [true, false] {
        let mut device = device();
        device.say(|it| it.access.local_mode = local_mode);
        for key in ["d".repeat(64), device.key(ONE, "main")] {
            let asking = bare_request("GET", &format!("/v1/apps/2167?apikey={key}")).header("Host", "evil.example");
            let asking = asking.header("Origin", EVIL).header("Sec-Fetch-Site", "cross-site");
            assert_eq!(ask(&mut device, local(asking)).await.status.as_u16(), 200);
        }
        // It opens what it is for, and no more: local mode widens it for programs only.
        let key = device.key(ONE, "main");
        let update = || local(request("POST", &format!("/v1/update?apikey={key}")));
        assert_eq!(ask(&mut device, update().header("Origin", EVIL)).await.status.as_u16(), 401);
        assert_eq!(ask(&mut device, update()).await.status.as_u16(), if local_mode { 204 } else { 401 });
    }
}

#[tokio::test]
async fn health_checks_reach_the_device_under_any_name_and_pages_do_not() {
    let mut device = device();
    device.say(|it| it.access.local_mode = false);
    for local_mode in [false, true] {
        device.say(|it| it.access.local_mode = local_mode);
        // A monitor of the network knows the device by a name of its own.
        let named = bare_request("GET", "/v1/healthy").header("Host", "board-7.monitored.example");
        assert_eq!(ask(&mut device, named).await.status.as_u16(), 200);
        let page = request("GET", "/v1/healthy").header("Origin", EVIL);
        assert_eq!(ask(&mut device, page).await.status.as_u16(), 403);
    }
}

#[tokio::test]
async fn a_request_has_one_host() {
    let mut device = device();
    device.say(|it| it.access.local_mode = false);
    let key = "d".repeat(64);
    for path in ["/ping", "/v1/healthy", "/nowhere", "/v1/update"] {
        for path in [path.to_owned(), format!("{path}?apikey={key}")] {
            let none = ask(&mut device, bare_request("GET", &path)).await;
            assert_eq!((none.status.as_u16(), none.message().contains("no Host")), (400, true), "{path}");
            let two = ask(&mut device, request("GET", &path).header("Host", "127.0.0.1:48484")).await;
            assert_eq!((two.status.as_u16(), two.message().contains("several Host")), (400, true), "{path}");
        }
    }
    let old = bare_request("GET", &format!("/ping?apikey={key}")).version(Version::HTTP_10);
    assert_eq!(ask(&mut device, old).await.status.as_u16(), 200);
    device.say(|it| it.access.local_mode = true);
    let old = local(bare_request("GET", "/ping").version(Version::HTTP_10));
    assert_eq!(ask(&mut device, old).await.status.as_u16(), 200);
}
