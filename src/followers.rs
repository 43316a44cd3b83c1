//! The containers whose output is read, each with its place in its log, and one line after the other in turn.
//!
//! ```text
//! overload   when lines are dropped                                  followers/overload.rs
//! ```

mod overload;

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::Stream;
use tokio::time::Instant;
use tracing::{debug, warn};

use crate::backoff::Backoff;
use crate::followers::overload::Overload;
use crate::port::{Engine, EngineError};
use crate::sorted::SortedMap;
use crate::state::{
    Container, ContainerId, ContainerPhase, EngineLogLine, EngineTime, LogCursor, LogCursors, OutputStream, ServiceKey, Status,
};

/// The shortest and the longest wait before an engine that broke off is asked again.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// How many lines of one container are left out before the next container has its turn.
const TURN_LINES: u32 = 256;

type Lines<'e> = Pin<Box<dyn Stream<Item = Result<EngineLogLine, EngineError>> + 'e>>;

/// Which containers are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Followed {
    /// Those of services that have a number in the cloud.
    Numbered,
    /// All.
    All,
}

/// The containers whose output is read.
pub(crate) struct Followers<'e, E> {
    engine: &'e E,
    which: Followed,
    all: Vec<Follower<'e>>,
    /// Which one is asked first.
    turn: usize,
}

/// What a container's output gave.
#[derive(Debug)]
pub(crate) struct Taken {
    /// The container.
    pub(crate) container: ContainerId,
    /// Its service.
    pub(crate) service: ServiceKey,
    /// The service's number.
    pub(crate) service_id: u32,
    /// How far it is read.
    pub(crate) cursor: LogCursor,
    /// A line to be sent. `None`: there were only lines that are not sent.
    pub(crate) line: Option<EngineLogLine>,
    /// How many lines before it were dropped.
    pub(crate) dropped: u64,
}

/// How much of a service's output is sent: `BALENA_LOGS_LEVEL` in its environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    All,
    Errors,
    None,
}

/// When the lines are taken, for the decision whether they are dropped.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    /// The wall clock.
    pub(crate) now_secs: i64,
    /// Since when the cloud accepts every body.
    pub(crate) accepting_since: Option<Instant>,
}

/// One container.
struct Follower<'e> {
    id: ContainerId,
    service: ServiceKey,
    service_id: u32,
    level: Level,
    cursor: LogCursor,
    /// The start that was last observed.
    run: Option<EngineTime>,
    lines: Option<Lines<'e>>,
    /// The start that was last observed when the log was requested.
    requested_run: Option<EngineTime>,
    /// The log of that start was read to its end.
    has_ended: bool,
    retry_at: Option<Instant>,
    backoff: Backoff,
    overload: Overload,
    is_gone: bool,
}

impl<'e, E: Engine> Followers<'e, E> {
    /// No container.
    pub(crate) const fn new(engine: &'e E, which: Followed) -> Self {
        Self { engine, which, all: Vec::new(), turn: 0 }
    }

    /// Whether a container is among them.
    pub(crate) fn has(&self, id: &ContainerId) -> bool {
        self.all.iter().any(|it| it.id == *id)
    }

    /// Follows the containers that were observed.
    pub(crate) fn update(&mut self, status: &Status, cursors: &LogCursors, now_secs: i64) {
        let observed: SortedMap<_, _> = status.current.containers.iter().map(|it| (&it.id, it)).collect();
        for it in &mut self.all {
            it.is_gone = !observed.contains_key(&it.id);
        }
        // One that was removed may have lines left that are under way.
        self.all.retain(|it| !it.is_gone || it.lines.is_some());
        for (_, container) in observed {
            let service_id = status.target.as_ref().and_then(|it| it.service(&container.key)).map_or(0, |it| it.id);
            if let Some(it) = self.all.iter_mut().find(|it| it.id == container.id) {
                it.run = container.started;
                if service_id != 0 {
                    it.service_id = service_id;
                }
            } else if (service_id != 0 || self.which == Followed::All)
                && level(container) != Level::None
                && was_started(container)
            {
                self.all.push(Follower::new(container, service_id, begin(container, cursors, now_secs)));
            }
        }
    }

    /// Stops reading. What was not read stays with the engine.
    pub(crate) fn close(&mut self) {
        for it in &mut self.all {
            it.lines = None;
        }
    }

    /// Forgets every container.
    pub(crate) fn clear(&mut self) {
        self.all.clear();
    }

    /// When an engine that broke off is asked again.
    pub(crate) fn next_attempt(&self) -> Option<Instant> {
        self.all.iter().filter(|it| it.lines.is_none() && it.may_have_more()).filter_map(|it| it.retry_at).min()
    }

    /// The next line, of each container in turn. May be dropped: no line is lost.
    pub(crate) async fn next(&mut self, moment: Moment) -> Taken {
        poll_fn(|context| self.poll_next(context, moment)).await
    }

    fn poll_next(&mut self, context: &mut Context<'_>, moment: Moment) -> Poll<Taken> {
        let count = self.all.len();
        for step in 0..count {
            let index = (self.turn + step) % count;
            let Some(follower) = self.all.get_mut(index) else { continue };
            if let Poll::Ready(taken) = follower.poll_next(self.engine, context, moment) {
                self.turn = (index + 1) % count;
                return Poll::Ready(taken);
            }
        }
        self.all.retain(|it| !it.is_gone || it.lines.is_some());
        Poll::Pending
    }
}

impl<'e> Follower<'e> {
    fn new(container: &Container, service_id: u32, cursor: LogCursor) -> Self {
        Self {
            id: container.id.clone(),
            service: container.key.clone(),
            service_id,
            level: level(container),
            cursor,
            run: container.started,
            lines: None,
            requested_run: None,
            has_ended: false,
            retry_at: None,
            backoff: Backoff::new(FIRST_WAIT, LONGEST_WAIT),
            overload: Overload::default(),
            is_gone: false,
        }
    }

    fn poll_next<E: Engine>(&mut self, engine: &'e E, context: &mut Context<'_>, moment: Moment) -> Poll<Taken> {
        let (mut left_out, mut dropped) = (0, 0);
        let line = loop {
            if self.lines.is_none() && !self.request(engine) {
                break None;
            }
            match self.lines.as_mut().map_or(Poll::Pending, |it| it.as_mut().poll_next(context)) {
                Poll::Pending => {
                    self.overload.on_idle();
                    break None;
                }
                Poll::Ready(None) => self.on_end(),
                Poll::Ready(Some(Err(error))) => self.on_error(&error),
                Poll::Ready(Some(Ok(line))) => {
                    self.cursor = line.next;
                    self.backoff.succeed();
                    if self.is_unwanted(&line) {
                        left_out += 1;
                    } else if self.overload.drops(age(&line, moment.now_secs), moment.accepting_since) {
                        left_out += 1;
                        dropped += 1;
                    } else {
                        break Some(line);
                    }
                    if left_out >= TURN_LINES {
                        break None;
                    }
                }
            }
        };
        if line.is_none() && left_out == 0 {
            return Poll::Pending;
        }
        let (container, service) = (self.id.clone(), self.service.clone());
        Poll::Ready(Taken { container, service, service_id: self.service_id, cursor: self.cursor, line, dropped })
    }

    /// Requests the log, if there may be lines that were not read. Whether it did.
    fn request<E: Engine>(&mut self, engine: &'e E) -> bool {
        let waits = self.retry_at.is_some_and(|it| it > Instant::now());
        if waits || !self.may_have_more() {
            return false;
        }
        (self.retry_at, self.requested_run, self.has_ended) = (None, self.run, false);
        // Its lines may be old because the engine was away.
        self.overload = Overload::default();
        self.lines = Some(Box::pin(engine.logs(self.id.clone(), self.cursor)));
        true
    }

    /// Whether there may be lines that were not read.
    fn may_have_more(&self) -> bool {
        !(self.is_gone || self.has_ended && self.requested_run == self.run)
    }

    fn on_end(&mut self) {
        (self.lines, self.has_ended) = (None, true);
    }

    fn on_error(&mut self, error: &EngineError) {
        match error {
            EngineError::Unreachable(_) => {
                debug!(service = %self.service, %error, "its output is read on later");
                self.lines = None;
                self.retry_at = Some(Instant::now() + self.backoff.fail());
            }
            EngineError::Refused(_) | EngineError::Missing(_) | EngineError::InUse(_) | EngineError::Full(_) => {
                warn!(service = %self.service, %error, "its output is not read until it is started again");
                self.on_end();
            }
        }
    }

    fn is_unwanted(&self, line: &EngineLogLine) -> bool {
        self.level == Level::Errors && line.stream == OutputStream::Stdout
    }
}

/// Where a container's log is begun.
fn begin(container: &Container, cursors: &LogCursors, now_secs: i64) -> LogCursor {
    let now = EngineTime(now_secs.saturating_add(1).saturating_mul(1_000_000_000));
    match cursors.containers.get(&container.id) {
        // The clock was set back: the engine would give no line until it caught up.
        Some(cursor) if cursor.since() > now => LogCursor::starting_at(now),
        Some(cursor) => *cursor,
        None if container.created_secs < cursors.began.secs() => LogCursor::starting_at(cursors.began.min(now)),
        None => LogCursor::default(),
    }
}

const fn was_started(container: &Container) -> bool {
    match container.phase {
        ContainerPhase::Running | ContainerPhase::Restarting | ContainerPhase::Paused | ContainerPhase::Exited(_) => true,
        ContainerPhase::Created | ContainerPhase::Removing | ContainerPhase::Dead => false,
    }
}

/// Whether the lines of one of a container's streams are sent.
pub(crate) fn is_sent(container: &Container, stream: OutputStream) -> bool {
    match level(container) {
        Level::All => was_started(container),
        Level::Errors => stream == OutputStream::Stderr && was_started(container),
        Level::None => false,
    }
}

fn level(container: &Container) -> Level {
    let value = ["BALENA_LOGS_LEVEL", "RESIN_LOGS_LEVEL"].iter().find_map(|it| container.env.get(*it));
    match value.map(String::as_str) {
        Some("none") => Level::None,
        Some("err" | "error") => Level::Errors,
        Some(_) | None => Level::All,
    }
}

fn age(line: &EngineLogLine, now_secs: i64) -> Duration {
    Duration::from_secs(u64::try_from(now_secs.saturating_sub(line.at.secs())).unwrap_or(0))
}
