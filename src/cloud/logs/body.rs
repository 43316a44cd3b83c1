//! The lines of one request, and how far each container is read once the cloud has them.

use std::time::Duration;

use tokio::time::Instant;

use crate::state::cloud::CloudLogLine;
use crate::state::{ContainerId, LogCursor};

/// The most lines of a body: of more the cloud keeps the last fifty.
pub(super) const MOST_LINES: usize = 50;
/// The most bytes of texts of a body, give or take its last line.
const MOST_BYTES: usize = 160_000;
/// How long lines are gathered after the first one, if lines come all the time.
const GATHER: Duration = Duration::from_secs(1);
/// How long after a rest: lines that are written together are sent together.
const GATHER_AFTER_REST: Duration = Duration::from_millis(100);
/// No body was sent for so long.
const REST: Duration = Duration::from_secs(5);
/// When cursors are saved though no line was worth sending.
const GATHER_NOTHING: Duration = Duration::from_secs(60);

/// Lines for one request.
#[derive(Debug, Default)]
pub(super) struct Body {
    lines: Vec<CloudLogLine>,
    marks: Vec<Mark>,
    bytes: usize,
    due: Option<Instant>,
}

/// How far a container is read once the cloud has the first lines of a body.
#[derive(Debug)]
struct Mark {
    after_lines: usize,
    container: ContainerId,
    cursor: LogCursor,
}

impl Body {
    /// The lines, in order.
    pub(super) fn lines(&self) -> &[CloudLogLine] {
        &self.lines
    }

    /// Whether one more line is taken.
    pub(super) fn has_room(&self) -> bool {
        self.lines.len() < MOST_LINES && self.bytes < MOST_BYTES
    }

    /// When it is sent, if anything is in it.
    pub(super) const fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Has it sent at once, if it has lines.
    pub(super) fn hurry(&mut self) {
        if !self.lines.is_empty() {
            self.due = Some(Instant::now());
        }
    }

    /// Adds a line. `last_sent`: when the body before was sent.
    pub(super) fn push(&mut self, line: CloudLogLine, last_sent: Option<Instant>) {
        let now = Instant::now();
        let rested = last_sent.is_none_or(|it| now.duration_since(it) >= REST);
        if self.lines.is_empty() {
            self.due = Some(now + if rested { GATHER_AFTER_REST } else { GATHER });
        }
        self.bytes += line.text.len();
        self.lines.push(line);
        if !self.has_room() {
            self.due = Some(now);
        }
    }

    /// Notes how far a container is read: after the last line, if that is one of its own, or after lines that are not sent.
    pub(super) fn mark(&mut self, container: &ContainerId, cursor: LogCursor) {
        let after_lines = self.lines.len();
        self.due.get_or_insert_with(|| Instant::now() + GATHER_NOTHING);
        let same = self.marks.iter_mut().rev().take_while(|it| it.after_lines == after_lines);
        match same.into_iter().find(|it| it.container == *container) {
            Some(mark) => mark.cursor = cursor,
            None => self.marks.push(Mark { after_lines, container: container.clone(), cursor }),
        }
    }

    /// Removes the first lines. How far the containers are read then.
    pub(super) fn take(&mut self, lines: usize) -> impl Iterator<Item = (ContainerId, LogCursor)> + use<> {
        self.lines.drain(..lines.min(self.lines.len()));
        self.bytes = self.lines.iter().map(|it| it.text.len()).sum();
        let reached = self.marks.iter().take_while(|it| it.after_lines <= lines).count();
        let reached: Vec<_> = self.marks.drain(..reached).collect();
        for mark in &mut self.marks {
            mark.after_lines -= lines;
        }
        reached.into_iter().map(|it| (it.container, it.cursor))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::EngineTime;
    use crate::state::cloud::LogSource;

    fn line(text: &str) -> CloudLogLine {
        CloudLogLine { text: text.to_owned(), at_ms: 1, source: LogSource::Stdout(7) }
    }

    #[tokio::test(start_paused = true)]
    async fn a_cursor_counts_once_the_lines_before_it_are_accepted() {
        let (a, b) = (ContainerId("a".into()), ContainerId("b".into()));
        let at = |it| LogCursor::starting_at(EngineTime(it));
        let mut body = Body::default();
        body.push(line("1"), None);
        body.mark(&a, at(1));
        body.mark(&b, at(10));
        body.mark(&a, at(2));
        body.push(line("2"), None);
        body.mark(&a, at(3));
        assert_eq!(body.take(1).collect::<Vec<_>>(), [(a.clone(), at(2)), (b, at(10))]);
        assert_eq!((body.lines().len(), body.take(1).collect::<Vec<_>>()), (1, vec![(a, at(3))]));
    }

    #[tokio::test(start_paused = true)]
    async fn lines_are_gathered_for_a_second_and_after_a_rest_for_a_moment() {
        let now = Instant::now();
        let mut body = Body::default();
        body.push(line("1"), None);
        assert_eq!(body.due(), Some(now + GATHER_AFTER_REST));
        let mut body = Body::default();
        body.push(line("1"), Some(now));
        assert_eq!(body.due(), Some(now + GATHER));
        (1..MOST_LINES).for_each(|_| body.push(line("more"), Some(now)));
        assert!(!body.has_room() && body.due() == Some(now));
        let mut body = Body::default();
        (0..16).for_each(|_| body.push(line(&"x".repeat(10_000)), None));
        assert!(!body.has_room());
    }
}
