//! The file access that tests and the simulated board replace: the kernel's files, simulated ones, and in tests ones that fail.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use rustix::io::Errno;

use crate::linux::{read_small, replace_file};
use crate::port::LedError;
use crate::sorted::sort;

/// The LED class's attribute files, and our records.
pub trait LedFiles: Send + Sync {
    /// Reads an attribute to its end, without the newline.
    fn read(&self, path: &Path) -> io::Result<String>;
    /// Writes an attribute, which must be there, in one go.
    fn write(&self, path: &Path, text: &str) -> io::Result<()>;
    /// The names in a directory, sorted.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Writes a record atomically: at any time the old one or the new one is there, never half of one.
    fn keep(&self, path: &Path, text: &str) -> io::Result<()>;
    /// Removes a record. It is no error if there is none.
    fn forget(&self, path: &Path) -> io::Result<()>;
}

/// The host's own files.
#[derive(Debug, Clone, Copy, Default)]
pub struct HostFiles;

impl LedFiles for HostFiles {
    fn read(&self, path: &Path) -> io::Result<String> {
        // The list of triggers may be longer than a page, so one read is not enough.
        let text = read_small(path)?;
        Ok(String::from_utf8_lossy(&text).trim_end_matches('\n').to_owned())
    }

    fn write(&self, path: &Path, text: &str) -> io::Result<()> {
        // The file is never created: a missing attribute must not become a plain file.
        OpenOptions::new().write(true).open(path)?.write_all(text.as_bytes())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names: Vec<String> =
            fs::read_dir(dir)?.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
        sort(&mut names);
        Ok(names)
    }

    fn keep(&self, path: &Path, text: &str) -> io::Result<()> {
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir)?;
        }
        // Usually the directory is in memory. On a disk it is not synced: a power cut that loses the record resets the LED too.
        replace_file(path, &path.with_extension("tmp"), text, 0o666, None)
    }

    fn forget(&self, path: &Path) -> io::Result<()> {
        match fs::remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done,
        }
    }
}

/// Maps the kernel's error. `action`: the action that failed, `write /sys/…/brightness`.
pub fn refusal(action: &str, error: &io::Error) -> LedError {
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::ACCESS | Errno::PERM) => {
            LedError::Permission(format!("may not {action}: run as root, or give this user the right to"))
        }
        Some(Errno::ROFS) => LedError::ReadOnly(format!(
            "cannot {action}: /sys is read-only here; a container must be privileged, or have /sys mounted writable"
        )),
        Some(Errno::BUSY) => LedError::Busy(format!("cannot {action}: a driver or another program has it")),
        Some(Errno::NOENT | Errno::NODEV | Errno::NXIO) => {
            LedError::Vanished(format!("cannot {action}: the LED or its device went away"))
        }
        Some(_) | None => LedError::Failed(format!("cannot {action}: {error}")),
    }
}
