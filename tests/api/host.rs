//! The host's name and proxy.

use axum::body::Body;
use boardkeeper::state::Force;
use boardkeeper::state::host::{Capacity, HostConfig, HostMetrics, HostPatch, Proxy, ProxyField, ProxyPatch};
use serde_json::json;
use std::time::Duration;
use tokio::time::{Instant, advance};

use crate::test_device::{ONE, Received, Response, TWO, TestDevice, WIDE, request};

const PATH: &str = "/v1/device/host-config";

async fn patch(device: &mut TestDevice, body: &str) -> Response {
    let key = device.keys.device.reveal().to_owned();
    let request = request("PATCH", &format!("{PATH}?apikey={key}")).header("Content-Type", "application/json");
    device.call(request.body(Body::from(body.to_owned())).unwrap()).await
}

fn proxy() -> Proxy {
    use ProxyField::{Ip, Login, Password, Port, Type};
    let fields = [(Type, "socks5"), (Ip, "example.org"), (Port, "1080"), (Login, "foo"), (Password, "bar")];
    let fields = fields.map(|(field, value)| (field, value.to_owned())).to_vec();
    Proxy { fields, dns: Some("1.1.1.1:54".to_owned()), no_proxy: vec!["balena.io".to_owned()] }
}

#[tokio::test]
async fn it_is_shown() {
    let mut device = TestDevice::new();
    device.host = HostConfig { hostname: "still-water".to_owned(), proxy: None };
    assert_eq!(device.get(PATH).await.json(), json!({"network": {"hostname": "still-water"}}));
    device.host.proxy = Some(proxy());
    let whole = json!({
        "type": "socks5", "ip": "example.org", "port": 1080, "login": "foo", "password": "bar", "dns": "1.1.1.1:54",
        "noProxy": ["balena.io"],
    });
    assert_eq!(device.get(PATH).await.json()["network"]["proxy"], whole);
}

#[tokio::test]
async fn credentials_are_for_those_who_may_change_them() {
    let mut device = TestDevice::new();
    device.host.proxy = Some(proxy());
    for (app, service, told) in [(WIDE, "main", true), (TWO, "web", false)] {
        let key = device.key(app, service);
        let got = device.call(request("GET", &format!("{PATH}?apikey={key}")).body(Body::empty()).unwrap()).await;
        assert_eq!(got.body.contains("password"), told, "{}", got.body);
    }
}

#[tokio::test]
async fn it_is_changed() {
    let mut device = TestDevice::new();
    let got = patch(&mut device, r#"{"network":{"hostname":"x","proxy":{"ip":"h","dns":false}},"force":true}"#).await;
    assert_eq!((got.status.as_u16(), got.body.as_str()), (200, "OK"));
    assert_eq!(patch(&mut device, r#"{"network":{}}"#).await.status.as_u16(), 200);
    let proxy = Proxy { fields: vec![(ProxyField::Ip, "h".to_owned())], ..Proxy::default() };
    let merge = ProxyPatch::Merge { proxy, drop_dns: true, set_no_proxy: false };
    let whole = HostPatch { hostname: Some("x".to_owned()), proxy: Some(merge) };
    let asked = [(whole, Force::Yes), (HostPatch::default(), Force::No)];
    assert_eq!(device.asked, asked.map(|(patch, force)| Received::ConfigureHost(Box::new(patch), force)));
}

#[tokio::test]
async fn what_is_not_understood_is_400() {
    let mut device = TestDevice::new();
    for body in ["", "{}", r#"{"network":123}"#, r#"{"network":{"proxy":{"dns":123}}}"#, r#"{"network":{"hostname":"a b"}}"#] {
        let got = patch(&mut device, body).await;
        assert_eq!(got.status.as_u16(), 400, "{body}");
        assert!(got.message().starts_with("Could not parse host config input to a valid format:"), "{}", got.body);
    }
    assert_eq!(device.asked, []);
}

#[tokio::test]
async fn a_lock_holds_it_up() {
    let mut device = TestDevice::new();
    device.lock(ONE, "main");
    assert_eq!(patch(&mut device, r#"{"network":{"hostname":"x"}}"#).await.status.as_u16(), 423);
    assert_eq!(patch(&mut device, r#"{"network":{"hostname":"x"},"force":1}"#).await.status.as_u16(), 200);
}

#[tokio::test(start_paused = true)]
async fn figures_are_in_the_state() {
    let mut device = TestDevice::new();
    assert!(device.get("/agent/v1/state").await.json()["device"]["memory"].is_null());
    device.say(|it| {
        it.metrics = HostMetrics {
            hostnames: Vec::new(),
            up: Some((Duration::from_secs(60), Instant::now())),
            boot_id: Some("d6f8".to_owned()),
            board: Some("Raspberry Pi 3 Model B".to_owned()),
            disk: Some(Capacity { free_bytes: 1, total_bytes: 2 }),
            memory: Some(Capacity { free_bytes: 3, total_bytes: 4 }),
            temperature_millicelsius: Some(48312),
            undervolted: Some(true),
            cpu_serial: Some("10000000a1b2c3d4".to_owned()),
            ..HostMetrics::default()
        }
    });
    advance(Duration::from_secs(5)).await;
    let device = device.get("/agent/v1/state").await.json()["device"].clone();
    assert_eq!((device["up_seconds"].as_u64(), device["temperature_celsius"].as_f64()), (Some(65), Some(48.312)));
    assert_eq!((&device["undervolted"], &device["serial"]), (&json!(true), &json!("10000000a1b2c3d4")));
    assert_eq!(device["disk"], json!({"free_bytes": 1, "total_bytes": 2}));
    assert_eq!((device["boot_id"].as_str(), device["board"].as_str()), (Some("d6f8"), Some("Raspberry Pi 3 Model B")));
}
