//! Files that other programs write: configuration, update locks, and what a kernel reports of its LEDs and its board.
//!
//! A file tree is encoded as text, a line for each file: a letter for its type, its path, and its contents.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{FileTypeExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use boardkeeper::config::{Config, Provisioning, RawSettings, SettingsFile};
use boardkeeper::document;
use boardkeeper::linux::leds::host::{HostPaths, LedHost};
use boardkeeper::linux::locks::Locks;
use boardkeeper::linux::store::{self, Store};
use boardkeeper::linux::take_over::sqlite::Database;
use boardkeeper::linux::take_over::{self, TargetChoice};
use boardkeeper::port::{Leds as _, Locks as _, Record, Store as _};
use boardkeeper::sorted::{SortedMap, SortedSet};
use boardkeeper::state::keys::{is_device_key, is_root};
use boardkeeper::state::{AppId, Force, Identity, Keys, LedRef, LockHolders, Pattern, Secret, ServiceKey};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use tempfile::TempDir;

/// The app whose locks are looked at.
const APP: AppId = AppId(7);

/// A `config.json` and a file of `NAME=value` lines: what is refused is said in lines that repeat no more than a line of it.
pub fn config(data: &[u8]) {
    let (provisioning, mistakes) = Provisioning::parse(data, "config.json");
    assert!(provisioning.uuid.is_none_or(|it| it.len() <= 64) && mistakes.iter().all(|it| !it.contains('\n')), "{mistakes:?}");
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(file) = SettingsFile::parse(text, "boardkeeper") else { return };
    // A path elsewhere names a file of another program.
    let given = vec![("--boot-config", OsString::from("/dev/null"))];
    let raw = RawSettings { given, file, ..RawSettings::default() };
    if let Ok(config) = Config::read(&raw, &|_| None) {
        assert!(!config.listen.is_empty());
    }
}

/// A supervisor's database: it is read or refused, and what is taken over are keys and a target as they may be.
pub fn database(data: &[u8]) {
    let Ok(database) = Database::parse(data.to_vec()) else { return };
    let Ok(all) = take_over::inherit(&database, None, TargetChoice::Take) else { return };
    let keys = all.device_key.iter().chain(all.service_keys.values().map(|it| &it.key));
    assert!(keys.into_iter().all(|it| is_device_key(it.reveal())));
    if let Some(target) = all.target {
        let again = document::parse(&target.document, None).expect("what was accepted is accepted again");
        assert_eq!(again, target);
    }
}

/// A tree of update locks, as containers may make one: it is looked at, taken, forced and given back, and nothing outside of it
/// is touched.
pub fn locks(data: &[u8]) {
    let lab = Lab::new();
    let outside = lab.path("outside");
    fs::create_dir_all(&outside).expect("a fresh directory");
    fs::write(outside.join("updates.lock"), "precious").expect("a fresh directory");
    lab.grow("root/tmp/balena-supervisor/services/7", data);
    fs::create_dir_all(lab.path("root/tmp")).expect("a fresh directory");
    let services: SortedSet<String> = ["main", "side"].map(str::to_owned).into();
    let locks = Locks::new(&lab.path("root"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let apps = [(APP, LockHolders::All)].into_iter().collect();
        let key = ServiceKey::new(APP, "main");
        let _ = locks.observe(&apps).await;
        let _ = locks.expect_hand_over(&key).await;
        let _ = tokio::time::timeout(Duration::from_millis(1), locks.handed_over(&key)).await;
        for force in [Force::No, Force::Yes] {
            if locks.take(APP, &services, force).await.is_ok() {
                assert!(matches!(locks.observe(&apps).await, Ok(seen) if seen.contains_key(&APP)));
            }
            let _ = locks.release(APP).await;
        }
    });
    assert_eq!(fs::read_to_string(outside.join("updates.lock")).ok().as_deref(), Some("precious"));
    assert_eq!(fs::read_dir(&outside).map(Iterator::count).ok(), Some(1));
}

/// A state directory, as power cuts and people may leave it: it is loaded, whatever has the records' names; damaged keys open
/// nothing; and what is saved then is found.
pub fn records(data: &[u8]) {
    let lab = Lab::new();
    lab.grow("state", data);
    let dir = lab.path("state");
    let open = || Store::new(&dir, Box::new(|text| document::parse(text, Some(super::UUID))));
    let (known, key) = (store::identity(&dir), store::device_key(&dir));
    let _ = store::provisioned(&dir);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let store = open();
        let memory = store.load().await.expect("it is loaded, whatever is there");
        assert!(memory.complaints.iter().all(|it| !it.contains('\n')), "{:?}", memory.complaints);
        assert_eq!(memory.identity, known);
        assert_eq!(memory.keys.as_ref().map(|it| &it.device), key.ok().flatten().as_ref());
        if let Some(keys) = &memory.keys {
            assert!(is_device_key(keys.device.reveal()) && is_root(keys.root.reveal()));
        }
        let (device, root) = (Secret::new("d1".repeat(32)), Secret::new("e2".repeat(32)));
        let keys = Keys { device, root, generations: SortedMap::new(), kept: SortedMap::new() };
        store.save(&Record::Keys(keys.clone())).await.expect("there is room");
        store.save(&Record::Identity(Identity { uuid: super::UUID.to_owned() })).await.expect("there is room");
        let again = open().load().await.expect("it is loaded");
        assert_eq!((again.keys, again.identity.map(|it| it.uuid)), (Some(keys), Some(super::UUID.to_owned())));
        assert_eq!((again.complaints, again.targets), (Vec::new(), memory.targets));
    });
}

/// `/sys`, `/proc` and the boot partition as an unknown kernel might fill them: the board is detected, a LED chosen, played
/// and put back.
pub fn sysfs(data: &[u8]) {
    let lab = Lab::new();
    lab.grow("root", data);
    let place = HostPaths { root: lab.path("root"), runtime: lab.path("run"), board: None, device_type: None, led_file: None };
    let Ok(host) = LedHost::open(place) else { return };
    let _ = host.items();
    let leds = host.leds("a test");
    let pattern = Pattern::blinks(200, 200, 1, 0).expect("a pattern");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let survey = leds.survey().await.expect("the survey itself does not fail");
        let _ = leds.find(&survey, &LedRef::Identify);
        let _ = leds.show(&survey, &LedRef::Identify, &pattern, Some(Duration::from_secs(15))).await;
        let _ = leds.restore(&LedRef::Identify).await;
        let _ = leds.restore_all().await;
    });
}

struct Lab(TempDir);

impl Lab {
    fn new() -> Self {
        Self(tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a directory for a test"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// `f path text`, `o path text` (of uid 65534), `d path`, `l path target`, `p path` (its text ends without a newline), `i
    /// path` (a FIFO), `s path` (a terabyte of nothing).
    fn grow(&self, below: &str, data: &[u8]) {
        let base = self.path(below);
        for line in data.split(|byte| *byte == b'\n').take(200) {
            let mut parts = line.splitn(3, |byte| *byte == b' ');
            let (Some(kind), Some(path)) = (parts.next(), parts.next()) else { continue };
            let text = parts.next().unwrap_or_default();
            let Some(path) = within(&base, path) else { continue };
            plant(kind, &path, text);
        }
    }
}

fn plant(kind: &[u8], path: &Path, text: &[u8]) {
    if let Some(parent) = path.parent() {
        // Something else may have that name; then nothing grows there.
        let _ = fs::create_dir_all(parent);
    }
    // Writing into a FIFO waits for a reader.
    if path.symlink_metadata().is_ok_and(|it| it.file_type().is_fifo()) {
        return;
    }
    let _ = match kind {
        b"f" => fs::write(path, [text, b"\n"].concat()),
        b"p" => fs::write(path, text),
        b"o" => fs::write(path, text).and_then(|()| chown(path, Some(65534), None)),
        b"d" => fs::create_dir_all(path),
        b"i" => mknodat(CWD, path, FileType::Fifo, Mode::RWXU, 0).map_err(Into::into),
        b"s" => fs::File::create(path).and_then(|it| it.set_len(1 << 40)),
        b"l" => symlink(String::from_utf8_lossy(text).replace('\0', ""), path),
        _ => Ok(()),
    };
}

/// A path below a directory: what leads elsewhere is left out, for the tree is the attacker's and the rest is not.
fn within(base: &Path, path: &[u8]) -> Option<PathBuf> {
    let text = String::from_utf8_lossy(path);
    let fine = |step: &str| !step.is_empty() && step != "." && step != ".." && !step.contains('\0') && step.len() < 200;
    let steps: Vec<_> = text.split('/').take(12).collect();
    let mut path = base.to_owned();
    for step in &steps {
        if !fine(step) || path.is_symlink() {
            return None;
        }
        path.push(step);
    }
    (!path.is_symlink()).then_some(path)
}

#[test]
fn a_tree_is_not_grown_through_a_link() {
    let lab = Lab::new();
    fs::write(lab.path("precious"), "precious").expect("a fresh directory");
    lab.grow("root", b"l a ../precious\np a worthless\nf a/b worthless");
    assert_eq!(fs::read_to_string(lab.path("precious")).ok().as_deref(), Some("precious"));
}
