//! Requests, as a real cloud's server was seen to take them.

use boardkeeper::port::{Cloud as _, CloudError, TargetAnswer};
use boardkeeper::state::Secret;
use boardkeeper::state::cloud::{
    AppReport, CloudLogLine, DeviceReport, LogSource, ReleasePin, ReleaseReport, ReportValue, ServiceReport, VpnProfile,
};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use super::lab::{KEY, UUID, account, client, key};
use super::server::{CloudServer, Heard, Reply, VALID};

const JSON: &str = "Content-Type: application/json; charset=utf-8\r\n";

fn gzip(text: &str) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    std::io::Write::write_all(&mut packed, text.as_bytes()).unwrap();
    packed.finish().unwrap()
}

/// The headers of a request, those apart that every one has.
fn headers(heard: &Heard) -> Vec<String> {
    let mut own = heard.headers.clone();
    assert_eq!(own.remove("user-agent").unwrap(), "Supervisor/19.0.5");
    assert!(own.remove("host").unwrap().starts_with("127.0.0.1:"));
    assert_eq!(own.remove("authorization").unwrap(), format!("Bearer {KEY}"));
    own.into_iter().map(|(name, value)| format!("{name}: {value}")).filter(|it| !it.starts_with("content-length")).collect()
}

#[tokio::test]
async fn a_target_is_asked_for_with_no_header_that_it_does_not_need() {
    let document = json!({ UUID: { "name": "d", "apps": {} } }).to_string();
    let body = document.clone();
    let server = CloudServer::tls(VALID, move |heard, _| match heard.headers.get("if-none-match") {
        Some(_) => Reply::new("304 Not Modified", "ETag: W/\"7da\"\r\n", ""),
        None => Reply::new("200 OK", &format!("{JSON}ETag: W/\"7da\"\r\nContent-Encoding: gzip\r\n"), gzip(&body)),
    });
    let (client, account) = (client(), account(&server.endpoint()));
    let expected = TargetAnswer::Document { text: document, etag: Some("W/\"7da\"".to_owned()) };
    assert_eq!(client.target(&account, None).await, Ok(expected));
    assert_eq!(client.target(&account, Some("W/\"7da\"")).await, Ok(TargetAnswer::NotModified));
    let heard = server.heard();
    assert_eq!(heard[0].line, format!("GET /device/v3/{UUID}/state"));
    assert_eq!(headers(&heard[0]), ["accept-encoding: gzip"]);
    assert_eq!(headers(&heard[1]), ["accept-encoding: gzip", "if-none-match: W/\"7da\""]);
}

#[tokio::test]
async fn a_registration_is_as_it_was_recorded() {
    let server = CloudServer::tls(VALID, |heard, before| match before {
        0 => Reply::new("201 Created", JSON, format!("{{\"id\":5,\"uuid\":\"{UUID}\",\"api_key\":\"{KEY}\"}}")),
        1 => Reply::new("409 Conflict", "Content-Type: text/html; charset=utf-8\r\n", "\"uuid\" must be unique."),
        2 => Reply::new("409 Conflict", JSON, "\"\\\"key\\\" must be unique.\""),
        _ => Reply::new("200 OK", JSON, format!("{{\"said\": {}}}", heard.text.len())),
    });
    let (client, account) = (client(), account(&server.endpoint()));
    let form = super::form(&account);
    let registers = async || client.register(&account.endpoint, &key(), &form).await;
    assert_eq!(registers().await.unwrap().id, 5);
    let refused = |why: &str| CloudError::Refused { status: 409, why: why.to_owned(), retry_after: None };
    assert_eq!(registers().await.unwrap_err(), refused("\"uuid\" must be unique."));
    assert_eq!(registers().await.unwrap_err(), refused("\"key\" must be unique."));
    assert!(matches!(registers().await, Err(CloudError::Foreign(_))));
    let heard = &server.heard()[0];
    assert_eq!(heard.line, "POST /device/register");
    assert_eq!(headers(heard), ["content-type: application/json"]);
    let recorded = json!({
        "application": 1, "uuid": UUID, "device_type": "raspberrypi3", "api_key": KEY, "supervisor_version": "19.0.5",
        "os_version": "balenaOS 6.4.0", "os_variant": "prod", "mac_address": "02:42:AC:11:00:02"
    });
    assert_eq!(serde_json::from_str::<Value>(&heard.text).unwrap(), recorded);
}

#[tokio::test]
async fn keys_are_exchanged_as_it_was_recorded() {
    let server = CloudServer::tls(VALID, |_, before| match before {
        0 => Reply::new("200 OK", JSON, "{\"d\":[{\"id\":5}]}"),
        1 => Reply::new("200 OK", JSON, "{\"d\":[]}"),
        2 => Reply::new("401 Unauthorized", "", ""),
        3 => Reply::new("200 OK", JSON, "\"643d76485938b5b8b29969f25786b28f\""),
        _ => Reply::new("401 Unauthorized", "Transfer-Encoding: chunked\r\n", ""),
    });
    let (client, endpoint) = (client(), server.endpoint());
    let new = Secret::new("643d76485938b5b8b29969f25786b28f".to_owned());
    for expected in [Some(5), None, None] {
        assert_eq!(client.device_id(&endpoint, &key(), UUID).await, Ok(expected));
    }
    assert_eq!(client.exchange_key(&endpoint, &key(), 5, &new).await, Ok(()));
    let heard = server.heard();
    assert_eq!(heard[0].line, format!("GET /v7/device?$select=id&$filter=uuid%20eq%20%27{UUID}%27"));
    assert_eq!(headers(&heard[0]), Vec::<String>::new());
    assert_eq!(
        (heard[3].line.as_str(), heard[3].text.as_str()),
        ("POST /api-key/device/5/device-key", "{\"apiKey\":\"643d76485938b5b8b29969f25786b28f\"}")
    );
}

#[tokio::test]
async fn a_report_is_as_it_was_recorded_and_packed_where_that_is_shorter() {
    let server = CloudServer::tls(VALID, |_, _| Reply::new("200 OK", "", ""));
    let (client, account) = (client(), account(&server.endpoint()));
    let text = |it: &str| ReportValue::Text(it.to_owned());
    let fields = [
        ("status", text("Idle")),
        ("provisioning_progress", ReportValue::Null),
        ("api_port", ReportValue::Number(48484)),
        ("is_undervolted", ReportValue::Flag(false)),
    ];
    let service = |status: &str, progress| ServiceReport {
        image: "127.0.0.1:15000/v2/f107@sha256:fd81".to_owned(),
        status: status.to_owned(),
        download_progress: progress,
    };
    let services = [("main".to_owned(), service("Downloading", Some(37))), ("side".to_owned(), service("Running", None))];
    let release = ReleaseReport { update_status: Some("downloading"), services: services.into_iter().collect() };
    let app =
        AppReport { release_uuid: Some("19c4".to_owned()), releases: [("19c4".to_owned(), release)].into_iter().collect() };
    let report = DeviceReport { fields: fields.into_iter().collect(), apps: [("797e".to_owned(), app)].into_iter().collect() };
    client.report(&account, &report).await.unwrap();
    let one = DeviceReport { fields: [("cpu_temp", ReportValue::Number(48))].into_iter().collect(), ..DeviceReport::default() };
    client.report(&account, &one).await.unwrap();
    let heard = server.heard();
    assert_eq!(heard[0].line, "PATCH /device/v3/state");
    assert_eq!(headers(&heard[0]), ["content-encoding: gzip", "content-type: application/json"]);
    assert!(heard[0].body.len() + 24 < heard[0].text.len());
    let recorded = json!({ UUID: {
        "status": "Idle", "provisioning_progress": null, "api_port": 48484, "is_undervolted": false,
        "apps": { "797e": { "release_uuid": "19c4", "releases": { "19c4": { "update_status": "downloading", "services": {
            "main": { "image": "127.0.0.1:15000/v2/f107@sha256:fd81", "status": "Downloading", "download_progress": 37 },
            "side": { "image": "127.0.0.1:15000/v2/f107@sha256:fd81", "status": "Running", "download_progress": null }
        } } } } }
    } });
    assert_eq!(serde_json::from_str::<Value>(&heard[0].text).unwrap(), recorded);
    assert_eq!(headers(&heard[1]), ["content-type: application/json"]);
    assert_eq!(heard[1].text, format!("{{\"{UUID}\":{{\"cpu_temp\":48}}}}"));
}

#[tokio::test]
async fn lines_of_logs_are_as_they_were_recorded() {
    let server = CloudServer::tls(VALID, |_, _| Reply::new("201 Created", "", ""));
    let (client, mut account) = (client(), account("http://127.0.0.1:9"));
    account.logs_endpoint = Some(server.endpoint());
    let line = |text: &str, source| CloudLogLine { text: text.to_owned(), at_ms: 1_795_435_573_506, source };
    let lines = [
        line("stream \"0\"", LogSource::Stdout(1)),
        line("é\u{0}", LogSource::Stderr(2)),
        line("hello system", LogSource::System),
    ];
    client.upload_logs(&account, &lines).await.unwrap();
    let heard = &server.heard()[0];
    assert_eq!(heard.line, format!("POST /device/v2/{UUID}/log-stream"));
    assert_eq!(headers(heard), ["content-encoding: gzip", "content-type: application/x-ndjson"]);
    let sent: Vec<Value> = heard.text.lines().map(|it| serde_json::from_str(it).unwrap()).collect();
    let recorded = |text: &str, system: bool, err: bool| {
        json!({
            "message": text, "timestamp": 1_795_435_573_506_i64, "isSystem": system, "isStdErr": err
        })
    };
    let of = |service: u32, mut line: Value| {
        line["serviceId"] = json!(service);
        line
    };
    assert_eq!(
        sent,
        [
            of(1, recorded("stream \"0\"", false, false)),
            of(2, recorded("é\u{0}", false, true)),
            recorded("hello system", true, false)
        ]
    );
}

#[tokio::test]
async fn a_refusal_gives_its_reason_in_one_line_and_no_key() {
    let server = CloudServer::tls(VALID, |_, before| match before {
        0 => Reply::new("401 Unauthorized", JSON, "{\"error\": \"API key required\"}"),
        1 => Reply::new("400 Bad Request", JSON, "\"Check constraint violated\""),
        2 => Reply::new("400 Bad Request", "Content-Type: text/plain\r\n", format!("no key {KEY}\nof mine")),
        3 => Reply::new("503 Service Unavailable", "Retry-After: Mon, 23 Nov 2026 12:07:12 GMT\r\n", ""),
        4 => Reply::new("500 Internal Server Error", "", "x".repeat(10_000_000)),
        _ => Reply::new("304 Not Modified", "", ""),
    });
    let (client, account) = (client(), account(&server.endpoint()));
    let mut told = Vec::new();
    for _ in 0..6 {
        match client.report(&account, &DeviceReport::default()).await.unwrap_err() {
            CloudError::Refused { status, why, retry_after } => told.push((status, why, retry_after.map(|it| it.as_secs()))),
            other => panic!("{other}"),
        }
    }
    assert_eq!(told[4].1, "x".repeat(200));
    told.remove(4);
    let expected = [
        (401, "API key required", None),
        (400, "Check constraint violated", None),
        (400, "no key … of mine", None),
        (503, "Service Unavailable", Some(60)),
        (304, "Not Modified", None),
    ];
    assert_eq!(told, expected.map(|(status, why, wait)| (status, why.to_owned(), wait)));
}

#[tokio::test]
async fn a_pin_is_as_it_was_recorded() {
    let server = CloudServer::tls(VALID, |_, before| match before {
        0 => Reply::new("200 OK", JSON, "{\"d\":[{\"id\":16}]}"),
        1 => Reply::new("200 OK", JSON, "{\"d\":[]}"),
        2 => Reply::new("200 OK", JSON, "[]"),
        3 => Reply::new("200 OK", "", ""),
        _ => Reply::new("409 Conflict", JSON, "\"Data is referenced by is_pinned_on__release.\""),
    });
    let (client, account) = (client(), account(&server.endpoint()));
    let release = ReleasePin { fleet: 1, commit: "a563a373193fa06723a3190488063056".to_owned() };
    assert_eq!(client.release_id(&account, &release).await, Ok(Some(16)));
    assert_eq!(client.release_id(&account, &release).await, Ok(None));
    assert!(matches!(client.release_id(&account, &release).await, Err(CloudError::Foreign(_))));
    assert_eq!(client.pin(&account, 5, 16).await, Ok(()));
    let why = "Data is referenced by is_pinned_on__release.".to_owned();
    assert_eq!(client.pin(&account, 5, 17).await, Err(CloudError::Refused { status: 409, why, retry_after: None }));
    let heard = server.heard();
    let query = "$select=id&$filter=commit%20eq%20%27a563a373193fa06723a3190488063056%27%20and%20belongs_to__application\
                 %20eq%201%20and%20status%20eq%20%27success%27";
    assert_eq!(heard[0].line, format!("GET /v7/release?{query}"));
    assert_eq!(headers(&heard[0]), Vec::<String>::new());
    assert_eq!((heard[3].line.as_str(), heard[3].text.as_str()), ("PATCH /v7/device(5)", "{\"is_pinned_on__release\":16}"));
    assert_eq!(headers(&heard[3]), ["content-type: application/json"]);
}

#[tokio::test]
async fn the_clocks_are_compared_with_each_answer() {
    let server = CloudServer::plain(|_, before| match before {
        0 => Reply::raw("HTTP/1.1 302 Found\r\nLocation: http://portal/\r\nDate: Mon, 23 Nov 2026 12:06:12 GMT\r\n\r\n"),
        _ => Reply::new("401 Unauthorized", "", ""),
    });
    let client = client();
    assert!(client.target(&account(&server.endpoint()), None).await.is_err());
    assert_eq!(client.clock_skew(), None, "a captive portal's clock is no cloud's");
    assert!(client.target(&account(&server.endpoint()), None).await.is_err());
    let expected = i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_secs()).unwrap() - 1_795_435_572;
    assert!((client.clock_skew().unwrap() - expected).abs() <= 2);
}

#[tokio::test]
async fn the_vpn_is_asked_for_as_it_was_recorded() {
    let config = json!({
        "services": { "openvpn": { "config": "\nclient\nremote vpn 1194\n", "ca": "PEM" }, "ssh": { "authorized_keys": "" } },
        "config": { "overrides": {} }, "schema_version": "1.0.0"
    });
    let server = CloudServer::tls(VALID, move |_, before| match before {
        0 => Reply::new("200 OK", &format!("{JSON}Content-Encoding: gzip\r\n"), gzip(&config.to_string())),
        1 => Reply::new("200 OK", JSON, "{\"services\": {}}"),
        _ => Reply::new("200 OK", JSON, "[]"),
    });
    let (client, account) = (client(), account(&server.endpoint()));
    let profile = VpnProfile { config: "\nclient\nremote vpn 1194\n".to_owned(), ca: "PEM".to_owned() };
    assert_eq!(client.vpn_profile(&account).await, Ok(Some(profile)));
    assert_eq!(client.vpn_profile(&account).await, Ok(None));
    assert!(matches!(client.vpn_profile(&account).await, Err(CloudError::Foreign(_))));
    assert_eq!(server.heard()[0].line, "GET /os/v1/config");
    assert_eq!(headers(&server.heard()[0]), ["accept-encoding: gzip"]);
}
