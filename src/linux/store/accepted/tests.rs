use std::fs;

use super::*;

fn document(created_secs: i64, fingerprint: &str) -> SignedDocument {
    SignedDocument { created_secs, fingerprint: fingerprint.to_owned() }
}

#[test]
fn the_record_is_of_its_key_and_outlives_the_agent() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("not/yet");
    let accepted = AcceptedDocuments::new(&state);
    assert_eq!(accepted.accept("one", &document(5, "a")), Ok(SignedOrder::Newer));
    let again = AcceptedDocuments::new(&state);
    assert_eq!(again.check("one", &document(5, "a")), Ok(SignedOrder::Same));
    assert_eq!(again.accept("one", &document(5, "a")), Ok(SignedOrder::Same));
    assert!(again.accept("one", &document(4, "b")).unwrap_err().contains("no older one is taken"));
    assert!(again.accept("one", &document(5, "b")).unwrap_err().contains("another content"));
    // A key has its own time, and that of the first one stays.
    assert_eq!(again.accept("two", &document(1, "b")), Ok(SignedOrder::Newer));
    assert!(again.accept("one", &document(4, "b")).is_err());
}

#[test]
fn a_check_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let accepted = AcceptedDocuments::new(dir.path());
    assert_eq!(accepted.check("one", &document(9, "a")), Ok(SignedOrder::Newer));
    assert_eq!(accepted.accept("one", &document(5, "a")), Ok(SignedOrder::Newer));
}

#[test]
fn a_damaged_record_is_put_aside_and_one_that_cannot_be_read_refuses_everything() {
    let dir = tempfile::tempdir().unwrap();
    let accepted = AcceptedDocuments::new(dir.path());
    fs::write(dir.path().join(ACCEPTED), "{").unwrap();
    assert_eq!(accepted.accept("one", &document(5, "a")), Ok(SignedOrder::Newer));
    assert_eq!(fs::read_to_string(dir.path().join("signed-targets.json.unreadable-1")).unwrap(), "{");
    assert!(accepted.accept("one", &document(4, "b")).is_err());
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let why = AcceptedDocuments::new(&file).accept("one", &document(5, "a")).unwrap_err();
    assert!(why.contains(ACCEPTED), "{why}");
}
