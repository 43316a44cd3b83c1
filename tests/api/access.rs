//! Authentication and authorisation: which callers are admitted, and to which endpoints.

use std::net::{IpAddr, Ipv4Addr};

use axum::body::Body;
use axum::http::{Request, StatusCode};
use boardkeeper::api::{self, Route, RouteAccess};
use boardkeeper::state::{Caller, ClientAddress};

use crate::test_device::{ONE, Received, Response, TWO, TestDevice, WIDE, request};

pub(crate) const ON_DEVICE: ClientAddress = ClientAddress { addr: IpAddr::V4(Ipv4Addr::LOCALHOST), local: true };

/// The status a route answers to each kind of caller, for a request about the app of one service. A route that is not here only
/// reads the device, and answers any key of it.
const MATRIX: &[(&str, [u16; 5])] = &[
    // no key, a foreign key, the device's, that app's own service, another app's service of one container
    ("GET /v1/healthy", [200, 200, 200, 200, 200]),
    ("GET /", [200, 200, 200, 200, 200]),
    ("GET /web/{file}", [404, 404, 404, 404, 404]),
    ("POST /v1/regenerate-api-key", [401, 401, 200, 200, 200]),
    ("POST /v1/blink", [401, 401, 200, 401, 200]),
    ("POST /agent/v1/leds/{name}/pattern", [401, 401, 400, 401, 400]),
    ("DELETE /agent/v1/leds/{name}/pattern", [401, 401, 204, 401, 204]),
    ("GET /agent/v1/lines", [401, 401, 200, 401, 401]),
    ("POST /agent/v1/lines/{name}/pattern", [401, 401, 400, 401, 401]),
    ("DELETE /agent/v1/lines/{name}/pattern", [401, 401, 204, 401, 401]),
    ("POST /v2/local/target-state", [401, 401, 400, 401, 401]),
    ("POST /agent/v1/local-mode", [401, 401, 200, 401, 401]),
    ("DELETE /agent/v1/local-mode", [401, 401, 200, 401, 401]),
    // Without a document and a time.
    ("POST /agent/v1/target-trial", [401, 401, 400, 401, 401]),
    ("POST /agent/v1/target-trial/keep", [401, 401, 200, 401, 401]),
    ("DELETE /agent/v1/target-trial", [401, 401, 204, 401, 401]),
    ("POST /agent/v1/page-links", [401, 401, 200, 401, 401]),
    ("POST /agent/v1/page-links/{token}", [403, 403, 403, 403, 403]),
    ("POST /v1/update", [401, 401, 204, 401, 204]),
    ("PATCH /v1/device/host-config", [401, 401, 400, 401, 400]),
    ("POST /v1/tcp-ping", [401, 401, 204, 401, 204]),
    ("DELETE /v1/tcp-ping", [401, 401, 204, 401, 204]),
    ("POST /v1/reboot", [401, 401, 202, 401, 202]),
    ("POST /v1/shutdown", [401, 401, 202, 401, 202]),
    ("GET /v1/apps/{appId}", [401, 401, 200, 200, 401]),
    ("POST /v1/apps/{appId}/stop", [401, 401, 200, 200, 401]),
    ("POST /v1/apps/{appId}/start", [401, 401, 200, 200, 401]),
    ("POST /agent/v1/apps/{appId}/lock", [401, 401, 400, 400, 401]),
    ("DELETE /agent/v1/apps/{appId}/lock", [401, 401, 400, 400, 401]),
    ("POST /v1/restart", [401, 401, 200, 200, 401]),
    ("POST /v1/purge", [401, 401, 200, 200, 401]),
    ("POST /v2/journal-logs", [401, 401, 200, 401, 200]),
    ("PATCH /v2/device/tags", [401, 401, 400, 400, 400]),
    ("GET /v2/local/logs", [401, 401, 200, 200, 200]),
    ("GET /v2/cleanup-volumes", [401, 401, 200, 200, 200]),
    ("POST /v2/applications/{appId}/restart", [401, 401, 200, 200, 401]),
    ("POST /v2/applications/{appId}/purge", [401, 401, 200, 200, 401]),
    ("GET /v2/applications/{appId}/state", [401, 401, 409, 409, 409]),
    ("POST /v2/applications/{appId}/restart-service", [401, 401, 200, 200, 401]),
    ("POST /v2/applications/{appId}/stop-service", [401, 401, 200, 200, 401]),
    ("POST /v2/applications/{appId}/start-service", [401, 401, 200, 200, 401]),
];
const READS: [u16; 5] = [401, 401, 200, 200, 200];

fn expected(route: &Route) -> [u16; 5] {
    let name = format!("{} {}", route.method, route.path);
    if let Some((_, statuses)) = MATRIX.iter().find(|(it, _)| *it == name) {
        return *statuses;
    }
    let reads = route.method == "GET" && route.access == RouteAccess::AnyKey;
    assert!(reads, "{name}: which callers may use it is said in MATRIX");
    READS
}

#[tokio::test]
async fn every_route_answers_each_caller_as_it_should() {
    for route in api::routes() {
        for (index, expected) in expected(route).iter().enumerate() {
            // A device of its own, for the old key opens nothing once it is renewed.
            let mut device = TestDevice::new();
            let key = [
                None,
                Some("f".repeat(64)),
                Some(device.keys.device.reveal().to_owned()),
                Some(device.key(ONE, "main")),
                Some(device.key(WIDE, "main")),
            ][index]
                .clone();
            let path = route.path.replace("{appId}", "2167");
            for in_query in [true, false] {
                let got = device.call(asking(route.method.as_str(), &path, key.as_deref(), in_query)).await;
                assert_eq!(got.status.as_u16(), *expected, "{} {path}, caller {index}", route.method);
                if route.path == "/v1/regenerate-api-key" {
                    break;
                }
            }
        }
    }
}

fn asking(method: &str, path: &str, key: Option<&str>, in_query: bool) -> Request<Body> {
    let query = key.filter(|_| in_query).map(|it| format!("?apikey={it}")).unwrap_or_default();
    let mut request = request(method, &format!("{path}{query}")).header("Content-Type", "application/json");
    if let Some(key) = key.filter(|_| !in_query) {
        request = request.header("Authorization", format!("Bearer {key}"));
    }
    request.body(Body::from(r#"{"appId":2167,"serviceName":"main"}"#)).unwrap()
}

#[tokio::test]
async fn refusals_have_the_bodies_their_clients_know() {
    let mut device = TestDevice::new();
    let key = device.key(ONE, "main");
    let text = |got: &Response| (got.status.as_u16(), got.kind().to_owned(), got.body.clone());
    let unauthorized = (401, "text/html; charset=utf-8".to_owned(), "Unauthorized".to_owned());
    assert_eq!(text(&device.post_with(&key, "/v1/apps/3134/stop", "").await), unauthorized);
    assert_eq!(text(&device.post_with(&key, "/v1/apps/3134/start", "").await), unauthorized);
    assert_eq!(device.post_with(&key, "/v1/restart", "{\"appId\":3134}").await.message(), "Unauthorized");
    assert_eq!(device.post_with(&key, "/v1/purge", "{\"appId\":3134}").await.message(), "Unauthorized");
    assert_eq!(device.post_with(&key, "/v1/update", "").await.message(), "Unauthorized");
    let got = device.call(asking("GET", "/v1/apps/3134", Some(&key), true)).await;
    assert_eq!((got.status.as_u16(), got.message().as_str()), (401, "Application is not available"));
    let keyless = device.call(asking("GET", "/ping", None, true)).await;
    assert_eq!((keyless.body.as_str(), keyless.kind()), ("Unauthorized", "text/plain; charset=utf-8"));
    assert_eq!(device.asked, []);
}

#[tokio::test]
async fn every_spelling_of_a_key_is_understood() {
    let mut device = TestDevice::new();
    let key = "d".repeat(64);
    let escaped = "%64".repeat(64);
    for scheme in ["ApiKey", "apikey", "APIKEY", "Bearer", "bearer", "BEARER"] {
        let request = request("GET", "/ping").header("Authorization", format!("{scheme} {key}"));
        assert_eq!(device.call(request.body(Body::empty()).unwrap()).await.status, StatusCode::OK, "{scheme}");
    }
    // RFC 9110 has any number of blanks between the two.
    for header in
        [format!("ApiKey  {key}"), format!("Bearer \t {key}"), format!("  ApiKey\t{key} "), format!("bearer    {key}\t")]
    {
        let request = request("GET", "/ping").header("Authorization", &header);
        assert_eq!(device.call(request.body(Body::empty()).unwrap()).await.status, StatusCode::OK, "{header:?}");
    }
    for (query, status) in [
        (format!("apikey={key}"), 200),
        (format!("a=b&apikey={key}&c=d"), 200),
        (format!("apikey={escaped}"), 200),
        (format!("apikey=wrong&apikey={key}"), 200),
        (format!("apikey={key}&apikey="), 200),
        (format!("apikey={key}x"), 401),
        (format!("apikey[x]={key}"), 401),
        (format!("APIKEY={key}"), 401),
        ("apikey=".to_owned(), 401),
        ("apikey".to_owned(), 401),
        ("apikey[x]=1&apikey[]=2".to_owned(), 401),
    ] {
        let request = request("GET", &format!("/ping?{query}"));
        assert_eq!(device.call(request.body(Body::empty()).unwrap()).await.status.as_u16(), status, "{query}");
    }
    for header in ["", "Bearer", "Bearer ", "Basic ", "Basic dXNlcjpwYXNz", &key] {
        let request = request("GET", "/ping").header("Authorization", header);
        assert_eq!(device.call(request.body(Body::empty()).unwrap()).await.status, StatusCode::UNAUTHORIZED, "{header}");
    }
}

#[tokio::test]
async fn one_good_key_is_enough_and_the_widest_counts() {
    let mut device = TestDevice::new();
    let (device_key, narrow) = ("d".repeat(64), device.key(TWO, "web"));
    for (query, header, status) in [
        ("wrong", device_key.as_str(), 204),
        (&device_key, "foreign", 204),
        (&narrow, &device_key, 204),
        (&device_key, &narrow, 204),
        (&narrow, "foreign", 401),
    ] {
        let request =
            request("POST", &format!("/v1/update?apikey={query}")).header("Authorization", format!("Bearer {header}"));
        assert_eq!(device.call(request.body(Body::empty()).unwrap()).await.status.as_u16(), status);
    }
}

/// The ninth was passed over silently, right or not.
#[tokio::test]
async fn a_request_with_nine_keys_is_refused_with_the_reason() {
    let mut device = TestDevice::new();
    let key = "d".repeat(64);
    for (wrong, right, status) in [(7, 1, 200), (8, 0, 401), (8, 1, 400), (0, 9, 400), (400, 1, 400)] {
        let query = ["apikey=x&".repeat(wrong), format!("apikey={key}&").repeat(right)].concat();
        let got = device.call(request("GET", &format!("/ping?{query}")).body(Body::empty()).unwrap()).await;
        assert_eq!(got.status.as_u16(), status, "{wrong} {right}");
        if status == 400 {
            assert!(got.message().contains("more than 8 keys"), "{}", got.body);
        }
    }
    let mut headers = request("GET", "/ping");
    for _ in 0..8 {
        headers = headers.header("Authorization", "Bearer x");
    }
    let got = device.call(headers.header("Authorization", format!("ApiKey {key}")).body(Body::empty()).unwrap()).await;
    assert_eq!(got.status.as_u16(), 400);
}

#[tokio::test]
async fn what_does_not_exist_is_a_secret() {
    let mut device = TestDevice::new();
    for (method, path) in
        [("POST", "/"), ("GET", "/v3/x"), ("GET", "/v1/update"), ("POST", "/v1/healthy"), ("OPTIONS", "/ping")]
    {
        let got = device.call(request(method, path).body(Body::empty()).unwrap()).await;
        assert_eq!(got.status, StatusCode::UNAUTHORIZED, "{method} {path}");
    }
}

#[tokio::test]
async fn local_mode_admits_callers_on_the_device_only() {
    let mut device = TestDevice::new();
    for (mode, peer, status) in [
        (false, Some(ON_DEVICE), 401),
        (true, None, 401),
        (true, Some(ClientAddress { local: false, ..ON_DEVICE }), 401),
        (true, Some(ON_DEVICE), 204),
    ] {
        device.say(|it| it.access.local_mode = mode);
        let mut request = request("POST", "/v1/update").header("Authorization", "Bearer foreign");
        if let Some(peer) = peer {
            request = request.extension(peer);
        }
        assert_eq!(device.call(request.body(Body::empty()).unwrap()).await.status.as_u16(), status, "{mode} {peer:?}");
    }
    assert_eq!(device.asked.len(), 1);
}

/// A client guesses keys, beside programs with a right key and beside others with none, all on one address.
#[tokio::test(start_paused = true)]
async fn wrong_keys_are_answered_ever_later_and_right_ones_at_once() {
    let mut device = TestDevice::new();
    let peer = |last| ClientAddress { addr: IpAddr::V4(Ipv4Addr::new(172, 17, 0, last)), local: true };
    let mut waits = Vec::new();
    for n in 0..20 {
        let asking = |key: &str, path: &str| request("GET", path).header("Authorization", format!("Bearer {key}"));
        let wrong = asking(&format!("{n:064}"), "/ping").extension(peer(2));
        let got = device.call(wrong.body(Body::empty()).unwrap()).await;
        assert_eq!((got.status.as_u16(), got.body.as_str()), (401, "Unauthorized"));
        waits.push(got.held_back.as_millis());
        for (asking, status) in [
            (asking(&"d".repeat(64), "/ping"), 200),
            (asking(&device.key(ONE, "main"), "/v1/device"), 200),
            // A key that is known is no guess, and health needs no key.
            (asking(&device.key(ONE, "main"), "/v1/apps/3134"), 401),
            (asking("wrong", "/v1/healthy"), 200),
            (request("GET", "/ping"), 401),
        ] {
            let got = device.call(asking.extension(peer(2)).body(Body::empty()).unwrap()).await;
            assert_eq!((got.status.as_u16(), got.held_back.as_millis()), (status, 0), "after {n}");
        }
    }
    assert_eq!(waits[..8], [0; 8]);
    assert_eq!(waits[8..], [125, 250, 500, 1000, 2000, 4000, 4000, 4000, 4000, 4000, 4000, 4000]);
    let other = request("GET", "/ping?apikey=wrong").extension(peer(3)).body(Body::empty()).unwrap();
    assert_eq!(device.call(other).await.held_back.as_millis(), 0);
}

#[tokio::test]
async fn who_has_no_key_can_not_make_it_anew() {
    let mut device = TestDevice::new();
    device.say(|it| it.access.local_mode = true);
    let request = request("POST", "/v1/regenerate-api-key").extension(ON_DEVICE).body(Body::empty()).unwrap();
    let got = device.call(request).await;
    assert_eq!((got.status.as_u16(), got.message().as_str()), (503, "the key is not one of this device's"));
    assert_eq!(device.asked, [Received::RenewKey(Caller::Local)]);
}
