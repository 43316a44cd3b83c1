//! The ports, implemented on a Linux board.

pub mod board;
pub mod clock;
pub mod cloud;
mod dial;
pub mod doctor;
pub mod engine;
pub mod flash;
pub mod host;
pub mod leds;
mod local_mode;
pub mod locks;
pub mod mdns;
pub mod media;
pub mod net;
pub mod notify;
pub mod power;
pub mod preload;
pub mod provision;
pub mod registry_login;
pub mod signed;
pub mod signed_file;
pub mod store;
pub mod swappable_source;
mod systemd;
pub mod take_over;
pub mod target_file;
pub mod target_sources;
pub mod target_url;
pub mod traffic;
pub mod trust;
mod watch;
pub mod world;

use std::any::Any;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rustix::fs::{Mode, OFlags, open};

use crate::state::FlashPurpose;
use flash::FlashCounter;
pub use world::Linux;

/// Size limit for a file in which a host, a kernel or a user describes something, in bytes. The longest seen are lists of LED
/// triggers, of some thousand bytes; a file of credentials for a hundred registries is as long.
const FILE_BYTES: u64 = 256 * 1024;

/// Buffer of the first read, in bytes: a page, which is the most that sysfs returns at once. With less room the standard
/// library reads 32 bytes first. The kernel generates sysfs content anew for each read, so a list of triggers could be half old
/// and half new.
const FIRST_READ: usize = 4096;

/// Reads a small file whole. Rejects one that is longer than [`FILE_BYTES`], without reading to its end.
fn read_small(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(FIRST_READ);
    // Without `NONBLOCK`, opening a FIFO would wait for a writer.
    let file = File::from(open(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())?);
    file.take(FILE_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("it is longer than {} kB", FILE_BYTES / 1024)));
    }
    Ok(bytes)
}

/// As [`read_small`], as text.
fn read_small_text(path: &Path) -> io::Result<String> {
    let not_text = |_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8 text");
    String::from_utf8(read_small(path)?).map_err(not_text)
}

/// Replaces a file atomically, by way of a draft beside it: a reader sees the old file or the new one, and so does the next
/// boot after a power cut. The new one is certain to be on disk only once its directory is synced too, with [`sync_directory`].
/// `purpose`: what the file on flash is counted for; `None`: it is in memory.
fn replace_file(
    path: &Path,
    draft: &Path,
    content: impl AsRef<[u8]>,
    mode: u32,
    purpose: Option<FlashPurpose>,
) -> io::Result<()> {
    // A leftover draft may belong to any user.
    let _ = fs::remove_file(draft);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(draft)?;
    file.write_all(content.as_ref())?;
    file.sync_all()?;
    if let Some(purpose) = purpose {
        let flash = FlashCounter::of_process();
        flash.wrote(purpose, content.as_ref().len());
        flash.synced(purpose, 1);
    }
    fs::rename(draft, path)
}

/// Returns when the names in a directory are on disk. Counted for the file because of which it is done.
fn sync_directory(path: &Path, purpose: FlashPurpose) -> io::Result<()> {
    File::open(path)?.sync_all()?;
    FlashCounter::of_process().synced(purpose, 1);
    Ok(())
}

/// The text without the UTF-8 byte order mark that Windows editors put first.
fn without_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text)
}

/// Percent-encodes a part of a path or of a query.
fn escaped(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// Runs blocking code outside of the agent's only thread. Fails only if the code panicked, or the agent is about to exit.
async fn off_thread<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    // One type for all: tokio has two and a half kilobytes of code for each type that it runs.
    let call: Box<dyn FnOnce() -> Box<dyn Any + Send> + Send> = Box::new(|| Box::new(call()));
    let done =
        tokio::task::spawn_blocking(call).await.map_err(|why| format!("work on another thread was broken off: {why}"))?;
    Ok(*done.downcast().expect("it is what the call returned"))
}

#[cfg(test)]
#[path = "../tests/lab/signer.rs"]
mod signer;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_never_ends_is_not_read_to_its_end() {
        let error = read_small(Path::new("/dev/zero")).unwrap_err();
        assert_eq!(error.to_string(), "it is longer than 256 kB");
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        assert!(read_small(&pipe).unwrap().is_empty());
        let path = dir.path().join("small");
        std::fs::write(&path, [0xff]).unwrap();
        assert_eq!(read_small(&path).unwrap(), [0xff]);
        assert!(read_small_text(&path).is_err());
    }
}
