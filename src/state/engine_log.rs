//! A container's output, as an engine keeps it, and how much of it was read.

use std::time::Duration;

use crate::sorted::SortedMap;
use crate::state::{ContainerId, EngineTime};

/// How much earlier than the newest line the engine is asked to begin. An engine stamps the lines of the two streams apart, so
/// that in its log one of standard error may follow a later one of standard output.
const OVERLAP: Duration = Duration::from_secs(2);

/// One of the two streams of a container's output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum OutputStream {
    /// Standard output; everything, if the container has a terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A line of a container's output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineLogLine {
    /// The text, without its line end and without control characters other than tabs and escapes.
    pub text: String,
    /// When it was written, by the engine's clock.
    pub at: EngineTime,
    /// Where it was written.
    pub stream: OutputStream,
    /// From where on the line after it is read.
    pub next: LogCursor,
    /// Lines before it are lost: the engine has rotated them away.
    pub after_gap: bool,
}

/// How much of a container's output was read. The default: nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogCursor {
    /// Of its standard output.
    pub stdout: StreamCursor,
    /// Of its standard error.
    pub stderr: StreamCursor,
}

/// How much of a stream was read. Several lines may have the same time, and an engine is asked for lines *since* a time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StreamCursor {
    /// The time of the last line that was read.
    pub at: EngineTime,
    /// How many lines of that time were read.
    pub lines: u32,
}

/// How much of each container's output was uploaded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogCursors {
    /// When the upload began. A container that was created before is read from then on, every other from its beginning.
    pub began: EngineTime,
    /// How often the cursors were saved. Of two copies the one with the larger count is the newer.
    pub saves: u64,
    /// The cursors.
    pub containers: SortedMap<ContainerId, LogCursor>,
}

impl LogCursor {
    /// A cursor for the lines from a time on.
    #[must_use]
    pub const fn starting_at(at: EngineTime) -> Self {
        let start = StreamCursor { at, lines: 0 };
        Self { stdout: start, stderr: start }
    }

    /// The time from which on the engine is asked: at or before every line that was not read.
    #[must_use]
    pub fn since(&self) -> EngineTime {
        let (least, most) = (self.stdout.at.min(self.stderr.at), self.stdout.at.max(self.stderr.at));
        let overlap = i64::try_from(OVERLAP.as_nanos()).unwrap_or(i64::MAX);
        least.max(EngineTime(most.0.saturating_sub(overlap)))
    }

    /// The cursor of one stream.
    #[must_use]
    pub const fn of(&self, stream: OutputStream) -> StreamCursor {
        match stream {
            OutputStream::Stdout => self.stdout,
            OutputStream::Stderr => self.stderr,
        }
    }

    /// Counts a line as read.
    pub fn advance(&mut self, stream: OutputStream, at: EngineTime) {
        let cursor = match stream {
            OutputStream::Stdout => &mut self.stdout,
            OutputStream::Stderr => &mut self.stderr,
        };
        let lines = if cursor.at == at { cursor.lines.saturating_add(1) } else { 1 };
        *cursor = StreamCursor { at, lines };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    #[test]
    fn lines_of_one_time_are_counted() {
        let mut cursor = LogCursor::default();
        for (stream, at) in [(OutputStream::Stdout, 7), (OutputStream::Stdout, 7), (OutputStream::Stderr, 9)] {
            cursor.advance(stream, EngineTime(at));
        }
        assert_eq!(cursor.stdout, StreamCursor { at: EngineTime(7), lines: 2 });
        assert_eq!(cursor.stderr, StreamCursor { at: EngineTime(9), lines: 1 });
    }

    #[test]
    fn a_stream_that_rests_has_the_engine_read_no_old_lines() {
        let mut cursor = LogCursor::default();
        assert_eq!(cursor.since(), EngineTime(0));
        cursor.advance(OutputStream::Stdout, EngineTime(1000 * SECOND));
        assert_eq!(cursor.since(), EngineTime(998 * SECOND));
        cursor.advance(OutputStream::Stderr, EngineTime(999 * SECOND));
        assert_eq!(cursor.since(), EngineTime(999 * SECOND));
        assert_eq!(LogCursor::starting_at(EngineTime(5)).since(), EngineTime(5));
    }
}
