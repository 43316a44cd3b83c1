//! What containers wrote before a client came, in the order of time.
//!
//! One pass reads each container's log from a cursor to its end. A client that follows the log is then sent what was written
//! meanwhile; see [`Joining`].

use std::collections::VecDeque;
use std::pin::{Pin, pin};
use std::sync::Arc;

use futures_util::{Stream, StreamExt};
use tokio::sync::mpsc;

use crate::followers::is_sent;
use crate::port::{Engine, EngineError};
use crate::sorted::SortedMap;
use crate::state::live_log::{LiveLogLine, LogQuery};
use crate::state::{Container, ContainerId, EngineLogLine, EngineTime, LogCursor, OutputStream, ServiceKey, StreamCursor};

/// How many passes a client's past takes at most, if more is written during each than is kept for it.
const PASSES: u8 = 4;

/// A container whose past is read.
pub(super) struct PastContainer {
    id: ContainerId,
    service: ServiceKey,
    /// Its standard output is not sent.
    errors_only: bool,
    cursor: LogCursor,
}

/// What one pass reads.
pub(super) struct Pass {
    /// The client that goes on to follow the log. `None`: the stream ends after the pass.
    pub(super) client: Option<u64>,
    pub(super) containers: Vec<PastContainer>,
    /// At most so many lines of each container, the newest.
    pub(super) tail: Option<u32>,
    /// What its own lines are stamped with.
    pub(super) now_ms: i64,
}

/// A line that waits for a client, and where it stands in its container's log. `None`: the agent wrote it.
pub(super) type WaitingLine = (Arc<LiveLogLine>, Option<LogPosition>);

/// Where a line stands in the log of a container.
#[derive(Debug, Clone)]
pub(super) struct LogPosition {
    pub(super) container: ContainerId,
    pub(super) stream: OutputStream,
    pub(super) cursor: StreamCursor,
}

/// A client of which the past is still read. What is written meanwhile waits, up to a limit; beyond it the client is read
/// another pass.
#[derive(Default)]
pub(super) struct Joining {
    pub(super) waiting: VecDeque<WaitingLine>,
    /// Lines for which there was no room.
    pub(super) missed: u64,
    passes: u8,
}

impl PastContainer {
    /// A container as it was observed, if it wrote what the query asks for.
    pub(super) fn of(container: &Container, query: &LogQuery, since: EngineTime) -> Option<Self> {
        let of_app = query.apps.as_ref().is_none_or(|apps| apps.contains(&container.key.app));
        let of_service = query.service.as_ref().is_none_or(|name| *name == container.key.service);
        let [out, err] = [OutputStream::Stdout, OutputStream::Stderr].map(|stream| is_sent(container, stream));
        (of_app && of_service && err).then(|| Self {
            id: container.id.clone(),
            service: container.key.clone(),
            errors_only: !out,
            cursor: LogCursor::starting_at(since),
        })
    }

    fn line(&self, line: EngineLogLine) -> LiveLogLine {
        let from = Some((self.service.service.clone(), line.stream));
        LiveLogLine { text: line.text, at_ms: line.at.0.div_euclid(1_000_000), app: Some(self.service.app), from }
    }
}

impl Pass {
    /// Sends every line to its end, or until the client leaves. A client that reads slowly is waited for.
    pub(super) async fn read<E: Engine>(mut self, engine: &E, lines: mpsc::Sender<Arc<LiveLogLine>>) -> Self {
        tokio::select! {
            biased;
            () = lines.closed() => (),
            () = self.send(engine, &lines) => (),
        }
        self
    }

    async fn send<E: Engine>(&mut self, engine: &E, lines: &mpsc::Sender<Arc<LiveLogLine>>) {
        let mut readers = Vec::new();
        for container in &self.containers {
            let log = engine.past_logs(container.id.clone(), container.cursor, self.tail);
            readers.push(Reader { log: Box::pin(log), head: None });
        }
        for (reader, container) in readers.iter_mut().zip(&mut self.containers) {
            reader.read_on(container, self.now_ms, lines).await;
        }
        let oldest = |readers: &[Reader<'_>]| {
            let heads = readers.iter().enumerate().filter_map(|(index, it)| Some((it.head.as_ref()?.at, index)));
            heads.min().map(|(_, index)| index)
        };
        while let Some(index) = oldest(&readers) {
            let (Some(reader), Some(container)) = (readers.get_mut(index), self.containers.get_mut(index)) else { return };
            if let Some(line) = reader.head.take()
                && lines.send(Arc::new(container.line(line))).await.is_err()
            {
                return;
            }
            reader.read_on(container, self.now_ms, lines).await;
        }
        if self.tail.take().is_some() {
            self.containers.iter_mut().for_each(|it| it.cursor = without_older(it.cursor));
        }
    }
}

/// One container's log, and its next line.
struct Reader<'e> {
    log: Pin<Box<dyn Stream<Item = Result<EngineLogLine, EngineError>> + 'e>>,
    head: Option<EngineLogLine>,
}

impl Reader<'_> {
    /// Reads the next line that is wanted. An error ends the log, and the client is sent why.
    async fn read_on(&mut self, container: &mut PastContainer, now_ms: i64, lines: &mpsc::Sender<Arc<LiveLogLine>>) {
        self.head = loop {
            match pin!(self.log.next()).await {
                None => break None,
                Some(Ok(line)) => {
                    container.cursor = line.next;
                    if !container.errors_only || line.stream == OutputStream::Stderr {
                        break Some(line);
                    }
                }
                Some(Err(error)) => {
                    let text = format!("Warning: The log of service '{}' is cut off: {error}", container.service.service);
                    let line = LiveLogLine { text, at_ms: now_ms, app: Some(container.service.app), from: None };
                    // The client may have gone, which ends the pass.
                    let _ = lines.send(Arc::new(line)).await;
                    break None;
                }
            }
        };
    }
}

/// After the newest lines were read, a stream that had none of them is not begun at its oldest.
fn without_older(cursor: LogCursor) -> LogCursor {
    let newest = cursor.stdout.at.max(cursor.stderr.at);
    let begun = |stream: StreamCursor| if stream.lines == 0 { StreamCursor { at: newest, lines: 0 } } else { stream };
    LogCursor { stdout: begun(cursor.stdout), stderr: begun(cursor.stderr) }
}

impl Joining {
    /// Keeps a line until the past was read.
    pub(super) fn keep(&mut self, line: WaitingLine, most: usize) {
        if self.waiting.len() < most {
            self.waiting.push_back(line);
        } else {
            self.missed = self.missed.saturating_add(1);
        }
    }

    /// Whether another pass is to read what did not wait. What it reads does not wait any more.
    pub(super) fn needs_another_pass(&mut self) -> bool {
        self.passes = self.passes.saturating_add(1);
        let needs = self.missed > 0 && self.passes < PASSES;
        if needs {
            self.missed = 0;
            self.waiting.retain(|(_, place)| place.is_none());
        }
        needs
    }
}

/// How far each container's log was read.
#[derive(Default)]
pub(super) struct ReadBefore(SortedMap<ContainerId, LogCursor>);

impl ReadBefore {
    pub(super) fn of(containers: &[PastContainer]) -> Self {
        Self(containers.iter().map(|it| (it.id.clone(), it.cursor)).collect())
    }

    /// Whether the line was read before.
    pub(super) fn has(&self, place: &LogPosition) -> bool {
        self.0.get(&place.container).is_some_and(|read| {
            let read = read.of(place.stream);
            (place.cursor.at, place.cursor.lines) <= (read.at, read.lines)
        })
    }
}
