//! A cloud's answers, as bytes on a connection.

use std::cell::OnceCell;
use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;

use boardkeeper::linux::cloud::{CloudClient, CloudClientSettings};
use boardkeeper::linux::traffic::TrafficCounter;
use boardkeeper::linux::trust::TrustStore;
use boardkeeper::port::{Cloud as _, CloudError, TargetAnswer};
use boardkeeper::state::Secret;
use boardkeeper::state::cloud::{CloudAccount, DeviceReport, ReleasePin};
use boardkeeper::state::proxy_variables::ProxyVariables;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

use super::UUID;
use super::engine::split;

const KEY: &str = "k3y-that-no-error-repeats";

/// The bytes of a whole cloud, headers, chunks and gzip and all: one answer for each connection, divided by `\n----\n`; the
/// last one counts for all that follow. A proxy's answer to `CONNECT` comes in the same way. Every call ends; what is accepted
/// is short, and every error is one line that repeats no key.
pub fn cloud(data: &[u8]) {
    thread_local!(static RUNTIME: OnceCell<Runtime> = const { OnceCell::new() });
    RUNTIME.with(|runtime| {
        let new = || tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.get_or_init(new).block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a port");
            let at = format!("http://{}", listener.local_addr().expect("a listener has an address"));
            tokio::select! {
                biased;
                () = asked(&at) => {}
                never = answers(&listener, data) => match never {},
            }
        });
    });
}

async fn asked(at: &str) {
    // By the clock: a machine may be busy with other things.
    let soon = Duration::from_secs(50);
    let account = |endpoint: &str| CloudAccount {
        endpoint: endpoint.to_owned(),
        logs_endpoint: None,
        uuid: UUID.to_owned(),
        key: Secret::new(KEY.to_owned()),
    };
    let direct = client(ProxyVariables::default());
    let proxies = ProxyVariables { all: Some(Secret::new(at.to_owned())), ..ProxyVariables::default() };
    let calls = async {
        let account = account(at);
        match direct.target(&account, Some("e")).await {
            Ok(TargetAnswer::Document { text, .. }) => assert!(text.len() <= 4 << 20, "{}", text.len()),
            Ok(TargetAnswer::NotModified) => {}
            Err(error) => checked(&error),
        }
        direct.report(&account, &DeviceReport::default()).await.unwrap_or_else(|error| checked(&error));
        direct.upload_logs(&account, &[]).await.unwrap_or_else(|error| checked(&error));
        let _ = direct.device_id(at, &account.key, UUID).await.map_err(|error| checked(&error));
        let release = ReleasePin { fleet: 1, commit: "19c48bcaffa860".to_owned() };
        let _ = direct.release_id(&account, &release).await.map_err(|error| checked(&error));
        direct.pin(&account, 5, 3).await.unwrap_or_else(|error| checked(&error));
        let _ = direct.vpn_profile(&account).await.map_err(|error| checked(&error));
        let _ = client(proxies).check("http://api.example.com").await.map_err(|error| checked(&error));
    };
    tokio::time::timeout(soon, calls).await.expect("a cloud that hung up is not waited for");
}

fn client(proxies: ProxyVariables) -> CloudClient {
    CloudClient::new(CloudClientSettings {
        root: "/nowhere".into(),
        trust: Rc::new(TrustStore::new("/nowhere".as_ref(), None)),
        traffic: TrafficCounter::default(),
        user_agent: "Supervisor/19.0.5".to_owned(),
        proxies,
    })
}

fn checked(error: &CloudError) {
    let words = error.to_string();
    assert!(!words.contains(['\n', '\r']) && !words.contains(KEY) && words.len() < 4000, "{words}");
    if let CloudError::Refused { status, retry_after, .. } = error {
        assert!(!(200..300).contains(status) && retry_after.is_none_or(|it| it <= Duration::from_secs(86_400)), "{error:?}");
    }
}

async fn answers(listener: &TcpListener, data: &[u8]) -> Infallible {
    let mut parts = split(data).into_iter();
    let mut last: &[u8] = b"";
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        last = parts.next().unwrap_or(last);
        answer(stream, last).await;
    }
}

async fn answer(mut stream: TcpStream, bytes: &[u8]) {
    let mut head = [0; 4096];
    let _ = stream.read(&mut head).await;
    let _ = stream.write_all(bytes).await;
    let _ = stream.shutdown().await;
}
