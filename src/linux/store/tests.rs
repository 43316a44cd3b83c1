//! What is on a real disk. What power cuts leave is in tests/store.

use super::*;
use crate::port::{Store as _, Targeted};
use crate::state::{AppId, ImageRef, Keys, ServiceKey};

use std::collections::BTreeSet;

/// Takes any document but `bad`.
fn parse(document: &str) -> Result<Target, TargetError> {
    match document {
        "bad" => Err(TargetError("it is bad".into())),
        _ => Ok(target(document)),
    }
}

fn target(document: &str) -> Target {
    Target { document: document.to_owned(), ..Target::default() }
}

fn keys(generation: u32) -> Keys {
    let generations = BTreeMap::from([(ServiceKey::new(AppId(1), "main"), generation)]);
    Keys { device: Secret::new("d".repeat(64)), root: Secret::new("r".repeat(64)), generations }
}

fn me(uuid: &str) -> Record {
    Record::Identity(Identity { uuid: uuid.into() })
}

#[test]
fn a_directory_is_one_agents_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    let first = hold(&path).unwrap();
    let said = hold(&path).unwrap_err().to_string();
    assert!(said.contains("another agent runs with the state in"), "{said}");
    drop(first);
    hold(&path).unwrap();
    // Where none can be made, the store says so when it is to keep something.
    hold(Path::new("/proc/none/of/this")).unwrap();
}

#[tokio::test]
async fn a_target_is_kept_once_and_what_cannot_be_read_of_it_is_put_aside() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path(), Box::new(parse));
    let pulled = BTreeSet::from([ImageRef::new("a")]);
    let both = Targeted { wanted: Some(target("one")), good: Some(target("one")), pulled };
    store.save(&Record::Targets(Box::new(both.clone()))).await.unwrap();
    let text = std::fs::read_to_string(dir.path().join(TARGETS)).unwrap();
    assert_eq!(text.matches("\"one\"").count(), 1, "{text}");
    assert_eq!(store.load().await.unwrap().targets, both);

    let half = Targeted { wanted: Some(target("bad")), good: Some(target("two")), ..both.clone() };
    store.save(&Record::Targets(Box::new(half))).await.unwrap();
    let memory = store.load().await.unwrap();
    assert_eq!(memory.targets, Targeted { wanted: None, good: Some(target("two")), ..both });
    assert!(memory.complaints[0].contains("it is bad") && memory.complaints[0].contains("targets.json.unreadable-1"));
    let again = store.load().await.unwrap();
    assert_eq!((again.targets, again.complaints), (memory.targets, Vec::new()));
}

#[tokio::test]
async fn the_identity_has_a_second_copy() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path(), Box::new(parse));
    store.save(&me("me")).await.unwrap();
    for (name, garbage) in [(IDENTITY, ""), (IDENTITY_BACKUP, "{"), (IDENTITY, "[]")] {
        std::fs::write(dir.path().join(name), garbage).unwrap();
        let memory = Store::new(dir.path(), Box::new(parse)).load().await.unwrap();
        assert_eq!(memory.identity, super::identity(dir.path()));
        assert_eq!(memory.identity.unwrap().uuid, "me");
        assert!(memory.complaints[0].contains("put aside"), "{:?}", memory.complaints);
        let memory = Store::new(dir.path(), Box::new(parse)).load().await.unwrap();
        assert_eq!((memory.identity.unwrap().uuid.as_str(), memory.complaints), ("me", Vec::new()));
    }
    assert!(dir.path().join("identity.json.unreadable-2").exists());
}

#[tokio::test]
async fn files_are_for_their_owner_only_and_leftovers_go() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a/b");
    let store = Store::new(&path, Box::new(parse));
    store.load().await.unwrap();
    std::fs::write(path.join(".keys.json.new"), "half").unwrap();
    store.save(&Record::Keys(keys(1))).await.unwrap();
    std::fs::write(path.join(".targets.json.new"), "half").unwrap();
    store.load().await.unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(&path.join(KEYS))), (0o700, 0o600));
    assert_eq!(std::fs::read_dir(&path).unwrap().count(), 1);
    assert_eq!(device_key(&path).unwrap().unwrap().reveal(), "d".repeat(64));
    assert_eq!(device_key(dir.path()).unwrap(), None);
}

#[tokio::test]
async fn a_read_only_system_above_the_state_is_in_nobodys_way() {
    let dir = tempfile::tempdir().unwrap();
    // The kernel refuses to sync a directory of /proc as it does one of squashfs or erofs.
    let path = Path::new("/proc/self/root").join(dir.path().strip_prefix("/").unwrap()).join("a/b");
    assert_eq!(Disk.sync(Path::new("/proc")).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    for _ in ["it is made", "it is there"] {
        let store = Store::new(&path, Box::new(parse));
        store.load().await.unwrap();
        store.save(&me("me")).await.unwrap();
        assert_eq!(store.load().await.unwrap().identity.unwrap().uuid, "me");
    }
}

#[tokio::test]
async fn a_place_that_cannot_be_written_is_told_with_what_to_do() {
    let error = Store::new(Path::new("/proc/boardkeeper"), Box::new(parse)).load().await.unwrap_err().to_string();
    assert!(error.contains("`/proc/boardkeeper`") && error.contains("--state-dir"), "{error}");
    let full = failed(&Directory::new(Disk, Path::new("/var")), "keep", KEYS, &io::Error::from(io::ErrorKind::StorageFull));
    assert!(full.0.contains("make room"));
}
