//! The real world: the ports, on a Linux board.

pub mod board;
pub mod clock;
pub mod doctor;
pub mod document;
pub mod engine;
pub mod host;
pub mod leds;
pub mod locks;
pub mod net;
pub mod notify;
pub mod power;
pub mod store;
mod systemd;
mod watch;
pub mod world;

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rustix::fs::{Mode, OFlags, open};

pub use world::Linux;

/// The most bytes of a file in which a host, a kernel or a person says something about itself. The longest seen are lists of
/// triggers, of some thousand; a file of credentials for a hundred registries has as many.
const FILE_BYTES: u64 = 256 * 1024;

/// The bytes asked for by the first read: a page, which is all that sysfs returns at once. Without this room the standard library
/// asks for 32 first, and the kernel writes sysfs files anew for each read: a list of triggers could be half old and half new.
const FIRST_READ: usize = 4096;

/// The whole of a small file. One that is longer than any honest one is not read to its end.
fn read_small(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(FIRST_READ);
    // Opening a pipe would wait for the program at its other end.
    let file = File::from(open(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())?);
    file.take(FILE_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("it is longer than {} kB", FILE_BYTES / 1024)));
    }
    Ok(bytes)
}

/// The same as text.
fn read_small_text(path: &Path) -> io::Result<String> {
    let not_text = |_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8 text");
    String::from_utf8(read_small(path)?).map_err(not_text)
}

/// A text without the mark that editors of Windows put before UTF-8.
fn without_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text)
}

/// Runs what may block beside the one thread. Fails only where it fell over, or the agent is about to end.
async fn off_thread<T: Send + 'static>(deed: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    tokio::task::spawn_blocking(deed).await.map_err(|why| format!("work on the disk was broken off: {why}"))
}

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
