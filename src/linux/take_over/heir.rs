//! Where what is taken over is stored: the state directory of an agent that does not run.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Gid, Uid};
use rustix::process::geteuid;
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use super::Inheritance;
use crate::document;
use crate::linux::clock::Random;
use crate::linux::store::{self, Store};
use crate::port::{Random as _, Record, Store as _, StoreError, StoredState, StoredTargets};
use crate::sorted::SortedMap;
use crate::state::{Identity, Keys, Secret};

/// The agent that takes over.
#[derive(Debug)]
pub struct Heir {
    /// Its state directory.
    pub state_dir: PathBuf,
    /// The device's uuid, if its provisioning says one.
    pub uuid: Option<String>,
    /// The device key that is configured.
    pub device_key: Option<Secret>,
    /// Keys and a target that it has already are replaced.
    pub replaces: bool,
}

/// Why nothing is stored.
#[derive(Debug, thiserror::Error)]
pub enum HeirError {
    /// Root cannot become the agent's user.
    #[error("cannot act as the agent's user: {0}")]
    User(io::Error),
    /// There is no asynchronous runtime.
    #[error("cannot begin: {0}")]
    Begin(io::Error),
    /// The agent runs.
    #[error("{0}; stop it first")]
    Runs(StoreError),
    /// The directory cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It has keys or a target.
    #[error(
        "the agent has keys or a target of its own in `{}`; with --force those of the old supervisor replace them, and what uses the \
         agent's key needs the old one again",
        .0.display()
    )]
    HasItsOwn(PathBuf),
}

impl Heir {
    /// Stores an inheritance, all of it or, after an error, a part that another try completes. As root it becomes the owner of
    /// the directory for good: root writes nothing where another user may write.
    pub fn keep(self, inheritance: &Inheritance) -> Result<(), HeirError> {
        become_owner_of(&self.state_dir).map_err(HeirError::User)?;
        let dir = &self.state_dir;
        let _only_one = store::hold(dir).map_err(|why| match why {
            StoreError::InUse { .. } => HeirError::Runs(why),
            why => HeirError::Store(why),
        })?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(HeirError::Begin)?;
        let uuid = store::uuid(dir).or_else(|| self.uuid.clone());
        let store = Store::new(dir, Box::new(move |text| document::parse_kept(text, uuid.as_deref())));
        runtime.block_on(async {
            let own = store.load().await?;
            if !self.replaces && (own.keys.is_some() || own.targets.wanted.is_some()) {
                return Err(HeirError::HasItsOwn(dir.clone()));
            }
            // The keys last: while there are none, another try is not refused.
            for record in self.records(inheritance, own) {
                store.save(&record).await?;
            }
            Ok(())
        })
    }

    fn records(&self, inheritance: &Inheritance, own: StoredState) -> Vec<Record> {
        let mut records = Vec::new();
        if own.identity.is_none()
            && self.uuid.is_none()
            && let Some(uuid) = inheritance.uuid.clone()
        {
            records.push(Record::Identity(Identity { uuid }));
        }
        if let Some(target) = &inheritance.target {
            // Its images are the agent's from now on, as if it had pulled them.
            let images = target.services().map(|(.., it)| it.image.clone());
            let pulled = own.targets.pulled.into_iter().chain(images).collect();
            let targets = StoredTargets { wanted: Some(target.clone()), pulled, ..StoredTargets::default() };
            records.push(Record::Targets(Box::new(targets)));
        }
        let before = own.keys.unwrap_or_else(|| Keys {
            device: self.device_key.clone().unwrap_or_else(random),
            root: random(),
            generations: SortedMap::new(),
            kept: SortedMap::new(),
        });
        let mut keys = Keys { device: inheritance.device_key.clone().unwrap_or(before.device.clone()), ..before };
        keys.kept.extend(inheritance.service_keys.clone());
        records.push(Record::Keys(keys));
        records
    }
}

fn become_owner_of(state_dir: &Path) -> io::Result<()> {
    let owner = match fs::symlink_metadata(state_dir) {
        Ok(owner) => owner,
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(why) => return Err(why),
    };
    if !geteuid().is_root() || owner.uid() == 0 {
        return Ok(());
    }
    let (uid, gid) = (Uid::from_raw(owner.uid()), Gid::from_raw(owner.gid()));
    // There is no other thread yet; later ones inherit it.
    set_thread_groups(&[gid])?;
    set_thread_res_gid(Some(gid), Some(gid), Some(gid))?;
    set_thread_res_uid(Some(uid), Some(uid), Some(uid))?;
    Ok(())
}

fn random() -> Secret {
    Secret::from_bytes(Random.bytes())
}
