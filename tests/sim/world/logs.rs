//! What containers print, as an engine gives it to its readers.

use std::pin::pin;

use boardkeeper::port::EngineError;
use boardkeeper::state::{ContainerId, EngineLogLine, EngineTime, LogCursor, OutputStream};
use futures_util::{Stream, stream};

use super::{Model, Sim};

/// How much of a log is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    Follow,
    /// What is there.
    Past,
    /// So many lines of what is there, the newest.
    Tail(u32),
}

/// A reader of a container's output.
struct Reader {
    container: ContainerId,
    /// The lines before it in the engine's log were read, or are not wanted.
    index: usize,
    cursor: LogCursor,
    /// Lines of the cursor's time that are still to be skipped, of each stream. `None`: lines that were not read have begun.
    skipped: [Option<u32>; 2],
    epoch: Option<u64>,
    extent: Extent,
    over: bool,
}

impl Model {
    /// A container prints a line.
    pub(crate) fn print(&mut self, id: &ContainerId, stream: OutputStream, text: &str) {
        let at = EngineTime(self.now_secs() * 1_000_000_000);
        if let Some(it) = self.engine.containers.get_mut(id) {
            it.log.push((at, stream, text.to_owned()));
        }
        self.notifiers.printed.send_modify(|count| *count += 1);
    }

    fn read_on(&mut self, reader: &mut Reader) -> Option<Result<EngineLogLine, EngineError>> {
        let unreachable = || Some(Err(EngineError::Unreachable("connection reset by peer".into())));
        if !self.engine.up || reader.epoch.is_some_and(|it| it != self.engine.epoch) {
            return unreachable();
        }
        reader.epoch = Some(self.engine.epoch);
        let container = self.engine.containers.get(&reader.container)?;
        if let Extent::Tail(count) = std::mem::replace(&mut reader.extent, Extent::Past)
            && let Some(older) = container.log.len().checked_sub(usize::try_from(count).unwrap())
        {
            for (at, stream, _) in container.log.iter().take(older) {
                if *at >= reader.cursor.of(*stream).at {
                    reader.cursor.advance(*stream, *at);
                }
            }
            reader.index = older;
        }
        while let Some((at, stream, text)) = container.log.get(reader.index) {
            let (at, stream) = (*at, *stream);
            reader.index += 1;
            let (cursor, skipped) =
                (reader.cursor.of(stream), &mut reader.skipped[usize::from(stream == OutputStream::Stderr)]);
            if let Some(left) = skipped {
                if at < cursor.at {
                    continue;
                }
                if at == cursor.at && *left > 0 {
                    *left -= 1;
                    continue;
                }
                *skipped = None;
            }
            reader.cursor.advance(stream, at);
            return Some(Ok(EngineLogLine { text: text.clone(), at, stream, next: reader.cursor, after_gap: false }));
        }
        None
    }
}

impl Sim {
    /// The lines of a container's output from a cursor on.
    pub(super) fn output(
        &self,
        container: ContainerId,
        cursor: LogCursor,
        extent: Extent,
    ) -> impl Stream<Item = Result<EngineLogLine, EngineError>> + use<> {
        let sim = self.clone();
        let skipped = [Some(cursor.stdout.lines), Some(cursor.stderr.lines)];
        let reader = Reader { container, index: 0, cursor, skipped, epoch: None, extent, over: false };
        let mut notifiers = self.with(|model| (model.notifiers.printed.subscribe(), model.notifiers.events.subscribe()));
        notifiers.0.mark_changed();
        stream::unfold((reader, notifiers), move |(mut reader, mut notifiers)| {
            let sim = sim.clone();
            async move {
                sim.pass(1, 20).await;
                loop {
                    if reader.over {
                        return None;
                    }
                    if let Some(item) = sim.with(|model| model.read_on(&mut reader)) {
                        reader.over = item.is_err();
                        return Some((item, (reader, notifiers)));
                    }
                    let alive = |model: &mut Model| {
                        model.engine.containers.get(&reader.container).is_some_and(|it| it.view.phase.is_alive())
                    };
                    if extent != Extent::Follow || !sim.with(alive) {
                        return None;
                    }
                    let (printed, events) = &mut notifiers;
                    tokio::select! {
                        biased;
                        _ = pin!(printed.changed()) => (),
                        _ = pin!(events.changed()) => (),
                    }
                }
            }
        })
    }
}
