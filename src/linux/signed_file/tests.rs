use tempfile::TempDir;
use tokio::time::timeout;

use super::*;
use crate::linux::signer::Signer;

/// Longer than [`SETTLE`] by far.
const QUIET: Duration = Duration::from_millis(400);

struct Lab {
    dir: TempDir,
    signer: Signer,
    file: SignedFile,
}

impl Lab {
    fn new() -> Self {
        let (dir, signer) = (tempfile::tempdir().unwrap(), Signer::new(1));
        let file = agent(dir.path(), &signer);
        Self { dir, signer, file }
    }

    /// The agent starts again.
    fn restart(&mut self) {
        self.file = agent(self.dir.path(), &self.signer);
    }

    fn write(&self, name: &str, content: &str) {
        fs::write(self.dir.path().join(name), content).unwrap();
    }

    fn publish(&self, name: &str, created: &str) {
        self.write("t.json", &document(name));
        self.write("t.json.minisig", &self.signer.sign(document(name).as_bytes(), created));
    }

    async fn next(&self) -> Result<String, String> {
        let next = timeout(Duration::from_secs(30), self.file.next()).await.expect("the signed file is judged in time");
        next.map(|it| it.name.unwrap_or_default()).map_err(|it| it.0)
    }

    async fn quiet(&self) {
        let next = timeout(QUIET, self.file.next()).await;
        assert!(next.is_err(), "{next:?}");
    }
}

fn agent(dir: &Path, signer: &Signer) -> SignedFile {
    let verifier = TargetVerifier::new(&signer.public(), &dir.join("state")).unwrap();
    SignedFile::new(&dir.join("t.json"), verifier, None)
}

fn document(name: &str) -> String {
    format!(r#"{{"apps": {{}}, "name": "{name}"}}"#)
}

#[tokio::test]
async fn a_signed_file_is_taken_once_and_an_older_one_never() {
    let mut lab = Lab::new();
    lab.publish("two", "created:2");
    assert_eq!(lab.next().await.unwrap(), "two");
    lab.quiet().await;
    lab.publish("three", "created:3");
    assert_eq!(lab.next().await.unwrap(), "three");
    lab.publish("two", "created:2");
    let why = lab.next().await.unwrap_err();
    assert!(why.contains("t.json: it was created at 1970-01-01T00:00:02Z"), "{why}");
    lab.quiet().await;
    lab.restart();
    assert!(lab.next().await.unwrap_err().contains("no older one is taken"));
    lab.publish("three", "created:3");
    assert_eq!(lab.next().await.unwrap(), "three");
    lab.publish("else", "created:3");
    assert!(lab.next().await.unwrap_err().contains("another content"));
}

#[tokio::test]
async fn a_document_that_arrives_before_its_signature_waits_for_it() {
    let lab = Lab::new();
    lab.publish("one", "created:1");
    assert_eq!(lab.next().await.unwrap(), "one");
    lab.write("t.json", &document("two"));
    lab.quiet().await;
    lab.write("t.json.minisig", &lab.signer.sign(document("two").as_bytes(), "created:2"));
    assert_eq!(lab.next().await.unwrap(), "two");
    // And the other way round.
    lab.write("t.json.minisig", &lab.signer.sign(document("three").as_bytes(), "created:3"));
    lab.quiet().await;
    lab.write("t.json", &document("three"));
    assert_eq!(lab.next().await.unwrap(), "three");
}

#[tokio::test(start_paused = true)]
async fn a_signature_that_never_matches_is_reported_once() {
    let lab = Lab::new();
    lab.write("t.json", &document("one"));
    lab.write("t.json.minisig", &lab.signer.sign(b"else", "created:1"));
    let why = lab.next().await.unwrap_err();
    assert!(why.contains("does not match it"), "{why}");
    lab.quiet().await;
    fs::remove_file(lab.dir.path().join("t.json.minisig")).unwrap();
    let why = lab.next().await.unwrap_err();
    assert!(why.contains("t.json.minisig`: no such file") && why.contains("minisign -S"), "{why}");
}

#[tokio::test]
async fn what_was_refused_for_a_full_disk_is_judged_again_when_an_update_is_asked_for() {
    let lab = Lab::new();
    // The record's directory is a file, so that nothing can be kept there.
    lab.write("state", "");
    lab.publish("one", "created:1");
    assert!(lab.next().await.unwrap_err().contains("signed-targets.json"));
    fs::remove_file(lab.dir.path().join("state")).unwrap();
    lab.quiet().await;
    lab.file.look_again();
    assert_eq!(lab.next().await.unwrap(), "one");
    lab.file.look_again();
    lab.quiet().await;
}

#[tokio::test]
async fn a_missing_or_endless_file_is_said() {
    let lab = Lab::new();
    assert!(lab.next().await.unwrap_err().contains("t.json: no such file; it is read as soon as it appears"));
    let why = read(Path::new("/dev/zero"), 10).unwrap_err();
    assert_eq!(why, "it is not a file");
    lab.write("t.json", "12345678901");
    assert!(read(&lab.dir.path().join("t.json"), 10).unwrap_err().contains("larger than 10 bytes"));
}
