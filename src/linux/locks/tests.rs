//! Tricks that only a real file system offers. What every implementation promises is in `tests/port`.

use super::*;
use crate::port::Locks as _;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;

struct Host {
    root: tempfile::TempDir,
    locks: Locks,
}

fn host() -> Host {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("tmp")).unwrap();
    let locks = Locks::new(root.path());
    Host { root, locks }
}

impl Host {
    fn path(&self, rest: &str) -> PathBuf {
        self.root.path().join("tmp/balena-supervisor/services/1").join(rest)
    }

    async fn take(&self, service: &str, force: Force) -> Result<(), LockError> {
        self.locks.take(AppId(1), &SortedSet::from([service.to_owned()]), force).await
    }

    async fn look(&self) -> Option<LockState> {
        self.locks.observe(&SortedMap::from_iter([(AppId(1), LockHolders::All)])).await.unwrap().remove(&AppId(1))
    }
}

#[tokio::test]
async fn our_locks_are_those_of_uid_65534_and_the_directory_is_everybodys() {
    let host = host();
    host.take("main", Force::No).await.unwrap();
    for file in ["updates.lock", "resin-updates.lock"] {
        let found = fs::symlink_metadata(host.path("main").join(file)).unwrap();
        if rustix::process::geteuid().is_root() {
            assert_eq!(found.uid(), 65534);
        }
        assert_eq!(found.nlink(), 1);
    }
    assert_eq!(fs::metadata(host.path("main")).unwrap().permissions().mode() & 0o7777, 0o1777);
    assert_eq!(fs::metadata(host.path("")).unwrap().permissions().mode() & 0o7777, 0o755);
    let link = host.root.path().join("tmp/resin-supervisor");
    assert_eq!(fs::read_link(link).unwrap(), Path::new("/tmp/balena-supervisor"));
}

#[tokio::test]
async fn whatever_has_the_name_is_a_lock_and_force_removes_it() {
    let host = host();
    fs::create_dir_all(host.path("main")).unwrap();
    let lock = host.path("main/updates.lock");
    let makers: [fn(&Path); 4] = [
        |path| fs::write(path, "boardkeeper").unwrap(),
        |path| fs::create_dir(path).unwrap(),
        |path| symlink("/nowhere", path).unwrap(),
        |path| {
            rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
        },
    ];
    for make in makers {
        make(&lock);
        let Some(LockState::Held(held)) = host.look().await else { panic!("it is held") };
        assert_eq!(
            (held.service.as_str(), held.path.as_str()),
            ("main", "/tmp/balena-supervisor/services/1/main/updates.lock")
        );
        assert_eq!(host.take("main", Force::No).await, Err(LockError::Held(held)));
        assert!(!host.path("main/resin-updates.lock").exists());
        host.take("main", Force::Yes).await.unwrap();
        assert_eq!(host.look().await, Some(LockState::Ours(SortedSet::from(["main".to_owned()]))));
        host.locks.release(AppId(1)).await.unwrap();
        assert_eq!(fs::read_dir(host.path("main")).unwrap().count(), 0);
    }
    fs::create_dir_all(lock.join("x")).unwrap();
    let error = host.take("main", Force::Yes).await.unwrap_err().to_string();
    assert!(error.contains("updates.lock") && error.contains("by hand"), "{error}");
}

#[tokio::test]
async fn links_lead_nowhere() {
    let host = host();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("updates.lock"), "precious").unwrap();
    fs::write(outside.path().join("handover-complete"), "precious").unwrap();
    fs::create_dir_all(host.path("")).unwrap();
    symlink(outside.path(), host.path("main")).unwrap();
    assert_eq!(host.look().await, None);
    for force in [Force::No, Force::Yes] {
        let error = host.take("main", force).await.unwrap_err().to_string();
        assert!(error.contains("is not a directory: remove it"), "{error}");
    }
    host.locks.expect_hand_over(&ServiceKey::new(AppId(1), "main")).await.unwrap();
    host.locks.release(AppId(1)).await.unwrap();
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 2);
    for name in ["..", ".", "", "a/b", "a\0b"] {
        assert!(host.take(name, Force::Yes).await.is_err(), "{name}");
    }
    assert!(!host.root.path().join("tmp/balena-supervisor/services/updates.lock").exists());
}

/// Creates the file of a lock as a program does, and gives it an owner. `false`: that takes root.
fn make_as(path: &Path, owner: (u32, u32), mode: u32, text: &str) -> bool {
    fs::write(path, text).unwrap();
    let (uid, gid) = owner;
    let given = std::os::unix::fs::chown(path, Some(uid), Some(gid)).is_ok();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    given
}

#[tokio::test]
async fn the_lock_of_a_service_that_runs_as_uid_65534_is_only_removed_by_force() {
    let host = host();
    fs::create_dir_all(host.path("main")).unwrap();
    let (lock, other) = (host.path("main/updates.lock"), host.path("main/resin-updates.lock"));
    let nobody = [(65534, 65534), (65534, 0)];
    for (owner, mode, text) in
        nobody.into_iter().flat_map(|it| [(it, 0o644, ""), (it, 0o444, "0"), (it, 0o644, "boardkeeper\n")])
    {
        for both in [false, true] {
            if !make_as(&lock, owner, mode, text) {
                return;
            }
            // A program that takes both locks by itself leaves other files than a supervisor's tool.
            if both {
                make_as(&other, owner, 0o600, text);
            }
            let Some(LockState::Held(held)) = host.look().await else { panic!("{owner:?} {mode:o} {text:?}: not held") };
            assert_eq!(held.service, "main");
            assert!(matches!(host.take("main", Force::No).await, Err(LockError::Held(_))));
            host.locks.release(AppId(1)).await.unwrap();
            assert_eq!((lock.exists(), other.exists()), (true, both));
            host.take("main", Force::Yes).await.unwrap();
            host.locks.release(AppId(1)).await.unwrap();
            assert_eq!((lock.exists(), other.exists()), (false, false));
        }
    }
}

/// `lockfile -r 0`, run as uid 65534 and the supervisor's own group, creates such files. An older release of this agent, and
/// one on a full disk, leave an empty file with the agent's mark.
#[tokio::test]
async fn what_another_supervisor_or_an_agent_that_was_killed_left_behind_is_given_back() {
    let host = host();
    fs::create_dir_all(host.path("main")).unwrap();
    for (mode, text) in [(0o444, "0"), (0o444, ""), (0o1644, "boardkeeper\n"), (0o1644, "")] {
        for file in ["updates.lock", "resin-updates.lock"] {
            if !make_as(&host.path("main").join(file), (65534, 0), mode, text) {
                return;
            }
        }
        assert_eq!(host.look().await, Some(LockState::Ours(SortedSet::from(["main".to_owned()]))), "{mode:o} {text:?}");
        host.take("main", Force::No).await.unwrap();
        host.locks.release(AppId(1)).await.unwrap();
        assert_eq!(fs::read_dir(host.path("main")).unwrap().count(), 0);
    }
}

#[tokio::test]
async fn half_a_lock_of_an_earlier_life_is_found_and_given_back() {
    let host = host();
    host.take("main", Force::No).await.unwrap();
    fs::remove_file(host.path("main/updates.lock")).unwrap();
    assert_eq!(host.look().await, Some(LockState::Ours(SortedSet::new())));
    host.take("main", Force::No).await.unwrap();
    assert_eq!(host.look().await, Some(LockState::Ours(SortedSet::from(["main".to_owned()]))));
    host.locks.release(AppId(1)).await.unwrap();
    assert_eq!(host.look().await, None);
}

#[tokio::test]
async fn a_tree_that_a_stranger_made_is_not_trusted() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let host = host();
    let base = host.root.path().join("tmp/balena-supervisor");
    fs::create_dir(&base).unwrap();
    std::os::unix::fs::chown(&base, Some(1000), None).unwrap();
    let error = host.take("main", Force::No).await.unwrap_err().to_string();
    assert!(error.contains("belongs to uid 1000"), "{error}");
}

/// Runs a function as a user of the host who may not read every directory.
fn without_roots_rights<T: Send>(call: impl FnOnce() -> T + Send) -> T {
    use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
    let limited = || {
        let mut mine = capabilities(None).unwrap();
        mine.effective -= CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH;
        // Only for this thread.
        set_capabilities(None, mine).unwrap();
        call()
    };
    std::thread::scope(|scope| scope.spawn(limited).join().unwrap())
}

#[tokio::test]
async fn a_directory_we_are_not_let_into_is_a_lock_of_its_own_service() {
    let host = host();
    let apps = SortedMap::from_iter([(AppId(1), LockHolders::All), (AppId(2), LockHolders::All)]);
    for app in [AppId(1), AppId(2)] {
        let both = SortedSet::from(["closed".to_owned(), "open".to_owned()]);
        host.locks.take(app, &both, Force::No).await.unwrap();
    }
    let mode = |bits| fs::set_permissions(host.path("closed"), fs::Permissions::from_mode(bits)).unwrap();
    mode(0o000);
    let runtime = || tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (seen, given_back) = without_roots_rights(|| {
        let seen = runtime().block_on(host.locks.observe(&apps));
        (seen, runtime().block_on(host.locks.release(AppId(1))))
    });
    mode(0o1777);
    let seen = seen.unwrap();
    let held = seen[&AppId(1)].held().unwrap();
    assert_eq!(held.service, "closed");
    assert!(held.path.contains("services/1/closed") && held.path.contains("Permission denied"), "{}", held.path);
    assert!(held.since_secs > 0);
    assert!(matches!(&seen[&AppId(2)], LockState::Ours(all) if all.len() == 2), "{seen:?}");
    // The other locks are released.
    let error = given_back.unwrap_err().to_string();
    assert!(error.contains("services/1/closed"), "{error}");
    assert_eq!(fs::read_dir(host.path("open")).unwrap().count(), 0);
    assert_eq!(fs::read_dir(host.path("closed")).unwrap().count(), 2);
}

/// The agent's user, in tests that run as root.
const AGENT: u32 = 1234;

/// A host with a state directory of the agent's user. `None`: that takes root.
fn host_of_the_agents() -> Option<(Host, PathBuf)> {
    let host = host();
    let state = host.root.path().join("state");
    fs::create_dir(&state).unwrap();
    std::os::unix::fs::chown(&state, Some(AGENT), Some(AGENT)).ok()?;
    Some((host, state))
}

fn whose(path: &Path) -> (u32, u32, u32) {
    let seen = fs::symlink_metadata(path).unwrap();
    (seen.uid(), seen.gid(), seen.mode() & 0o7777)
}

#[test]
fn what_an_engine_made_is_handed_over_to_the_agent_and_nothing_beside_or_below_it() {
    let Some((host, state)) = host_of_the_agents() else { return };
    let locks = host.root.path();
    hand_over(locks, &state).unwrap();
    fs::create_dir_all(host.path("web/deeper")).unwrap();
    fs::create_dir_all(host.path("closed")).unwrap();
    fs::set_permissions(host.path("closed"), fs::Permissions::from_mode(0o700)).unwrap();
    std::os::unix::fs::chown(host.path("closed"), Some(77), Some(77)).unwrap();
    fs::write(host.path("web/updates.lock"), "").unwrap();
    fs::write(host.path("file"), "").unwrap();
    fs::create_dir_all(host.path("../no-app/web")).unwrap();
    hand_over(locks, &state).unwrap();
    for own in ["", "..", "../.."] {
        assert_eq!(whose(&host.path(own)), (AGENT, AGENT, 0o755), "{own}");
    }
    for own in ["web", "closed"] {
        assert_eq!(whose(&host.path(own)), (AGENT, AGENT, 0o1777), "{own}");
    }
    for roots in ["web/deeper", "web/updates.lock", "file", "../no-app", "../no-app/web", "../../.."] {
        assert_eq!(whose(&host.path(roots)).0, 0, "{roots}");
    }
}

#[test]
fn no_link_has_root_hand_over_a_directory_elsewhere() {
    let Some((host, state)) = host_of_the_agents() else { return };
    let victim = host.root.path().join("victim");
    fs::create_dir_all(victim.join("1/web")).unwrap();
    fs::create_dir_all(victim.join("services/1/web")).unwrap();
    let base = host.root.path().join("tmp/balena-supervisor");
    for link in ["services/1/web", "services/1", "services", ""].map(|it| base.join(it).components().collect::<PathBuf>()) {
        let _ = fs::remove_dir_all(&base);
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        symlink(&victim, &link).unwrap();
        hand_over(host.root.path(), &state).unwrap();
        for roots in ["", "1", "1/web", "services", "services/1", "services/1/web"] {
            assert_eq!(whose(&victim.join(roots)).0, 0, "{}: {roots}", link.display());
        }
        fs::remove_file(&link).unwrap();
    }
    // Any user may have been here first.
    fs::create_dir_all(base.join("services/1/web")).unwrap();
    std::os::unix::fs::chown(&base, Some(77), None).unwrap();
    let error = hand_over(host.root.path(), &state).unwrap_err().to_string();
    assert!(error.contains("belongs to uid 77"), "{error}");
    assert_eq!(whose(&base.join("services/1/web")).0, 0);
}

/// The names of all entries below a directory, with the content and the owner of files.
fn everything(dir: &Path) -> Vec<String> {
    let mut all = Vec::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(path) = todo.pop() {
        let stat = fs::symlink_metadata(&path).unwrap();
        let text = if stat.is_file() { fs::read_to_string(&path).unwrap() } else { String::new() };
        all.push(format!("{} {} {:o} {text}", path.display(), stat.uid(), stat.mode()));
        if stat.is_dir() {
            todo.extend(fs::read_dir(&path).unwrap().map(|it| it.unwrap().path()));
        }
    }
    all.sort();
    all
}

/// Every operation on a lock directory.
async fn go_through_everything(host: &Host) {
    let key = ServiceKey::new(AppId(1), "main");
    for force in [Force::No, Force::Yes] {
        let _ = host.locks.prepare(&key).await;
        let _ = host.locks.observe(&SortedMap::from_iter([(AppId(1), LockHolders::All)])).await;
        let _ = host.take("main", force).await;
        let _ = host.locks.expect_hand_over(&key).await;
        let _ = host.locks.release(AppId(1)).await;
    }
}

#[tokio::test]
async fn nothing_a_container_puts_in_its_directory_has_us_write_elsewhere_or_wait() {
    use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
    let node = |path: &Path, kind, dev| mknodat(CWD, path, kind, Mode::RUSR | Mode::WUSR, dev).is_ok();
    for name in ["updates.lock", "resin-updates.lock", ".draft.lock", "handover-complete", "resin-kill-me", "x-updates.lock"] {
        for (trick, by_mark) in (0..7).flat_map(|trick| [(trick, false), (trick, true)]) {
            let mut host = host();
            if by_mark {
                // As for an agent that is not root, which identifies its locks by other marks.
                host.locks.tree = LockTree::by_mark(host.root.path(), rustix::process::geteuid());
            }
            let outside = host.root.path().join("outside");
            fs::create_dir(&outside).unwrap();
            fs::write(outside.join("precious"), "precious").unwrap();
            fs::create_dir_all(host.path("main")).unwrap();
            let path = host.path("main").join(name);
            let made = match trick {
                0 => symlink(outside.join("precious"), &path).is_ok(),
                1 => symlink(&outside, &path).is_ok(),
                2 => symlink("../../../../../outside/new", &path).is_ok(),
                3 => node(&path, FileType::Fifo, 0),
                // The console, and memory: opening one may have an effect, reading the other never ends.
                4 => node(&path, FileType::CharacterDevice, makedev(5, 1)),
                5 => node(&path, FileType::CharacterDevice, makedev(1, 5)),
                // Eight terabytes of zeros.
                _ => fs::File::create(&path).and_then(|it| it.set_len(1 << 43)).is_ok(),
            };
            // Only root can create devices.
            if !made {
                continue;
            }
            let before = everything(&outside);
            let done = tokio::time::timeout(std::time::Duration::from_secs(20), go_through_everything(&host)).await;
            assert!(done.is_ok(), "{name}, trick {trick}: it waits for ever");
            assert_eq!(everything(&outside), before, "{name}, trick {trick}");
        }
    }
}

#[tokio::test]
async fn an_agent_that_is_not_root_tells_its_locks_from_those_of_its_own_uid() {
    let mut host = host();
    host.locks.tree = LockTree::by_mark(host.root.path(), rustix::process::geteuid());
    host.take("main", Force::No).await.unwrap();
    assert_eq!(host.look().await, Some(LockState::Ours(SortedSet::from(["main".to_owned()]))));
    host.locks.release(AppId(1)).await.unwrap();
    assert_eq!(host.look().await, None);
    // Whatever its content, and although its owner is the same.
    fs::write(host.path("main").join("updates.lock"), "boardkeeper\n").unwrap();
    assert!(matches!(host.look().await, Some(LockState::Held(_))));
}

#[test]
fn a_directory_that_changes_under_us_leads_nowhere_either() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let host = host();
    let outside = host.root.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("updates.lock"), "precious").unwrap();
    fs::create_dir_all(host.path("main")).unwrap();
    let before = everything(&outside);
    let over = AtomicBool::new(false);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (dir, lock) = (host.path("main"), host.path("main/updates.lock"));
    let swaps = std::thread::scope(|scope| {
        // What a container can do in its own directory, and swaps of the directory itself, which it cannot do.
        let mischief = scope.spawn(|| {
            let aside = dir.with_file_name("aside");
            let mut swaps = 0_u32;
            while !over.load(Ordering::Relaxed) {
                let _ = symlink(outside.join("updates.lock"), &lock);
                let _ = fs::remove_file(&lock);
                let _ = fs::create_dir(&lock);
                let _ = fs::remove_dir(&lock);
                if fs::rename(&dir, &aside).is_ok() {
                    let _ = symlink(&outside, &dir);
                    let _ = fs::remove_file(&dir);
                    let _ = fs::rename(&aside, &dir);
                }
                swaps += 1;
            }
            swaps
        });
        for _ in 0..200 {
            runtime.block_on(go_through_everything(&host));
        }
        over.store(true, Ordering::Relaxed);
        mischief.join().unwrap()
    });
    assert!(swaps > 100, "{swaps}");
    assert_eq!(everything(&outside), before);
}

#[tokio::test]
async fn a_container_that_fills_its_directory_fills_no_memory_and_hides_no_lock() {
    let host = host();
    fs::create_dir_all(host.path("main")).unwrap();
    for n in 0..6000 {
        fs::write(host.path("main").join(format!("{n}.updates.lock")), "").unwrap();
    }
    fs::write(host.path("main/updates.lock"), "").unwrap();
    assert!(matches!(host.look().await, Some(LockState::Held(_))));
    host.take("main", Force::Yes).await.unwrap();
    assert_eq!(fs::metadata(host.path("main/updates.lock")).unwrap().len(), 12);
}

/// How many items a second the stream of changes gives while a service floods it.
async fn items_while(host: &Host, mut flood: impl FnMut()) -> f64 {
    const FOR: std::time::Duration = std::time::Duration::from_secs(3);
    let floods = async {
        loop {
            flood();
            tokio::task::yield_now().await;
        }
    };
    let counts = async {
        let mut changes = std::pin::pin!(host.locks.changes());
        let (began, mut items) = (tokio::time::Instant::now(), 0_u32);
        while began.elapsed() < FOR {
            futures_util::StreamExt::next(&mut changes).await;
            items += 1;
        }
        f64::from(items) / began.elapsed().as_secs_f64()
    };
    tokio::select! {
        biased;
        rate = counts => rate,
        () = floods => unreachable!("it floods without end"),
    }
}

#[tokio::test]
async fn a_service_that_changes_its_locks_all_the_time_wakes_the_agent_ten_times_a_second() {
    let host = host();
    fs::create_dir_all(host.path("main")).unwrap();
    let lock = host.path("main/updates.lock");
    let rate = items_while(&host, || {
        fs::write(&lock, "").unwrap();
        fs::remove_file(&lock).unwrap();
    })
    .await;
    assert!((1.0..=11.0).contains(&rate), "files: {rate} a second");
    let dir = host.path("other");
    let rate = items_while(&host, || {
        fs::create_dir(&dir).unwrap();
        fs::remove_dir(&dir).unwrap();
    })
    .await;
    assert!((0.3..=11.0).contains(&rate), "directories: {rate} a second");
}
