//! A directory of records, and the few system calls it is made with: one at a time, so that a test can cut the power between
//! any two.

use std::fmt::Debug;
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{Mode, OFlags, open};

use crate::linux::flash::FlashCounter;
use crate::state::FlashPurpose;

/// The operations a store needs from a file system. Each is a single action: what a power cut between two of them leaves is the
/// store's concern.
pub trait StoreFiles: Debug + Send + Sync + 'static {
    /// Whether there is such a directory.
    fn is_dir(&self, path: &Path) -> bool;
    /// Creates a directory, with these permissions.
    fn make_dir(&self, path: &Path, mode: u32) -> io::Result<()>;
    /// The names in a directory.
    fn names(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// The content of a regular file of at most `most_bytes`. For any other file the error kind is `InvalidData`: a link is not
    /// followed, a FIFO not waited for, a device not opened.
    fn read(&self, path: &Path, most_bytes: u64) -> io::Result<Vec<u8>>;
    /// Creates a file that does not exist, for its owner only. Until it is synced, it may be lost, or any part of it.
    fn write_new(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;
    /// Appends to a regular file for its owner only, which is created if it is missing; its size afterwards. Nothing is
    /// synced.
    fn append(&self, path: &Path, bytes: &[u8]) -> io::Result<u64>;
    /// Renames a file, in place of the file that had that name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Returns when a file's content, or the names in a directory, are on disk.
    fn sync(&self, path: &Path) -> io::Result<()>;
    /// Whether users other than its owner may write in a directory.
    fn is_writable_by_others(&self, dir: &Path) -> bool;
}

/// The machine's file systems.
#[derive(Debug, Clone, Copy)]
pub struct Disk;

impl StoreFiles for Disk {
    fn is_dir(&self, path: &Path) -> bool {
        path.is_dir()
    }

    fn make_dir(&self, path: &Path, mode: u32) -> io::Result<()> {
        DirBuilder::new().mode(mode).create(path)
    }

    fn names(&self, dir: &Path) -> io::Result<Vec<String>> {
        fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    fn read(&self, path: &Path, most_bytes: u64) -> io::Result<Vec<u8>> {
        // Also before it is opened: opening a device may trigger an action.
        can_be_read(&fs::symlink_metadata(path)?, most_bytes)?;
        let file = opened(path, OFlags::NOFOLLOW)?;
        can_be_read(&file.metadata()?, most_bytes)?;
        let mut bytes = Vec::new();
        file.take(most_bytes + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > most_bytes { Err(too_long(bytes.len() as u64, most_bytes)) } else { Ok(bytes) }
    }

    fn write_new(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(bytes)
    }

    fn append(&self, path: &Path, bytes: &[u8]) -> io::Result<u64> {
        let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let mut file = File::from(open(path, flags, Mode::from_raw_mode(0o600))?);
        can_be_read(&file.metadata()?, u64::MAX)?;
        file.write_all(bytes)?;
        Ok(file.metadata()?.len())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        let about = fs::metadata(path)?;
        if !about.is_file() && !about.is_dir() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no file that could be synced"));
        }
        opened(path, OFlags::empty())?.sync_all()
    }

    fn is_writable_by_others(&self, dir: &Path) -> bool {
        fs::metadata(dir).is_ok_and(|it| it.permissions().mode() & 0o022 != 0)
    }
}

/// Opens a file to read it. Does not wait for a FIFO's writer.
fn opened(path: &Path, more: OFlags) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC | more;
    Ok(File::from(open(path, flags, Mode::empty())?))
}

fn can_be_read(about: &Metadata, most_bytes: u64) -> io::Result<()> {
    let kind = about.file_type();
    let what = if kind.is_file() {
        return if about.len() > most_bytes { Err(too_long(about.len(), most_bytes)) } else { Ok(()) };
    } else if kind.is_dir() {
        "a directory"
    } else if kind.is_symlink() {
        "a symbolic link"
    } else if kind.is_fifo() {
        "a FIFO"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    };
    Err(io::Error::new(io::ErrorKind::InvalidData, format!("it is {what}, not a file")))
}

fn too_long(bytes: u64, most_bytes: u64) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("it has {bytes} bytes, and a record at most {most_bytes}"))
}

/// Whether the error means that the agent did not create a directory: the agent may not read it, or it is on a read-only file
/// system, which has nothing to sync. A directory in which the agent can create something gives neither.
fn is_foreign(why: &io::Error) -> bool {
    use io::ErrorKind::{InvalidInput, PermissionDenied, ReadOnlyFilesystem};
    matches!(why.kind(), PermissionDenied | InvalidInput | ReadOnlyFilesystem)
}

/// One directory, for its owner only.
#[derive(Debug)]
pub(super) struct StateDirectory<F> {
    files: F,
    path: PathBuf,
    /// The directories above it are synced.
    founded: AtomicBool,
    /// Counts what is written. `None`: the directory is in memory.
    flash: Option<FlashCounter>,
}

impl<F: StoreFiles> StateDirectory<F> {
    pub(super) fn new(files: F, path: &Path) -> Self {
        Self { files, path: path.to_owned(), founded: AtomicBool::new(false), flash: None }
    }

    /// Counts what is written from now on: the directory is on flash.
    pub(super) fn counted_by(self, flash: FlashCounter) -> Self {
        Self { flash: Some(flash), ..self }
    }

    /// What was written so far, if that is counted.
    pub(super) fn flash(&self) -> Option<&FlashCounter> {
        self.flash.as_ref()
    }

    /// Creates the directory, if it is missing. Afterwards a power cut removes neither it nor the directories above it: an
    /// earlier run of the agent may have created it, and ended before that was on disk.
    pub(super) fn prepare(&self) -> io::Result<()> {
        let there = self.files.is_dir(&self.path);
        if there && self.founded.load(Ordering::Relaxed) {
            return Ok(());
        }
        let above = self.path.ancestors().skip(1).map(|it| if it.as_os_str().is_empty() { Path::new(".") } else { it });
        let above: Vec<&Path> = above.collect();
        let missing = if there { 0 } else { above.iter().take_while(|it| !self.files.is_dir(it)).count() };
        // Its parents may be read by all users; it is for the agent alone.
        for parent in above[..missing].iter().rev() {
            self.files.make_dir(parent, 0o755)?;
        }
        if !there {
            self.files.make_dir(&self.path, 0o700)?;
        }
        for parent in above {
            match self.files.sync(parent) {
                Err(why) if is_foreign(&why) => continue,
                synced => synced?,
            }
            self.synced(FlashPurpose::Other);
        }
        self.founded.store(true, Ordering::Relaxed);
        Ok(())
    }

    pub(super) fn names(&self) -> io::Result<Vec<String>> {
        self.files.names(&self.path)
    }

    pub(super) fn read(&self, name: &str, most_bytes: u64) -> io::Result<Vec<u8>> {
        self.files.read(&self.path.join(name), most_bytes)
    }

    /// Creates a file, in place of any other of that name.
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let path = self.path.join(name);
        // A leftover file may be readable for other users.
        match self.files.remove(&path) {
            Err(why) if why.kind() != io::ErrorKind::NotFound => return Err(why),
            Ok(()) | Err(_) => (),
        }
        self.files.write_new(&path, bytes)?;
        if let Some(flash) = &self.flash {
            flash.wrote(purpose(name), bytes.len());
        }
        Ok(())
    }

    /// Appends to a file; its size afterwards.
    pub(super) fn append(&self, name: &str, bytes: &[u8]) -> io::Result<u64> {
        self.files.append(&self.path.join(name), bytes)
    }

    /// Creates an empty file. Fails if the name is taken, and leaves that file as it is.
    pub(super) fn make(&self, name: &str) -> io::Result<()> {
        self.files.write_new(&self.path.join(name), b"")
    }

    pub(super) fn sync(&self, name: &str) -> io::Result<()> {
        self.files.sync(&self.path.join(name))?;
        self.synced(purpose(name));
        Ok(())
    }

    pub(super) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.files.rename(&self.path.join(from), &self.path.join(to))
    }

    pub(super) fn remove(&self, name: &str) -> io::Result<()> {
        self.files.remove(&self.path.join(name))
    }

    /// Returns when the files created, renamed and removed in it are on disk. `name`: the file because of which it is done;
    /// empty if there is none.
    pub(super) fn sync_names(&self, name: &str) -> io::Result<()> {
        self.files.sync(&self.path)?;
        self.synced(purpose(name));
        Ok(())
    }

    fn synced(&self, purpose: FlashPurpose) {
        if let Some(flash) = &self.flash {
            flash.synced(purpose, 1);
        }
    }

    /// Warnings about the directory for the user, one line each.
    pub(super) fn doubts(&self) -> Vec<String> {
        let path = self.path.display();
        let open = self.files.is_writable_by_others(&self.path);
        if open { vec![format!("others than its owner may write in `{path}`: `chmod 700 {path}`")] } else { Vec::new() }
    }

    /// A file's path, or the directory's if the name is empty, for messages.
    pub(super) fn shown(&self, name: &str) -> String {
        let path = if name.is_empty() { self.path.clone() } else { self.path.join(name) };
        path.display().to_string()
    }
}

/// What a file of the state directory is for, by its name. A draft is for the same as its file, and so is what was put aside.
fn purpose(name: &str) -> FlashPurpose {
    let name = name.strip_prefix('.').unwrap_or(name);
    match name.split('.').next().unwrap_or_default() {
        "identity" | "account" | "pin" => FlashPurpose::Identity,
        "keys" => FlashPurpose::Keys,
        "targets" | "target-tag" | "trial" | "target-trial" | "signed-targets" => FlashPurpose::Targets,
        "stopped" | "awaiting-boot" => FlashPurpose::Services,
        "local-mode" => FlashPurpose::LocalMode,
        "log-cursors" => FlashPurpose::LogCursors,
        "history" => FlashPurpose::History,
        "boot-file" => FlashPurpose::BootConfig,
        "boot-config" => FlashPurpose::Provisioning,
        stem if stem.starts_with("proved-") => FlashPurpose::Targets,
        _ => FlashPurpose::Other,
    }
}
