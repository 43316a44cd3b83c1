//! Which removable media are mounted, and which are plugged in and not mounted; and waiting for a change of either.

use std::fs::{self, File};
use std::future::pending;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use inotify::{Inotify, WatchMask};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tracing::debug;

use crate::linux::read_small_text;
use crate::sorted::{SortedSet, sort};

/// Size limit of the kernel's list of mounts, in bytes. Each container adds a few lines of some hundred bytes.
const LIST_BYTES: u64 = 8 * 1024 * 1024;

/// The host's mounts and block devices.
#[derive(Debug)]
pub(super) struct Mounts {
    root: PathBuf,
    /// The kernel reports each change of the mounts as an exceptional condition of this file.
    list: Option<AsyncFd<File>>,
    /// Watches the names of file systems that udev finds.
    names: Option<AsyncFd<Inotify>>,
}

/// A file system on a removable medium.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Medium {
    /// Its device's number, `8:1`.
    pub(super) device: String,
    /// Where it is mounted.
    pub(super) path: PathBuf,
}

impl Mounts {
    /// Those of the host whose root is `root`.
    pub(super) fn new(root: &Path) -> Self {
        let list = watched_list(root).inspect_err(|why| debug!(%why, "changes of the mounts are not reported")).ok();
        let names = watched_names(root).inspect_err(|why| debug!(%why, "new block devices are not reported")).ok();
        Self { root: root.to_owned(), list, names }
    }

    /// The mounted ones.
    pub(super) fn media(&self) -> io::Result<Vec<Medium>> {
        let mut bytes = Vec::new();
        File::open(list_path(&self.root))?.take(LIST_BYTES).read_to_end(&mut bytes)?;
        let mounts = parsed(&String::from_utf8_lossy(&bytes));
        let mut media: Vec<_> = mounts.into_iter().filter(|it| self.is_removable(&it.device)).collect();
        sort(&mut media);
        // A file system that is mounted twice is one medium.
        media.dedup_by(|one, other| one.device == other.device);
        Ok(media)
    }

    /// Names of file systems on removable devices that are not mounted, such as `sda1`.
    pub(super) fn unmounted(&self) -> SortedSet<String> {
        let mounted = self.media().unwrap_or_default();
        let Ok(links) = fs::read_dir(names_path(&self.root)) else { return SortedSet::new() };
        let targets = links.filter_map(|link| fs::read_link(link.ok()?.path()).ok());
        let names = targets.filter_map(|it| it.file_name().map(|it| it.to_string_lossy().into_owned()));
        let is_unmounted = |name: &String| {
            let number = read_small_text(&self.root.join("sys/class/block").join(name).join("dev"));
            number.is_ok_and(|it| {
                let number = it.trim();
                self.is_removable(number) && !mounted.iter().any(|it| it.device == number)
            })
        };
        names.filter(is_unmounted).collect()
    }

    /// Whether a device can be unplugged: the kernel calls it or the disk it is a part of removable, or it is on the USB. The
    /// kernel calls a disk in a USB case fixed.
    fn is_removable(&self, device: &str) -> bool {
        let Ok(path) = fs::canonicalize(self.root.join("sys/dev/block").join(device)) else { return false };
        let says_so = |dir: &Path| read_small_text(&dir.join("removable")).is_ok_and(|it| it.trim() == "1");
        let on_usb = |it: Component<'_>| it.as_os_str().to_string_lossy().starts_with("usb");
        path.ancestors().take(2).any(says_so) || path.components().any(on_usb)
    }

    /// Waits for a change of the mounts or of the block devices.
    pub(super) async fn changed(&self) {
        tokio::select! {
            biased;
            () = mounts_changed(self.list.as_ref()) => (),
            () = names_changed(self.names.as_ref()) => (),
        }
    }
}

fn list_path(root: &Path) -> PathBuf {
    root.join("proc/self/mountinfo")
}

fn names_path(root: &Path) -> PathBuf {
    root.join("dev/disk/by-uuid")
}

#[expect(deprecated, reason = "what came instead is unsafe; a File keeps its descriptor as long as it lives")]
fn watched_list(root: &Path) -> io::Result<AsyncFd<File>> {
    AsyncFd::with_interest(File::open(list_path(root))?, Interest::PRIORITY)
}

#[expect(deprecated, reason = "what came instead is unsafe; an Inotify keeps its descriptor as long as it lives")]
fn watched_names(root: &Path) -> io::Result<AsyncFd<Inotify>> {
    let inotify = Inotify::init()?;
    let mask = WatchMask::CREATE | WatchMask::MOVED_TO | WatchMask::DELETE | WatchMask::ONLYDIR;
    inotify.watches().add(names_path(root), mask)?;
    AsyncFd::with_interest(inotify, Interest::READABLE)
}

async fn mounts_changed(list: Option<&AsyncFd<File>>) {
    let Some(list) = list else { return pending().await };
    match list.ready(Interest::PRIORITY).await {
        Ok(mut ready) => ready.clear_ready(),
        Err(_) => pending().await,
    }
}

async fn names_changed(names: Option<&AsyncFd<Inotify>>) {
    let Some(names) = names else { return pending().await };
    match names.ready(Interest::READABLE).await {
        Ok(mut ready) => {
            // What happened does not matter: the names are read anew.
            let mut buffer = [0; 4096];
            while rustix::io::read(names.get_ref(), &mut buffer).is_ok_and(|it| it > 0) {}
            ready.clear_ready();
        }
        Err(_) => pending().await,
    }
}

/// Whole file systems that are mounted, of `/proc/self/mountinfo`: `36 35 98:0 / /mnt rw,noatime - ext4 /dev/sda1 rw`.
fn parsed(list: &str) -> Vec<Medium> {
    let line = |line: &str| {
        let mut fields = line.split(' ').skip(2);
        let (device, within, path) = (fields.next()?, fields.next()?, fields.next()?);
        (within == "/").then(|| Medium { device: device.to_owned(), path: unescaped(path) })
    };
    list.lines().filter_map(line).collect()
}

/// The kernel writes blanks and backslashes as three octal digits.
fn unescaped(text: &str) -> PathBuf {
    let (bytes, mut path, mut at) = (text.as_bytes(), Vec::new(), 0);
    while let Some(&byte) = bytes.get(at) {
        let digits = bytes.get(at + 1..at + 4).and_then(|it| str::from_utf8(it).ok());
        let code = digits.filter(|_| byte == b'\\').and_then(|it| u8::from_str_radix(it, 8).ok());
        path.push(code.unwrap_or(byte));
        at += if code.is_some() { 4 } else { 1 };
    }
    PathBuf::from(std::ffi::OsString::from_vec(path))
}

#[cfg(test)]
mod tests;
