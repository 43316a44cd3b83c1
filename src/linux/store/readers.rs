//! What other parts and other commands read of a state directory, beside the store.

use std::io;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use super::disk::{Disk, StateDirectory, StoreFiles};
use super::failed_releases::FailedReleasesFile;
use super::kept_data::KeptDataFile;
use super::{
    ACCOUNT, ACCOUNT_BACKUP, AWAITING, FAILED_RELEASES, IDENTITY, IDENTITY_BACKUP, KEPT_DATA, KEYS, PIN, PROVISIONED, REACHED,
    RECORD_BYTES, STOPPED, Store, TARGETS, failed, is_spoiled, most_bytes, parsed, wire,
};
use crate::document;
use crate::linux::flash::FlashCounter;
use crate::port::{StoreError, StoredState};
use crate::state::cloud::AccountRecord;
use crate::state::{Identity, Secret, TargetError};

/// The device's identity, if the directory has one. Changes nothing and reports nothing: the store does that.
#[must_use]
pub fn identity(path: &Path) -> Option<Identity> {
    let files = StateDirectory::new(Disk, path);
    let read = |name| serde_json::from_slice::<wire::IdentityFile>(&files.read(name, RECORD_BYTES).ok()?).ok();
    read(IDENTITY).or_else(|| read(IDENTITY_BACKUP)).map(wire::IdentityFile::into_state)
}

/// The account, from either copy. Changes nothing and reports nothing: the store does that.
pub(super) fn account<F: StoreFiles>(files: &StateDirectory<F>) -> Result<Option<AccountRecord>, StoreError> {
    for name in [ACCOUNT, ACCOUNT_BACKUP] {
        match files.read(name, RECORD_BYTES) {
            // Where this copy is damaged, the other one may be whole.
            Ok(bytes) => {
                if let Ok(account) = serde_json::from_slice::<wire::AccountFile>(&bytes) {
                    return Ok(Some(account.into_state()));
                }
            }
            Err(why) if why.kind() == io::ErrorKind::NotFound || is_spoiled(&why) => (),
            Err(why) => return Err(failed(files, "read", name, &why)),
        }
    }
    Ok(None)
}

/// The account of the device in a cloud, if the directory has one. Changes nothing.
pub fn account_in(path: &Path) -> Result<Option<AccountRecord>, StoreError> {
    account(&StateDirectory::new(Disk, path))
}

/// Removes the account of the device in a cloud, with its copy, and the pin that it was to have there. The running agent knows
/// both until it reads its settings again.
pub fn remove_account(path: &Path) -> io::Result<()> {
    let files = StateDirectory::new(Disk, path);
    for name in [PIN, ACCOUNT_BACKUP, ACCOUNT] {
        match files.remove(name) {
            Err(why) if why.kind() != io::ErrorKind::NotFound => return Err(why),
            _ => (),
        }
    }
    if path.is_dir() { files.sync_names(ACCOUNT) } else { Ok(()) }
}

/// What the agent keeps, as far as it can be read. Changes nothing and reports nothing: the store does that.
#[must_use]
pub fn stored(path: &Path, device_uuid: &str) -> StoredState {
    let uuid = (!device_uuid.is_empty()).then(|| device_uuid.to_owned());
    let parse = move |text: &str| document::parse_kept(text, uuid.as_deref());
    let files = StateDirectory::new(Disk, path);
    let mut targets = record::<wire::TargetsFile>(&files, TARGETS).map(|it| it.into_state(&parse).0).unwrap_or_default();
    let marks = files.names().unwrap_or_default();
    if targets.wanted.as_ref().is_some_and(|it| marks.contains(&format!("{REACHED}{}", it.fingerprint()))) {
        targets.last_good.clone_from(&targets.wanted);
    }
    StoredState {
        identity: identity(path),
        account: account(&files).ok().flatten(),
        keys: record::<wire::KeysFile>(&files, KEYS).map(wire::KeysFile::into_state),
        targets,
        stopped: record::<wire::StoppedFile>(&files, STOPPED).map(wire::StoppedFile::into_state).unwrap_or_default(),
        awaiting: record::<wire::AwaitingFile>(&files, AWAITING).map(wire::AwaitingFile::into_state).unwrap_or_default(),
        failed_releases: record::<FailedReleasesFile>(&files, FAILED_RELEASES)
            .map(FailedReleasesFile::into_state)
            .unwrap_or_default(),
        kept_data: record::<KeptDataFile>(&files, KEPT_DATA).map(KeptDataFile::into_state).unwrap_or_default(),
        ..StoredState::default()
    }
}

fn record<T: DeserializeOwned>(files: &StateDirectory<Disk>, name: &'static str) -> Option<T> {
    serde_json::from_slice(&files.read(name, most_bytes(name)).ok()?).ok()
}

/// The uuid of the device: that of its account in the cloud, once it is registered; else that of its identity.
#[must_use]
pub fn uuid(path: &Path) -> Option<String> {
    let account = account(&StateDirectory::new(Disk, path)).ok().flatten();
    account.filter(AccountRecord::is_registered).map(|it| it.uuid).or_else(|| identity(path).map(|it| it.uuid))
}

/// The saved copy of the device's provisioning file. `None`: the directory has no identity.
#[must_use]
pub fn provisioned(path: &Path) -> Option<Vec<u8>> {
    identity(path)?;
    let kept = StateDirectory::new(Disk, path).read(PROVISIONED, most_bytes(PROVISIONED));
    // Without the copy the device runs all the same.
    Some(kept.unwrap_or_else(|_| b"{}".to_vec()))
}

/// The path of the saved copy of the device's provisioning file.
#[must_use]
pub fn provisioned_path(path: &Path) -> PathBuf {
    path.join(PROVISIONED)
}

/// Saves what the device's provisioning file says, for a start at which that file cannot be read.
pub fn keep_provisioned(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    without_targets(path).shared.keep(PROVISIONED, bytes)
}

/// The store of a directory, for records other than targets.
pub(super) fn without_targets(path: &Path) -> Store {
    let store = Store::new(path, Box::new(|_| Err(TargetError("there is no target in it".to_owned()))));
    store.with_flash_counter(FlashCounter::of_process())
}

/// The device's key, for any user who may read the directory. Changes nothing. `None`: the agent never ran.
pub fn device_key(path: &Path) -> Result<Option<Secret>, StoreError> {
    let files = StateDirectory::new(Disk, path);
    let damaged = |why: &str| StoreError::Damaged { path: files.shown(KEYS), why: why.to_owned() };
    match files.read(KEYS, most_bytes(KEYS)) {
        Ok(bytes) => {
            let keys = parsed::<wire::KeysFile>(KEYS, &bytes).map_err(|why| damaged(&why))?;
            Ok(Some(keys.into_state().device))
        }
        Err(why) if is_spoiled(&why) => Err(damaged(&why.to_string())),
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(why) => Err(failed(&files, "read", KEYS, &why)),
    }
}
