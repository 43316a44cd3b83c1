//! The page, as a browser gets it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use boardkeeper::api::{RouteAccess, routes};
use serde_json::json;
use tokio::time::advance;

use crate::access::ON_DEVICE;
use crate::budget::hold;
use crate::test_device::{Received, Response, TestDevice, bare_request, request};

async fn get(path: &str, headers: &[(&str, &str)]) -> Response {
    let asking = headers.iter().fold(request("GET", path), |it, (name, value)| it.header(*name, *value));
    TestDevice::new().call(asking.body(Body::empty()).unwrap()).await
}

/// The paths of the page and of its files.
fn paths() -> Vec<String> {
    let dir = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/web")).unwrap();
    let names = dir.map(|it| it.unwrap().file_name().into_string().unwrap()).filter(|it| it != "index.html");
    ["/".to_owned()].into_iter().chain(names.map(|it| format!("/web/{it}"))).collect()
}

#[tokio::test]
async fn every_file_is_served_without_a_key_and_with_a_strict_policy() {
    for path in paths() {
        let got = get(&path, &[]).await;
        assert_eq!(got.status, StatusCode::OK, "{path}");
        let header = |name: &str| got.headers[name].to_str().unwrap().to_owned();
        if path == "/" {
            let policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; \
             form-action 'none'; frame-ancestors 'none'";
            assert_eq!(header("content-security-policy"), policy);
        }
        assert_eq!((header("x-content-type-options"), header("referrer-policy")), ("nosniff".into(), "no-referrer".into()));
        assert_eq!(header("cache-control"), "no-cache");
        let kind = match path.rsplit('.').next().unwrap() {
            "css" => "text/css; charset=utf-8",
            "js" => "text/javascript; charset=utf-8",
            "json" => "application/json; charset=utf-8",
            "svg" => "image/svg+xml; charset=utf-8",
            _ => "text/html; charset=utf-8",
        };
        assert_eq!(got.kind(), kind, "{path}");
    }
}

#[tokio::test]
async fn the_page_and_its_files_fit_the_budget() {
    let mut all = 0;
    for path in paths() {
        let got = get(&path, &[]).await;
        let head: usize = got.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
        all += got.body.len() + head;
    }
    hold("bytes_of_the_page", all as u64);
}

#[tokio::test]
async fn a_file_that_the_browser_has_is_not_sent_again() {
    for path in paths() {
        let tag = get(&path, &[]).await.headers["etag"].to_str().unwrap().to_owned();
        assert!(tag.len() == 18 && tag.starts_with('"') && tag.ends_with('"'), "{tag}");
        for known in [tag.clone(), format!("W/{tag}"), format!("\"a\", {tag}"), "*".to_owned()] {
            let got = get(&path, &[("If-None-Match", &known)]).await;
            assert_eq!((got.status, got.body.as_str()), (StatusCode::NOT_MODIFIED, ""), "{path} {known}");
            assert_eq!(got.headers["etag"], *tag);
            assert_eq!(got.headers.contains_key("content-security-policy"), path == "/");
        }
        for other in ["\"a\"", "", &tag[1..17]] {
            let got = get(&path, &[("If-None-Match", other)]).await;
            assert_eq!(got.status, StatusCode::OK, "{path} {other}");
        }
    }
}

#[tokio::test]
async fn a_link_on_a_page_of_another_site_opens_the_page() {
    for headers in [
        &[("Sec-Fetch-Site", "cross-site")][..],
        &[("Referer", "https://fleet.example/devices")],
        &[("Host", "kitchen.example")],
        &[("Authorization", "Bearer of_another_device_00")],
    ] {
        for local_mode in [false, true] {
            let mut device = TestDevice::new();
            device.say(|it| it.access.local_mode = local_mode);
            let asking = headers.iter().fold(bare_request("GET", "/"), |it, (name, value)| it.header(*name, *value));
            let asking = if headers[0].0 == "Host" { asking } else { asking.header("Host", "192.0.2.1") };
            let asking = asking.extension(ON_DEVICE).body(Body::empty()).unwrap();
            assert_eq!(device.call(asking).await.status, StatusCode::OK, "{headers:?} in local mode: {local_mode}");
        }
    }
}

const LINKS: &str = "/agent/v1/page-links";

/// Without a key.
async fn open_link(device: &mut TestDevice, token: &str) -> Response {
    device.call(request("POST", &format!("{LINKS}/{token}")).extension(ON_DEVICE).body(Body::empty()).unwrap()).await
}

/// Makes a link; its token.
async fn make_link(device: &mut TestDevice) -> String {
    let got = device.post(LINKS, "").await;
    assert_eq!((got.status, &got.json()["seconds"]), (StatusCode::OK, &json!(600)));
    got.json()["path"].as_str().unwrap().strip_prefix("/#link=").unwrap().to_owned()
}

#[tokio::test(start_paused = true)]
async fn a_link_gives_the_key_once() {
    let mut device = TestDevice::new();
    let token = make_link(&mut device).await;
    let got = open_link(&mut device, &token).await;
    assert_eq!((got.status, got.json()), (StatusCode::OK, json!({"key": "d".repeat(64)})));
    let got = open_link(&mut device, &token).await;
    assert_eq!(got.status, StatusCode::FORBIDDEN);
    assert!(got.message().contains("`boardkeeper page` prints a new one"), "{}", got.body);
    assert_eq!(
        device.asked,
        [Received::MakePageLink, Received::OpenPageLink],
        "the reconciler is not asked about other tokens"
    );
}

#[tokio::test(start_paused = true)]
async fn a_link_that_is_ten_minutes_old_gives_nothing() {
    let mut device = TestDevice::new();
    let token = make_link(&mut device).await;
    advance(Duration::from_secs(600)).await;
    assert_eq!(open_link(&mut device, &token).await.status, StatusCode::FORBIDDEN);
}

#[tokio::test(start_paused = true)]
async fn guessed_tokens_are_delayed_like_wrong_keys() {
    let mut device = TestDevice::new();
    let token = make_link(&mut device).await;
    let mut delays = Vec::new();
    for n in 0..11 {
        delays.push(open_link(&mut device, &format!("{n:032}")).await.held_back.as_millis());
    }
    assert_eq!(delays, [0, 0, 0, 0, 0, 0, 0, 0, 125, 250, 500]);
    let right = open_link(&mut device, &token).await;
    assert_eq!((right.status, right.held_back), (StatusCode::OK, Duration::ZERO), "the right one is not");
}

#[tokio::test]
async fn a_page_of_another_site_opens_no_link() {
    let mut device = TestDevice::new();
    let token = make_link(&mut device).await;
    let foreign = request("POST", &format!("{LINKS}/{token}")).header("Origin", "http://evil.example");
    assert_eq!(device.call(foreign.body(Body::empty()).unwrap()).await.status, StatusCode::FORBIDDEN);
    assert_eq!(open_link(&mut device, &token).await.status, StatusCode::OK);
}

#[tokio::test]
async fn other_names_are_no_files() {
    for path in ["/web/", "/web/index.html", "/web/..%2fopenapi.json", "/web/APP.js", "/web/app.js/x"] {
        let got = get(path, &[]).await;
        assert!([404, 401].contains(&got.status.as_u16()), "{path}: {}", got.status);
    }
    assert_eq!(routes().iter().filter(|it| it.access == RouteAccess::Page).count(), 2);
}

#[tokio::test]
async fn the_page_loads_nothing_from_elsewhere() {
    for path in paths() {
        let got = get(&path, &[]).await;
        let urls = got.body.split("://").skip(1).map(|it| it.split(['"', '/', ' ']).next().unwrap());
        let foreign: Vec<_> = urls.filter(|it| *it != "www.w3.org").collect();
        assert!(foreign.is_empty(), "{path}: {foreign:?}");
    }
}

#[tokio::test]
async fn every_text_that_a_view_names_is_in_the_file_of_texts() {
    let texts = get("/web/texts.json", &[]).await.json();
    for path in paths().iter().filter(|it| it.split_once('.').is_some_and(|(_, kind)| kind == "js")) {
        let source = get(path, &[]).await.body;
        for named in source.split(" t(\"").chain(source.split("(t(\"")).filter_map(|it| it.split_once('"')).map(|(it, _)| it) {
            let is_key = named.chars().all(|it| it.is_ascii_lowercase() || "._".contains(it));
            assert!(!is_key || texts.get(named).is_some(), "{path}: there is no text `{named}`");
        }
    }
}
