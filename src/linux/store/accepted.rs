//! The newest signed document that was accepted under each key: a file of its own, written by the sources of targets.
//!
//! It is saved before its target is handed on, so that a power cut in between leaves the old target and the new record: the
//! document is then accepted once more, and an older one is not. A key that the owner changes back to keeps its record. The
//! record of a key that is no longer used takes a hundred bytes.
//!
//! A file that cannot be understood is put aside and reported, and the device goes on with none: it cannot be brought about
//! from outside, and a device that took nothing any more would have to be visited.

use std::io;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tracing::warn;

use super::disk::{Disk, StateDirectory, StoreFiles};
use super::{DRAFT, RECORD_BYTES, failed, is_spoiled, parsed, wire};
use crate::linux::flash::FlashCounter;
use crate::sorted::SortedMap;
use crate::state::{SignedDocument, SignedOrder};

/// Its file, in the state directory.
const ACCEPTED: &str = "signed-targets.json";

/// The newest accepted document of each key.
#[derive(Debug)]
pub struct AcceptedDocuments<F = Disk> {
    files: StateDirectory<F>,
    /// Held from the comparison until the record is on the disk: two sources must not both be compared with an old record.
    turn: Mutex<()>,
}

/// The file. By key, in base64 as minisign writes it.
#[derive(Default, Serialize, Deserialize)]
struct AcceptedFile {
    keys: SortedMap<String, AcceptedEntry>,
}

#[derive(Serialize, Deserialize)]
struct AcceptedEntry {
    created: i64,
    /// The SHA-256 of the document.
    document: String,
}

impl AcceptedDocuments {
    /// The record in a state directory, which need not exist yet.
    #[must_use]
    pub fn new(state_dir: &Path) -> Self {
        let files = StateDirectory::new(Disk, state_dir).counted_by(FlashCounter::of_process());
        Self { files, turn: Mutex::default() }
    }
}

impl<F: StoreFiles> AcceptedDocuments<F> {
    /// The record in a directory of another implementation of file systems.
    #[must_use]
    pub fn over(files: F, state_dir: &Path) -> Self {
        Self { files: StateDirectory::new(files, state_dir), turn: Mutex::default() }
    }

    /// Whether a document may be taken, without accepting it. The error says why not.
    pub fn check(&self, key: &str, offered: &SignedDocument) -> Result<SignedOrder, String> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        offered.after(self.load()?.of(key).as_ref()).map_err(|why| why.to_string())
    }

    /// Accepts a document, unless it is outdated. Once it returns, the record survives a power cut.
    pub fn accept(&self, key: &str, offered: &SignedDocument) -> Result<SignedOrder, String> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let mut file = self.load()?;
        let order = offered.after(file.of(key).as_ref()).map_err(|why| why.to_string())?;
        match order {
            SignedOrder::Same => {
                // An earlier run of the agent may have ended before it was synced.
                let synced = self.files.sync(ACCEPTED).and_then(|()| self.files.sync_names(ACCEPTED));
                synced.map_err(|why| self.failed("sync", &why))?;
            }
            SignedOrder::Newer => {
                let entry = AcceptedEntry { created: offered.created_secs, document: offered.fingerprint.clone() };
                file.keys.insert(key.to_owned(), entry);
                self.replace(&wire::json(&file)).map_err(|why| self.failed("keep", &why))?;
            }
        }
        Ok(order)
    }

    fn load(&self) -> Result<AcceptedFile, String> {
        let why = match self.files.read(ACCEPTED, RECORD_BYTES) {
            Ok(bytes) => match parsed(ACCEPTED, &bytes) {
                Ok(file) => return Ok(file),
                Err(why) => why,
            },
            Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(AcceptedFile::default()),
            Err(why) if is_spoiled(&why) => why.to_string(),
            // The file is fine: the agent lacks the rights, or the machine has a passing fault.
            Err(why) => return Err(self.failed("read", &why)),
        };
        let aside = format!("{ACCEPTED}.unreadable-1");
        self.files.rename(ACCEPTED, &aside).map_err(|error| self.failed("put aside", &error))?;
        warn!(
            "`{}` cannot be read ({why}); it was put aside as `{aside}`: the next signed target counts as the first",
            self.files.shown(ACCEPTED)
        );
        Ok(AcceptedFile::default())
    }

    fn replace(&self, bytes: &[u8]) -> io::Result<()> {
        self.files.prepare()?;
        let draft = format!(".{ACCEPTED}{DRAFT}");
        let written = self.files.write(&draft, bytes).and_then(|()| self.files.sync(&draft));
        if let Err(why) = written.and_then(|()| self.files.rename(&draft, ACCEPTED)) {
            // A full disk needs the space; a broken one cannot be helped.
            let _ = self.files.remove(&draft);
            return Err(why);
        }
        self.files.sync_names(ACCEPTED)
    }

    fn failed(&self, action: &'static str, why: &io::Error) -> String {
        failed(&self.files, action, ACCEPTED, why).to_string()
    }
}

impl AcceptedFile {
    fn of(&self, key: &str) -> Option<SignedDocument> {
        let entry = self.keys.get(key)?;
        Some(SignedDocument { created_secs: entry.created, fingerprint: entry.document.clone() })
    }
}

#[cfg(test)]
mod tests;
