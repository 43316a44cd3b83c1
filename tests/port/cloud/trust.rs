//! Certificates: which are trusted, and what is said of the others.

use std::rc::Rc;

use boardkeeper::linux::cloud::{CloudClient, CloudClientSettings};
use boardkeeper::linux::traffic::TrafficCounter;
use boardkeeper::linux::trust::TrustStore;
use boardkeeper::port::{Cloud as _, CloudError, TargetAnswer};
use boardkeeper::state::proxy_variables::ProxyVariables;

use super::lab::{account, base64, client, client_with, host_root};
use super::server::{AUTHORITY, CloudServer, EXPIRED, NOT_YET_VALID, OTHER_AUTHORITY, Reply, VALID};

fn server(certificate: &str) -> CloudServer {
    CloudServer::tls(certificate, |_, _| Reply::new("304 Not Modified", "", ""))
}

async fn asked(client: &CloudClient, endpoint: &str) -> Result<TargetAnswer, String> {
    match client.target(&account(endpoint), None).await {
        Ok(answer) => Ok(answer),
        Err(CloudError::Unreachable(why)) => Err(why),
        Err(other) => panic!("{other}"),
    }
}

#[tokio::test]
async fn the_hosts_certificates_and_the_devices_own_are_trusted() {
    let server = server(VALID);
    let both = format!("{OTHER_AUTHORITY}{AUTHORITY}");
    let mut broken = base64(&both);
    broken.insert(40, '\n');
    for root_ca in [base64(AUTHORITY), base64(&both), broken] {
        let client = client_with(Some(root_ca), ProxyVariables::default());
        assert_eq!(asked(&client, &server.endpoint()).await, Ok(TargetAnswer::NotModified));
    }
    // A wrong balenaRootCA does not take the host's certificates away.
    for root_ca in [None, Some(base64(OTHER_AUTHORITY)), Some("no base64!".to_owned())] {
        let root = host_root(AUTHORITY);
        let client = on_host(root.path(), root_ca);
        assert_eq!(asked(&client, &server.endpoint()).await, Ok(TargetAnswer::NotModified));
    }
}

fn on_host(root: &std::path::Path, root_ca: Option<String>) -> CloudClient {
    CloudClient::new(CloudClientSettings {
        root: root.to_owned(),
        trust: Rc::new(TrustStore::new(root, root_ca)),
        traffic: TrafficCounter::default(),
        user_agent: "Supervisor/19.0.5".to_owned(),
        proxies: ProxyVariables::default(),
    })
}

#[tokio::test]
async fn an_untrusted_ca_is_named_with_what_to_do() {
    let server = server(VALID);
    for (root_ca, words) in [
        (Some(base64(OTHER_AUTHORITY)), "of the CA `boardkeeper tests' cloud CA`"),
        (None, "no CA certificates found"),
        (Some("no base64!".to_owned()), "balenaRootCA in config.json is not base64"),
        (Some(base64("no PEM")), "balenaRootCA in config.json has no certificate"),
    ] {
        let why = asked(&client_with(root_ca, ProxyVariables::default()), &server.endpoint()).await.unwrap_err();
        assert!(why.contains(words) && why.contains("ca-certificates"), "{why}");
    }
    let root = host_root(OTHER_AUTHORITY);
    let why = asked(&on_host(root.path(), Some(base64("no PEM"))), &server.endpoint()).await.unwrap_err();
    assert!(why.contains("not trust (balenaRootCA in config.json has no certificate"), "{why}");
    assert!(server.heard().is_empty(), "{:?}", server.lines());
}

#[tokio::test]
async fn other_certificates_are_trusted_without_a_restart() {
    let server = server(VALID);
    let client = client_with(Some(base64(OTHER_AUTHORITY)), ProxyVariables::default());
    assert!(asked(&client, &server.endpoint()).await.is_err());
    client.set_root_ca(Some(base64(AUTHORITY)));
    assert_eq!(asked(&client, &server.endpoint()).await, Ok(TargetAnswer::NotModified));
    // Nor is a connection used any more that was made with what is trusted no longer.
    client.set_root_ca(Some(base64(OTHER_AUTHORITY)));
    assert!(asked(&client, &server.endpoint()).await.is_err());
    // The host was updated meanwhile.
    let root = host_root(OTHER_AUTHORITY);
    let client = on_host(root.path(), None);
    assert!(asked(&client, &server.endpoint()).await.is_err());
    std::fs::write(root.path().join("etc/ssl/certs/ca-certificates.crt"), AUTHORITY).unwrap();
    assert_eq!(asked(&client, &server.endpoint()).await, Ok(TargetAnswer::NotModified));
}

#[tokio::test]
async fn a_certificate_that_is_not_valid_now_is_told_with_the_clock() {
    let year = |why: &str| why.split("clock says ").nth(1).unwrap()[..4].parse::<u32>().unwrap();
    let why = asked(&client(), &server(EXPIRED).endpoint()).await.unwrap_err();
    assert!(why.contains("valid until 2020-01-01T00:00:00Z") && year(&why) > 2024 && why.contains("timedatectl"), "{why}");
    let why = asked(&client(), &server(NOT_YET_VALID).endpoint()).await.unwrap_err();
    assert!(why.contains("from 2100-01-01T00:00:00Z on") && year(&why) > 2024 && why.contains("timedatectl"), "{why}");
}

#[tokio::test]
async fn a_certificate_for_another_name_is_told() {
    let server = CloudServer::tls_at("127.0.0.2:0", |_, _| Reply::new("304 Not Modified", "", ""));
    let why = asked(&client(), &server.endpoint()).await.unwrap_err();
    assert!(why.contains("the certificate of 127.0.0.2 is for ") && why.contains("localhost"), "{why}");
}

#[tokio::test]
async fn a_host_with_ipv6_only_is_reached() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        return;
    }
    let server = CloudServer::tls_at("[::1]:0", |_, _| Reply::new("304 Not Modified", "", ""));
    assert_eq!(asked(&client(), &server.endpoint()).await, Ok(TargetAnswer::NotModified));
    let by_name = format!("https://localhost:{}", server.at.port());
    if tokio::net::lookup_host(("localhost", 1)).await.unwrap().any(|it| it.is_ipv6()) {
        assert_eq!(asked(&client(), &by_name).await, Ok(TargetAnswer::NotModified));
    }
    assert_eq!(server.heard()[0].headers["host"], server.at.to_string());
}

/// `boardkeeper join https://…`
#[tokio::test]
async fn a_config_json_is_downloaded_whole_and_without_a_key() {
    let server = CloudServer::tls(VALID, |heard, _| match heard.line.as_str() {
        line if line.contains("/files/config.json?token=a%20b") => Reply::new("200 OK", "", "{\"applicationId\": 7}"),
        _ => Reply::new("404 Not Found", "", "no such file"),
    });
    let root = host_root(AUTHORITY);
    let get = async |path: &str| {
        let url = format!("{}{path}", server.endpoint());
        boardkeeper::linux::provision::download(&url, root.path(), &ProxyVariables::default()).await
    };
    assert_eq!(get("/files/config.json?token=a%20b#x").await, Ok(b"{\"applicationId\": 7}".to_vec()));
    assert!(!server.heard()[0].headers.contains_key("authorization"));
    let why = get("/other.json").await.unwrap_err();
    assert!(why.contains("404") && !why.contains("tries again"), "{why}");
    for url in ["http://127.0.0.1/config.json", "https://me:sesame@127.0.0.1/config.json", "https://"] {
        let why = boardkeeper::linux::provision::download(url, root.path(), &ProxyVariables::default()).await.unwrap_err();
        assert!(why.contains("write one like https://") && !why.contains("sesame"), "{why}");
    }
}
