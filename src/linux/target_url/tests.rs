use std::path::Path;
use std::rc::Rc;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::*;
use crate::linux::cloud::CloudClientSettings;
use crate::linux::signer::Signer;
use crate::linux::traffic::TrafficCounter;
use crate::linux::trust::TrustStore;
use crate::sorted::SortedMap;
use crate::state::proxy_variables::ProxyVariables;

const INTERVAL: Duration = Duration::from_secs(900);

/// A web server whose answers are set by tests, by path.
#[derive(Default)]
struct Web {
    answers: RefCell<SortedMap<String, String>>,
    /// The requests, each the path and its ETag.
    seen: RefCell<Vec<(String, Option<String>)>>,
    heads: RefCell<Vec<String>>,
}

impl Web {
    fn publish(&self, path: &str, etag: &str, body: &str) {
        let head = format!("HTTP/1.1 200 OK\r\nETag: \"{etag}\"\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        self.answers.borrow_mut().insert(path.to_owned(), head);
    }

    fn answer(&self, path: &str, head: &str) {
        self.answers.borrow_mut().insert(path.to_owned(), format!("HTTP/1.1 {head}\r\nContent-Length: 0\r\n\r\n"));
    }

    fn seen(&self) -> Vec<(String, Option<String>)> {
        self.seen.take()
    }

    async fn serve(&self, listener: TcpListener) {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = Vec::new();
            // 0x16 begins TLS, which this server does not speak.
            while !asked.ends_with(b"\r\n\r\n") && asked.first() != Some(&0x16) {
                let mut part = [0; 4096];
                match stream.read(&mut part).await {
                    Ok(0) | Err(_) => break,
                    Ok(read) => asked.extend_from_slice(&part[..read]),
                }
            }
            let asked = String::from_utf8_lossy(&asked).into_owned();
            let path = asked.split(' ').nth(1).unwrap_or_default().to_owned();
            let etag = asked.lines().find_map(|it| it.strip_prefix("if-none-match: ")).map(str::to_owned);
            let answer = self.answers.borrow().get(&path).cloned();
            let answer = answer.unwrap_or_else(|| "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned());
            let is_known = etag.as_ref().is_some_and(|it| answer.contains(&format!("ETag: {it}\r\n")));
            let answer = if is_known { "HTTP/1.1 304 Not Modified\r\n\r\n".to_owned() } else { answer };
            self.seen.borrow_mut().push((path, etag));
            self.heads.borrow_mut().push(asked);
            let answer = answer.replacen("\r\n", "\r\nConnection: close\r\n", 1);
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    }
}

struct Lab {
    dir: TempDir,
    port: u16,
    web: Web,
}

impl Lab {
    fn url(&self, path: &str, signer: Option<&Signer>) -> TargetUrl {
        let settings = TargetUrlSettings {
            url: format!("http://127.0.0.1:{}{path}", self.port),
            interval: INTERVAL,
            state_dir: self.dir.path().to_owned(),
            uuid: Some("c0ffee".to_owned()),
        };
        let verifier = signer.map(|it| TargetVerifier::new(&it.public(), self.dir.path()).unwrap());
        let client = CloudClient::new(CloudClientSettings {
            root: self.dir.path().to_owned(),
            trust: Rc::new(TrustStore::new(Path::new("/"), None)),
            traffic: TrafficCounter::default(),
            user_agent: "test".to_owned(),
            proxies: ProxyVariables::default(),
        });
        TargetUrl::new(settings, verifier, client)
    }
}

/// Runs a story beside a web server.
async fn with_web(story: impl AsyncFnOnce(&Lab)) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let lab = Lab { dir: tempfile::tempdir().unwrap(), port: listener.local_addr().unwrap().port(), web: Web::default() };
    tokio::select! {
        biased;
        () = story(&lab) => (),
        () = lab.web.serve(listener) => (),
    }
}

async fn next(url: &TargetUrl) -> Result<String, String> {
    let next = timeout(Duration::from_secs(30), url.next()).await.expect("the URL is asked in time");
    next.map(|it| it.name.unwrap_or_default()).map_err(|it| it.0)
}

/// Asks now, which brings nothing.
async fn quiet(url: &TargetUrl) {
    url.due.set(None);
    let polled = timeout(Duration::from_secs(30), url.poll()).await.expect("the URL is asked in time");
    assert!(polled.is_none(), "{polled:?}");
}

fn document(name: &str) -> String {
    format!(r#"{{"c0ffee":{{"name":"{name}","apps":{{}}}},"other":{{"name":"other","apps":{{}}}}}}"#)
}

fn wait_secs(url: &TargetUrl) -> u64 {
    url.due.get().unwrap().saturating_duration_since(Instant::now()).as_secs()
}

#[tokio::test]
async fn a_document_is_fetched_once_and_then_asked_about_by_its_etag() {
    with_web(async |lab| {
        lab.web.publish("/t.json", "1", &document("one"));
        let url = lab.url("/t.json", None);
        assert_eq!(next(&url).await.unwrap(), "one");
        quiet(&url).await;
        let etag = Some("\"1\"".to_owned());
        assert_eq!(lab.web.seen(), [("/t.json".to_owned(), None), ("/t.json".to_owned(), etag)]);
        assert!((INTERVAL.as_secs() - 60..=INTERVAL.as_secs() * 11 / 10).contains(&wait_secs(&url)));
        // Another ETag and the same bytes are no news.
        lab.web.publish("/t.json", "2", &document("one"));
        quiet(&url).await;
        lab.web.publish("/t.json", "3", &document("two"));
        url.look_again();
        assert_eq!(next(&url).await.unwrap(), "two");
        let heads = lab.web.heads.borrow().concat().to_lowercase();
        assert!(!heads.contains("authorization") && !heads.contains("cookie"), "{heads}");
    })
    .await;
}

#[tokio::test]
async fn the_uuid_may_be_in_the_url_and_selects_a_part_of_the_document() {
    with_web(async |lab| {
        lab.web.publish("/of/c0ffee.json?a=b", "1", &document("mine"));
        assert_eq!(next(&lab.url("/of/{uuid}.json?a=b", None)).await.unwrap(), "mine");
    })
    .await;
}

#[tokio::test]
async fn an_error_is_reported_once_and_the_document_after_it_is_news() {
    with_web(async |lab| {
        lab.web.publish("/t.json", "1", &document("one"));
        let url = lab.url("/t.json?token=sesame", None);
        let why = next(&url).await.unwrap_err();
        assert!(why.contains("/t.json: the server answers 404: Not Found") && !why.contains("sesame"), "{why}");
        assert!(wait_secs(&url) <= 17, "{}", wait_secs(&url));
        quiet(&url).await;
        assert!((20..=33).contains(&wait_secs(&url)), "{}", wait_secs(&url));
        lab.web.publish("/t.json?token=sesame", "1", &document("one"));
        url.look_again();
        assert_eq!(next(&url).await.unwrap(), "one");
        lab.web.answer("/t.json?token=sesame", "503 Busy\r\nRetry-After: 700");
        url.look_again();
        assert!(next(&url).await.unwrap_err().contains("503"));
        assert!((650..=771).contains(&wait_secs(&url)), "{}", wait_secs(&url));
        lab.web.publish("/t.json?token=sesame", "1", &document("one"));
        url.look_again();
        assert_eq!(next(&url).await.unwrap(), "one", "the error is over");
    })
    .await;
}

#[tokio::test]
async fn what_is_no_document_is_said_with_its_place() {
    with_web(async |lab| {
        let url = lab.url("/t.json", None);
        for (body, words) in [
            ("{", "not JSON"),
            ("<!doctype html><title>Log in</title>", "captive portal"),
            (r#"{"local":{"apps":[1]}}"#, "apps"),
        ] {
            lab.web.publish("/t.json", "1", body);
            url.look_again();
            let why = next(&url).await.unwrap_err();
            assert!(why.contains("/t.json: ") && why.contains(words), "{why}");
        }
        lab.web.publish("/t.json", "1", &"x".repeat(5 * 1024 * 1024));
        url.look_again();
        assert!(next(&url).await.unwrap_err().contains("longer than 4 MiB"));
    })
    .await;
}

#[tokio::test]
async fn redirects_lead_to_https_only() {
    with_web(async |lab| {
        let url = lab.url("/t.json", None);
        lab.web.answer("/t.json", "302 Found\r\nLocation: /other.json");
        let why = next(&url).await.unwrap_err();
        assert!(why.contains("redirects to /other.json") && why.contains("https only"), "{why}");
        // It is followed; and on that port no TLS is spoken.
        lab.web.answer("/t.json", &format!("307 Go\r\nLocation: https://127.0.0.1:{}/", lab.port));
        url.look_again();
        let why = next(&url).await.unwrap_err();
        assert!(why.contains("not in TLS") && why.contains("check --target"), "{why}");
    })
    .await;
}

#[tokio::test]
async fn a_signed_document_is_taken_with_the_signature_beside_it_and_an_older_one_is_not() {
    with_web(async |lab| {
        let signer = Signer::new(7);
        let publish = |name: &str, created: &str| {
            lab.web.publish("/t.json?v", name, &document(name));
            lab.web.publish("/t.json.minisig?v", name, &signer.sign(document(name).as_bytes(), created));
        };
        publish("two", "created:2");
        let url = lab.url("/t.json?v", Some(&signer));
        assert_eq!(next(&url).await.unwrap(), "two");
        publish("one", "created:1");
        url.look_again();
        assert!(next(&url).await.unwrap_err().contains("no older one is taken"));
        publish("three", "created:3");
        url.look_again();
        assert_eq!(next(&url).await.unwrap(), "three");
        publish("one", "created:1");
        assert!(next(&lab.url("/t.json?v", Some(&signer))).await.unwrap_err().contains("no older one is taken"));
    })
    .await;
}

#[tokio::test]
async fn a_document_and_a_signature_that_are_replaced_one_after_the_other_are_read_until_they_match() {
    with_web(async |lab| {
        let signer = Signer::new(7);
        lab.web.publish("/t.json", "2", &document("two"));
        lab.web.publish("/t.json.minisig", "1", &signer.sign(document("one").as_bytes(), "created:1"));
        let url = lab.url("/t.json", Some(&signer));
        let replaces = async {
            // The second request for the document is one that comes after a signature that did not match.
            while lab.web.seen.borrow().iter().filter(|it| it.0 == "/t.json").count() < 2 {
                sleep(Duration::from_millis(5)).await;
            }
            lab.web.publish("/t.json.minisig", "2", &signer.sign(document("two").as_bytes(), "created:2"));
        };
        let (next, ()) = tokio::join!(next(&url), replaces);
        assert_eq!(next.unwrap(), "two");
        lab.web.answers.borrow_mut().remove("/t.json.minisig");
        let url = lab.url("/t.json", Some(&signer));
        let why = self::next(&url).await.unwrap_err();
        assert!(why.contains("/t.json.minisig: the server answers 404"), "{why}");
    })
    .await;
}

#[test]
fn a_wait_is_up_to_a_tenth_longer() {
    let wait = Duration::from_secs(100);
    assert_eq!((spread(wait, 0), spread(wait, 255)), (wait, Duration::from_secs(110)));
    assert!(spread(wait, 128) > wait);
}
