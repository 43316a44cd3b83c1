//! Proxies on the way to the cloud.

use std::io::{Read, Write, copy};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use boardkeeper::linux::cloud::CloudClient;
use boardkeeper::port::{Cloud as _, TargetAnswer};
use boardkeeper::state::Secret;
use boardkeeper::state::cloud::TrafficPurpose;
use boardkeeper::state::proxy_variables::ProxyVariables;

use super::lab::{account, base64, client_with};
use super::server::{AUTHORITY, CloudServer, Reply, VALID};

type Asked = Arc<Mutex<Vec<String>>>;

/// A proxy that answers `CONNECT` like this, and then joins the streams where the answer is 200.
fn proxy(answer: &'static str, to: SocketAddr) -> (SocketAddr, Asked) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let requests = Asked::default();
    let inner = requests.clone();
    thread::spawn(move || {
        for mut client in listener.incoming().map_while(Result::ok) {
            let mut text = Vec::new();
            while !text.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                client.read_exact(&mut byte).unwrap();
                text.push(byte[0]);
            }
            inner.lock().unwrap().push(String::from_utf8(text).unwrap());
            client.write_all(answer.as_bytes()).unwrap();
            if answer.contains(" 200 ") {
                let server = TcpStream::connect(to).unwrap();
                let (from, back) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                thread::spawn(move || joined(from, server));
                thread::spawn(move || joined(back, client));
            }
        }
    });
    (at, requests)
}

fn joined(mut from: TcpStream, mut to: TcpStream) {
    let _ = copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Both);
}

fn through(https: &str, exceptions: Option<&str>) -> CloudClient {
    let proxies = ProxyVariables {
        https: Some(Secret::new(https.to_owned())),
        exceptions: exceptions.map(str::to_owned),
        ..ProxyVariables::default()
    };
    client_with(Some(base64(AUTHORITY)), proxies)
}

const JOINED: &str = "HTTP/1.0 200 Connection established\r\n\r\n";

#[tokio::test]
async fn requests_go_through_the_proxy_with_its_login_and_the_cloud_is_verified_behind_it() {
    let server = CloudServer::tls(VALID, |heard, _| {
        let status = if heard.line.starts_with("POST") { "201 Created" } else { "304 Not Modified" };
        Reply::new(status, "", "")
    });
    let (at, asked) = proxy(JOINED, server.at);
    let (client, account) = (through(&format!("http://me:pass%20word@{at}"), None), account(&server.endpoint()));
    assert_eq!(client.target(&account, None).await, Ok(TargetAnswer::NotModified));
    assert_eq!(client.upload_logs(&account, &[]).await, Ok(()));
    let expected =
        format!("CONNECT {0} HTTP/1.1\r\nHost: {0}\r\nProxy-Authorization: Basic bWU6cGFzcyB3b3Jk\r\n\r\n", server.at);
    assert_eq!(*asked.lock().unwrap(), [expected.clone(), expected.clone()]);
    assert!(server.heard().iter().all(|it| !it.headers.contains_key("proxy-authorization")));
    // The proxy's bytes count too.
    let received: u64 = client.traffic().0.values().map(|it| it.received).sum();
    let sent: u64 = client.traffic().0.values().map(|it| it.sent).sum();
    let (heard, said) = server.bytes();
    let twice = |it: &str| 2 * u64::try_from(it.len()).unwrap();
    assert_eq!((sent, received), (heard + twice(&expected), said + twice(JOINED)));
    assert!(client.traffic().0.contains_key(&TrafficPurpose::Logs));
}

#[tokio::test]
async fn an_excepted_host_is_reached_without_it() {
    let server = CloudServer::tls(VALID, |_, _| Reply::new("304 Not Modified", "", ""));
    let (at, asked) = proxy("HTTP/1.1 403 Forbidden\r\n\r\n", server.at);
    let client = through(&at.to_string(), Some("example.com,127.0.0.1"));
    assert_eq!(client.target(&account(&server.endpoint()), None).await, Ok(TargetAnswer::NotModified));
    assert!(asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn what_is_wrong_with_the_proxy_is_said_without_its_password() {
    let server = CloudServer::tls(VALID, |_, _| Reply::new("304 Not Modified", "", ""));
    let to = server.at;
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let host = |at: SocketAddr| format!("http://me:secret@{at}");
    for (https, words) in [
        (
            host(proxy("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", to).0),
            "demands a login (407); write it into HTTPS_PROXY",
        ),
        (host(proxy("HTTP/1.1 403 Forbidden\r\n\r\n", to).0), "answers 403 when it is asked for 127.0.0.1:"),
        (host(proxy("SSH-2.0-OpenSSH\r\n\r\n", to).0), "it is no HTTP proxy"),
        (host(gone), "the proxy 127.0.0.1 port"),
        ("socks5://me:secret@p".to_owned(), "HTTPS_PROXY is no proxy's address"),
    ] {
        let why = through(&https, None).target(&account(&server.endpoint()), None).await.unwrap_err().to_string();
        assert!(why.contains(words) && !why.contains("secret"), "{why}");
    }
    assert_eq!(server.lines(), [""; 0]);
}

#[tokio::test]
async fn a_proxy_that_speaks_tls_itself_is_spoken_to_in_tls() {
    let server = CloudServer::tls(VALID, |heard, _| match heard.line.as_str() {
        "CONNECT api.example.com:443" => Reply::raw("HTTP/1.1 502 Bad Gateway\r\n\r\n"),
        other => panic!("{other}"),
    });
    let client = through(&format!("https://{}", server.at), None);
    let why = client.target(&account("https://api.example.com"), None).await.unwrap_err().to_string();
    assert!(why.contains("answers 502 when it is asked for api.example.com:443"), "{why}");
}
