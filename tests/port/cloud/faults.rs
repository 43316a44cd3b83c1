//! A cloud that breaks, and others in its place.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::thread;

use boardkeeper::port::{Cloud as _, CloudError, TargetAnswer};
use boardkeeper::state::cloud::DeviceReport;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::lab::{KEY, account, client};
use super::server::{CloudServer, Reply, VALID};

const JSON: &str = "Content-Type: application/json\r\n";

/// What a target's request comes to, and what the next one does, which has to be answered.
async fn told(server: &CloudServer) -> CloudError {
    let (client, account) = (client(), account(&server.endpoint()));
    let error = client.target(&account, None).await.unwrap_err();
    assert_eq!(client.target(&account, None).await, Ok(TargetAnswer::NotModified), "after {error}");
    let words = error.to_string();
    assert!(words.len() < 500 && !words.contains('\n') && !words.contains(KEY), "{words}");
    error
}

fn first(reply: Reply) -> impl Fn(&super::server::Heard, usize) -> Reply + Send + Sync + 'static {
    move |_, before| if before == 0 { reply.clone() } else { Reply::new("304 Not Modified", "", "") }
}

fn zeros(count: usize) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    packed.write_all(&vec![b' '; count]).unwrap();
    packed.finish().unwrap()
}

#[tokio::test]
async fn what_is_no_whole_answer_is_none() {
    let gzip = format!("{JSON}Content-Encoding: gzip\r\n");
    let bomb = Reply::new("200 OK", &gzip, zeros(50_000_000));
    assert!(bomb.bytes.len() < 100_000);
    let half = zeros(5000);
    let cases = [
        (Reply::raw(""), "does not answer"),
        (Reply::raw("garbage\r\n\r\n"), "not as HTTP servers do"),
        (Reply::raw("\u{16}\u{3}\u{1}\0\0\0"), "answer"),
        (Reply::raw("HTTP/1.1 200 OK\r\nContent-"), "does not answer"),
        (Reply::raw("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"half"), "half an answer"),
        (Reply::raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"hal\r\n"), "half an answer"),
        (Reply::raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"), "half an answer"),
        (Reply::new("200 OK", JSON, " ".repeat(5 << 20)), "longer than 4 MiB"),
        (bomb, "longer than 4 MiB"),
        (Reply::new("200 OK", &gzip, &half[..half.len() - 5]), "gzip of its answer is broken"),
        (Reply::new("200 OK", &gzip, "{}"), "gzip of its answer is broken"),
        (Reply::new("200 OK", &format!("{JSON}Content-Encoding: br\r\n"), "x"), "not asked for"),
    ];
    for (reply, words) in cases {
        let shown = String::from_utf8_lossy(&reply.bytes[..reply.bytes.len().min(100)]).into_owned();
        let server = CloudServer::tls(VALID, first(reply));
        let error = told(&server).await;
        assert!(matches!(&error, CloudError::Unreachable(why) if why.contains(words)), "{shown}: {error}");
    }
}

#[tokio::test]
async fn another_site_in_the_clouds_place_is_foreign() {
    let to = |status: &str, place: &str| Reply::new(status, &format!("Location: {place}\r\n"), "");
    let cases = [
        (to("301 Moved Permanently", "https://new.example.com/x?key=1"), "redirects to https://new.example.com,"),
        (to("302 Found", "http://portal.example.com/"), "redirects to http://portal.example.com,"),
        (to("307 Temporary Redirect", "/login"), "redirects to https://127.0.0.1:"),
        (Reply::new("301 Moved Permanently", "", ""), "without saying where to"),
        (Reply::new("200 OK", "Content-Type: text/html\r\n", "<!DOCTYPE html><title>Wifi</title>"), "captive portal"),
        (Reply::new("511 Network Authentication Required", "", ""), "captive portal"),
        (Reply::new("200 OK", "Content-Type: text/plain\r\n", "OK"), "something else than the JSON"),
        (Reply::new("200 OK", JSON, b"\xff{}"), "something else than the JSON"),
    ];
    for (reply, words) in cases {
        let server = CloudServer::tls(VALID, first(reply));
        let error = told(&server).await;
        assert!(matches!(&error, CloudError::Foreign(why) if why.contains(words)), "{words}: {error}");
        assert_eq!(server.lines().len(), 2, "nothing was followed");
    }
    let server = CloudServer::plain(|_, before| match before {
        0 => Reply::new("200 OK", "Content-Type: text/html\r\n", "<html>"),
        _ => Reply::new("204 No Content", "", ""),
    });
    let (client, account) = (client(), account(&server.endpoint()));
    let report = async || client.report(&account, &DeviceReport::default()).await;
    assert!(matches!(report().await, Err(CloudError::Foreign(_))), "a portal accepts no report");
    assert_eq!(report().await, Ok(()));
}

#[tokio::test]
async fn plain_http_works_and_is_told_to_become_https_where_it_does_not() {
    let other = CloudServer::tls(VALID, |_, _| Reply::new("304 Not Modified", "", ""));
    let place = format!("Location: {}/device/v3\r\n", other.endpoint());
    let server = CloudServer::plain(move |_, before| match before {
        0 => Reply::new("301 Moved Permanently", &place, ""),
        _ => Reply::new("304 Not Modified", "", ""),
    });
    let error = told(&server).await.to_string();
    assert!(error.contains(&format!("write https://{} as apiEndpoint", other.at)), "{error}");
    assert!(other.heard().is_empty());
}

/// A server that says this at once.
fn hasty(answer: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            // A client may hang up at any time.
            let _ = stream.write_all(answer.as_bytes()).and_then(|()| stream.read(&mut [0; 4096]));
        }
    });
    at
}

#[tokio::test]
async fn what_is_wrong_with_the_address_is_said() {
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let plain = hasty("HTTP/1.1 400 Bad Request\r\n\r\n");
    let mute = CloudServer::tls(VALID, |_, _| Reply::new("304 Not Modified", "", ""));
    for (endpoint, words) in [
        (format!("https://{gone}"), "cannot connect to 127.0.0.1 port"),
        ("https://no-such-name.invalid".to_owned(), "cannot look up no-such-name.invalid"),
        ("api.example.com".to_owned(), "write one like https://api.example.com"),
        (format!("https://{plain}"), "not in TLS"),
        (format!("http://{}", mute.at), "not as HTTP servers do"),
    ] {
        let why = client().target(&account(&endpoint), None).await.unwrap_err();
        assert!(matches!(&why, CloudError::Unreachable(why) if why.contains(words)), "{endpoint}: {why}");
    }
    let mut bad_key = account(&format!("http://{plain}"));
    bad_key.key = boardkeeper::state::Secret::new("a\r\nb".to_owned());
    let why = client().target(&bad_key, None).await.unwrap_err().to_string();
    assert!(why.contains("write deviceApiKey of config.json anew"), "{why}");
}
