//! The log lines of one test: each test has a thread of its own.

use std::cell::RefCell;
use std::io::{self, Write};
use std::sync::Once;

use tracing::Level;

thread_local! {
    static LINES: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

struct Lines;

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LINES.with_borrow_mut(|it| it.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Keeps what is logged from now on, of us and of whatever we use. One subscriber for all threads: one of a single thread is
/// overlooked while others log for the first time.
pub(crate) fn keep(most: Level) {
    static ONCE: Once = Once::new();
    let subscriber = || tracing_subscriber::fmt().with_max_level(most).with_ansi(false).without_time();
    ONCE.call_once(|| tracing::subscriber::set_global_default(subscriber().with_writer(|| Lines).finish()).unwrap());
}

/// What was logged since it was last asked.
pub(crate) fn taken() -> String {
    String::from_utf8(LINES.take()).unwrap()
}
