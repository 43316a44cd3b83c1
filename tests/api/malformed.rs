//! Malformed requests, and paths as Express matches them.

use axum::body::Body;
use axum::http::StatusCode;
use axum::http::header::ALLOW;
use boardkeeper::state::Force;

use crate::test_device::{ONE, Received, Response, TestDevice, request};

async fn send(device: &mut TestDevice, kind: &str, body: impl Into<Body>) -> Response {
    let request = request("POST", "/v1/restart").header("Authorization", format!("ApiKey {}", "d".repeat(64)));
    device.call(request.header("Content-Type", kind).body(body.into()).unwrap()).await
}

#[tokio::test]
async fn a_body_that_is_not_json_is_refused_with_where_and_what() {
    let mut device = TestDevice::new();
    for (body, message) in [
        ("{\n  \"appId\": 2167,\n}", "the body is not JSON: trailing comma at line 3 column 1"),
        ("{\"appId\"", "the body is not JSON: EOF while parsing an object at line 1 column 8"),
        ("nonsense", "the body is not JSON: expected ident at line 1 column 2"),
        ("{} {}", "the body is not JSON: trailing characters at line 1 column 4"),
        ("2167", "the body must be a JSON object, and is a number at line 1 column 1"),
        ("\"2167\"", "the body must be a JSON object, and is a string at line 1 column 1"),
        ("true", "the body must be a JSON object, and is a boolean at line 1 column 1"),
        ("null", "the body must be a JSON object, and is null at line 1 column 1"),
    ] {
        let got = send(&mut device, "application/json", body).await;
        assert_eq!((got.status.as_u16(), got.message().as_str()), (400, message), "{body}");
    }
    let deep = send(&mut device, "application/json", "[".repeat(100_000)).await;
    assert!(deep.message().starts_with("the body is not JSON: recursion limit exceeded at line 1"), "{}", deep.body);
    let binary = send(&mut device, "application/json", vec![b'{', 0xff, b'}']).await;
    assert_eq!(binary.status, StatusCode::BAD_REQUEST);
    assert_eq!(device.asked, []);
}

#[tokio::test]
async fn a_body_is_read_by_its_type() {
    let mut device = TestDevice::new();
    for (kind, body) in [
        ("application/json", "{\"appId\":2167,\"force\":1}"),
        ("Application/JSON; charset=utf-8", "{\"appId\":\"2167.00\",\"force\":\"on\"}"),
        ("application/x-www-form-urlencoded", "appId=2167&force=true"),
        ("application/x-www-form-urlencoded;charset=UTF-8", "appId=%32167&force=TRUE&x"),
    ] {
        assert_eq!(send(&mut device, kind, body).await.status, StatusCode::OK, "{kind}");
        assert_eq!(device.asked.pop(), Some(Received::Restart(ONE, Force::Yes)), "{kind}");
    }
    for kind in ["text/plain", "application/jsonp", "application/vnd.api+json", "multipart/form-data", "", "\u{1}"] {
        let request = request("POST", "/v1/restart").header("Authorization", format!("ApiKey {}", "d".repeat(64)));
        let Ok(request) = request.header("Content-Type", kind).body(Body::from("{\"appId\":2167")) else { continue };
        assert_eq!(device.call(request).await.body, "Missing app id", "{kind}");
    }
}

#[tokio::test]
async fn a_body_has_an_end() {
    let mut device = TestDevice::new();
    let fits = format!("{{\"appId\":2167,\"x\":\"{}\"}}", "x".repeat(100 * 1024 - 21));
    assert_eq!(fits.len(), 100 * 1024);
    assert_eq!(send(&mut device, "application/json", fits.clone()).await.status, StatusCode::OK);
    let got = send(&mut device, "application/json", format!("{fits} ")).await;
    assert_eq!((got.status.as_u16(), got.message().as_str()), (413, "the body is longer than 100 kB"));
    let got = send(&mut device, "application/x-www-form-urlencoded", "x".repeat(1_000_000)).await;
    assert_eq!(got.status.as_u16(), 413);
}

#[tokio::test]
async fn a_compressed_body_is_not_taken_for_something_else() {
    let mut device = TestDevice::new();
    for (encoding, status) in [("gzip", 415), ("identity", 200)] {
        let request = request("POST", "/v1/restart").header("Authorization", format!("ApiKey {}", "d".repeat(64)));
        let request = request.header("Content-Type", "application/json").header("Content-Encoding", encoding);
        let got = device.call(request.body(Body::from("{\"appId\":2167}")).unwrap()).await;
        assert_eq!(got.status.as_u16(), status, "{encoding}");
    }
}

#[tokio::test]
async fn unknown_paths_and_wrong_methods_say_so() {
    let mut device = TestDevice::new();
    for path in [
        "//",
        "/v1",
        "/v3/x",
        "/ping/ping",
        "//ping",
        "/ping//",
        "/v1/apps//stop",
        "/v1/apps/",
        "/v1/apps/1/2/3",
        "/v1/%64evice",
    ] {
        let got = device.get(path).await;
        assert_eq!(got.status, StatusCode::NOT_FOUND, "{path}");
        assert_eq!(got.message(), "there is no such path; GET /agent/v1/openapi.json lists all");
    }
    for (method, path, allow) in [
        ("POST", "/ping", "GET, HEAD"),
        ("GET", "/v1/update", "POST"),
        ("HEAD", "/v1/update", "POST"),
        ("PUT", "/v1/tcp-ping", "POST, DELETE"),
        ("OPTIONS", "/v2/device/tags", "GET, HEAD, PATCH"),
        ("BREW", "/v1/apps/1", "GET, HEAD"),
        ("DELETE", "/V1/HEALTHY/", "GET, HEAD"),
    ] {
        let request = request(method, path).header("Authorization", format!("ApiKey {}", "d".repeat(64)));
        let got = device.call(request.body(Body::empty()).unwrap()).await;
        assert_eq!((got.status.as_u16(), got.headers[ALLOW].to_str().unwrap()), (405, allow), "{method} {path}");
        if method != "HEAD" {
            assert_eq!(got.message(), format!("this path takes {allow} only"));
        }
    }
}

#[tokio::test]
async fn paths_are_taken_as_express_takes_them() {
    let mut device = TestDevice::new();
    for path in
        ["/PING", "/ping/", "/v1/Device", "/V1/DEVICE/", "/v1/Apps/2167/", "/v1/apps/%32%31%36%37", "/Agent/V1/OpenApi.json"]
    {
        assert_eq!(device.get(path).await.status, StatusCode::OK, "{path}");
    }
    assert_eq!(device.post("/v1/APPS/2167/Stop/", "").await.status, StatusCode::OK);
    assert_eq!(device.asked, [Received::Stop(ONE, Force::No)]);
}

#[tokio::test]
async fn head_is_get_without_its_body() {
    let mut device = TestDevice::new();
    for path in ["/ping", "/v1/device", "/agent/v1/state", "/v1/healthy"] {
        let request = request("HEAD", path).header("Authorization", format!("ApiKey {}", "d".repeat(64)));
        let got = device.call(request.body(Body::empty()).unwrap()).await;
        assert_eq!((got.status, got.body.as_str()), (StatusCode::OK, ""), "{path}");
        assert_ne!(got.kind(), "", "{path}");
    }
}
