//! The file formats of the records.

use serde::de::{Deserializer, Error};
use serde::{Deserialize, Serialize};

use super::{
    ACCOUNT, ACCOUNT_BACKUP, AWAITING, BOOT_CONFIG, FAILED_RELEASES, IDENTITY, IDENTITY_BACKUP, KEPT_DATA, KEYS, LOCAL_MODE,
    PIN, ParseTarget, STOPPED, TARGET_TRIAL, TARGETS, TRIAL,
};
use crate::linux::store::failed_releases::FailedReleasesFile;
use crate::linux::store::kept_data::KeptDataFile;
use crate::linux::store::local_mode::LocalModeFile;
use crate::linux::store::target_trial::TargetTrialFile;
use crate::port::{Record, StoredTargets};
use crate::sorted::{SortedMap, SortedSet};
use crate::state::boot_config::{BootConfigRecord, BootVariables};
use crate::state::cloud::{AccountRecord, ReleasePin};
use crate::state::keys::{KeptKey, is_device_key, is_root};
use crate::state::{self, AppId, ContainerId, ImageRef, Secret, ServiceKey};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct IdentityFile {
    #[serde(deserialize_with = "uuid")]
    uuid: String,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct AccountFile {
    endpoint: String,
    #[serde(deserialize_with = "uuid")]
    uuid: String,
    #[serde(deserialize_with = "cloud_key")]
    key: String,
    provisioned_by: Option<String>,
    device_id: Option<u64>,
    #[serde(deserialize_with = "Option::deserialize")]
    registered_at_ms: Option<i64>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct PinFile {
    /// `None`: the device is to be pinned on none.
    #[serde(deserialize_with = "Option::deserialize")]
    release: Option<PinnedRelease>,
}

#[derive(Serialize, Deserialize)]
struct PinnedRelease {
    fleet: u32,
    commit: String,
}

#[derive(Serialize, Deserialize)]
pub(super) struct KeysFile {
    #[serde(deserialize_with = "device_key")]
    device: String,
    #[serde(deserialize_with = "root")]
    root: String,
    generations: Vec<Renewed>,
    /// Of a supervisor that the agent replaced.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    kept: Vec<Kept>,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    app: u32,
    service: String,
    app_uuid: String,
    #[serde(deserialize_with = "device_key")]
    key: String,
}

#[derive(Serialize, Deserialize)]
struct Renewed {
    app: u32,
    service: String,
    generation: u32,
}

#[derive(Serialize, Deserialize)]
pub(super) struct TargetsFile {
    /// The document, as it was received. A record without this field is damaged.
    #[serde(deserialize_with = "Option::deserialize")]
    wanted: Option<String>,
    /// The document, if it differs from the wanted one.
    #[serde(deserialize_with = "Option::deserialize")]
    good: Option<String>,
    /// The last good target is the wanted one: its document is not written twice.
    #[serde(default)]
    good_is_wanted: bool,
    /// Documents of which an app's release was proven good, where the last good target has another one of that app.
    #[serde(default, skip_serializing_if = "SortedMap::is_empty")]
    good_apps: SortedMap<u32, String>,
    #[serde(default)]
    pulled: Vec<String>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct StoppedFile {
    services: Vec<Service>,
}

#[derive(Serialize, Deserialize)]
struct Service {
    app: u32,
    service: String,
}

#[derive(Serialize, Deserialize)]
pub(super) struct AwaitingFile {
    /// Boot ids, by container.
    containers: SortedMap<String, String>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct StartCountFile {
    /// The SHA-256 of the document. `None`: no target's starts are counted.
    #[serde(deserialize_with = "Option::deserialize")]
    document: Option<String>,
    starts: u32,
}

#[derive(Serialize, Deserialize)]
pub(super) struct BootConfigFile {
    written: Variables,
    booted: Variables,
    good: Variables,
    boot_id: String,
    undone: u32,
    starts: u32,
    #[serde(deserialize_with = "Option::deserialize")]
    rejected: Option<Variables>,
}

#[derive(Serialize, Deserialize)]
struct Variables(BootVariables);

/// A damaged file must not make another device of this one.
fn uuid<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let is_uuid = |text: &str| (32..=64).contains(&text.len()) && text.bytes().all(|it| it.is_ascii_hexdigit());
    checked(from, is_uuid, "uuid must be 32 to 64 hex digits")
}

/// A damaged key grants no access: an empty one is easily guessed.
fn device_key<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    checked(from, is_device_key, "device must be 16 to 128 letters, digits or underscores, not all the same")
}

/// A damaged key would be refused by the cloud for ever.
fn cloud_key<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let is_key = |text: &str| !text.is_empty() && text.bytes().all(|it| it.is_ascii_graphic());
    checked(from, is_key, "key must be printable ASCII")
}

/// From a known root every service's key is known.
fn root<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    checked(from, is_root, "root must be 64 hex digits, not all the same")
}

/// The text is not repeated in the error: it may be a key.
fn checked<'de, D: Deserializer<'de>>(from: D, is_right: fn(&str) -> bool, wrong: &str) -> Result<String, D::Error> {
    let text = String::deserialize(from).map_err(|_| D::Error::custom("a text is expected"))?;
    if is_right(&text) { Ok(text) } else { Err(D::Error::custom(wrong)) }
}

/// The files of a record, in the order they are written.
pub(super) fn files(record: &Record) -> Vec<(&'static str, Vec<u8>)> {
    match record {
        Record::Identity(identity) => {
            let bytes = json(&IdentityFile { uuid: identity.uuid.clone() });
            vec![(IDENTITY, bytes.clone()), (IDENTITY_BACKUP, bytes)]
        }
        Record::Account(account) => {
            let bytes = json(&AccountFile::of(account));
            vec![(ACCOUNT, bytes.clone()), (ACCOUNT_BACKUP, bytes)]
        }
        Record::Pin(pin) => vec![(PIN, json(&PinFile::of(pin.as_ref())))],
        Record::Keys(keys) => vec![(KEYS, json(&KeysFile::of(keys)))],
        Record::Targets(targets) => vec![(TARGETS, json(&TargetsFile::of(targets)))],
        Record::Stopped(services) => vec![(STOPPED, json(&StoppedFile::of(services)))],
        Record::Awaiting(containers) => vec![(AWAITING, json(&AwaitingFile::of(containers)))],
        Record::Trial(trial) => vec![(TRIAL, json(&StartCountFile::of(trial.as_ref())))],
        Record::FailedReleases(failed) => vec![(FAILED_RELEASES, json(&FailedReleasesFile::of(failed)))],
        Record::KeptData(kept) => vec![(KEPT_DATA, json(&KeptDataFile::of(kept)))],
        Record::LocalMode(record) => vec![(LOCAL_MODE, json(&LocalModeFile::of(record)))],
        Record::TargetTrial(record) => vec![(TARGET_TRIAL, json(&TargetTrialFile::of(record)))],
        Record::BootConfig(record) => vec![(BOOT_CONFIG, json(&BootConfigFile::of(record)))],
        // A mark, without content; and files that are written without a sync.
        Record::Proved(_) | Record::TargetTag(_) | Record::Leases(_) | Record::BootWindow(_) => Vec::new(),
    }
}

/// Indented: a user may have to read it.
pub(super) fn json(record: &impl Serialize) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(record).expect("texts and numbers can be written as JSON");
    bytes.push(b'\n');
    bytes
}

impl IdentityFile {
    pub(super) fn into_state(self) -> state::Identity {
        state::Identity { uuid: self.uuid }
    }
}

impl AccountFile {
    fn of(account: &AccountRecord) -> Self {
        Self {
            endpoint: account.endpoint.clone(),
            uuid: account.uuid.clone(),
            key: account.key.reveal().to_owned(),
            provisioned_by: account.provisioned_by.clone(),
            device_id: account.device_id,
            registered_at_ms: account.registered_at_ms,
        }
    }

    pub(super) fn into_state(self) -> AccountRecord {
        AccountRecord {
            endpoint: self.endpoint,
            uuid: self.uuid,
            key: Secret::new(self.key),
            provisioned_by: self.provisioned_by,
            device_id: self.device_id,
            registered_at_ms: self.registered_at_ms,
        }
    }
}

impl PinFile {
    fn of(pin: Option<&ReleasePin>) -> Self {
        Self { release: pin.map(|it| PinnedRelease { fleet: it.fleet, commit: it.commit.clone() }) }
    }

    pub(super) fn into_state(self) -> Option<ReleasePin> {
        self.release.map(|PinnedRelease { fleet, commit }| ReleasePin { fleet, commit })
    }
}

impl KeysFile {
    fn of(keys: &state::Keys) -> Self {
        let generations = keys.generations.iter();
        Self {
            device: keys.device.reveal().to_owned(),
            root: keys.root.reveal().to_owned(),
            generations: generations
                .map(|(key, &generation)| Renewed { app: key.app.0, service: key.service.clone(), generation })
                .collect(),
            kept: keys.kept.iter().map(|(service, kept)| Kept::of(service, kept)).collect(),
        }
    }

    pub(super) fn into_state(self) -> state::Keys {
        let generations = self.generations.into_iter();
        state::Keys {
            device: Secret::new(self.device),
            root: Secret::new(self.root),
            generations: generations
                .map(|it| (ServiceKey::new(AppId(it.app), &it.service), it.generation))
                .collect::<SortedMap<_, _>>(),
            kept: self.kept.into_iter().map(Kept::into_state).collect(),
        }
    }
}

impl Kept {
    fn of(service: &ServiceKey, kept: &KeptKey) -> Self {
        Self {
            app: service.app.0,
            service: service.service.clone(),
            app_uuid: kept.app_uuid.clone(),
            key: kept.key.reveal().to_owned(),
        }
    }

    fn into_state(self) -> (ServiceKey, KeptKey) {
        let key = KeptKey { app_uuid: self.app_uuid, key: Secret::new(self.key) };
        (ServiceKey::new(AppId(self.app), &self.service), key)
    }
}

impl TargetsFile {
    fn of(targets: &StoredTargets) -> Self {
        let good_is_wanted = targets.last_good.is_some() && targets.last_good == targets.wanted;
        let good = targets.last_good.as_ref().filter(|_| !good_is_wanted);
        Self {
            wanted: targets.wanted.as_ref().map(|it| it.document.clone()),
            good: good.map(|it| it.document.clone()),
            good_is_wanted,
            good_apps: targets.good_apps.iter().map(|(app, it)| (app.0, it.document.clone())).collect(),
            pulled: targets.pulled.iter().map(|it| it.as_str().to_owned()).collect(),
        }
    }

    /// What can be parsed of it, and why the rest cannot.
    pub(super) fn into_state(self, parse: &ParseTarget) -> (StoredTargets, Option<String>) {
        let mut wrong = None;
        let mut read = |document: Option<String>| match parse(&document?) {
            Ok(target) => Some(target),
            Err(why) => {
                wrong = Some(why.to_string());
                None
            }
        };
        let wanted = read(self.wanted);
        let good = if self.good_is_wanted { wanted.clone() } else { read(self.good) };
        let good_apps = self.good_apps.into_iter().filter_map(|(app, it)| Some((AppId(app), read(Some(it))?)));
        let good_apps = good_apps.collect();
        let pulled = self.pulled.iter().map(|it| ImageRef::new(it)).collect();
        (StoredTargets { wanted, last_good: good, good_apps, pulled }, wrong)
    }
}

impl StoppedFile {
    fn of(services: &SortedSet<ServiceKey>) -> Self {
        let services = services.iter().map(|it| Service { app: it.app.0, service: it.service.clone() });
        Self { services: services.collect() }
    }

    pub(super) fn into_state(self) -> SortedSet<ServiceKey> {
        self.services.into_iter().map(|it| ServiceKey::new(AppId(it.app), &it.service)).collect()
    }
}

impl AwaitingFile {
    fn of(containers: &SortedMap<ContainerId, String>) -> Self {
        Self { containers: containers.iter().map(|(id, boot)| (id.0.clone(), boot.clone())).collect() }
    }

    pub(super) fn into_state(self) -> SortedMap<ContainerId, String> {
        self.containers.into_iter().map(|(id, boot)| (ContainerId(id), boot)).collect()
    }
}

impl StartCountFile {
    fn of(trial: Option<&state::StartCount>) -> Self {
        Self { document: trial.map(|it| it.document.clone()), starts: trial.map_or(0, |it| it.starts) }
    }

    pub(super) fn into_state(self) -> Option<state::StartCount> {
        Some(state::StartCount { document: self.document?, starts: self.starts })
    }
}

impl BootConfigFile {
    fn of(record: &BootConfigRecord) -> Self {
        let BootConfigRecord { written, booted, good, boot_id, undone, starts, rejected } = record.clone();
        let [written, booted, good] = [written, booted, good].map(Variables);
        Self { written, booted, good, boot_id, undone, starts, rejected: rejected.map(Variables) }
    }

    pub(super) fn into_state(self) -> BootConfigRecord {
        let Self { written, booted, good, boot_id, undone, starts, rejected } = self;
        let [written, booted, good] = [written, booted, good].map(|it| it.0);
        BootConfigRecord { written, booted, good, boot_id, undone, starts, rejected: rejected.map(|it| it.0) }
    }
}
