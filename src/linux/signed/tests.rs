use super::*;
use crate::linux::signer::{Algorithm, Signer};

const DOCUMENT: &[u8] = br#"{"local":{"name":"signed","config":{},"apps":{}}}"#;

fn verifier(signer: &Signer, state_dir: &Path) -> TargetVerifier {
    TargetVerifier::new(&signer.public(), state_dir).unwrap()
}

async fn verified(verifier: &TargetVerifier, bytes: &[u8], signature: &str) -> Result<VerifiedTarget, UnverifiedTarget> {
    let document = ReadDocument { bytes: bytes.to_owned(), signature: Some(signature.as_bytes().to_owned()) };
    document.verified(Some(verifier), None).await
}

#[tokio::test]
async fn both_forms_of_signatures_are_right_and_give_the_time() {
    let dir = tempfile::tempdir().unwrap();
    let signer = Signer::new(1);
    let verifier = verifier(&signer, dir.path());
    for algorithm in [Algorithm::Prehashed, Algorithm::Legacy] {
        let signature = signer.sign_as(algorithm, DOCUMENT, "timestamp:1732800000\tfile:target.json");
        let taken = verified(&verifier, DOCUMENT, &signature).await.unwrap();
        assert_eq!(taken.target.name.as_deref(), Some("signed"));
        assert_eq!(taken.version.unwrap().created_secs, 1_732_800_000);
    }
}

/// Made by minisign itself, of the text `test`: the agent must verify what that program writes.
#[test]
fn what_minisign_wrote_is_right() {
    let key = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";
    let signature = "untrusted comment: signature from minisign secret key\n\
        RWQf6LRCGA9i59SLOFxz6NxvASXDJeRtuZykwQepbDEGt87ig1BNpWaVWuNrm73YiIiJbq71Wi+dP9eKL8OC351vwIasSSbXxwA=\n\
        trusted comment: timestamp:1555779966\tfile:test\n\
        QtKMXWyYcwdpZAlPF7tE2ENJkRd1ujvKjlj1m9RtHTBnZPa5WKU5uWRs5GoP5M/VqE81QFuMKI5k/SfNQUaOAA==\n";
    let verifier = TargetVerifier::new(key, Path::new("/nowhere")).unwrap();
    assert_eq!(verifier.version(b"test", signature.as_bytes()).unwrap().created_secs, 1_555_779_966);
    assert!(matches!(verifier.version(b"Test", signature.as_bytes()), Err(UnverifiedTarget::Mismatch(_))));
}

#[tokio::test]
async fn a_changed_byte_of_either_file_is_no_signature() {
    let dir = tempfile::tempdir().unwrap();
    let signer = Signer::new(1);
    let verifier = verifier(&signer, dir.path());
    let signature = signer.sign(DOCUMENT, "created:5");
    let mut bytes = DOCUMENT.to_owned();
    bytes.push(b'\n');
    let why = verified(&verifier, &bytes, &signature).await.unwrap_err();
    assert!(matches!(&why, UnverifiedTarget::Mismatch(why) if why.contains("does not match it")), "{why:?}");
    // The time is signed too.
    let newer = signature.replace("created:5", "created:6");
    assert!(matches!(verified(&verifier, DOCUMENT, &newer).await, Err(UnverifiedTarget::Mismatch(_))));
    let half = &signature[..signature.len() / 2];
    for wrong in [half, "", "{}", "a\nb\nc\nd"] {
        let why = verified(&verifier, DOCUMENT, wrong).await.unwrap_err();
        assert!(matches!(&why, UnverifiedTarget::Mismatch(why) if why.contains("minisign -S")), "{wrong}: {why:?}");
    }
}

#[tokio::test]
async fn another_key_and_a_missing_time_are_said() {
    let dir = tempfile::tempdir().unwrap();
    let signer = Signer::new(1);
    let verifier = verifier(&signer, dir.path());
    let why = verified(&verifier, DOCUMENT, &Signer::new(2).sign(DOCUMENT, "created:5")).await.unwrap_err();
    assert!(matches!(&why, UnverifiedTarget::Mismatch(why) if why.contains("another key than --target-key")), "{why:?}");
    let why = verified(&verifier, DOCUMENT, &signer.sign(DOCUMENT, "hello")).await.unwrap_err();
    assert!(matches!(&why, UnverifiedTarget::Refused(why) if why.contains("created:")), "{why:?}");
    let unsigned = ReadDocument { bytes: DOCUMENT.to_owned(), signature: None };
    assert!(unsigned.verified(Some(&verifier), None).await.is_err());
}

#[tokio::test]
async fn a_document_that_is_no_target_is_not_accepted_and_does_not_bar_an_older_one() {
    let dir = tempfile::tempdir().unwrap();
    let signer = Signer::new(1);
    let verifier = verifier(&signer, dir.path());
    let why = verified(&verifier, b"{", &signer.sign(b"{", "created:9")).await.unwrap_err();
    assert!(matches!(&why, UnverifiedTarget::Refused(why) if why.contains("not JSON")), "{why:?}");
    let older = verified(&verifier, DOCUMENT, &signer.sign(DOCUMENT, "created:5")).await.unwrap();
    assert!(older.accepted(Some(&verifier)).await.is_ok());
}

#[tokio::test]
async fn an_older_one_is_refused_also_by_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let signer = Signer::new(1);
    let take = async |created: &str| {
        let verifier = verifier(&signer, dir.path());
        let taken = verified(&verifier, DOCUMENT, &signer.sign(DOCUMENT, created)).await.unwrap();
        taken.accepted(Some(&verifier)).await.map(drop)
    };
    assert_eq!(take("created:5").await, Ok(()));
    assert_eq!(take("created:5").await, Ok(()));
    let why = take("created:4").await.unwrap_err();
    assert!(why.contains("1970-01-01T00:00:04Z") && why.contains("1970-01-01T00:00:05Z"), "{why}");
    assert_eq!(take("created:6").await, Ok(()));
    assert!(take("created:5").await.is_err());
}
