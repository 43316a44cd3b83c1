//! An archive of images beside a target on removable media. It must have a signature of its own, by the same key.
//!
//! It is verified whole before the engine gets a byte of it, and once more on the way to the engine, which gets the last part
//! only if the signature is still right: a medium may give other bytes the second time. Both times it is read in parts.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use hyper::body::Bytes;
use minisign_verify::StreamVerifier;
use rustix::fs::{Mode, OFlags, open};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::sync::mpsc;
use tracing::info;

use crate::linux::engine::Engine;
use crate::linux::signed::{SIGNATURE_BYTES, TargetVerifier, decoded, in_words};
use crate::linux::signed_file::signature_of;
use crate::linux::store::{Disk, StoreFiles};
use crate::port::EngineError;

/// The archive's name at the top of a medium: one of these.
pub(super) const NAMES: [&str; 2] = ["boardkeeper.oci.tar", "boardkeeper.tar"];
/// How much is read at once, in bytes.
const PART_BYTES: usize = 256 * 1024;

/// Why images were not loaded.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum LoadError {
    /// The engine is not reached. It may be started later.
    NoEngine(String),
    /// Anything else: it is tried again when the medium is plugged in again.
    Refused(String),
}

/// The archive at the top of a medium, if there is one.
pub(super) fn found(medium: &Path) -> Option<PathBuf> {
    NAMES.iter().map(|it| medium.join(it)).find(|it| it.symlink_metadata().is_ok())
}

/// Verifies an archive, and loads its images.
pub(super) async fn load(path: &Path, verifier: &TargetVerifier, engine: &Engine) -> Result<(), LoadError> {
    let refused = |why: String| LoadError::Refused(format!("{}: {why}", path.display()));
    let cannot = |error: io::Error| refused(format!("it cannot be read: {error}"));
    let beside = signature_of(path);
    let signature = Disk.read(&beside, SIGNATURE_BYTES).map_err(|error| {
        refused(format!("its signature `{}` cannot be read: {error}; sign it with `minisign -S`", beside.display()))
    })?;
    let signature = decoded(&signature).map_err(refused)?;
    let fresh = || verifier.key().verify_stream(&signature).map_err(|why| refused(in_words(&why)));
    let (file, size_bytes) = opened(path).map_err(cannot)?;
    let mut file = tokio::fs::File::from_std(file);
    let mut whole = fresh()?;
    while let Some(part) = part(&mut file).await.map_err(cannot)? {
        whole.update(&part);
    }
    whole.finalize().map_err(|why| refused(in_words(&why)))?;
    info!("the images in `{}` are loaded", path.display());
    file.rewind().await.map_err(cannot)?;
    let (parts, taken) = mpsc::channel(2);
    let name = path.display().to_string();
    let (fed, loaded) = tokio::join!(feed(&mut file, fresh()?, parts), engine.load_archive(&name, size_bytes, taken));
    fed.map_err(|why| refused(format!("{why}; its images are not loaded")))?;
    loaded.map_err(|error| match error {
        EngineError::Unreachable(why) => LoadError::NoEngine(why),
        EngineError::Refused(why) | EngineError::Missing(why) | EngineError::Full(why) | EngineError::InUse(why) => {
            LoadError::Refused(why)
        }
    })
}

/// Hands a file on, the last part only if the signature is right.
async fn feed(
    file: &mut tokio::fs::File,
    mut verifier: StreamVerifier<'_>,
    parts: mpsc::Sender<io::Result<Bytes>>,
) -> Result<(), String> {
    let mut held: Option<Bytes> = None;
    let ended = loop {
        match part(file).await {
            Ok(Some(next)) => {
                verifier.update(&next);
                if let Some(before) = held.replace(next)
                    // The engine has ended the request, and says why.
                    && parts.send(Ok(before)).await.is_err()
                {
                    return Ok(());
                }
            }
            Ok(None) => break verifier.finalize().map_err(|_| "it changed while it was read".to_owned()),
            Err(error) => break Err(format!("it cannot be read: {error}")),
        }
    };
    let last = match &ended {
        Ok(()) => held.map(Ok),
        Err(why) => Some(Err(io::Error::other(why.clone()))),
    };
    if let Some(last) = last {
        // As above.
        let _ = parts.send(last).await;
    }
    ended
}

async fn part(file: &mut tokio::fs::File) -> io::Result<Option<Bytes>> {
    let mut part = vec![0; PART_BYTES];
    let read = file.read(&mut part).await?;
    part.truncate(read);
    Ok((read > 0).then(|| part.into()))
}

/// A regular file, and its size. A link is not followed: it could lead out of the medium.
fn opened(path: &Path) -> io::Result<(File, u64)> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(open(path, flags, Mode::empty())?);
    let about = file.metadata()?;
    if about.is_file() { Ok((file, about.len())) } else { Err(io::Error::other("it is not a file")) }
}
