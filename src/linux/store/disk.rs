//! A directory's files, one deed at a time, so that a test can cut the power between two.

use std::fmt::Debug;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// What a store does to a directory.
pub trait Files: Debug + Send + Sync + 'static {
    /// Makes the directory, when it is not there.
    fn prepare(&self) -> io::Result<()>;
    /// What is in it.
    fn names(&self) -> io::Result<Vec<String>>;
    /// The whole of a file.
    fn read(&self, name: &str) -> io::Result<Vec<u8>>;
    /// Makes a file, in place of any other of that name. It may be lost, or half of it, until it is synced.
    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()>;
    /// Returns when the file's bytes are on the disk.
    fn sync(&self, name: &str) -> io::Result<()>;
    /// Gives a file another name, in place of the file that had it.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Returns when what was made, renamed and removed is on the disk.
    fn sync_names(&self) -> io::Result<()>;
    /// What a person should know of the directory, each in one line.
    fn doubts(&self) -> Vec<String>;
    /// A file's path, or the directory's when the name is empty, for people.
    fn shown(&self, name: &str) -> String;
}

/// A directory on a disk, for its owner only.
#[derive(Debug, Clone)]
pub struct Disk {
    path: PathBuf,
}

impl Disk {
    /// The directory at `path`.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }
}

impl Files for Disk {
    fn prepare(&self) -> io::Result<()> {
        if self.path.is_dir() {
            return Ok(());
        }
        // Its parents are everybody's; it is ours alone.
        let parent = self.path.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(parent)?;
        DirBuilder::new().mode(0o700).create(&self.path)?;
        File::open(parent)?.sync_all()
    }

    fn names(&self) -> io::Result<Vec<String>> {
        fs::read_dir(&self.path)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        fs::read(self.path.join(name))
    }

    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let path = self.path.join(name);
        // One that was left behind may be readable for others.
        let _ = fs::remove_file(&path);
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(bytes)
    }

    fn sync(&self, name: &str) -> io::Result<()> {
        File::open(self.path.join(name))?.sync_all()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn sync_names(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    fn doubts(&self) -> Vec<String> {
        let path = self.path.display();
        let open = fs::metadata(&self.path).is_ok_and(|it| it.permissions().mode() & 0o022 != 0);
        if open { vec![format!("others than its owner may write in `{path}`: `chmod 700 {path}`")] } else { Vec::new() }
    }

    fn shown(&self, name: &str) -> String {
        let path = if name.is_empty() { self.path.clone() } else { self.path.join(name) };
        path.display().to_string()
    }
}
