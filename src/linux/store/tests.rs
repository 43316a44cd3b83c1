//! The store on a real disk. What power cuts leave is in tests/store.

use super::target_tag::TARGET_TAG;
use super::*;
use crate::port::{Store as _, StoredTargets};
use crate::sorted::SortedSet;
use crate::state::{AppId, Identity, ImageRef, Keys, Secret, ServiceKey};

use std::fs::File;

use rustix::fs::FileType;

mod flash;

/// Parses any document but `bad`.
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
    let generations = SortedMap::from_iter([(ServiceKey::new(AppId(1), "main"), generation)]);
    Keys { device: Secret::new("d1".repeat(32)), root: Secret::new("e2".repeat(32)), generations, kept: SortedMap::new() }
}

const ME: &str = "c0ffee00c0ffee00c0ffee00c0ffee00";

fn me(uuid: &str) -> Record {
    Record::Identity(Identity { uuid: uuid.into() })
}

fn account() -> Record {
    Record::Account(AccountRecord {
        endpoint: "https://api.example.com".into(),
        uuid: ME.into(),
        key: Secret::new("sesame".into()),
        provisioned_by: Some("ab".repeat(32)),
        device_id: Some(5),
        registered_at_ms: Some(1_795_834_102_000),
    })
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
    // If no directory can be created, the store reports it when it is to save something.
    hold(Path::new("/proc/none/of/this")).unwrap();
}

#[tokio::test]
async fn a_target_is_kept_once_and_what_cannot_be_read_of_it_is_put_aside() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path(), Box::new(parse));
    let pulled = SortedSet::from([ImageRef::new("a")]);
    let both =
        StoredTargets { wanted: Some(target("one")), last_good: Some(target("one")), good_apps: SortedMap::new(), pulled };
    store.save(&Record::Targets(Box::new(both.clone()))).await.unwrap();
    let text = std::fs::read_to_string(dir.path().join(TARGETS)).unwrap();
    assert_eq!(text.matches("\"one\"").count(), 1, "{text}");
    assert_eq!(store.load().await.unwrap().targets, both);

    let half = StoredTargets { wanted: Some(target("bad")), last_good: Some(target("two")), ..both.clone() };
    store.save(&Record::Targets(Box::new(half))).await.unwrap();
    let memory = store.load().await.unwrap();
    assert_eq!(memory.targets, StoredTargets { wanted: None, last_good: Some(target("two")), ..both });
    assert!(memory.complaints[0].contains("it is bad") && memory.complaints[0].contains("targets.json.unreadable-1"));
    let again = store.load().await.unwrap();
    assert_eq!((again.targets, again.complaints), (memory.targets, Vec::new()));
}

#[tokio::test]
async fn the_identity_has_a_second_copy() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path(), Box::new(parse));
    store.save(&me(ME)).await.unwrap();
    for (name, garbage) in [(IDENTITY, ""), (IDENTITY_BACKUP, "{"), (IDENTITY, "[]")] {
        std::fs::write(dir.path().join(name), garbage).unwrap();
        let memory = Store::new(dir.path(), Box::new(parse)).load().await.unwrap();
        assert_eq!(memory.identity, super::identity(dir.path()));
        assert_eq!(memory.identity.unwrap().uuid, ME);
        assert!(memory.complaints[0].contains("put aside"), "{:?}", memory.complaints);
        let memory = Store::new(dir.path(), Box::new(parse)).load().await.unwrap();
        assert_eq!((memory.identity.unwrap().uuid.as_str(), memory.complaints), (ME, Vec::new()));
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
    let mut names: Vec<_> = std::fs::read_dir(&path).unwrap().map(|it| it.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, [FORMAT_FILE, KEYS]);
    assert_eq!(device_key(&path).unwrap().unwrap().reveal(), "d1".repeat(32));
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
        store.save(&me(ME)).await.unwrap();
        assert_eq!(store.load().await.unwrap().identity.unwrap().uuid, ME);
    }
}

#[tokio::test]
async fn a_place_that_cannot_be_written_is_told_with_what_to_do() {
    let error = Store::new(Path::new("/proc/boardkeeper"), Box::new(parse)).load().await.unwrap_err().to_string();
    assert!(error.contains("`/proc/boardkeeper`") && error.contains("--state-dir"), "{error}");
    let full =
        failed(&StateDirectory::new(Disk, Path::new("/var")), "keep", KEYS, &io::Error::from(io::ErrorKind::StorageFull));
    assert!(full.to_string().contains("make room"));
}

/// Replaces a file by something else.
type Shape = fn(&Path);

const SHAPES: &[(&str, Shape)] = &[
    ("bytes, and a record at most", |path| File::create(path).unwrap().set_len(1 << 40).unwrap()),
    ("it is a FIFO", |path| rustix::fs::mknodat(rustix::fs::CWD, path, FileType::Fifo, 0o600.into(), 0).unwrap()),
    ("it is a directory", |path| std::fs::create_dir_all(path.join("of/some/depth")).unwrap()),
    ("it is a socket", |path| drop(std::os::unix::net::UnixListener::bind(path).unwrap())),
    ("it is a symbolic link", |path| std::os::unix::fs::symlink("/dev/zero", path).unwrap()),
    ("it is a symbolic link", |path| std::os::unix::fs::symlink(path.with_file_name("elsewhere.json"), path).unwrap()),
    ("EOF while parsing", |path| drop(File::create(path).unwrap())),
    ("expected value", |path| std::fs::write(path, [0; 4096]).unwrap()),
    ("missing field", |path| std::fs::write(path, "{}").unwrap()),
];

#[tokio::test]
async fn whatever_has_a_records_name_is_put_aside_and_all_others_are_read() {
    let whole = tempfile::tempdir().unwrap();
    let records = [me(ME), account(), Record::Keys(keys(1)), Record::Targets(Box::default())];
    let others = [
        Record::Pin(None),
        Record::Stopped(SortedSet::new()),
        Record::Awaiting(SortedMap::new()),
        Record::Trial(None),
        Record::BootConfig(Box::default()),
        Record::LocalMode(Box::default()),
        Record::TargetTrial(Box::default()),
        Record::FailedReleases(SortedMap::new()),
        Record::KeptData(SortedMap::new()),
    ];
    for record in records.iter().chain(&others) {
        Store::new(whole.path(), Box::new(parse)).save(record).await.unwrap();
    }
    // The cursors of logs and the history are no part of what a load returns, and the format is no record.
    let names = || RECORDS.into_iter().filter(|it| ![FORMAT_FILE, LOG_CURSORS, history::HISTORY].contains(it));
    for name in names() {
        for (why, put) in SHAPES {
            let dir = tempfile::tempdir().unwrap();
            for it in names() {
                std::fs::copy(whole.path().join(it), dir.path().join(it)).unwrap();
            }
            let path = dir.path().join(name);
            // A symbolic link to a whole record.
            std::fs::rename(&path, dir.path().join("elsewhere.json")).unwrap();
            put(&path);
            assert!(device_key(dir.path()).is_err() == (name == KEYS), "{name}: {why}");
            assert_eq!(super::identity(dir.path()).unwrap().uuid, ME);
            let store = Store::new(dir.path(), Box::new(parse));
            let memory = store.load().await.unwrap();
            assert!(
                memory.complaints[0].contains(why) && memory.complaints[0].contains("put aside"),
                "{:?}",
                memory.complaints
            );
            assert_eq!(memory.identity.unwrap().uuid, ME);
            assert_eq!(memory.account.map(Record::Account), Some(account()), "{name}: {why}");
            assert_eq!(memory.keys, (name != KEYS).then(|| keys(1)), "{name}: {why}");
            assert!(dir.path().join(format!("{name}.unreadable-1")).symlink_metadata().is_ok(), "{name}: {why}");
            // It is saved anew, and can be loaded.
            store.save(&Record::Keys(keys(2))).await.unwrap();
            let memory = Store::new(dir.path(), Box::new(parse)).load().await.unwrap();
            assert_eq!((memory.keys, memory.complaints), (Some(keys(2)), Vec::new()), "{name}: {why}");
        }
    }
}

#[tokio::test]
async fn a_damaged_key_opens_nothing_and_is_told_without_being_repeated() {
    let (device, root) = ("d1".repeat(32), "e2".repeat(32));
    let whole = |device: &str, root: &str| format!(r#"{{"device": {device}, "root": {root}, "generations": []}}"#);
    let text = |it: &str| format!("\"{it}\"");
    let read = async |bytes: String| {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(KEYS), bytes).unwrap();
        let shown = device_key(dir.path());
        let memory = Store::new(dir.path(), Box::new(parse)).load().await.unwrap();
        assert_eq!(shown.is_ok(), memory.keys.is_some());
        let told = format!("{:?} {}", memory.complaints, shown.map_or_else(|why| why.to_string(), |_| String::new()));
        (memory.keys.is_some(), told)
    };
    assert!(read(whole(&text(&device), &text(&root))).await.0);
    // Keys that a user may have set.
    assert!(read(whole(&text("sesame_sesame_16"), &text(&root))).await.0);
    let zeros = "0".repeat(64);
    let damaged = [
        (text(""), text("")),
        (text(&device), text("")),
        (text(""), text(&root)),
        (text(&zeros), text(&root)),
        (text(&device), text(&zeros)),
        (text(&device), text(&root[..62])),
        (text(&device), text(&root.replace('e', "x"))),
        (text("sesame"), text(&root)),
        (text("sesame sesame sesame"), text(&root)),
        (text(&device), "31415926".to_owned()),
        ("[\"sesamesesamesesame\"]".to_owned(), text(&root)),
    ];
    for (device, root) in damaged {
        let (is_read, told) = read(whole(&device, &root)).await;
        assert!(!is_read && told.contains("put aside"), "{device}, {root}: {told}");
        assert!(
            !told.contains("sesame") && !told.contains("d1d1") && !told.contains("e2e2") && !told.contains("314"),
            "{told}"
        );
    }
    let (is_read, told) = read("\"sesamesesamesesame\"".to_owned()).await;
    assert!(!is_read && !told.contains("sesame"), "{told}");
    // Keys that were created anew must not be the old ones again.
    assert!(!read(format!(r#"{{"device": "{device}", "root": "{root}"}}"#)).await.0);
}

#[tokio::test]
async fn a_directory_that_takes_a_records_name_meanwhile_is_in_nobodys_way() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path(), Box::new(parse));
    store.save(&Record::Keys(keys(1))).await.unwrap();
    std::fs::remove_file(dir.path().join(KEYS)).unwrap();
    for name in [KEYS, ".keys.json.new"] {
        std::fs::create_dir_all(dir.path().join(name).join("full")).unwrap();
    }
    store.save(&Record::Keys(keys(2))).await.unwrap();
    assert_eq!(Store::new(dir.path(), Box::new(parse)).load().await.unwrap().keys, Some(keys(2)));
    assert!(dir.path().join("keys.json.unreadable-1/full").is_dir());
}

#[tokio::test]
async fn an_etag_is_read_as_it_was_saved_and_costs_nothing_when_it_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path(), Box::new(parse));
    assert_eq!(store.target_tag().await, None);
    for etag in ["W/\"a\"", "\"b\""] {
        let tag = TargetTag { etag: etag.to_owned(), fingerprint: target(etag).fingerprint() };
        store.save(&Record::TargetTag(tag.clone())).await.unwrap();
        assert_eq!(Store::new(dir.path(), Box::new(parse)).target_tag().await, Some(tag));
    }
    for garbage in ["", "{\"etag\": \"\\\"b", "{\"etag\": 1, \"document\": \"\"}"] {
        std::fs::write(dir.path().join(TARGET_TAG), garbage).unwrap();
        assert_eq!(store.target_tag().await, None, "{garbage}");
    }
    assert_eq!(store.load().await.unwrap().complaints, [""; 0]);
    std::fs::remove_file(dir.path().join(TARGET_TAG)).unwrap();
    std::fs::create_dir(dir.path().join(TARGET_TAG)).unwrap();
    let tag = TargetTag { etag: "c".to_owned(), fingerprint: String::new() };
    store.save(&Record::TargetTag(tag.clone())).await.unwrap();
    assert_eq!(store.target_tag().await, Some(tag));
}
