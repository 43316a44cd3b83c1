//! Power cuts between any two deeds, and disks that fail.

use super::*;
use crate::port::{Store as _, Targeted};
use crate::state::{AppId, ImageRef, Keys, ServiceKey};

use std::collections::BTreeSet;

/// A directory in memory: what programs see, and what a power cut leaves.
#[derive(Debug, Default)]
struct Ram {
    inner: Mutex<Inner>,
}

#[derive(Debug, Clone, Default)]
struct Inner {
    /// Names as programs see them, each leading to a file by number.
    seen: BTreeMap<String, usize>,
    /// Names as they are on the disk.
    kept: BTreeMap<String, usize>,
    files: Vec<Content>,
    /// Deeds until the power is cut.
    left: Option<usize>,
    writes: usize,
}

#[derive(Debug, Clone, Default)]
struct Content {
    seen: Vec<u8>,
    kept: Vec<u8>,
}

impl Inner {
    fn deed(&mut self) -> io::Result<()> {
        match &mut self.left {
            Some(0) => Err(io::Error::other("the power was cut")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// What the next life finds. Names may be on the disk before anybody asked for that: `early`.
    fn after_the_cut(&self, early: bool) -> Self {
        let kept = if early { self.seen.clone() } else { self.kept.clone() };
        let mut files = self.files.clone();
        for file in &mut files {
            file.seen = file.kept.clone();
        }
        Self { seen: kept.clone(), kept, files, left: None, writes: 0 }
    }
}

impl Ram {
    fn with<T>(&self, deed: impl FnOnce(&mut Inner) -> T) -> T {
        deed(&mut self.inner.lock().unwrap())
    }
}

fn missing() -> io::Error {
    io::Error::from(io::ErrorKind::NotFound)
}

impl Files for Ram {
    fn prepare(&self) -> io::Result<()> {
        Ok(())
    }
    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.with(|it| it.seen.keys().cloned().collect()))
    }
    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        self.with(|it| it.seen.get(name).map(|&file| it.files[file].seen.clone()).ok_or_else(missing))
    }
    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.with(|it| {
            it.deed()?;
            it.writes += 1;
            // Half of it may reach the disk by itself.
            it.files.push(Content { seen: bytes.to_vec(), kept: bytes[..bytes.len() / 2].to_vec() });
            it.seen.insert(name.to_owned(), it.files.len() - 1);
            Ok(())
        })
    }
    fn sync(&self, name: &str) -> io::Result<()> {
        self.with(|it| {
            it.deed()?;
            let file = it.seen.get(name).copied().ok_or_else(missing)?;
            it.files[file].kept = it.files[file].seen.clone();
            Ok(())
        })
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.with(|it| {
            it.deed()?;
            let file = it.seen.remove(from).ok_or_else(missing)?;
            it.seen.insert(to.to_owned(), file);
            Ok(())
        })
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.with(|it| {
            it.deed()?;
            it.seen.remove(name).map(|_| ()).ok_or_else(missing)
        })
    }
    fn sync_names(&self) -> io::Result<()> {
        self.with(|it| {
            it.deed()?;
            it.kept = it.seen.clone();
            Ok(())
        })
    }
    fn doubts(&self) -> Vec<String> {
        Vec::new()
    }
    fn shown(&self, name: &str) -> String {
        name.to_owned()
    }
}

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

fn store(inner: Inner) -> Store<Ram> {
    Store::over(Ram { inner: Mutex::new(inner) }, Box::new(parse))
}

fn me(uuid: &str) -> Record {
    Record::Identity(Identity { uuid: uuid.into() })
}

#[tokio::test]
async fn a_power_cut_at_any_moment_leaves_the_old_or_the_new() {
    for (old, new) in [
        (me("old"), me("new")),
        (Record::Keys(keys(1)), Record::Keys(keys(2))),
        (Record::Stopped(BTreeSet::new()), Record::Stopped(BTreeSet::from([ServiceKey::new(AppId(1), "main")]))),
    ] {
        for early in [false, true] {
            let mut saved = false;
            for cut in 0.. {
                let life = store(Inner::default());
                life.save(&old).await.unwrap();
                let before = life.load().await.unwrap();
                life.shelf.files.with(|it| it.left = Some(cut));
                saved = life.save(&new).await.is_ok();
                let next = store(life.shelf.files.with(|it| it.after_the_cut(early)));
                let found = next.load().await.unwrap();
                let whole = store(Inner::default());
                whole.save(&new).await.unwrap();
                let after = whole.load().await.unwrap();
                let found = Memory { complaints: Vec::new(), ..found };
                assert!(found == after || (!saved && found == before), "cut after {cut}: {found:?}");
                if saved {
                    break;
                }
            }
            assert!(saved);
        }
    }
}

#[tokio::test]
async fn a_save_after_a_failed_one_is_not_taken_for_done() {
    let life = store(Inner::default());
    life.save(&me("a")).await.unwrap();
    // Cut after the rename, before the directory is synced.
    life.shelf.files.with(|it| it.left = Some(3));
    life.save(&me("b")).await.unwrap_err();
    life.shelf.files.with(|it| it.left = None);
    life.save(&me("b")).await.unwrap();
    let next = store(life.shelf.files.with(|it| it.after_the_cut(false)));
    assert_eq!(next.load().await.unwrap().identity.unwrap().uuid, "b");
}

#[tokio::test]
async fn what_is_there_is_not_written_again() {
    let life = store(Inner::default());
    life.save(&Record::Keys(keys(1))).await.unwrap();
    life.save(&Record::Keys(keys(1))).await.unwrap();
    assert_eq!(life.shelf.files.with(|it| it.writes), 1);
    let next = store(life.shelf.files.with(|it| it.after_the_cut(false)));
    next.save(&Record::Keys(keys(1))).await.unwrap();
    assert_eq!(next.shelf.files.with(|it| it.writes), 0);
    next.save(&Record::Keys(keys(2))).await.unwrap();
    assert_eq!(next.shelf.files.with(|it| it.writes), 1);
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
async fn a_place_that_cannot_be_written_is_told_with_what_to_do() {
    let error = Store::new(Path::new("/proc/boardkeeper"), Box::new(parse)).load().await.unwrap_err().to_string();
    assert!(error.contains("`/proc/boardkeeper`") && error.contains("--state-dir"), "{error}");
    let full = failed(&Ram::default(), "keep", KEYS, &io::Error::from(io::ErrorKind::StorageFull));
    assert!(full.0.contains("make room"));
}
