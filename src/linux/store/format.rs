//! The format of a state directory: which versions of the agent can read what is in it.
//!
//! The file `format` has one line: the number of the format, and the version of the agent that began it. It is written before
//! the first record of that format, as atomically as a record, and not again: flash wears. A directory without it has format 1.
//!
//! The number is raised if older versions would misread what this version writes, or lose it. A field or a file that they can
//! do without is no reason. A version that finds a higher number changes nothing, and says which version can read the
//! directory. A file that is damaged is put aside like any record: a device that started no more because of it would have to
//! be visited.

use std::io;
use std::path::Path;

use super::disk::{Disk, StateDirectory, StoreFiles};
use super::readers::without_targets;
use super::{SharedStore, failed, is_spoiled};
use crate::port::StoreError;

/// Its file, in the state directory.
pub(super) const FORMAT_FILE: &str = "format";
/// The format that this version writes, and the newest that it reads.
pub const FORMAT: u32 = 1;
/// The format of a directory that does not say which it has.
const UNMARKED: u32 = 1;
/// Size limit of the file, in bytes.
const FORMAT_BYTES: u64 = 256;
/// The most characters of a version in a message.
const VERSION_CHARS: usize = 40;

/// What a state directory says of its format.
enum Found {
    /// Nothing.
    Unmarked,
    /// This format.
    Format(u32),
    /// Something that cannot be read, for this reason.
    Damaged(String),
}

/// Whether this version can read the state directory `path`. Changes nothing. A directory that is missing, or that this user
/// may not read, is left to what is done with it afterwards.
pub fn check_format(path: &Path) -> Result<(), StoreError> {
    match find(&StateDirectory::new(Disk, path)) {
        Err(why @ StoreError::NewerFormat { .. }) => Err(why),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Marks a directory that says no format, or an older one. Fails if this version cannot read it. What is damaged is left to the
/// load, which reports it.
pub(super) fn mark(path: &Path) -> Result<(), StoreError> {
    match find(&StateDirectory::new(Disk, path)) {
        Err(why @ StoreError::NewerFormat { .. }) => Err(why),
        Ok(Found::Format(FORMAT) | Found::Damaged(_)) | Err(_) => Ok(()),
        Ok(Found::Unmarked | Found::Format(_)) => without_targets(path).shared.settle_format(&mut Vec::new()),
    }
}

impl<F: StoreFiles> SharedStore<F> {
    /// Fails if this version cannot read the directory; else sees to it that the directory says its format. An unreadable file
    /// is put aside, and reported in `complaints`.
    pub(super) fn settle_format(&self, complaints: &mut Vec<String>) -> Result<(), StoreError> {
        let before = match find(&self.files)? {
            Found::Format(FORMAT) => return Ok(()),
            Found::Format(older) => older,
            Found::Unmarked => UNMARKED,
            Found::Damaged(why) => {
                complaints.push(self.put_aside(FORMAT_FILE, &why));
                UNMARKED
            }
        };
        match self.keep(FORMAT_FILE, format!("{FORMAT} {}\n", env!("CARGO_PKG_VERSION")).as_bytes()) {
            // Without the file the directory counts as what it is; a later start writes it.
            Err(why) if before == FORMAT => {
                tracing::warn!("the format of the state directory is not marked: {why}");
                Ok(())
            }
            // Older versions would misread what this version writes.
            kept => kept,
        }
    }
}

fn find<F: StoreFiles>(files: &StateDirectory<F>) -> Result<Found, StoreError> {
    let line = match files.read(FORMAT_FILE, FORMAT_BYTES) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(Found::Unmarked),
        Err(why) if is_spoiled(&why) => return Ok(Found::Damaged(why.to_string())),
        Err(why) => return Err(failed(files, "read", FORMAT_FILE, &why)),
    };
    let mut words = line.split_ascii_whitespace();
    let number = words.next().unwrap_or_default();
    if number.is_empty() || !number.bytes().all(|it| it.is_ascii_digit()) || number.bytes().all(|it| it == b'0') {
        return Ok(Found::Damaged("it does not begin with the number of a format".to_owned()));
    }
    // A number beyond all numbers is newer, too.
    match number.parse().unwrap_or(u32::MAX) {
        format @ ..=FORMAT => Ok(Found::Format(format)),
        format => {
            let is_part = |it: &char| it.is_ascii_alphanumeric() || ".+-~".contains(*it);
            let writer: String = words.next().unwrap_or_default().chars().filter(is_part).take(VERSION_CHARS).collect();
            Err(StoreError::NewerFormat { path: files.shown(""), format, newest: FORMAT, writer })
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::{Store, hold};
    use super::*;
    use crate::port::Store as _;
    use crate::state::TargetError;

    fn open(path: &Path) -> Store {
        Store::new(path, Box::new(|_| Err(TargetError("there is none".to_owned()))))
    }

    #[tokio::test]
    async fn a_new_directory_is_marked_once() {
        let dir = tempfile::tempdir().unwrap();
        open(dir.path()).load().await.unwrap();
        let path = dir.path().join(FORMAT_FILE);
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("1 {}\n", env!("CARGO_PKG_VERSION")));
        // Another version of the same format leaves it as it is.
        fs::write(&path, "1 0.0.1\n").unwrap();
        let _lock = hold(dir.path()).unwrap();
        assert_eq!(open(dir.path()).load().await.unwrap().complaints, Vec::<String>::new());
        assert_eq!(fs::read_to_string(&path).unwrap(), "1 0.0.1\n");
    }

    #[tokio::test]
    async fn it_is_marked_before_an_agent_writes_anything_else() {
        let dir = tempfile::tempdir().unwrap();
        let _lock = hold(&dir.path().join("state")).unwrap();
        assert!(dir.path().join("state").join(FORMAT_FILE).is_file());
    }

    #[tokio::test]
    async fn a_newer_format_is_refused_and_nothing_is_touched() {
        for (content, said) in [
            ("2 9.8.7\n", "boardkeeper 9.8.7 or a newer version wrote it, in format 2"),
            ("99999999999999999999 9.8.7", "boardkeeper 9.8.7 or a newer version wrote it, in format 4294967295"),
            ("3", "a newer version of boardkeeper wrote it, in format 3"),
            ("2 \u{1b}[31m9.8\n", "boardkeeper 31m9.8 or a newer version wrote it"),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let damaged = dir.path().join("keys.json");
            fs::write(dir.path().join(FORMAT_FILE), content).unwrap();
            fs::write(&damaged, "{").unwrap();
            for refused in [
                check_format(dir.path()).unwrap_err(),
                open(dir.path()).load().await.unwrap_err(),
                hold(dir.path()).unwrap_err(),
            ] {
                let refused = refused.to_string();
                assert!(refused.contains(said) && refused.contains("reads formats up to 1"), "{refused}");
            }
            assert_eq!(fs::read_to_string(&damaged).unwrap(), "{");
            assert_eq!(fs::read_to_string(dir.path().join(FORMAT_FILE)).unwrap(), content);
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
        }
    }

    #[tokio::test]
    async fn a_damaged_one_is_put_aside_and_the_agent_starts() {
        for content in ["", "two", "0", "-1", "1x", "\0\0\0\0"] {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join(FORMAT_FILE), content).unwrap();
            check_format(dir.path()).unwrap();
            let _lock = hold(dir.path()).unwrap();
            let found = open(dir.path()).load().await.unwrap();
            assert!(found.complaints[0].contains("format.unreadable-1"), "{content:?}: {:?}", found.complaints);
            assert_eq!(fs::read_to_string(dir.path().join("format.unreadable-1")).unwrap(), content);
            assert!(fs::read_to_string(dir.path().join(FORMAT_FILE)).unwrap().starts_with("1 "));
        }
    }
}
