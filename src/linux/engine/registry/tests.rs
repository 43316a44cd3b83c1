//! A registry in this process, and the requests it gets.

use std::cell::RefCell;
use std::fs;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bollard::auth::DockerCredentials;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ServerConfig, crypto};

use super::client::RegistryClient;
use super::manifest::{EngineMachine, bytes};
use super::place::{ImageLocation, Transport};
use crate::linux::engine::RegistryAccess;
use crate::linux::engine::login::RegistryLogin;
use crate::linux::traffic::TrafficCounter;
use crate::linux::trust::TrustStore;
use crate::state::cloud::TrafficPurpose;

// Of a certificate authority made for these tests, whose own key is thrown away; for 127.0.0.1, until 2126. Each by `openssl
// ecparam -name prime256v1 -genkey` and `openssl req -x509`, `openssl x509 -req`.
const AUTHORITY: &str = include_str!("../../../../tests/data/registry-ca.pem");
const CERTIFICATE: &str = include_str!("../../../../tests/data/registry-cert.pem");
const KEY: &str = include_str!("../../../../tests/data/registry-key.pem");

const INDEX: &str = r#"{"manifests": [{"digest": "sha256:arm", "size": 1, "platform": {"os": "linux", "architecture": "arm"}},
    {"digest": "sha256:arm64", "size": 1, "platform": {"os": "linux", "architecture": "arm64"}}]}"#;
const MANIFEST: &str = r#"{"config": {"digest": "sha256:c0", "size": 9},
    "layers": [{"digest": "sha256:a", "size": 100}, {"digest": "sha256:b", "size": 20}]}"#;
const CONFIG: &str = r#"{"rootfs": {"type": "layers", "diff_ids": ["sha256:x", "sha256:y"]}}"#;
/// `me` and `pass:word`, as a header has them.
const BASIC: &str = "Basic bWU6cGFzczp3b3Jk";

/// The requests: the path, and the `Authorization` header.
type Asked = RefCell<Vec<(String, String)>>;

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn points(to: &str) -> String {
    format!("HTTP/1.1 307 Temporary Redirect\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n")
}

fn challenge(text: &str) -> String {
    format!("HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: {text}\r\nContent-Length: 0\r\n\r\n")
}

fn documents(path: &str) -> String {
    match path {
        "/v2/me/app/manifests/1" => ok(INDEX),
        "/v2/me/app/manifests/sha256:arm64" => ok(MANIFEST),
        "/v2/me/app/blobs/sha256:c0" => ok(CONFIG),
        _ => "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned(),
    }
}

async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, asked: &Asked, says: &impl Fn(&str, &str) -> String) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else { return };
        head.push(byte);
    }
    let head = String::from_utf8(head).unwrap();
    let path = head.split(' ').nth(1).unwrap().to_owned();
    let shown = head.lines().find_map(|it| it.strip_prefix("authorization: ")).unwrap_or_default().to_owned();
    asked.borrow_mut().push((path.clone(), shown.clone()));
    // A client that has read enough hangs up.
    let _ = stream.write_all(says(&path, &shown).as_bytes()).await;
    let _ = stream.shutdown().await;
}

/// Runs a registry while a client sends requests; `says` gets a path and the `Authorization` header.
async fn with<T>(way: Transport, says: impl Fn(&str, &str) -> String, asks: impl AsyncFnOnce(String, &Asked) -> T) -> T {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let acceptor = acceptor();
    let asked = Asked::default();
    let serves = async {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            match way {
                Transport::Plain => answer(stream, &asked, &says).await,
                Transport::Tls => {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        answer(stream, &asked, &says).await;
                    }
                }
            }
        }
    };
    tokio::select! {
        () = serves => unreachable!("it serves for ever"),
        done = tokio::time::timeout(Duration::from_secs(60), asks(host, &asked)) => done.unwrap(),
    }
}

fn acceptor() -> TlsAcceptor {
    let config = ServerConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(CERTIFICATE.as_bytes()).unwrap()],
            PrivateKeyDer::from_pem_slice(KEY.as_bytes()).unwrap(),
        )
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

fn login() -> RegistryLogin {
    let credentials = DockerCredentials {
        username: Some("me".to_owned()),
        password: Some("pass:word".to_owned()),
        ..DockerCredentials::default()
    };
    RegistryLogin::Found(Box::new(credentials))
}

/// A host that trusts the tests' authority, for one registry as engines do or for all.
fn host_root(registry: Option<&str>) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let file = match registry {
        Some(host) => root.path().join("etc/docker/certs.d").join(host).join("ca.crt"),
        None => root.path().join("etc/ssl/certs/ca-certificates.crt"),
    };
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, AUTHORITY).unwrap();
    root
}

/// The access to registries of a host.
fn access(root: &Path) -> RegistryAccess {
    RegistryAccess { trust: Rc::new(TrustStore::new(root, None)), traffic: TrafficCounter::default() }
}

/// The compressed bytes of `me/app:1`, and of the layers to pull if the first one is present.
async fn sizes(host: &str, way: Transport, login: &RegistryLogin) -> Result<(u64, u64), String> {
    let root = host_root(None);
    let client = RegistryClient::new(&access(root.path()), host, way, login).await?;
    let place = ImageLocation::of(&format!("{host}/me/app:1")).unwrap();
    let found = client.image(&place, &EngineMachine { arch: "arm64".into(), kernel: "aarch64".into() }).await?;
    let ids = client.diff_ids(&place, &found).await?;
    Ok((bytes(&found.layers), bytes(found.missing(&ids, &[vec!["sha256:x".into()]])?)))
}

#[tokio::test]
async fn a_registry_tells_how_large_an_image_is() {
    for way in [Transport::Plain, Transport::Tls] {
        let told = with(way, |path, _| documents(path), async |host, _| sizes(&host, way, &RegistryLogin::None).await).await;
        assert_eq!(told, Ok((120, 20)), "{way:?}");
    }
}

#[tokio::test]
async fn a_token_is_fetched_once_and_shown_to_nobody_else() {
    let registry = |path: &str, shown: &str| match (path, shown) {
        (_, BASIC) if path.starts_with("/token?") => ok(r#"{"access_token": "t0ken"}"#),
        ("/store/c0?signed=1", "") => ok(CONFIG),
        ("/v2/me/app/blobs/sha256:c0", "Bearer t0ken") => points("/elsewhere"),
        // The same address by another name counts as another host.
        ("/elsewhere", "Bearer t0ken") => points("http://localhost:PORT/store/c0?signed=1"),
        (_, "Bearer t0ken") => documents(path),
        _ => challenge(r#"Bearer realm="/token",service="a, b",scope="repository:me/app:pull""#),
    };
    let port = RefCell::new(String::new());
    let says = |path: &str, shown: &str| registry(path, shown).replace("PORT", &port.borrow());
    let asked = with(Transport::Plain, says, async |host, asked| {
        *port.borrow_mut() = host.rsplit_once(':').unwrap().1.to_owned();
        assert_eq!(sizes(&host, Transport::Plain, &login()).await, Ok((120, 20)));
        asked.borrow().clone()
    })
    .await;
    let tokens: Vec<_> = asked.iter().filter(|(path, _)| path.starts_with("/token")).collect();
    assert_eq!(tokens, [&("/token?service=a%2C+b&scope=repository%3Ame%2Fapp%3Apull".to_owned(), BASIC.to_owned())]);
    assert_eq!(asked.last().unwrap(), &("/store/c0?signed=1".to_owned(), String::new()));
}

#[tokio::test]
async fn credentials_are_shown_only_when_they_are_asked_for() {
    let says = |path: &str, shown: &str| match shown {
        BASIC => documents(path),
        _ => challenge("Basic realm=\"registry\""),
    };
    with(Transport::Tls, says, async |host, asked| {
        assert_eq!(sizes(&host, Transport::Tls, &login()).await, Ok((120, 20)));
        assert_eq!(asked.borrow()[0].1, "");
        let why = sizes(&host, Transport::Tls, &RegistryLogin::None).await.unwrap_err();
        assert!(why.contains("wants credentials"), "{why}");
    })
    .await;
}

#[tokio::test]
async fn only_who_is_trusted_is_asked() {
    with(
        Transport::Tls,
        |path, _| documents(path),
        async |host, asked| {
            let trusting = host_root(Some(&host));
            let place = ImageLocation::of(&format!("{host}/me/app:1")).unwrap();
            let machine = EngineMachine { arch: "arm64".into(), kernel: "aarch64".into() };
            let client =
                RegistryClient::new(&access(trusting.path()), &host, Transport::Tls, &RegistryLogin::None).await.unwrap();
            assert_eq!(bytes(&client.image(&place, &machine).await.unwrap().layers), 120);
            let before = asked.borrow().len();

            let empty = tempfile::tempdir().unwrap();
            let why =
                RegistryClient::new(&access(empty.path()), &host, Transport::Tls, &RegistryLogin::None).await.err().unwrap();
            assert!(why.contains("install ca-certificates"), "{why}");
            // The certificate names 127.0.0.1, and not localhost.
            let other = host.replace("127.0.0.1", "localhost");
            let why = sizes(&other, Transport::Tls, &RegistryLogin::None).await.unwrap_err();
            assert!(why.contains("does not answer") && why.contains("certificate"), "{why}");
            assert_eq!(asked.borrow().len(), before);
        },
    )
    .await;
}

#[tokio::test]
async fn a_registry_is_trusted_by_the_devices_own_ca_and_its_bytes_are_counted() {
    with(
        Transport::Tls,
        |path, _| documents(path),
        async |host, _| {
            let root = tempfile::tempdir().unwrap();
            let trust = Rc::new(TrustStore::new(root.path(), Some(BASE64_STANDARD.encode(AUTHORITY))));
            let access = RegistryAccess { trust, traffic: TrafficCounter::default() };
            let client = RegistryClient::new(&access, &host, Transport::Tls, &RegistryLogin::None).await.unwrap();
            let machine = EngineMachine { arch: "arm64".into(), kernel: "aarch64".into() };
            client.image(&ImageLocation::of(&format!("{host}/me/app:1")).unwrap(), &machine).await.unwrap();
            let traffic = access.traffic.so_far();
            let count = traffic.0[&TrafficPurpose::Registry];
            assert!(count.sent > 500 && count.received > 1000 && traffic.0.len() == 1, "{traffic:?}");
        },
    )
    .await;
}

#[tokio::test]
async fn whatever_else_a_registry_does_comes_to_an_end_and_tells_no_secret() {
    let long = format!("HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n{}", " ".repeat(5 << 20));
    let cases: [(Transport, String, &str); 9] = [
        (Transport::Plain, points("/v2/me/app/manifests/1"), "307"),
        (Transport::Tls, points("http://127.0.0.1/"), "only https is followed"),
        (Transport::Plain, points("gopher://x"), "only http is followed"),
        (Transport::Plain, long, "length limit exceeded"),
        (Transport::Plain, ok("pass:word"), "no manifest"),
        (
            Transport::Plain,
            ok(r#"{"manifests": [{"digest": "sha256:x", "platform": {"os": "linux", "architecture": "arm64"}}]}"#),
            "lists of lists",
        ),
        (Transport::Plain, challenge("Negotiate"), "unsupported authentication scheme"),
        (Transport::Plain, challenge("Bearer service=x"), "where it gives tokens"),
        (Transport::Plain, "no HTTP at all\r\n\r\n".to_owned(), "does not answer"),
    ];
    for (way, said, expected) in cases {
        let why = with(way, |_, _| said.clone(), async |host, _| sizes(&host, way, &login()).await).await.unwrap_err();
        assert!(why.contains(expected) && !why.contains("pass:word") && !why.contains("bWU6"), "{expected}: {why}");
    }
    for token in ["", "{}", r#"{"token": 5}"#, "{\"token\": \"a\\r\\nb\"}"] {
        let says = |path: &str, _: &str| if path == "/token" { ok(token) } else { challenge("Bearer realm=\"/token\"") };
        let why = with(Transport::Plain, says, async |host, _| sizes(&host, Transport::Plain, &RegistryLogin::None).await)
            .await
            .unwrap_err();
        assert!(why.contains("token"), "{why}");
    }
}
