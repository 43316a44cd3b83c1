//! The contract of every world's store.

use std::time::Duration;

use boardkeeper::port::{BootWindow, CursorCopy, HistoryStore, Record, Store, StoredLeases, StoredTargets, TargetTag};
use boardkeeper::sorted::{SortedMap, SortedSet};
use boardkeeper::state::cloud::{AccountRecord, ReleasePin};
use boardkeeper::state::history::{Cause, History, HistoryAction, HistoryEntry, HistoryNote, HistoryObject, HistoryOutcome};
use boardkeeper::state::keys::KeptKey;
use boardkeeper::state::lease::Lease;
use boardkeeper::state::{AppId, FlashPurpose, FlashWrites, Identity, ImageRef, Keys, LogCursors, Secret, ServiceKey, Target};

/// A world with a store that can be opened again, as after a power cut.
pub(crate) trait Fixture {
    /// The store, opened anew.
    fn open(&self) -> impl Store + HistoryStore + use<Self>;
    /// Makes what was saved of a kind unreadable: `identity`, `keys`, `targets` or `stopped`.
    fn spoils(&self, kind: &str);
}

fn main_service() -> ServiceKey {
    ServiceKey::new(AppId(1), "main")
}

fn identity() -> Identity {
    Identity { uuid: "c0ffee00c0ffee00c0ffee00c0ffee00".into() }
}

fn keys() -> Keys {
    let generations = SortedMap::from_iter([(main_service(), 3)]);
    let kept = KeptKey { app_uuid: "a".into(), key: Secret::new("0f1e2d3c4b5a69788796a5b4c3d2e1f0".into()) };
    let kept = SortedMap::from_iter([(ServiceKey::new(AppId(2), "other"), kept)]);
    Keys { device: Secret::new("d1".repeat(32)), root: Secret::new("e2".repeat(32)), generations, kept }
}

fn account(registered_at_ms: Option<i64>) -> AccountRecord {
    AccountRecord {
        endpoint: "https://api.example.com".into(),
        uuid: "0badcafe0badcafe0badcafe0badcafe".into(),
        key: Secret::new("own".into()),
        provisioned_by: Some("fingerprint".into()),
        device_id: registered_at_ms.map(|_| 57),
        registered_at_ms,
    }
}

fn pin() -> ReleasePin {
    ReleasePin { fleet: 7, commit: "19c48bcaffa860".into() }
}

fn leases(seconds: u32) -> StoredLeases {
    let ends_up = Duration::from_millis(7_500);
    let lease = Lease { owner: "recorder".into(), reason: "recording".into(), seconds, ends_up, ends_secs: 1_795_443_722 };
    let leases = SortedMap::from_iter([(AppId(1), SortedMap::from_iter([("recorder".into(), lease)]))]);
    StoredLeases { boot_id: "this".into(), leases }
}

fn boot_window() -> BootWindow {
    BootWindow { boot_id: "this".into(), closes_up: Duration::from_millis(600_250) }
}

/// A target as its document says; the fixture's parser makes this of any document.
pub(crate) fn target(document: &str) -> Target {
    Target { document: document.to_owned(), ..Target::default() }
}

fn targeted(wanted: Option<&str>, good: Option<&str>) -> StoredTargets {
    let pulled = SortedSet::from([ImageRef::new("busybox"), ImageRef::new("r/app@sha256:ab")]);
    StoredTargets { wanted: wanted.map(target), last_good: good.map(target), good_apps: SortedMap::new(), pulled }
}

async fn save_everything(store: &impl Store) {
    store.save(&Record::Identity(identity())).await.unwrap();
    store.save(&Record::Keys(keys())).await.unwrap();
    store.save(&Record::Targets(Box::new(targeted(Some("{}"), Some("{}"))))).await.unwrap();
    store.save(&Record::Stopped(SortedSet::from([main_service()]))).await.unwrap();
    store.save(&Record::Account(account(Some(1)))).await.unwrap();
    store.save(&Record::Pin(Some(pin()))).await.unwrap();
    store.save(&Record::Leases(leases(60))).await.unwrap();
    store.save(&Record::BootWindow(boot_window())).await.unwrap();
}

/// A new device remembers nothing, and complains of nothing.
pub(crate) async fn there_is_nothing_at_first(world: impl Fixture) {
    assert_eq!(world.open().load().await.unwrap(), boardkeeper::port::StoredState::default());
}

/// Everything comes back as it was.
pub(crate) async fn what_was_saved_comes_back(world: impl Fixture) {
    save_everything(&world.open()).await;
    let memory = world.open().load().await.unwrap();
    assert_eq!((memory.identity, memory.keys), (Some(identity()), Some(keys())));
    assert_eq!(memory.targets, targeted(Some("{}"), Some("{}")));
    assert_eq!(memory.stopped, SortedSet::from([main_service()]));
    assert_eq!((memory.account, memory.pin), (Some(account(Some(1))), Some(pin())));
    assert_eq!(world.open().account().await.unwrap(), Some(account(Some(1))));
    assert_eq!((memory.leases, memory.boot_window), (leases(60), boot_window()));
    assert!(memory.complaints.is_empty(), "{:?}", memory.complaints);
}

/// The history comes back as it was, whatever part of it is kept over reboots.
pub(crate) async fn the_history_comes_back(world: impl Fixture) {
    let mut history = History::default();
    for name in ["a", "b", "c"] {
        history.add(HistoryNote {
            at_ms: 1_795_443_722_000,
            action: HistoryAction::Pull,
            object: HistoryObject::Image,
            name: name.into(),
            app: Some(AppId(1)),
            service: None,
            cause: Cause::from_why("the target asks for it"),
            outcome: HistoryOutcome::Failed("no route".into()),
            millis: Some(12),
        });
    }
    let entries: Vec<_> = history.entries().cloned().collect();
    assert_eq!(world.open().load_history().await, []);
    world.open().save_history(&entries[..1]).await.unwrap();
    let plain = |it: &[std::sync::Arc<HistoryEntry>]| it.iter().map(|it| HistoryEntry::clone(it)).collect::<Vec<_>>();
    assert_eq!(world.open().load_history().await, plain(&entries[..1]));
    world.open().append_history(&entries[1..]).await.unwrap();
    world.open().save_history(&entries).await.unwrap();
    assert_eq!(world.open().load_history().await, plain(&entries));
}

/// A record takes the place of the one of its kind, and of no other.
pub(crate) async fn the_last_one_counts(world: impl Fixture) {
    let store = world.open();
    save_everything(&store).await;
    for (wanted, good) in [(Some("1"), Some("{}")), (Some("1"), None), (None, Some("2")), (None, None), (Some("3"), Some("3"))]
    {
        store.save(&Record::Targets(Box::new(targeted(wanted, good)))).await.unwrap();
        assert_eq!(world.open().load().await.unwrap().targets, targeted(wanted, good));
    }
    store.save(&Record::Stopped(SortedSet::new())).await.unwrap();
    store.save(&Record::Pin(None)).await.unwrap();
    store.save(&Record::Leases(leases(90))).await.unwrap();
    assert_eq!(world.open().load().await.unwrap().leases, leases(90));
    store.save(&Record::Leases(StoredLeases::default())).await.unwrap();
    for registered_at_ms in [None, Some(2)] {
        store.save(&Record::Account(account(registered_at_ms))).await.unwrap();
        assert_eq!(world.open().account().await.unwrap(), Some(account(registered_at_ms)));
    }
    let memory = world.open().load().await.unwrap();
    assert!(memory.stopped.is_empty() && memory.pin.is_none() && memory.leases == StoredLeases::default());
    assert_eq!(memory.identity, Some(identity()));
}

/// What cannot be read is complained of once, and costs nothing else; the identity survives.
pub(crate) async fn what_cannot_be_read_is_put_aside(world: impl Fixture) {
    for kind in ["identity", "keys", "targets", "stopped"] {
        save_everything(&world.open()).await;
        world.spoils(kind);
        let memory = world.open().load().await.unwrap();
        assert!(!memory.complaints.is_empty(), "{kind}");
        assert_eq!(memory.identity, Some(identity()));
        assert_eq!(memory.keys.is_none(), kind == "keys");
        assert_eq!(memory.targets == StoredTargets::default(), kind == "targets");
        assert_eq!(memory.stopped.is_empty(), kind == "stopped");
        assert!(world.open().load().await.unwrap().complaints.is_empty(), "{kind}: said twice");
    }
}

/// What is written is counted for its purpose, with its syncs, and nothing is counted twice.
pub(crate) async fn what_is_written_to_flash_is_counted(world: impl Fixture) {
    fn rest(writes: &FlashWrites, purpose: FlashPurpose) -> FlashWrites {
        FlashWrites(writes.0.iter().filter(|(it, _)| **it != purpose).map(|(it, count)| (*it, *count)).collect())
    }
    let store = world.open();
    store.load().await.unwrap();
    let mut before = store.flash_writes();
    let tag = TargetTag { etag: "\"1\"".into(), fingerprint: "ab".repeat(32) };
    for (record, purpose, is_synced) in [
        (Record::Identity(identity()), FlashPurpose::Identity, true),
        (Record::Account(account(None)), FlashPurpose::Identity, true),
        (Record::Keys(keys()), FlashPurpose::Keys, true),
        (Record::Targets(Box::new(targeted(Some("{}"), None))), FlashPurpose::Targets, true),
        (Record::TargetTag(tag), FlashPurpose::Targets, false),
        (Record::Stopped(SortedSet::from([main_service()])), FlashPurpose::Services, true),
    ] {
        store.save(&record).await.unwrap();
        let now = store.flash_writes();
        let (was, is) = (before.of(purpose), now.of(purpose));
        assert!(is.bytes >= was.bytes + 32, "{record:?}: {was:?} {is:?}");
        assert_eq!(is.syncs > was.syncs, is_synced, "{record:?}: {was:?} {is:?}");
        assert_eq!(rest(&now, purpose), rest(&before, purpose), "{record:?}");
        before = now;
    }
    let cursors = LogCursors { saves: 1, ..LogCursors::default() };
    store.save_log_cursors(&cursors, CursorCopy::Durable).await.unwrap();
    let now = store.flash_writes();
    assert!(now.of(FlashPurpose::LogCursors).bytes > 0 && now.of(FlashPurpose::LogCursors).syncs > 0, "{now:?}");
    assert_eq!(rest(&now, FlashPurpose::LogCursors), before);
}

/// What is kept until the machine reboots is in memory, and wears no flash.
pub(crate) async fn what_ends_with_the_boot_is_not_counted(world: impl Fixture) {
    let store = world.open();
    save_everything(&store).await;
    let before = store.flash_writes();
    store.save(&Record::Leases(leases(90))).await.unwrap();
    store.save(&Record::BootWindow(BootWindow::default())).await.unwrap();
    store.save_log_cursors(&LogCursors::default(), CursorCopy::Boot).await.unwrap();
    assert_eq!(store.flash_writes(), before);
}

/// Holds every fact of this suite against a world, with a macro of the world's: the list is here, and nowhere else.
macro_rules! every_fact {
    ($hold:ident, $($world:tt)*) => {
        $hold! { $($world)*:
            there_is_nothing_at_first
            what_was_saved_comes_back
            the_history_comes_back
            the_last_one_counts
            what_cannot_be_read_is_put_aside
            what_is_written_to_flash_is_counted
            what_ends_with_the_boot_is_not_counted
        }
    };
}
pub(crate) use every_fact;
