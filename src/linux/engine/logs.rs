//! The output of a container: the engine's log of it, read from a cursor on and followed.
//!
//! ```text
//! frames   the engine's byte stream, split into lines with their times      logs/frames.rs
//! text     the bytes of a line, made harmless                               logs/text.rs
//! ```
//!
//! A request for the log asks for lines *since* a time, which includes that time; the lines that the cursor counts are skipped.
//! When the log ends, the container is inspected: if it still runs, the engine broke off, and the caller asks again. If it does
//! not, the rest is requested once more: engines of 2020 end the log of a container that exits before its last lines.

mod frames;
mod text;

use std::collections::VecDeque;
use std::pin::Pin;

use bollard::errors::Error;
use futures_util::{Stream, StreamExt, stream};
use hyper::body::Bytes;

use crate::linux::engine::errors::{found, is_conflict, sort};
use crate::linux::engine::json::EngineJson;
use crate::linux::engine::{CALL, Engine, transport};
use crate::port::EngineError;
use crate::state::{ContainerId, EngineLogLine, EngineTime, LogCursor, OutputStream};

pub(super) use frames::{Framing, LogParser, ParsedLine};

type Parts = Pin<Box<dyn Stream<Item = Result<Bytes, Error>>>>;

/// A reader of one container's log.
struct LogReader<'a> {
    engine: &'a Engine,
    container: ContainerId,
    resume: Resume,
    /// Only what is written already, and at most so many of its newest lines. `None`: lines follow as they are written.
    past: Option<PastLines>,
    state: ReaderState,
}

/// How much of what is written already is read.
#[derive(Debug, Clone, Copy)]
pub(super) enum PastLines {
    All,
    Newest(u32),
}

/// How far a reader is.
enum ReaderState {
    /// Nothing was requested yet.
    Idle,
    /// The engine sends the log.
    Open { parts: Parts, parser: Box<LogParser>, lines: VecDeque<ParsedLine>, follows: bool },
    /// The container has ended; these lines are left.
    Last(VecDeque<ParsedLine>),
    /// The last item was given.
    Over,
}

impl Engine {
    /// The lines of a container's log from a cursor on, to its end or as they are written.
    pub(super) fn output(
        &self,
        container: ContainerId,
        from: LogCursor,
        past: Option<PastLines>,
    ) -> impl Stream<Item = Result<EngineLogLine, EngineError>> {
        let reader = LogReader { engine: self, container, resume: Resume::new(from), past, state: ReaderState::Idle };
        stream::unfold(reader, async |mut reader| {
            let item = reader.next().await?;
            if item.is_err() {
                reader.state = ReaderState::Over;
            }
            Some((item, reader))
        })
    }

    async fn open_log(
        &self,
        container: &ContainerId,
        since: EngineTime,
        past: Option<PastLines>,
    ) -> Result<ReaderState, EngineError> {
        let connection = self.connection().await?;
        let what = format!("read the log of container {}", short(container));
        let inspected = self.get(&connection, &format!("/containers/{container}/json")).await;
        // A container that was removed, or is being removed, has no log any more, as after every update.
        let Some(inspected) = found(&what, inspected)? else { return Ok(ReaderState::Over) };
        let framing = if inspected.is("/Config/Tty") { Framing::Raw } else { Framing::Multiplexed };
        // Podman reads the number as a float, which is a little off.
        let since = since.0.saturating_sub(1000).max(0);
        let (secs, nanos) = (since / 1_000_000_000, since % 1_000_000_000);
        let extent = match past {
            None => "follow=1".to_owned(),
            Some(PastLines::All) => "follow=0".to_owned(),
            Some(PastLines::Newest(count)) => format!("follow=0&tail={count}"),
        };
        let path = format!(
            "{}/containers/{container}/logs?{extent}&stdout=1&stderr=1&timestamps=1&since={secs}.{nanos:09}",
            connection.version_path()
        );
        let parts = match transport::bytes(connection.facts.host(), &path).await {
            Err(error) if is_conflict(&error) => return Ok(ReaderState::Over),
            other => match found(&what, other)? {
                Some(parts) => parts,
                None => return Ok(ReaderState::Over),
            },
        };
        let (parser, follows) = (Box::new(LogParser::new(framing)), is_running(&inspected));
        Ok(ReaderState::Open { parts: parts.boxed_local(), parser, lines: VecDeque::new(), follows })
    }

    /// Whether a container runs. One that is gone does not.
    async fn runs(&self, container: &ContainerId) -> Result<bool, EngineError> {
        let connection = self.connection().await?;
        let inspected = self.get(&connection, &format!("/containers/{container}/json")).await;
        let what = format!("inspect container {}", short(container));
        let inspected = found(&what, inspected)?;
        Ok(inspected.is_some_and(|it| is_running(&it)))
    }
}

impl LogReader<'_> {
    async fn next(&mut self) -> Option<Result<EngineLogLine, EngineError>> {
        loop {
            match &mut self.state {
                ReaderState::Idle => {
                    let open = self.engine.open_log(&self.container, self.resume.since, self.past);
                    match self.engine.within(CALL, open).await {
                        Ok(opened) => self.state = opened,
                        Err(error) => return Some(Err(error)),
                    }
                }
                ReaderState::Open { parts, parser, lines, follows } => {
                    if let Some(line) = lines.pop_front() {
                        if let Some(line) = self.resume.take(line) {
                            return Some(Ok(line));
                        }
                        continue;
                    }
                    match parts.next().await {
                        Some(Ok(part)) => {
                            if let Err(why) = parser.parse(&part, &mut |line| lines.push_back(line)) {
                                let container = short(&self.container);
                                let why = format!("the engine breaks off the log of container {container}: {why}");
                                return Some(Err(EngineError::Unreachable(why)));
                            }
                        }
                        Some(Err(error)) => {
                            return Some(Err(sort(&format!("read the log of container {}", short(&self.container)), &error)));
                        }
                        // What a container that runs has not ended with a line end is no line yet.
                        None if *follows && self.past.is_some() => self.state = ReaderState::Last(std::mem::take(lines)),
                        None if *follows => {
                            if let Err(error) = self.check_ended().await {
                                return Some(Err(error));
                            }
                            (self.state, self.resume) = (ReaderState::Idle, Resume::new(self.resume.cursor));
                        }
                        None => {
                            // A line without a line end is one.
                            parser.finish(&mut |line| lines.push_back(line));
                            self.state = ReaderState::Last(std::mem::take(lines));
                        }
                    }
                }
                ReaderState::Last(lines) => {
                    let line = lines.pop_front()?;
                    if let Some(line) = self.resume.take(line) {
                        return Some(Ok(line));
                    }
                }
                ReaderState::Over => return None,
            }
        }
    }

    /// The log has ended, which is an error if the container runs.
    async fn check_ended(&self) -> Result<(), EngineError> {
        if self.engine.within(CALL, self.engine.runs(&self.container)).await? {
            let container = short(&self.container);
            return Err(EngineError::Unreachable(format!("the engine ended the log of container {container}, which runs")));
        }
        Ok(())
    }
}

/// Skips what the cursor counts, in the lines since the cursor's time.
#[derive(Debug)]
pub(super) struct Resume {
    since: EngineTime,
    cursor: LogCursor,
    stdout: Skip,
    stderr: Skip,
}

/// How far a stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Skip {
    /// So many lines of the cursor's time were seen again.
    Counted(u32),
    /// Lines that were not read yet have begun.
    Over,
}

impl Resume {
    pub(super) fn new(cursor: LogCursor) -> Self {
        Self { since: cursor.since(), cursor, stdout: Skip::Counted(0), stderr: Skip::Counted(0) }
    }

    /// A line, if it was not read before.
    pub(super) fn take(&mut self, line: ParsedLine) -> Option<EngineLogLine> {
        let ParsedLine { stream, at, text } = line;
        let skip = match stream {
            OutputStream::Stdout => &mut self.stdout,
            OutputStream::Stderr => &mut self.stderr,
        };
        let cursor = self.cursor.of(stream);
        let mut after_gap = false;
        if let Skip::Counted(seen) = *skip {
            if at < cursor.at {
                return None;
            }
            if at == cursor.at && seen < cursor.lines {
                *skip = Skip::Counted(seen + 1);
                return None;
            }
            // The engine was asked for the lines of the cursor's time too, and has none of them any more.
            after_gap = seen < cursor.lines && cursor.at >= self.since;
            *skip = Skip::Over;
        }
        self.cursor.advance(stream, at);
        Some(EngineLogLine { text, at, stream, next: self.cursor, after_gap })
    }
}

fn is_running(inspected: &EngineJson) -> bool {
    inspected.is("/State/Running") && !inspected.is("/State/Restarting")
}

/// The id as command-line tools print it.
fn short(container: &ContainerId) -> &str {
    container.0.get(..12).unwrap_or(&container.0)
}

#[cfg(test)]
mod tests;
