//! What earlier versions of the agent left in their state directories: this version reads all of it.
//!
//! `tests/data/state` has, for each format, the directories of three devices, as the store of that time wrote them: one in the
//! middle of an update, one that has arrived, and one on which releases are on trial. Together they have a record of every
//! kind. Before a release that writes other bytes, a test
//! below fails. If the versions before it can still read those bytes, the directories are made once more beside the old ones,
//! under the version's name; if they cannot, `FORMAT` is raised as well:
//!
//! `KEEP=tests/data/state/NAME cargo test --test store -- --ignored leaves_a_state_for_later_versions`

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use boardkeeper::document;
use boardkeeper::linux::store::{self, AcceptedDocuments, FORMAT, Store};
use boardkeeper::port::{CursorCopy, HistoryStore as _, Record, Store as _, StoredState, StoredTargets, TargetTag};
use boardkeeper::sorted::{SortedMap, SortedSet};
use boardkeeper::state::boot_config::BootConfigRecord;
use boardkeeper::state::cloud::{AccountRecord, ReleasePin};
use boardkeeper::state::history::{FieldChange, HistoryAction, HistoryEntry, HistoryObject, HistoryOutcome, Requester};
use boardkeeper::state::local_mode::{LocalModeRecord, LocalModeSwitch, LocalSession, SwitchEnd};
use boardkeeper::state::target_trial::{KeptTarget, TargetTrialRecord, TrialTime, TriedTarget};
use boardkeeper::state::{
    AppId, ContainerId, DataState, EngineTime, FailedRelease, FailedService, Identity, ImageId, ImageRef, KeptData, Keys,
    LogCursor, LogCursors, OutputStream, Secret, ServiceKey, SignedDocument, StartCount, Target,
};

use super::run;

/// The directories that this version would write.
const NEWEST: &str = "format-1";
/// The device's uuid, by which the target of the third generation lists it.
const UUID: &str = "335a908fe6803c7dda6f13eadcd1f7e0";
const SIGNER: &str = "RWQf6LRCGA9i59SLOFxz6NxvASXDJeRtuZykwQepbDEGt87ig1BNpWaV";
const PROVISIONED: &[u8] = br#"{"uuid":"335a908fe6803c7dda6f13eadcd1f7e0"}"#;

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data")
}

fn target(file: &str) -> Target {
    parse(&fs::read_to_string(data().join(file)).unwrap())
}

fn parse(text: &str) -> Target {
    document::parse_kept(text, Some(UUID)).unwrap()
}

fn open(dir: &Path) -> Store {
    Store::new(dir, Box::new(|text| document::parse_kept(text, Some(UUID))))
}

/// A device in the middle of an update, with a record of every other kind.
fn updating() -> StoredState {
    let main = ServiceKey::new(AppId(1), "main");
    let settings = |value: &str| SortedMap::from_iter([("HOST_CONFIG_gpu_mem".to_owned(), value.to_owned())]);
    StoredState {
        identity: Some(Identity { uuid: UUID.into() }),
        account: Some(AccountRecord {
            endpoint: "https://api.example.com".into(),
            uuid: UUID.into(),
            key: Secret::new("0123456789abcdef0123456789abcdef".into()),
            provisioned_by: Some("ab".repeat(32)),
            device_id: Some(7),
            registered_at_ms: Some(1_795_834_102_000),
        }),
        pin: Some(ReleasePin { fleet: 1, commit: "19c48bcaffa860".into() }),
        keys: Some(Keys {
            device: Secret::new("d1".repeat(32)),
            root: Secret::new("e2".repeat(32)),
            generations: SortedMap::from_iter([(main.clone(), 3)]),
            kept: SortedMap::new(),
        }),
        targets: StoredTargets {
            wanted: Some(target("target-v3.json")),
            last_good: Some(target("target-v2.json")),
            good_apps: SortedMap::new(),
            pulled: SortedSet::from([ImageRef::new("registry.test/v2/31:1")]),
        },
        stopped: SortedSet::from([main.clone()]),
        awaiting: SortedMap::from_iter([(ContainerId("a0".repeat(32)), "boot 1".into())]),
        trial: Some(StartCount { document: "c3".repeat(32), starts: 2 }),
        boot_config: BootConfigRecord {
            written: settings("32"),
            booted: settings("16"),
            good: settings("16"),
            boot_id: "boot 1".into(),
            undone: 1,
            starts: 2,
            rejected: Some(settings("64")),
        },
        local_mode: LocalModeRecord {
            switch: Some(LocalModeSwitch {
                is_on: true,
                target_says: false,
                ends: Some(SwitchEnd { boot_id: "boot 1".into(), uptime_secs: 100, length_secs: 7200, at_secs: 1_795_834_102 }),
            }),
            session: Some(LocalSession {
                images: SortedSet::from([ImageId(format!("sha256:{}", "b4".repeat(32)))]),
                interrupted: SortedSet::from([main]),
                target: None,
                pushed: SortedSet::from([AppId(2)]),
            }),
        },
        ..StoredState::default()
    }
}

/// A device that has arrived, without a cloud.
fn settled() -> StoredState {
    let wanted = Some(target("target-2017.json"));
    StoredState {
        identity: Some(Identity { uuid: UUID.into() }),
        keys: updating().keys,
        targets: StoredTargets {
            wanted: wanted.clone(),
            last_good: wanted,
            good_apps: SortedMap::new(),
            pulled: SortedSet::new(),
        },
        ..StoredState::default()
    }
}

/// A device on which releases are on trial and have failed, and a target is on trial too.
fn on_trial() -> StoredState {
    let web = FailedService {
        service: "web".into(),
        why: "it is unhealthy, 600 s after the last container was started".into(),
        lines: vec!["begun".into(), "the pump is stuck".into()],
        health_output: Some("no answer".into()),
    };
    let db = FailedService { service: "db".into(), why: "it was restarted 6 times".into(), ..FailedService::default() };
    let failed = |fingerprint: &str, commit: Option<&str>, cause: Option<&str>, services| FailedRelease {
        fingerprint: fingerprint.repeat(32),
        commit: commit.map(str::to_owned),
        at_secs: 1_795_834_102,
        cause: cause.map(str::to_owned),
        services,
    };
    let data = [("data", DataState::Kept), ("new", DataState::Absent)];
    let kept = |release: &str, begun, volumes: &[(&str, DataState)]| KeptData {
        release: release.repeat(32),
        begun,
        volumes: volumes.iter().map(|(name, state)| ((*name).to_owned(), *state)).collect(),
    };
    let time = TrialTime { boot_id: "boot 1".into(), noted_up_secs: 7, left_secs: 540, length_secs: 600 };
    StoredState {
        targets: StoredTargets {
            wanted: Some(target("target-v3.json")),
            last_good: Some(target("target-2017.json")),
            good_apps: SortedMap::from_iter([(AppId(1), target("target-v2.json"))]),
            pulled: SortedSet::new(),
        },
        failed_releases: SortedMap::from_iter([
            (AppId(1), failed("f1", Some("19c48bcaffa860"), None, vec![db, web])),
            (AppId(2), failed("f2", None, Some("the agent ended 5 times in a row"), Vec::new())),
        ]),
        kept_data: SortedMap::from_iter([
            (AppId(1), kept("a1", false, &data)),
            (AppId(2), kept("a2", true, &[("data", DataState::PuttingBack)])),
        ]),
        target_trial: TargetTrialRecord {
            tried: Some(TriedTarget { target: target("target-compose.json"), time, over: "c3".repeat(32) }),
            kept: Some(KeptTarget { target: target("target-v2.json"), over: target("target-v3.json").fingerprint() }),
        },
        ..settled()
    }
}

/// Every device, by the name of its directory.
fn devices() -> [(&'static str, StoredState); 3] {
    [("updating", updating()), ("settled", settled()), ("on-trial", on_trial())]
}

fn cursors() -> LogCursors {
    let mut cursor = LogCursor::default();
    cursor.advance(OutputStream::Stderr, EngineTime(1_795_443_722_123_456_789));
    let containers = SortedMap::from_iter([(ContainerId("a0".repeat(32)), cursor)]);
    LogCursors { began: EngineTime(7), saves: 5, containers }
}

fn tag() -> TargetTag {
    TargetTag { etag: "W/\"6f-abc\"".into(), fingerprint: "c3".repeat(32) }
}

fn signed() -> SignedDocument {
    SignedDocument { created_secs: 1_795_834_102, fingerprint: "c3".repeat(32) }
}

fn history() -> Vec<HistoryEntry> {
    vec![HistoryEntry {
        id: 41,
        at_ms: 1_795_834_102_123,
        action: HistoryAction::ALL[0],
        object: HistoryObject::ALL[0],
        name: "main_1".into(),
        app: Some(AppId(1)),
        service: Some("main".into()),
        why: "its configuration differs".into(),
        changes: vec![FieldChange { field: "env A".into(), old: None, new: Some("1".into()) }],
        asked_by: Some(Requester::new("the target file")),
        outcome: HistoryOutcome::Failed("no room".into()),
        millis: Some(70),
    }]
}

/// Has today's store write the directories.
async fn write(to: &Path) {
    let dir = to.join("updating");
    let (store, state) = (open(&dir), updating());
    store::keep_provisioned(&dir, PROVISIONED).unwrap();
    for record in [
        Record::Identity(state.identity.unwrap()),
        Record::Account(state.account.unwrap()),
        Record::Pin(state.pin),
        Record::Keys(state.keys.unwrap()),
        Record::Targets(Box::new(state.targets)),
        Record::Stopped(state.stopped),
        Record::Awaiting(state.awaiting),
        Record::Trial(state.trial),
        Record::BootConfig(Box::new(state.boot_config)),
        Record::LocalMode(Box::new(state.local_mode)),
        Record::TargetTag(tag()),
    ] {
        store.save(&record).await.unwrap();
    }
    store.save_log_cursors(&cursors(), CursorCopy::Durable).await.unwrap();
    store.save_history(&history().into_iter().map(Arc::new).collect::<Vec<_>>()).await.unwrap();
    AcceptedDocuments::new(&dir).accept(SIGNER, &signed()).unwrap();

    let (store, state) = (open(&to.join("settled")), settled());
    store.save(&Record::Identity(state.identity.unwrap())).await.unwrap();
    store.save(&Record::Keys(state.keys.unwrap())).await.unwrap();
    let wanted = state.targets.wanted.clone().unwrap();
    store.save(&Record::Targets(Box::new(StoredTargets { last_good: None, ..state.targets }))).await.unwrap();
    store.save(&Record::Proved(wanted.fingerprint())).await.unwrap();

    let (store, state) = (open(&to.join("on-trial")), on_trial());
    for record in [
        Record::Identity(state.identity.unwrap()),
        Record::Keys(state.keys.unwrap()),
        Record::Targets(Box::new(state.targets)),
        Record::FailedReleases(state.failed_releases),
        Record::KeptData(state.kept_data),
        Record::TargetTrial(Box::new(state.target_trial)),
    ] {
        store.save(&record).await.unwrap();
    }
}

/// The files of a directory.
fn files(dir: &Path) -> SortedMap<String, Vec<u8>> {
    let entries = fs::read_dir(dir).unwrap().map(|it| it.unwrap());
    entries.map(|it| (it.file_name().into_string().unwrap(), fs::read(it.path()).unwrap())).collect()
}

/// A copy of a directory that an earlier version left.
fn copy(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    for (name, bytes) in files(from) {
        fs::write(to.path().join(name), bytes).unwrap();
    }
    to
}

fn kept() -> Vec<PathBuf> {
    let mut all: Vec<_> = fs::read_dir(data().join("state")).unwrap().map(|it| it.unwrap().path()).collect();
    all.sort();
    all
}

#[test]
fn every_earlier_version_s_records_are_read_and_stay_as_they_are() {
    assert!(!kept().is_empty());
    for version in kept() {
        for (name, expected) in devices() {
            let from = version.join(name);
            let dir = copy(&from);
            let _lock = store::hold(dir.path()).unwrap();
            let found = run(open(dir.path()).load()).unwrap();
            assert_eq!(found, expected, "{}", from.display());
            // What `boardkeeper target plan` reads of it, beside the agent.
            let beside = store::stored(dir.path(), UUID);
            assert_eq!(
                (&beside.targets, &beside.failed_releases, &beside.kept_data, &beside.stopped),
                (&expected.targets, &expected.failed_releases, &expected.kept_data, &expected.stopped),
                "{}",
                from.display()
            );
            assert!(fs::read_to_string(dir.path().join("format")).unwrap().starts_with(&format!("{FORMAT} ")));
            for (file, bytes) in files(&from) {
                assert_eq!(fs::read(dir.path().join(&file)).unwrap(), bytes, "{}/{file}", from.display());
            }
        }
        let dir = copy(&version.join("updating"));
        let store = open(dir.path());
        assert_eq!(run(store.load_log_cursors()), Ok(Some(cursors())));
        assert_eq!(run(store.target_tag()), Some(tag()));
        assert_eq!(run(store.load_history()), history());
        assert_eq!(store::provisioned(dir.path()).unwrap(), PROVISIONED);
        let older = SignedDocument { created_secs: signed().created_secs - 1, ..signed() };
        AcceptedDocuments::new(dir.path()).check(SIGNER, &older).unwrap_err();
        AcceptedDocuments::new(dir.path()).check(SIGNER, &signed()).unwrap();
        assert_eq!(store::device_key(dir.path()).unwrap(), expected_key());
        assert_eq!(store::uuid(dir.path()).as_deref(), Some(UUID));
    }
}

fn expected_key() -> Option<Secret> {
    updating().keys.map(|it| it.device)
}

#[test]
fn this_version_writes_what_was_kept_of_it() {
    let dir = tempfile::tempdir().unwrap();
    run(write(dir.path()));
    for (name, _) in devices() {
        let written = files(&dir.path().join(name));
        for (file, bytes) in files(&data().join("state").join(NEWEST).join(name)) {
            let now = written.get(&file).map(|it| String::from_utf8_lossy(it));
            assert_eq!(now, Some(String::from_utf8_lossy(&bytes)), "{name}/{file}: see the head of tests/store/released.rs");
        }
    }
}

/// Writes the directories that the next versions have to read.
#[test]
#[ignore = "before a release: KEEP=directory"]
fn leaves_a_state_for_later_versions() {
    run(write(Path::new(&std::env::var("KEEP").unwrap())));
}
