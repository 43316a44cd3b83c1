//! Whether the host has yet to reboot: `/tmp/balena-supervisor/reboot-after-apply`, by which a program that configures the host
//! reports that what it wrote takes effect at the next boot.
//!
//! The id of the boot in which the file is first seen is written into it. In any other boot the reboot is done, even if it was
//! a power cut, and whatever the clock says; then the file is removed. If /tmp is in memory, it disappears by itself.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use tracing::{info, warn};

use crate::linux::clock::Clock;
use crate::port::Clock as _;

/// Its path, below the host's root.
const FILE: &str = "tmp/balena-supervisor/reboot-after-apply";
/// Whether the file was there when a reboot was requested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::linux) enum RebootRequest {
    /// The file is new.
    New,
    /// A reboot was requested before.
    There,
}

/// A boot id is shorter.
const NAME_BYTES: u64 = 128;

/// The file.
#[derive(Debug, Clone)]
pub(in crate::linux) struct Breadcrumb {
    path: PathBuf,
    clock: Clock,
}

impl Breadcrumb {
    pub(in crate::linux) fn new(root: &Path) -> Self {
        Self { path: root.join(FILE), clock: Clock::new(root) }
    }

    /// Makes the file, unless it is there. The agent itself configures the host, with effect from the next boot.
    pub(in crate::linux) fn request(&self) -> io::Result<RebootRequest> {
        if let Some(dir) = self.path.parent() {
            fs::create_dir_all(dir)?;
        }
        match self.open(OpenOptions::new().write(true).create_new(true)) {
            Ok(mut file) => file.write_all(self.clock.boot_id().as_bytes()).map(|()| RebootRequest::New),
            Err(why) if why.kind() == io::ErrorKind::AlreadyExists => Ok(RebootRequest::There),
            Err(why) => Err(why),
        }
    }

    /// Takes the file away: what it was made for was not written.
    pub(in crate::linux) fn withdraw(&self) {
        if let Err(why) = fs::remove_file(&self.path) {
            warn!(%why, "`{}` cannot be removed, so the device reboots for nothing once; remove it", self.path.display());
        }
    }

    /// The file's path, until the reboot it asks for is done.
    pub(super) fn look(&self) -> Option<String> {
        let shown = self.path.display();
        let (seen, made_secs) = match self.read() {
            Ok(found) => found,
            Err(why) if why.kind() == io::ErrorKind::NotFound => return None,
            Err(why) => {
                warn!(%why, "`{shown}` cannot be read, so it asks for no reboot; remove it");
                return None;
            }
        };
        let boot = self.clock.boot_id();
        if seen.is_empty() && (self.clock.booted_secs()..=self.clock.now_secs()).contains(&made_secs) {
            info!("`{shown}` asks for a reboot, once the target is reached");
            if let Err(why) = self.stamp(&boot) {
                warn!(%why, "`{shown}` cannot be written; the clock decides whether that boot has happened");
            }
        } else if seen.is_empty() || seen != boot {
            info!("the boot that `{shown}` asked for has happened");
            if let Err(why) = fs::remove_file(&self.path) {
                warn!(%why, "`{shown}` cannot be removed; remove it");
            }
            return None;
        }
        Some(shown.to_string())
    }

    /// The file's content, and its modification time in seconds.
    fn read(&self) -> io::Result<(String, i64)> {
        let file = self.open(OpenOptions::new().read(true))?;
        let made_secs = file.metadata()?.mtime();
        let mut text = String::new();
        file.take(NAME_BYTES).read_to_string(&mut text)?;
        Ok((text.trim().to_owned(), made_secs))
    }

    fn stamp(&self, boot: &str) -> io::Result<()> {
        self.open(OpenOptions::new().write(true))?.write_all(boot.as_bytes())
    }

    /// Follows no link, and rejects what is not a regular file, without waiting for it.
    fn open(&self, how: &mut OpenOptions) -> io::Result<File> {
        let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
        let file = how.custom_flags(i32::try_from(flags.bits()).unwrap_or_default()).open(&self.path)?;
        if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is not a file")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Host(tempfile::TempDir);

    impl Host {
        fn new() -> Self {
            let host = Self(tempfile::tempdir().unwrap());
            for dir in ["tmp/balena-supervisor", "proc/sys/kernel/random"] {
                fs::create_dir_all(host.0.path().join(dir)).unwrap();
            }
            host.boots("first", -100);
            host
        }

        /// So many seconds ago, or ahead.
        fn boots(&self, name: &str, ago_secs: i64) {
            let now = Clock::new(self.0.path()).now_secs();
            fs::write(self.0.path().join("proc/stat"), format!("btime {}\n", now + ago_secs)).unwrap();
            fs::write(self.0.path().join("proc/sys/kernel/random/boot_id"), format!("{name}\n")).unwrap();
        }

        fn file(&self) -> PathBuf {
            self.0.path().join(FILE)
        }

        fn wants(&self) -> bool {
            let wanted = Breadcrumb::new(self.0.path()).look();
            assert!(wanted.as_ref().is_none_or(|it| it.ends_with("reboot-after-apply")));
            wanted.is_some()
        }
    }

    #[test]
    fn it_asks_until_the_next_boot_whatever_the_clock_says() {
        for ago in [-100, 0, 100_000] {
            let host = Host::new();
            assert!(!host.wants());
            fs::write(host.file(), "").unwrap();
            assert!(host.wants() && host.wants());
            host.boots("first", ago);
            assert!(host.wants(), "the clock was set: {ago}");
            host.boots("second", ago);
            assert!(!host.wants(), "{ago}");
            assert!(!host.file().exists());
            fs::write(host.file(), "").unwrap();
            assert_eq!(host.wants(), ago < 100_000, "again is another one");
        }
    }

    #[test]
    fn one_of_before_the_boot_was_obeyed_by_it() {
        let host = Host::new();
        fs::write(host.file(), "").unwrap();
        host.boots("second", 10);
        assert!(!host.wants());
        assert!(!host.file().exists());
    }

    #[test]
    fn the_agents_own_request_counts_until_the_next_boot_and_is_made_once() {
        let host = Host::new();
        fs::remove_dir(host.0.path().join("tmp/balena-supervisor")).unwrap();
        let breadcrumb = Breadcrumb::new(host.0.path());
        assert_eq!(breadcrumb.request().unwrap(), RebootRequest::New);
        assert_eq!(breadcrumb.request().unwrap(), RebootRequest::There);
        assert!(host.wants());
        breadcrumb.withdraw();
        assert!(!host.wants());
        breadcrumb.request().unwrap();
        host.boots("second", 100_000);
        assert!(!host.wants(), "whatever the clock says");
    }

    #[test]
    fn what_is_no_file_asks_for_nothing() {
        let host = Host::new();
        let outside = host.0.path().join("precious");
        fs::write(&outside, "").unwrap();
        std::os::unix::fs::symlink(&outside, host.file()).unwrap();
        assert!(!host.wants());
        fs::remove_file(host.file()).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, host.file(), rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
        assert!(!host.wants());
        fs::remove_file(host.file()).unwrap();
        fs::create_dir(host.file()).unwrap();
        assert!(!host.wants());
        assert_eq!(fs::read_to_string(outside).unwrap(), "");
    }
}
