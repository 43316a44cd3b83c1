//! A directory, open: nothing in it is reached through a symbolic link.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{self, AtFlags, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;

use crate::port::{FileError, LockError};
use crate::sorted::sort;

/// How many names of a directory are read: a container must not fill the agent's memory by filling its directory.
pub(super) const NAMES: usize = 4096;

/// An open directory, and its path as the host sees it.
#[derive(Debug)]
pub(in crate::linux::locks) struct OpenDir {
    fd: OwnedFd,
    shown: String,
}

/// The attributes of a directory entry.
#[derive(Debug, Clone, Copy)]
pub(super) struct EntryKind {
    pub(super) regular: bool,
    pub(super) uid: Uid,
    pub(super) gid: Gid,
    pub(super) bytes: u64,
    pub(super) mode: Mode,
    pub(super) changed_secs: i64,
}

impl OpenDir {
    /// Opens a directory whose path only the host's owner controls.
    pub(in crate::linux::locks) fn trusted(path: &Path, shown: &str) -> Result<Self, LockError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = fs::open(path, flags, Mode::empty())
            .map_err(|why| LockError::Failed(format!("cannot open `{}`: {why}; check --root", path.display())))?;
        Ok(Self { fd, shown: shown.to_owned() })
    }

    /// Opens a directory in it. `None`: there is none, or the name is of something else.
    pub(in crate::linux::locks) fn open(&self, name: &CStr) -> Result<Option<Self>, LockError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match fs::openat(&self.fd, name, flags, Mode::empty()) {
            Ok(fd) => Ok(Some(Self { fd, shown: self.path_of(name) })),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(why) => Err(self.failed("open", name, why)),
        }
    }

    /// Opens a directory in it, and creates it if it is missing.
    pub(super) fn make(&self, name: &CStr, mode: Mode) -> Result<Self, LockError> {
        let new = match fs::mkdirat(&self.fd, name, Mode::RWXU) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(why) => return Err(self.failed("make", name, why)),
        };
        let Some(dir) = self.open(name)? else {
            return Err(LockError::Failed(format!("`{}` is not a directory: remove it", self.path_of(name))));
        };
        if new {
            // Not by mkdir, to which the umask applies.
            fs::fchmod(&dir.fd, mode).map_err(|why| self.failed("set the mode of", name, why))?;
        }
        Ok(dir)
    }

    /// Changes its mode, if that is `from` and the agent may change it.
    pub(super) fn widen(&self, from: Mode, to: Mode) {
        let narrow = fs::fstat(&self.fd).is_ok_and(|stat| Mode::from_raw_mode(stat.st_mode & 0o7777) == from);
        if narrow {
            // If the agent does not own it, its owner decides.
            let _ = fs::fchmod(&self.fd, to);
        }
    }

    /// Gives it an owner and a mode, whatever user owned it. Needs root.
    pub(in crate::linux::locks) fn give(&self, uid: Uid, gid: Gid, mode: Mode) -> Result<(), LockError> {
        fs::fchown(&self.fd, Some(uid), Some(gid)).map_err(|why| failed("change the owner of", &self.shown, why))?;
        fs::fchmod(&self.fd, mode).map_err(|why| failed("set the mode of", &self.shown, why))
    }

    /// The uid of its owner.
    pub(in crate::linux::locks) fn owner(&self) -> Result<Uid, LockError> {
        let stat = fs::fstat(&self.fd).map_err(|why| failed("look at", &self.shown, why))?;
        Ok(Uid::from_raw(stat.st_uid))
    }

    /// The names in it, in no order; at most [`NAMES`].
    pub(super) fn files(&self) -> Result<Vec<CString>, LockError> {
        let read = || {
            let names = fs::Dir::read_from(&self.fd)?.map(|entry| Ok(entry?.file_name().to_owned())).take(NAMES);
            names.collect::<Result<Vec<_>, Errno>>()
        };
        let mut names = read().map_err(|why| failed("read", &self.shown, why))?;
        names.retain(|name| !matches!(name.to_bytes(), b"." | b".."));
        Ok(names)
    }

    /// The names of directories in it, sorted. A symbolic link to a directory is none.
    pub(in crate::linux::locks) fn directories(&self) -> Result<Vec<CString>, LockError> {
        let mut names = self.files()?;
        names.retain(|name| self.stat(name).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode).is_dir()));
        sort(&mut names);
        Ok(names)
    }

    /// The attributes of an entry; links are not followed. `None`: there is no such entry.
    pub(super) fn kind(&self, name: &CStr) -> Result<Option<EntryKind>, LockError> {
        match self.stat(name) {
            Ok(stat) => Ok(Some(EntryKind {
                regular: FileType::from_raw_mode(stat.st_mode).is_file(),
                uid: Uid::from_raw(stat.st_uid),
                gid: Gid::from_raw(stat.st_gid),
                // A size is never negative.
                bytes: u64::try_from(stat.st_size).unwrap_or_default(),
                mode: Mode::from_raw_mode(stat.st_mode & 0o7777),
                changed_secs: stat.st_mtime,
            })),
            Err(Errno::NOENT) => Ok(None),
            Err(why) => Err(self.failed("look at", name, why)),
        }
    }

    /// Creates a new file, with an owner. On a full disk it is empty.
    pub(super) fn write_new(&self, name: &CStr, bytes: &[u8], mode: Mode, owner: Option<Uid>) -> Result<(), LockError> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = fs::openat(&self.fd, name, flags, Mode::RUSR | Mode::WUSR).map_err(|why| self.failed("make", name, why))?;
        let mut file = File::from(fd);
        match file.write_all(bytes) {
            Err(why) if why.kind() != io::ErrorKind::StorageFull => return Err(failed("write", &self.path_of(name), why)),
            Ok(()) | Err(_) => {}
        }
        if owner.is_some() {
            fs::fchown(&file, owner, None).map_err(|why| self.failed("change the owner of", name, why))?;
        }
        fs::fchmod(&file, mode).map_err(|why| self.failed("set the mode of", name, why))
    }

    /// Creates a hard link in another directory. `false`: the name is taken there.
    pub(super) fn link(&self, name: &CStr, to: &Self, new: &CStr) -> Result<bool, LockError> {
        match fs::linkat(&self.fd, name, &to.fd, new, AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => Ok(false),
            Err(why) => Err(to.failed("make", new, why)),
        }
    }

    /// Creates a symbolic link.
    pub(super) fn link_to(&self, name: &CStr, target: &CStr) -> Result<(), Errno> {
        fs::symlinkat(target, &self.fd, name)
    }

    /// Removes a file, a link or an empty directory. A missing one is no error.
    pub(super) fn remove(&self, name: &CStr) -> Result<(), LockError> {
        let mut removed = fs::unlinkat(&self.fd, name, AtFlags::empty());
        if removed == Err(Errno::ISDIR) {
            removed = fs::unlinkat(&self.fd, name, AtFlags::REMOVEDIR);
        }
        match removed {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(why) => Err(self.failed("remove", name, why)),
        }
    }

    /// The path as the host sees it.
    pub(in crate::linux::locks) fn shown(&self) -> &str {
        &self.shown
    }

    /// The file descriptor.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// A path that leads to this very directory even if it is renamed, while the handle lives.
    pub(in crate::linux::locks) fn handle_path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.fd.as_raw_fd()))
    }

    fn stat(&self, name: &CStr) -> Result<fs::Stat, Errno> {
        fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW)
    }

    fn path_of(&self, name: &CStr) -> String {
        format!("{}/{}", self.shown, name.to_string_lossy())
    }

    fn failed(&self, action: &'static str, name: &CStr, why: Errno) -> LockError {
        failed(action, &self.path_of(name), why)
    }
}

/// The error of an action on a file or directory.
pub(super) fn failed(action: &'static str, path: &str, why: impl Into<io::Error>) -> LockError {
    LockError::File(FileError::new(action, path, &why.into()))
}
