//! A target-state file that counts only with a signature beside it. Both files are watched, and read again whenever one of them
//! changes.
//!
//! What is watched for, and what is not, is as with [`TargetFile`](crate::linux::target_file::TargetFile).

use std::cell::{Cell, RefCell};
use std::ffi::OsString;
use std::fs;
use std::future::poll_fn;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::task::Poll;
use std::time::Duration;

use futures_util::FutureExt;
use sha2::{Digest, Sha256};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

use crate::linux::off_thread;
use crate::linux::signed::{PAUSE, ReadDocument, SIGNATURE_BYTES, SUFFIX, TRIES, TargetVerifier, UnverifiedTarget};
use crate::linux::target_file::{DOCUMENT_BYTES, parse_off_thread};
use crate::linux::watch::{FileChange, FileWatcher};
use crate::port::Targets;
use crate::state::{Target, TargetError};

/// Wait after one of the files was created, removed or closed.
const SETTLE: Duration = Duration::from_millis(50);
/// Wait after a write that no close has followed. Some writers never close the file.
const WRITING: Duration = Duration::from_secs(1);

/// A watched target-state file with a signature. One future at a time may wait in [`Targets::next`].
#[derive(Debug)]
pub struct SignedFile {
    path: PathBuf,
    signature: PathBuf,
    verifier: TargetVerifier,
    device_uuid: Option<String>,
    /// Hash of what [`Targets::next`] judged last.
    judged: Cell<Option<[u8; 32]>>,
    /// What it judged last was refused.
    is_refused: Cell<bool>,
    /// How often the signature did not match since the last change.
    mismatches: Cell<usize>,
    /// Why the files could not be watched, as last reported.
    complained: RefCell<Option<String>>,
    watches: RefCell<Option<[FileWatcher; 2]>>,
    /// When the files may be read. `None`: now.
    judge_at: Cell<Option<Instant>>,
    asked: Notify,
}

/// What a look at the files found.
enum Look {
    /// The same as last time.
    Same,
    /// The signature does not match, and may be about to be replaced.
    Mismatch,
    Judged(Result<Target, TargetError>),
}

impl SignedFile {
    /// The file at a path, which need not exist yet. `device_uuid` selects this device's part of a v3 document.
    #[must_use]
    pub fn new(path: &Path, verifier: TargetVerifier, device_uuid: Option<&str>) -> Self {
        // Only an empty path cannot be made absolute. It is reported as a missing file.
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        Self {
            signature: signature_of(&path),
            path,
            verifier,
            device_uuid: device_uuid.map(str::to_owned),
            judged: Cell::new(None),
            is_refused: Cell::new(false),
            mismatches: Cell::new(0),
            complained: RefCell::new(None),
            watches: RefCell::new(None),
            judge_at: Cell::new(None),
            asked: Notify::new(),
        }
    }

    /// Watches the paths as they are now. Runs before the files are read, so that no change falls in between.
    fn arm(&self) -> Result<(), String> {
        let armed = self.try_arm();
        if let Err(error) = &armed {
            *self.watches.borrow_mut() = None;
            let path = self.path.display();
            return Err(format!(
                "{path}: it cannot be watched ({error}), and is read only when an update is asked for; \
                 look at fs.inotify.max_user_instances and max_user_watches"
            ));
        }
        Ok(())
    }

    fn try_arm(&self) -> io::Result<()> {
        let mut watches = self.watches.borrow_mut();
        let both = match &mut *watches {
            Some(both) => both,
            None => watches.insert([FileWatcher::new(&self.path)?, FileWatcher::new(&self.signature)?]),
        };
        both.iter_mut().try_for_each(FileWatcher::arm)
    }

    /// Waits for the next change of a file. It is recorded before this returns, so that the future may be dropped.
    async fn change(&self) {
        poll_fn(|cx| {
            let mut watches = self.watches.borrow_mut();
            let Some(both) = &mut *watches else { return Poll::Pending };
            let changes = both.iter_mut().map(|it| it.poll_change(cx));
            let waits = changes.filter_map(|change| match change {
                Poll::Ready(Ok(FileChange::Writing)) => Some((WRITING, true)),
                Poll::Ready(Ok(_)) => Some((SETTLE, true)),
                // `arm` creates the watches again, and reports if that fails.
                Poll::Ready(Err(_)) => Some((SETTLE, false)),
                Poll::Pending => None,
            });
            let Some((wait, is_sound)) = waits.reduce(|one, other| (one.0.max(other.0), one.1 && other.1)) else {
                return Poll::Pending;
            };
            if !is_sound {
                *watches = None;
            }
            self.mismatches.set(0);
            self.judge_at.set(Some(Instant::now() + wait));
            Poll::Ready(())
        })
        .await;
    }

    /// Waits until no further write is expected.
    async fn settled(&self) {
        while self.change().now_or_never().is_some() {}
        while let Some(at) = self.judge_at.get() {
            tokio::select! {
                biased;
                () = self.change() => {}
                () = sleep_until(at) => self.judge_at.set(None),
            }
        }
    }

    async fn look(&self) -> Look {
        let (path, signature) = (self.path.clone(), self.signature.clone());
        let read = off_thread(move || (read(&path, DOCUMENT_BYTES), read(&signature, SIGNATURE_BYTES))).await;
        let (document, signature) = read.unwrap_or_else(|why| (Err(why.clone()), Err(why)));
        let print = print([&document, &signature]);
        if self.judged.get() == Some(print) {
            return Look::Same;
        }
        let judged = match self.judge(document, signature).await {
            Ok(target) => Ok(target),
            Err(UnverifiedTarget::Mismatch(_)) if self.mismatches.get() + 1 < TRIES => {
                self.mismatches.set(self.mismatches.get() + 1);
                return Look::Mismatch;
            }
            Err(UnverifiedTarget::Mismatch(why) | UnverifiedTarget::Refused(why)) => Err(why),
        };
        self.judged.set(Some(print));
        self.mismatches.set(0);
        self.is_refused.set(judged.is_err());
        Look::Judged(judged.map_err(|why| TargetError(format!("{}: {why}", self.path.display()))))
    }

    async fn judge(
        &self,
        document: Result<Vec<u8>, String>,
        signature: Result<Vec<u8>, String>,
    ) -> Result<Target, UnverifiedTarget> {
        let bytes = document.map_err(UnverifiedTarget::Refused)?;
        let signature = signature.map_err(|why| {
            let name = self.signature.display();
            UnverifiedTarget::Mismatch(format!("of its signature `{name}`: {why}; sign it with `minisign -S`"))
        })?;
        let document = ReadDocument { bytes, signature: Some(signature) };
        let verified = document.verified(Some(&self.verifier), self.device_uuid.as_deref()).await?;
        verified.accepted(Some(&self.verifier)).await.map_err(UnverifiedTarget::Refused)
    }
}

impl Targets for SignedFile {
    async fn next(&self) -> Result<Target, TargetError> {
        loop {
            let armed = self.arm();
            self.settled().await;
            match self.look().await {
                Look::Judged(judged) => return judged,
                Look::Mismatch => {
                    tokio::select! {
                        biased;
                        () = self.change() => {}
                        () = sleep(PAUSE) => {}
                    }
                    continue;
                }
                Look::Same => (),
            }
            let complaint = armed.err();
            if self.complained.replace(complaint.clone()) != complaint
                && let Some(why) = complaint
            {
                return Err(TargetError(why));
            }
            tokio::select! {
                biased;
                () = self.asked.notified() => {
                    // What was refused may be fine by now: the disk of the record was full, for one.
                    if self.is_refused.get() {
                        self.judged.set(None);
                    }
                }
                () = self.change() => {}
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

/// The path of a file's signature.
pub(in crate::linux) fn signature_of(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(SUFFIX);
    PathBuf::from(name)
}

fn read(path: &Path, most_bytes: u64) -> Result<Vec<u8>, String> {
    let cannot = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => "no such file; it is read as soon as it appears".to_owned(),
        _ => format!("it cannot be read: {error}"),
    };
    // Reading a pipe would block until there is a writer.
    if !fs::metadata(path).map_err(cannot)?.is_file() {
        return Err("it is not a file".to_owned());
    }
    let mut bytes = Vec::new();
    fs::File::open(path).and_then(|it| it.take(most_bytes + 1).read_to_end(&mut bytes)).map_err(cannot)?;
    if bytes.len() as u64 > most_bytes {
        return Err(format!("it is larger than {most_bytes} bytes, the most it may have"));
    }
    Ok(bytes)
}

fn print(files: [&Result<Vec<u8>, String>; 2]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for file in files {
        let (kind, bytes) = match file {
            Ok(bytes) => ("good", bytes.as_slice()),
            Err(why) => ("bad", why.as_bytes()),
        };
        hash.update(kind);
        hash.update(bytes.len().to_le_bytes());
        hash.update(bytes);
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests;
