use std::cell::Cell;
use std::fs;
use std::os::unix::fs::symlink;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

use super::*;
use crate::linux::engine::EngineSettings;
use crate::linux::signer::{Algorithm, Signer};

/// A host with one stick, and an engine that has the image `app:1` once an archive was loaded.
struct Lab {
    root: TempDir,
    signer: Signer,
    /// The bytes of the archives that were loaded whole.
    loaded: RefCell<Vec<Vec<u8>>>,
    /// Archives of which the end did not come.
    broken_off: Cell<u32>,
}

impl Lab {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        for dir in ["sys/devices/usb1/sda/sda1", "sys/dev/block", "proc/self", "stick", "state"] {
            fs::create_dir_all(at(dir)).unwrap();
        }
        symlink("../../devices/usb1/sda/sda1", at("sys/dev/block/8:1")).unwrap();
        let lab = Self { root, signer: Signer::new(3), loaded: RefCell::default(), broken_off: Cell::default() };
        lab.plug();
        lab
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    fn plug(&self) {
        let line = format!("30 21 8:1 / {} ro - vfat /dev/sda1 ro\n", self.at("stick").display());
        fs::write(self.at("proc/self/mountinfo"), line).unwrap();
    }

    fn unplug(&self) {
        fs::write(self.at("proc/self/mountinfo"), "").unwrap();
    }

    fn write(&self, name: &str, bytes: &[u8], created: &str) {
        fs::write(self.at("stick").join(name), bytes).unwrap();
        fs::write(self.at("stick").join(format!("{name}.minisig")), self.signer.sign(bytes, created)).unwrap();
    }

    fn media(&self) -> TargetMedia {
        let engine = Engine::connect(EngineSettings {
            hosts: vec![format!("unix://{}", self.at("engine").display())],
            root: self.root.path().to_owned(),
            logins: None,
            floor_bytes: 0,
            registries: None,
            arch: String::new(),
        });
        let verifier = TargetVerifier::new(&self.signer.public(), &self.at("state")).unwrap();
        TargetMedia::new(self.root.path(), verifier, engine, &self.at("state"), None)
    }

    async fn serve(&self) {
        let listener = UnixListener::bind(self.at("engine")).unwrap();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            self.answer(stream).await;
        }
    }

    async fn answer(&self, mut stream: UnixStream) {
        let (mut asked, mut part) = (Vec::new(), [0; 8 * 1024]);
        let is_load = |it: &[u8]| it.starts_with(b"POST") && it.windows(12).any(|it| it == b"/images/load");
        while !asked.ends_with(if is_load(&asked) { b"\r\n0\r\n\r\n" } else { b"\r\n\r\n".as_slice() }) {
            match stream.read(&mut part).await {
                Ok(0) | Err(_) => {
                    self.broken_off.set(self.broken_off.get() + u32::from(is_load(&asked)));
                    return;
                }
                Ok(read) => asked.extend_from_slice(&part[..read]),
            }
        }
        let head = String::from_utf8_lossy(&asked[..asked.len().min(200)]).into_owned();
        let (status, body) = match head.split(' ').nth(1).unwrap_or_default() {
            it if it.contains("/images/load") => {
                let at = asked.windows(4).position(|it| it == b"\r\n\r\n").unwrap() + 4;
                self.loaded.borrow_mut().push(asked[at..].to_owned());
                ("200 OK", "{\"stream\":\"Loaded\"}\n")
            }
            it if it.contains("/images/app:1/json") && !self.loaded.borrow().is_empty() => ("200 OK", r#"{"Id":"sha256:1"}"#),
            it if it.contains("/images/") => ("404 Not Found", r#"{"message":"no such image"}"#),
            _ => ("200 OK", r#"{"Version":"20.10.24","ApiVersion":"1.41"}"#),
        };
        let length = body.len();
        let answer = format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}");
        let _ = stream.write_all(answer.as_bytes()).await; // The client may have hung up.
    }
}

async fn with_engine(lab: &Lab, story: impl AsyncFnOnce()) {
    tokio::select! {
        biased;
        () = story() => (),
        () = lab.serve() => (),
    }
}

async fn next(media: &TargetMedia) -> Result<String, String> {
    let next = timeout(Duration::from_secs(30), media.next()).await.expect("the medium is judged in time");
    next.map(|it| it.name.unwrap_or_default()).map_err(|it| it.0)
}

async fn quiet(media: &TargetMedia) {
    let next = timeout(Duration::from_millis(300), media.next()).await;
    assert!(next.is_err(), "{next:?}");
}

fn document(name: &str) -> Vec<u8> {
    let service = r#"{"imageId":1,"serviceName":"web","image":"app:1","running":true,"environment":{},"labels":{}}"#;
    format!(
        r#"{{"local":{{"name":"{name}","config":{{}},"apps":{{"1":{{"appId":1,"name":"a","commit":"c","releaseId":1,
        "services":{{"1":{service}}},"volumes":{{}},"networks":{{}}}}}}}}}}"#
    )
    .into_bytes()
}

#[tokio::test]
async fn a_signed_target_is_taken_once_and_again_when_it_is_plugged_in_again() {
    let lab = Lab::new();
    lab.write("boardkeeper.json", &document("one"), "created:1");
    let media = lab.media();
    assert_eq!(next(&media).await.unwrap(), "one");
    quiet(&media).await;
    lab.unplug();
    assert!(media.media().is_empty());
    lab.plug();
    assert_eq!(next(&media).await.unwrap(), "one");
}

#[tokio::test]
async fn an_older_one_is_refused_and_its_archive_is_not_loaded() {
    let lab = Lab::new();
    Box::pin(with_engine(&lab, async || {
        lab.write("boardkeeper.json", &document("two"), "created:2");
        let media = lab.media();
        assert_eq!(next(&media).await.unwrap(), "two");
        lab.write("boardkeeper.json", &document("one"), "created:1");
        lab.write("boardkeeper.oci.tar", b"archive", "created:1");
        let why = next(&media).await.unwrap_err();
        assert!(why.contains("boardkeeper.json: ") && why.contains("no older one is taken"), "{why}");
        quiet(&media).await;
        assert_eq!(lab.loaded.borrow().len(), 0);
    }))
    .await;
}

#[tokio::test]
async fn an_archive_is_loaded_before_the_target_is_taken_and_not_twice() {
    let lab = Lab::new();
    Box::pin(with_engine(&lab, async || {
        // Several parts, of which the last is short.
        let archive: Vec<u8> = (0..700_000_u32).map(|it| it.to_le_bytes()[0]).collect();
        lab.write("boardkeeper.json", &document("one"), "created:1");
        lab.write("boardkeeper.oci.tar", &archive, "created:1");
        assert_eq!(next(&lab.media()).await.unwrap(), "one");
        let length = lab.loaded.borrow()[0].len();
        assert!((archive.len()..archive.len() + 500).contains(&length), "{length}");
        // The next start finds the images in the engine.
        assert_eq!(next(&lab.media()).await.unwrap(), "one");
        assert_eq!(lab.loaded.borrow().len(), 1);
    }))
    .await;
}

#[tokio::test]
async fn an_archive_whose_signature_is_not_right_never_reaches_the_engine() {
    let lab = Lab::new();
    Box::pin(with_engine(&lab, async || {
        lab.write("boardkeeper.json", &document("one"), "created:1");
        lab.write("boardkeeper.oci.tar", b"archive", "created:1");
        let archive = lab.at("stick/boardkeeper.oci.tar");
        let media = lab.media();
        fs::write(&archive, b"tampered").unwrap();
        let why = next(&media).await.unwrap_err();
        assert!(why.contains("boardkeeper.oci.tar: its signature does not match it"), "{why}");
        for (signature, words) in [
            (Signer::new(4).sign(b"tampered", "created:1"), "another key"),
            (lab.signer.sign_as(Algorithm::Legacy, b"tampered", "created:1"), "minisign -S -H"),
        ] {
            fs::write(lab.at("stick/boardkeeper.oci.tar.minisig"), signature).unwrap();
            media.look_again();
            let why = next(&media).await.unwrap_err();
            assert!(why.contains(words), "{why}");
        }
        fs::remove_file(lab.at("stick/boardkeeper.oci.tar.minisig")).unwrap();
        media.look_again();
        assert!(next(&media).await.unwrap_err().contains("its signature"));
        assert_eq!((lab.loaded.borrow().len(), lab.broken_off.get()), (0, 0));
        // Nothing was accepted: an older document is still the first.
        lab.write("boardkeeper.json", &document("zero"), "created:0");
        fs::remove_file(&archive).unwrap();
        media.look_again();
        assert_eq!(next(&media).await.unwrap(), "zero");
    }))
    .await;
}

#[tokio::test]
async fn without_a_signature_nothing_is_taken() {
    let lab = Lab::new();
    fs::write(lab.at("stick/boardkeeper.yml"), document("one")).unwrap();
    let why = next(&lab.media()).await.unwrap_err();
    assert!(why.contains("boardkeeper.yml: it has no signature; sign it"), "{why}");
}

#[tokio::test]
async fn a_link_on_a_medium_is_not_followed() {
    let lab = Lab::new();
    lab.write("else.json", &document("one"), "created:1");
    symlink("else.json", lab.at("stick/boardkeeper.json")).unwrap();
    symlink("else.json.minisig", lab.at("stick/boardkeeper.json.minisig")).unwrap();
    let why = next(&lab.media()).await.unwrap_err();
    assert!(why.contains("boardkeeper.json: it cannot be read: it is a symbolic link"), "{why}");
}

#[tokio::test]
async fn an_engine_that_is_not_there_yet_is_waited_for() {
    let lab = Lab::new();
    lab.write("boardkeeper.json", &document("one"), "created:1");
    lab.write("boardkeeper.oci.tar", b"archive", "created:1");
    let media = lab.media();
    assert!(next(&media).await.unwrap_err().contains("no socket"));
    quiet(&media).await;
    Box::pin(with_engine(&lab, async || {
        media.look_again();
        assert_eq!(next(&media).await.unwrap(), "one");
    }))
    .await;
}
