//! What may be found after a power cut: what was acknowledged, or what was being saved.

use std::fmt::Debug;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use boardkeeper::linux::store::{FORMAT, Store};
use boardkeeper::port::{Record, Store as _, StoredState, StoredTargets, TargetTag};
use boardkeeper::sorted::{SortedMap, SortedSet};
use boardkeeper::state::boot_config::BootConfigRecord;
use boardkeeper::state::cloud::{AccountRecord, ReleasePin};
use boardkeeper::state::keys::KeptKey;
use boardkeeper::state::local_mode::{LocalModeRecord, LocalModeSwitch, LocalSession, SwitchEnd};
use boardkeeper::state::target_trial::{KeptTarget, TargetTrialRecord, TrialTime, TriedTarget};
use boardkeeper::state::{
    AppId, ContainerId, DataState, FailedRelease, FailedService, Identity, ImageId, ImageRef, KeptData, Keys, Secret,
    ServiceKey, StartCount, Target,
};

use super::layer::Layer;

/// Where the records are.
pub(crate) const DIR: &str = "/var/lib/boardkeeper";

/// States of a disk that were opened.
pub(crate) static CUTS: AtomicU64 = AtomicU64::new(0);

/// For each kind of record, what may be found.
#[derive(Debug, Clone)]
pub(crate) struct Allowed {
    identity: Vec<Option<Identity>>,
    account: Vec<Option<AccountRecord>>,
    pin: Vec<Option<ReleasePin>>,
    keys: Vec<Option<Keys>>,
    targets: Vec<StoredTargets>,
    stopped: Vec<SortedSet<ServiceKey>>,
    awaiting: Vec<SortedMap<ContainerId, String>>,
    trial: Vec<Option<StartCount>>,
    boot_config: Vec<BootConfigRecord>,
    local_mode: Vec<LocalModeRecord>,
    failed_releases: Vec<SortedMap<AppId, FailedRelease>>,
    target_trial: Vec<TargetTrialRecord>,
    kept_data: Vec<SortedMap<AppId, KeptData>>,
    /// Every ETag that was saved once. Which one is found, if any, makes no difference.
    tags: Vec<TargetTag>,
    /// Bytes that could not be read, and must be somewhere still.
    pub(crate) relics: Vec<Vec<u8>>,
}

impl Allowed {
    /// Of a new device.
    pub(crate) fn nothing() -> Self {
        let mut allowed = Self {
            identity: Vec::new(),
            account: Vec::new(),
            pin: Vec::new(),
            keys: Vec::new(),
            targets: Vec::new(),
            stopped: Vec::new(),
            awaiting: Vec::new(),
            trial: Vec::new(),
            boot_config: Vec::new(),
            local_mode: Vec::new(),
            failed_releases: Vec::new(),
            target_trial: Vec::new(),
            kept_data: Vec::new(),
            tags: Vec::new(),
            relics: Vec::new(),
        };
        allowed.found(&StoredState::default());
        allowed
    }

    /// It is being saved: the old one or the new one.
    pub(crate) fn begins(&mut self, record: &Record) {
        match record.clone() {
            Record::Identity(it) => self.identity.push(Some(it)),
            Record::Account(it) => self.account.push(Some(it)),
            Record::Pin(it) => self.pin.push(it),
            Record::Keys(it) => self.keys.push(Some(it)),
            Record::Targets(it) => self.targets.push(*it),
            Record::Stopped(it) => self.stopped.push(it),
            Record::Awaiting(it) => self.awaiting.push(it),
            Record::Trial(it) => self.trial.push(it),
            Record::BootConfig(it) => self.boot_config.push(*it),
            Record::LocalMode(it) => self.local_mode.push(*it),
            Record::FailedReleases(it) => self.failed_releases.push(it),
            Record::TargetTrial(it) => self.target_trial.push(*it),
            Record::KeptData(it) => self.kept_data.push(it),
            // Reached, or not known to be: both may be found from now on.
            Record::Proved(it) => {
                let proved =
                    self.targets.iter().filter(|old| old.wanted.as_ref().is_some_and(|wanted| wanted.fingerprint() == it));
                let proved: Vec<_> = proved.map(|old| StoredTargets { last_good: old.wanted.clone(), ..old.clone() }).collect();
                self.targets.extend(proved);
            }
            // Another boot has no use for it, so it is not kept over a power cut.
            Record::Leases(_) | Record::BootWindow(_) => (),
            Record::TargetTag(it) => self.tags.push(it),
        }
    }

    /// It was acknowledged: this one.
    pub(crate) fn saved(&mut self, record: &Record) {
        match record.clone() {
            Record::Identity(it) => self.identity = vec![Some(it)],
            Record::Account(it) => self.account = vec![Some(it)],
            Record::Pin(it) => self.pin = vec![it],
            Record::Keys(it) => self.keys = vec![Some(it)],
            Record::Targets(it) => self.targets = vec![*it],
            Record::Stopped(it) => self.stopped = vec![it],
            Record::Awaiting(it) => self.awaiting = vec![it],
            Record::Trial(it) => self.trial = vec![it],
            Record::BootConfig(it) => self.boot_config = vec![*it],
            Record::LocalMode(it) => self.local_mode = vec![*it],
            Record::FailedReleases(it) => self.failed_releases = vec![it],
            Record::TargetTrial(it) => self.target_trial = vec![*it],
            Record::KeptData(it) => self.kept_data = vec![it],
            Record::Proved(_) | Record::TargetTag(_) | Record::Leases(_) | Record::BootWindow(_) => (),
        }
    }

    /// It was loaded, and is acted on: this one.
    pub(crate) fn found(&mut self, memory: &StoredState) {
        self.identity = vec![memory.identity.clone()];
        self.account = vec![memory.account.clone()];
        self.pin = vec![memory.pin.clone()];
        self.keys = vec![memory.keys.clone()];
        self.targets = vec![memory.targets.clone()];
        self.stopped = vec![memory.stopped.clone()];
        self.awaiting = vec![memory.awaiting.clone()];
        self.trial = vec![memory.trial.clone()];
        self.boot_config = vec![memory.boot_config.clone()];
        self.local_mode = vec![memory.local_mode.clone()];
        self.failed_releases = vec![memory.failed_releases.clone()];
        self.target_trial = vec![memory.target_trial.clone()];
        self.kept_data = vec![memory.kept_data.clone()];
    }

    /// Another program overwrote a file with garbage.
    pub(crate) fn spoiled(&mut self, name: &str, garbage: &[u8]) {
        self.relics.push(garbage.to_vec());
        match name {
            "pin.json" => self.pin = vec![None],
            "keys.json" => self.keys = vec![None],
            "targets.json" => self.targets = vec![StoredTargets::default()],
            "stopped.json" => self.stopped = vec![SortedSet::new()],
            "awaiting-boot.json" => self.awaiting = vec![SortedMap::new()],
            "trial.json" => self.trial = vec![None],
            "boot-file.json" => self.boot_config = vec![BootConfigRecord::default()],
            "target-trial.json" => self.target_trial = vec![TargetTrialRecord::default()],
            "failed-releases.json" => self.failed_releases = vec![SortedMap::new()],
            "kept-data.json" => self.kept_data = vec![SortedMap::new()],
            "local-mode.json" => self.local_mode = vec![LocalModeRecord::default()],
            // There is a second copy.
            _ => (),
        }
    }

    pub(crate) fn judge(&self, memory: &StoredState) -> Result<(), String> {
        one_of(&self.identity, &memory.identity)?;
        one_of(&self.account, &memory.account)?;
        one_of(&self.pin, &memory.pin)?;
        one_of(&self.keys, &memory.keys)?;
        one_of(&self.targets, &memory.targets)?;
        one_of(&self.stopped, &memory.stopped)?;
        one_of(&self.awaiting, &memory.awaiting)?;
        one_of(&self.trial, &memory.trial)?;
        one_of(&self.boot_config, &memory.boot_config)?;
        one_of(&self.local_mode, &memory.local_mode)?;
        one_of(&self.target_trial, &memory.target_trial)?;
        one_of(&self.failed_releases, &memory.failed_releases)?;
        one_of(&self.kept_data, &memory.kept_data)
    }

    /// Opens what a cut left, as the agent does, and again after another cut; says what is wrong.
    pub(crate) async fn opens(&self, left: &Layer) -> Result<StoredState, String> {
        CUTS.fetch_add(1, Ordering::Relaxed);
        let memory = open(left).load().await.map_err(|why| format!("it does not open: {why}"))?;
        self.judge(&memory)?;
        let tag = open(left).target_tag().await;
        if tag.as_ref().is_some_and(|it| !self.tags.contains(it)) {
            return Err(format!("found {tag:?}, which was never saved"));
        }
        if self.relics.is_empty() && !memory.complaints.is_empty() {
            return Err(format!("a cut alone made something unreadable: {:?}", memory.complaints));
        }
        self.relics_are_there(left)?;
        is_marked(left)?;
        // What was loaded is acted on, so it must not be lost by the next cut.
        let later = super::power_cut::least(&left.model());
        let again = open(&later).load().await.map_err(|why| format!("it does not open again: {why}"))?;
        let same = StoredState { complaints: Vec::new(), ..memory.clone() };
        if again != same {
            return Err(format!("what was loaded was lost by the next cut: {same:?}, then {again:?}"));
        }
        self.relics_are_there(&later)?;
        is_marked(&later)?;
        Ok(same)
    }

    fn relics_are_there(&self, left: &Layer) -> Result<(), String> {
        let files = left.contents(Path::new(DIR));
        for relic in &self.relics {
            if !files.values().any(|it| it == relic) {
                return Err(format!("what could not be read is gone; there are {:?}", files.keys()));
            }
        }
        let known = |name: &str| name.contains(".unreadable-") || !name.starts_with('.');
        files.keys().find(|it| !known(it)).map_or(Ok(()), |it| Err(format!("`{it}` was left behind")))
    }
}

/// Whether a directory that was opened says its format.
fn is_marked(left: &Layer) -> Result<(), String> {
    let format = left.contents(Path::new(DIR)).remove("format").unwrap_or_default();
    let expected = format!("{FORMAT} {}\n", env!("CARGO_PKG_VERSION"));
    if format == expected.as_bytes() { Ok(()) } else { Err(format!("the format is {:?}", String::from_utf8_lossy(&format))) }
}

fn one_of<T: PartialEq + Debug>(allowed: &[T], found: &T) -> Result<(), String> {
    if allowed.contains(found) { Ok(()) } else { Err(format!("found {found:?}, and allowed were {allowed:?}")) }
}

/// The store's own code, over a layer.
pub(crate) fn open(layer: &Layer) -> Store<Layer> {
    Store::over(layer.clone(), Path::new(DIR), Box::new(|document: &str| Ok(target(document))))
}

fn target(document: &str) -> Target {
    Target { document: document.to_owned(), ..Target::default() }
}

/// The names of a record's files.
pub(crate) const FILES: [&str; 16] = [
    "format",
    "identity.json",
    "identity.backup.json",
    "account.json",
    "account.backup.json",
    "pin.json",
    "keys.json",
    "targets.json",
    "stopped.json",
    "awaiting-boot.json",
    "trial.json",
    "boot-file.json",
    "local-mode.json",
    "failed-releases.json",
    "target-trial.json",
    "kept-data.json",
];
/// How many kinds of records there are.
pub(crate) const KINDS: usize = 13;

/// Releases that failed, each of an app of its own.
fn failed_releases(n: usize) -> Record {
    let service = |it| FailedService {
        service: format!("service {it}"),
        why: "it is unhealthy".into(),
        lines: (0..it).map(|line| format!("line {line}")).collect(),
        health_output: n.is_multiple_of(2).then(|| "no answer".into()),
    };
    let failed = |it: usize| {
        let (fingerprint, commit) = (format!("{n:064x}"), n.is_multiple_of(2).then(|| "abc".into()));
        (
            AppId(u32::try_from(it).unwrap()),
            FailedRelease {
                fingerprint,
                commit,
                at_secs: 7,
                cause: n.is_multiple_of(5).then(|| "the agent ended".into()),
                services: (0..n % 3).map(service).collect(),
            },
        )
    };
    Record::FailedReleases((0..n % 4).map(failed).collect())
}

/// A target on trial, one that was kept, both or none.
fn target_trial(n: usize) -> Record {
    let time = TrialTime { boot_id: format!("boot {n}"), noted_up_secs: 7, left_secs: 60, length_secs: 600 };
    let tried = (!n.is_multiple_of(3)).then(|| TriedTarget { target: target(&format!("tried {n}")), time, over: "a".into() });
    let kept = n.is_multiple_of(2).then(|| KeptTarget { target: target(&format!("kept {n}")), over: format!("{n:064x}") });
    Record::TargetTrial(Box::new(TargetTrialRecord { tried, kept }))
}

/// The kinds of records, each as it is for the `n`th time. An identity never changes.
pub(crate) fn record(kind: usize, n: usize) -> Record {
    let services = || (0..n % 4).map(|it| ServiceKey::new(AppId(u32::try_from(it).unwrap()), "main"));
    match kind {
        0 => Record::Identity(Identity { uuid: "c0ffee00c0ffee00c0ffee00c0ffee00".into() }),
        1 => {
            let generations = services().map(|it| (it, u32::try_from(n).unwrap())).collect();
            let kept = services().map(|it| (it, KeptKey { app_uuid: "a".into(), key: Secret::new(format!("{n:032x}f0")) }));
            let (device, root, kept) = (Secret::new(format!("{n:064x}")), Secret::new("e2".repeat(32)), kept.collect());
            Record::Keys(Keys { device, root, generations, kept })
        }
        2 => {
            // From a few bytes to several blocks, and the good one is the same one as often as not.
            let document = |n: usize| target(&format!("document {n} ").repeat(1 + [0, 5, 40, 500][n % 4]));
            let good = if n.is_multiple_of(2) { n } else { n - 1 };
            let pulled = (0..n % 3).map(|it| ImageRef::new(&format!("r/app:{it}"))).collect();
            let good_apps = (0..n % 3).map(|it| (AppId(u32::try_from(it).unwrap()), document(n + it + 1))).collect();
            let (wanted, last_good) = (Some(document(n)), Some(document(good)));
            Record::Targets(Box::new(StoredTargets { wanted, last_good, good_apps, pulled }))
        }
        3 => Record::Stopped(services().collect()),
        4 => Record::Trial(
            (!n.is_multiple_of(2))
                .then(|| StartCount { document: format!("{n:064x}"), starts: 1 + u32::try_from(n % 6).unwrap() }),
        ),
        5 => {
            let written: SortedMap<_, _> = (0..n % 3).map(|it| (format!("HOST_CONFIG_{it}"), n.to_string())).collect();
            let rejected = n.is_multiple_of(2).then(|| written.clone());
            let boot_id = format!("boot {n}");
            Record::BootConfig(Box::new(BootConfigRecord { written, rejected, boot_id, ..BootConfigRecord::default() }))
        }
        6 => Record::Account(AccountRecord {
            endpoint: "https://api.example.com".into(),
            uuid: format!("{:032x}", n / 4),
            key: Secret::new(format!("key{n}")),
            provisioned_by: n.is_multiple_of(2).then(|| "ab".repeat(32)),
            device_id: (!n.is_multiple_of(3)).then_some(7),
            registered_at_ms: (!n.is_multiple_of(3)).then_some(1_795_834_102_000),
        }),
        7 => Record::Pin(
            n.is_multiple_of(2).then(|| ReleasePin { fleet: u32::try_from(n).unwrap(), commit: format!("{n:014x}") }),
        ),
        8 => {
            let ends = n.is_multiple_of(3).then(|| {
                let length_secs = i64::try_from(n).unwrap();
                SwitchEnd { boot_id: format!("boot {n}"), uptime_secs: 7 + length_secs, length_secs, at_secs: -1 }
            });
            let switch =
                (!n.is_multiple_of(2)).then(|| LocalModeSwitch { is_on: n.is_multiple_of(3), target_says: true, ends });
            let session = n.is_multiple_of(2).then(|| LocalSession {
                images: (0..n % 3).map(|it| ImageId(format!("sha256:{it:064x}"))).collect(),
                interrupted: services().collect(),
                target: n.is_multiple_of(4).then(|| target(&format!("pushed {n}"))),
                pushed: services().map(|it| it.app).collect(),
            });
            Record::LocalMode(Box::new(LocalModeRecord { switch, session }))
        }
        9 => failed_releases(n),
        10 => target_trial(n),
        11 => Record::KeptData(services().map(|it| (it.app, kept(n))).collect()),
        _ => Record::Awaiting((0..n % 3).map(|it| (ContainerId(format!("{it:064x}")), format!("boot {n}"))).collect()),
    }
}

/// What is kept of an app's data, as it is for the `n`th time.
fn kept(n: usize) -> KeptData {
    let state = |it: usize| [DataState::Kept, DataState::Absent, DataState::PuttingBack][it % 3];
    let volumes = (0..n % 4).map(|it| (format!("volume {it}"), state(n + it))).collect();
    KeptData { release: format!("{n:064x}"), begun: n.is_multiple_of(2), volumes }
}
