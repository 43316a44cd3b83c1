//! The engine's byte stream of a log, split into lines with their times.
//!
//! Without a terminal each entry of the log is a frame: a byte for the stream, three zeros, four bytes of length, and the
//! entry. With one, the entries follow each other as they are. An entry begins with its time and a space. A line of more than
//! 16 kB is several entries, of which only the last ends with a line feed.

use crate::linux::engine::connection::moment;
use crate::linux::engine::logs::text::LineText;
use crate::state::{EngineTime, OutputStream};

/// Length limit of a time: `2026-11-23T15:34:12.123456789+01:00`.
const TIME_BYTES: usize = 40;
const HEADER_BYTES: usize = 8;
/// How much of a line engines put into one entry.
const ENTRY_BYTES: usize = 16 * 1024;
/// How much of the engine's own message is repeated.
const MESSAGE_BYTES: usize = 300;

/// The form of the byte stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::linux::engine) enum Framing {
    /// Frames, for two streams.
    Multiplexed,
    /// The output of a terminal.
    Raw,
}

/// A line of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::linux::engine) struct ParsedLine {
    pub(in crate::linux::engine) stream: OutputStream,
    pub(in crate::linux::engine) at: EngineTime,
    pub(in crate::linux::engine) text: String,
}

/// Splits a byte stream into lines, however it is cut into parts.
#[derive(Debug)]
pub(in crate::linux::engine) struct LogParser {
    frame: Frame,
    /// The time of the entry that has begun. `Some`: it is still read.
    time: Option<Vec<u8>>,
    /// Bytes until the next entry of a line, where there are no frames: its time stands in the middle of the line.
    entry_left: Option<usize>,
    stdout: OpenLine,
    stderr: OpenLine,
}

/// Where the byte stream is.
#[derive(Debug)]
enum Frame {
    /// There are no frames.
    None,
    /// In a header.
    Header(Vec<u8>),
    /// In an entry of a stream, with so many bytes left.
    Entry(OutputStream, u32),
    /// In a message of the engine itself.
    Message(Vec<u8>, u32),
}

/// A line whose end was not seen yet.
#[derive(Debug, Default)]
struct OpenLine {
    /// The time of its first entry. `None`: it has not begun.
    at: Option<EngineTime>,
    /// The time of the line before.
    last: EngineTime,
    text: LineText,
}

impl LogParser {
    pub(in crate::linux::engine) fn new(framing: Framing) -> Self {
        let (frame, time, entry_left) = match framing {
            Framing::Multiplexed => (Frame::Header(Vec::new()), None, None),
            Framing::Raw => (Frame::None, Some(Vec::new()), Some(ENTRY_BYTES)),
        };
        Self { frame, time, entry_left, stdout: OpenLine::default(), stderr: OpenLine::default() }
    }

    /// Parses a part. An error ends the log: the engine reports one, or sends what is no log.
    pub(in crate::linux::engine) fn parse(&mut self, mut part: &[u8], give: &mut impl FnMut(ParsedLine)) -> Result<(), String> {
        while !part.is_empty() {
            match &mut self.frame {
                Frame::None => {
                    self.entry(OutputStream::Stdout, part, give);
                    return Ok(());
                }
                Frame::Header(header) => {
                    let (taken, rest) = split(part, HEADER_BYTES - header.len());
                    header.extend_from_slice(taken);
                    part = rest;
                    if let Ok(header) = <[u8; HEADER_BYTES]>::try_from(header.as_slice()) {
                        self.frame = frame_of(header)?;
                        self.time = Some(Vec::new());
                        self.end_empty_frame()?;
                    }
                }
                Frame::Entry(stream, left) => {
                    let (taken, rest) = split(part, usize::try_from(*left).unwrap_or(usize::MAX));
                    *left -= u32::try_from(taken.len()).unwrap_or(*left);
                    let stream = *stream;
                    part = rest;
                    self.entry(stream, taken, give);
                    self.end_empty_frame()?;
                }
                Frame::Message(message, left) => {
                    let (taken, rest) = split(part, usize::try_from(*left).unwrap_or(usize::MAX));
                    *left -= u32::try_from(taken.len()).unwrap_or(*left);
                    let room = MESSAGE_BYTES.saturating_sub(message.len());
                    message.extend_from_slice(split(taken, room).0);
                    part = rest;
                    self.end_empty_frame()?;
                }
            }
        }
        Ok(())
    }

    /// Ends the log: a line without a line end is one.
    pub(in crate::linux::engine) fn finish(&mut self, give: &mut impl FnMut(ParsedLine)) {
        self.end_entry(OutputStream::Stdout);
        for (stream, line) in [(OutputStream::Stdout, &mut self.stdout), (OutputStream::Stderr, &mut self.stderr)] {
            if line.at.is_some() {
                line.end(stream, give);
            }
        }
    }

    /// A frame without bytes left is followed by a header.
    fn end_empty_frame(&mut self) -> Result<(), String> {
        match &self.frame {
            Frame::Message(message, 0) => Err(String::from_utf8_lossy(message).trim().to_owned()),
            Frame::Entry(stream, 0) => {
                self.end_entry(*stream);
                self.frame = Frame::Header(Vec::new());
                Ok(())
            }
            Frame::Entry(..) | Frame::Message(..) | Frame::None | Frame::Header(_) => Ok(()),
        }
    }

    /// An entry ends, perhaps within what could have been its time.
    fn end_entry(&mut self, stream: OutputStream) {
        if let Some(time) = self.time.take().filter(|it| !it.is_empty()) {
            self.line(stream).begin(&time);
        }
    }

    const fn line(&mut self, stream: OutputStream) -> &mut OpenLine {
        match stream {
            OutputStream::Stdout => &mut self.stdout,
            OutputStream::Stderr => &mut self.stderr,
        }
    }

    /// Bytes of an entry: its time, if that was not read yet, and text.
    fn entry(&mut self, stream: OutputStream, mut bytes: &[u8], give: &mut impl FnMut(ParsedLine)) {
        let line = match stream {
            OutputStream::Stdout => &mut self.stdout,
            OutputStream::Stderr => &mut self.stderr,
        };
        while !bytes.is_empty() {
            if let Some(time) = &mut self.time {
                let end = bytes.iter().position(|it| matches!(it, b' ' | b'\n'));
                let (taken, rest) = split(bytes, end.unwrap_or(bytes.len()).min(TIME_BYTES - time.len()));
                time.extend_from_slice(taken);
                bytes = rest;
                if bytes.is_empty() && time.len() < TIME_BYTES {
                    return;
                }
                if line.begin(time) {
                    bytes = bytes.strip_prefix(b" ").unwrap_or(bytes);
                }
                self.time = None;
                continue;
            }
            let (part, rest) = split(bytes, self.entry_left.unwrap_or(usize::MAX));
            if let Some(end) = part.iter().position(|it| *it == b'\n') {
                line.text.push(split(bytes, end).0);
                line.end(stream, give);
                bytes = split(bytes, end + 1).1;
                self.entry_left = self.entry_left.map(|_| ENTRY_BYTES);
                self.time = Some(Vec::new());
                continue;
            }
            line.text.push(part);
            self.entry_left = self.entry_left.map(|left| left - part.len());
            if self.entry_left == Some(0) {
                self.entry_left = Some(ENTRY_BYTES);
                self.time = Some(Vec::new());
            }
            bytes = rest;
        }
    }
}

impl OpenLine {
    /// An entry begins, with a time or, from an engine that gives none, with text. Whether it is a time. An entry that goes on
    /// with a line has the time of its line.
    fn begin(&mut self, time: &[u8]) -> bool {
        let at = std::str::from_utf8(time).ok().filter(|it| it.len() < TIME_BYTES).and_then(moment);
        self.at.get_or_insert(at.unwrap_or(self.last));
        if at.is_none() {
            self.text.push(time);
        }
        at.is_some()
    }

    fn end(&mut self, stream: OutputStream, give: &mut impl FnMut(ParsedLine)) {
        let at = self.at.take().unwrap_or(self.last);
        self.last = at;
        give(ParsedLine { stream, at, text: self.text.take() });
    }
}

fn frame_of(header: [u8; HEADER_BYTES]) -> Result<Frame, String> {
    let [stream, 0, 0, 0, a, b, c, d] = header else { return Err("it sends what is no log".to_owned()) };
    let left = u32::from_be_bytes([a, b, c, d]);
    match stream {
        0 | 1 => Ok(Frame::Entry(OutputStream::Stdout, left)),
        2 => Ok(Frame::Entry(OutputStream::Stderr, left)),
        3 => Ok(Frame::Message(Vec::new(), left)),
        _ => Err("it sends what is no log".to_owned()),
    }
}

/// Splits bytes, at most at their end.
fn split(bytes: &[u8], at: usize) -> (&[u8], &[u8]) {
    bytes.split_at_checked(at).unwrap_or((bytes, &[]))
}
