//! A target at a URL, over TLS: what is sent, what is followed, and what is said of a server that cannot be trusted.

use std::io::Write as _;
use std::time::Duration;

use boardkeeper::linux::cloud::CloudClient;
use boardkeeper::linux::target_url::{TargetUrl, TargetUrlSettings};
use boardkeeper::port::Targets as _;
use boardkeeper::state::proxy_variables::ProxyVariables;
use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::time::timeout;

use super::lab::{UUID, base64, client, client_with};
use super::server::{AUTHORITY, CloudServer, EXPIRED, Reply, VALID};

const DOCUMENT: &str = r#"{"local":{"name":"of the web","config":{},"apps":{}}}"#;

fn at(url: String, client: CloudClient) -> TargetUrl {
    let settings = TargetUrlSettings {
        url,
        interval: Duration::from_secs(900),
        state_dir: "/nowhere".into(),
        uuid: Some(UUID.to_owned()),
    };
    TargetUrl::new(settings, None, client)
}

async fn next(url: &TargetUrl) -> Result<String, String> {
    let next = timeout(Duration::from_secs(60), url.next()).await.expect("the server is asked in time");
    next.map(|it| it.name.unwrap_or_default()).map_err(|it| it.0)
}

fn gzip(text: &str) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    packed.write_all(text.as_bytes()).unwrap();
    packed.finish().unwrap()
}

#[tokio::test]
async fn a_packed_document_is_found_behind_a_redirect_and_asked_about_by_its_etag() {
    let store = CloudServer::tls(VALID, |heard, _| match heard.headers.get("if-none-match").map(String::as_str) {
        Some("\"7\"") => Reply::new("304 Not Modified", "", ""),
        _ => Reply::new("200 OK", "ETag: \"7\"\r\nContent-Encoding: gzip\r\n", gzip(DOCUMENT)),
    });
    let to = format!("Location: {}/blob?signed=1\r\n", store.endpoint());
    let front = CloudServer::tls(VALID, move |_, _| Reply::new("302 Found", &to, ""));
    let url = at(format!("{}/of/{{uuid}}.json", front.endpoint()), client());
    assert_eq!(next(&url).await.unwrap(), "of the web");
    url.look_again();
    // It is unchanged, which is no news; the request after it is made all the same.
    let quiet = timeout(Duration::from_secs(60), async {
        tokio::select! {
            biased;
            news = url.next() => panic!("{news:?}"),
            () = async { while store.lines().len() < 2 { tokio::time::sleep(Duration::from_millis(5)).await } } => (),
        }
    });
    quiet.await.expect("it is asked again");
    assert_eq!(front.lines(), [format!("GET /of/{UUID}.json"), format!("GET /of/{UUID}.json")]);
    assert_eq!(store.lines(), ["GET /blob?signed=1", "GET /blob?signed=1"]);
    for heard in front.heard().into_iter().chain(store.heard()) {
        assert!(!heard.headers.contains_key("authorization") && !heard.headers.contains_key("cookie"), "{heard:?}");
        assert_eq!(heard.headers["accept-encoding"], "gzip");
    }
}

#[tokio::test]
async fn a_redirect_to_plain_http_and_one_that_never_ends_are_not_followed() {
    let plain = CloudServer::plain(|_, _| Reply::new("200 OK", "", DOCUMENT));
    let to = format!("Location: {}/t.json\r\n", plain.endpoint());
    let front = CloudServer::tls(VALID, move |_, _| Reply::new("301 Moved", &to, ""));
    let why = next(&at(format!("{}/t.json", front.endpoint()), client())).await.unwrap_err();
    assert!(why.contains("followed to https only"), "{why}");
    assert_eq!(plain.lines(), [""; 0]);
    let circle = CloudServer::tls(VALID, |_, _| Reply::new("302 Found", "Location: /t.json\r\n", ""));
    let why = next(&at(format!("{}/t.json", circle.endpoint()), client())).await.unwrap_err();
    assert!(why.contains("redirects more than 5 times"), "{why}");
    assert_eq!(circle.lines().len(), 6);
}

#[tokio::test]
async fn a_server_that_cannot_be_trusted_is_said_in_the_words_of_the_setting() {
    let document = |_: &_, _| Reply::new("200 OK", "", DOCUMENT);
    let expired = CloudServer::tls(EXPIRED, document);
    let valid = CloudServer::tls(VALID, document);
    let stranger = client_with(None, ProxyVariables::default());
    let known = client_with(Some(base64(AUTHORITY)), ProxyVariables::default());
    for (server, client) in [(&expired, known), (&valid, stranger)] {
        let why = next(&at(format!("{}/t.json", server.endpoint()), client)).await.unwrap_err();
        assert!(why.contains("/t.json: ") && why.contains("certificate") && !why.contains("apiEndpoint"), "{why}");
        assert_eq!(server.lines(), [""; 0], "nothing is asked of it");
    }
}
