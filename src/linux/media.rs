//! A signed target on removable media, for sites without a network: `boardkeeper.json`, `.yml` or `.yaml` at the top of a USB
//! stick, with its signature, and perhaps an archive of images beside it.
//!
//! ```text
//! mounts    which media are mounted, and which are not     media/mounts.rs
//! archive   the images                                     media/archive.rs
//! ```
//!
//! The agent never mounts anything: its service runs as a user of its own, and systemd would ask polkit for the right to run
//! any command as root. Media are mounted read-only by a rule of udev that the package brings and that is in force only with
//! `--target-from-media`, or by the host in its own way, such as a desktop. A medium that stays unmounted is reported.
//!
//! Images are loaded before the target is accepted, so that a device without a network never has a target whose images are
//! missing. A medium can be unplugged as soon as its target is accepted: the target is kept as any other.

mod archive;
mod mounts;

use std::cell::RefCell;
use std::future::pending;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::sync::Notify;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::linux::engine::Engine;
use crate::linux::media::archive::LoadError;
use crate::linux::media::mounts::{Medium, Mounts};
use crate::linux::off_thread;
use crate::linux::signed::{PAUSE, ReadDocument, SIGNATURE_BYTES, TRIES, TargetVerifier, UnverifiedTarget, VerifiedTarget};
use crate::linux::signed_file::signature_of;
use crate::linux::store::{self, Disk, StoreFiles};
use crate::linux::target_file::{DOCUMENT_BYTES, parse_off_thread};
use crate::port::Targets;
use crate::sorted::{SortedMap, SortedSet};
use crate::state::{SignedOrder, Target, TargetError};

/// The document's name at the top of a medium: the first of these that is there.
const NAMES: [&str; 3] = ["boardkeeper.json", "boardkeeper.yml", "boardkeeper.yaml"];
/// How long a medium may be unmounted before that is reported.
const MOUNT_WAIT: Duration = Duration::from_secs(10);
/// The wait for an engine that is not reached.
const ENGINE_WAIT: Duration = Duration::from_secs(15);

/// Removable media with targets. One future at a time may wait in [`Targets::next`].
#[derive(Debug)]
pub struct TargetMedia {
    mounts: Mounts,
    verifier: TargetVerifier,
    engine: Engine,
    state_dir: PathBuf,
    uuid: Option<String>,
    /// What was judged, by medium: a hash of document and signature.
    judged: RefCell<SortedMap<Medium, [u8; 32]>>,
    /// What was last reported of a medium that is not judged yet.
    complaints: RefCell<SortedMap<Medium, String>>,
    /// The unmounted ones that were reported.
    unmounted: RefCell<SortedSet<String>>,
    asked: Notify,
}

/// A document and its signature, as they were read.
struct OnMedium {
    path: PathBuf,
    print: [u8; 32],
    document: ReadDocument,
}

impl TargetMedia {
    /// The media of the host whose root is `root`. `engine` is used for nothing else. `uuid` is that of a device whose state
    /// directory has none yet.
    #[must_use]
    pub fn new(root: &Path, verifier: TargetVerifier, engine: Engine, state_dir: &Path, uuid: Option<String>) -> Self {
        Self {
            mounts: Mounts::new(root),
            verifier,
            engine,
            state_dir: state_dir.to_owned(),
            uuid,
            judged: RefCell::default(),
            complaints: RefCell::default(),
            unmounted: RefCell::default(),
            asked: Notify::new(),
        }
    }

    /// The media that are mounted. What is known of others is forgotten, so that they count as new when they come back.
    fn media(&self) -> Vec<Medium> {
        let media = self.mounts.media().unwrap_or_else(|why| {
            warn!(%why, "the mounts cannot be read, so no removable medium is found");
            Vec::new()
        });
        self.judged.borrow_mut().retain(|it, _| media.contains(it));
        self.complaints.borrow_mut().retain(|it, _| media.contains(it));
        media
    }

    /// Judges what is on a medium. `None`: there is nothing new.
    async fn judge(&self, medium: &Medium) -> Result<Option<Target>, LoadError> {
        let mut tries = 0;
        let (found, verified) = loop {
            tries += 1;
            let Some(found) = read(&medium.path).await.map_err(LoadError::Refused)? else { return Ok(None) };
            if self.judged.borrow().get(medium) == Some(&found.print) {
                return Ok(None);
            }
            let uuid = store::uuid(&self.state_dir).or_else(|| self.uuid.clone());
            let OnMedium { path, print, document } = found;
            let refused = |why: String| LoadError::Refused(format!("{}: {why}", path.display()));
            match document.verified(Some(&self.verifier), uuid.as_deref()).await {
                Ok(verified) => break ((path, print), verified),
                // It may still be copied to the medium.
                Err(UnverifiedTarget::Mismatch(_)) if tries < TRIES => sleep(PAUSE).await,
                Err(UnverifiedTarget::Mismatch(why) | UnverifiedTarget::Refused(why)) => {
                    self.judged.borrow_mut().insert(medium.clone(), print);
                    return Err(refused(why));
                }
            }
        };
        let (path, print) = found;
        let accepted = self.load_and_accept(&path, &medium.path, verified).await;
        if !matches!(accepted, Err(LoadError::NoEngine(_))) {
            self.judged.borrow_mut().insert(medium.clone(), print);
        }
        accepted.map(Some)
    }

    async fn load_and_accept(&self, path: &Path, medium: &Path, verified: VerifiedTarget) -> Result<Target, LoadError> {
        let refused = |why: String| LoadError::Refused(format!("{}: {why}", path.display()));
        let version = verified.version.as_ref().ok_or_else(|| refused("it has no signature".to_owned()))?;
        let order = self.verifier.check(version).await.map_err(refused)?;
        if let Some(archive) = archive::found(medium) {
            let images = || verified.target.services().map(|(.., it)| it.image.clone()).collect();
            let missing = self.engine.missing_images(images()).await.map_err(|why| LoadError::NoEngine(why.to_string()))?;
            // A tag may be that of another image in a new archive.
            if order == SignedOrder::Newer || !missing.is_empty() {
                archive::load(&archive, &self.verifier, &self.engine).await?;
                let missing = self.engine.missing_images(images()).await.map_err(|why| LoadError::NoEngine(why.to_string()))?;
                for image in missing {
                    warn!("{image} is not in `{}`; it is pulled from its registry", archive.display());
                }
            }
        }
        let target = verified.accepted(Some(&self.verifier)).await.map_err(refused)?;
        info!("the target in `{}` is taken; the medium can be unplugged", path.display());
        Ok(target)
    }

    /// Looks at all media. `Err` is how long to wait at most for the next look; `None`: until a change.
    async fn look(&self) -> Result<Result<Target, TargetError>, Option<Duration>> {
        let mut wait = None;
        for medium in self.media() {
            let why = match self.judge(&medium).await {
                Ok(Some(target)) => return Ok(Ok(target)),
                Ok(None) => continue,
                Err(LoadError::Refused(why)) => why,
                Err(LoadError::NoEngine(why)) => {
                    wait = Some(ENGINE_WAIT);
                    why
                }
            };
            if self.complaints.borrow_mut().insert(medium, why.clone()).as_ref() != Some(&why) {
                return Ok(Err(TargetError(why)));
            }
        }
        Err(wait)
    }

    /// Reports media that stay unmounted.
    fn report_unmounted(&self) {
        let now = self.mounts.unmounted();
        for name in now.iter().filter(|it| !self.unmounted.borrow().contains(*it)) {
            warn!(
                "the removable medium {name} is plugged in and not mounted, so no target is read from it; the package's rule of \
                 udev mounts it when it is plugged in again, or mount it read-only"
            );
        }
        self.unmounted.replace(now);
    }

    /// Waits for a change of the media, for a request, or so long at most.
    async fn changed(&self, wait: Option<Duration>) {
        let later = async {
            match wait {
                Some(wait) => sleep(wait).await,
                None => pending().await,
            }
        };
        let unmounted = async {
            sleep(MOUNT_WAIT).await;
            self.report_unmounted();
            pending::<()>().await;
        };
        tokio::select! {
            biased;
            () = self.asked.notified() => {
                // What was refused may be fine by now.
                self.judged.borrow_mut().clear();
                self.complaints.borrow_mut().clear();
            }
            () = self.mounts.changed() => (),
            () = later => (),
            () = unmounted => (),
        }
    }
}

impl Targets for TargetMedia {
    async fn next(&self) -> Result<Target, TargetError> {
        loop {
            match self.look().await {
                Ok(news) => return news,
                Err(wait) => self.changed(wait).await,
            }
        }
    }

    async fn parse(&self, document: String) -> Result<Target, TargetError> {
        parse_off_thread(document).await
    }

    fn look_again(&self) {
        self.asked.notify_one();
    }
}

/// The document at the top of a medium. `None`: there is none.
async fn read(medium: &Path) -> Result<Option<OnMedium>, String> {
    let medium = medium.to_owned();
    off_thread(move || read_now(&medium)).await?
}

fn read_now(medium: &Path) -> Result<Option<OnMedium>, String> {
    for path in NAMES.iter().map(|it| medium.join(it)) {
        let bytes = match Disk.read(&path, DOCUMENT_BYTES) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(format!("{}: it cannot be read: {error}", path.display())),
        };
        let signature = Disk.read(&signature_of(&path), SIGNATURE_BYTES).ok();
        let hash = Sha256::new().chain_update(bytes.len().to_le_bytes()).chain_update(&bytes);
        let print = hash.chain_update(signature.as_deref().unwrap_or_default()).finalize().into();
        return Ok(Some(OnMedium { path, print, document: ReadDocument { bytes, signature } }));
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
