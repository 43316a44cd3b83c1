//! A bad connection to a registry: slow, stalled, or cut in the middle of a layer.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::thread::{self, sleep};
use std::time::Duration;

/// What the line does to each answer. May be changed while it is in use.
#[derive(Debug, Default)]
pub(crate) struct Line {
    /// Bytes per second of each connection. 0: as fast as it goes.
    pub(crate) bytes_per_second: AtomicU64,
    /// Connections still to be cut, each after half a mebibyte.
    pub(crate) cuts: AtomicI64,
    /// How many connections have been cut.
    pub(crate) was_cut: AtomicU64,
}

/// Where a cut comes: beyond manifests and tokens, within any layer worth the name.
const CUT_AFTER: usize = 512 * 1024;

/// Opens a line on `port` that ends at `to`. It lasts as long as the process.
pub(crate) fn open(port: u16, to: u16) -> Arc<Line> {
    let line = Arc::new(Line::default());
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let shared = Arc::clone(&line);
    thread::spawn(move || {
        for inward in listener.incoming().flatten() {
            let Ok(outward) = TcpStream::connect(("127.0.0.1", to)) else { continue };
            let (from, into) = (inward.try_clone().unwrap(), outward.try_clone().unwrap());
            thread::spawn(move || std::io::copy(&mut { from }, &mut { into }));
            let line = Arc::clone(&shared);
            thread::spawn(move || answer(&line, outward, inward));
        }
    });
    line
}

/// Carries answers back, as badly as the line is.
fn answer(line: &Line, mut from: TcpStream, mut to: TcpStream) {
    let mut carried = 0;
    let mut buffer = [0; 16 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        if carried > CUT_AFTER && line.cuts.fetch_sub(1, Ordering::SeqCst) > 0 {
            line.was_cut.fetch_add(1, Ordering::SeqCst);
            break;
        }
        if to.write_all(&buffer[..read]).is_err() {
            break;
        }
        carried += read;
        pause(line.bytes_per_second.load(Ordering::SeqCst), read);
    }
    let _ = to.shutdown(Shutdown::Both); // The other side may have gone first.
    let _ = from.shutdown(Shutdown::Both);
}

fn pause(bytes_per_second: u64, read: usize) {
    let read = u64::try_from(read).expect("a buffer's length");
    if let Some(micros) = (read * 1_000_000).checked_div(bytes_per_second) {
        sleep(Duration::from_micros(micros));
    }
}
