//! The lines of the containers and of the agent, as they are written, for clients on the device.
//!
//! All clients share one reader of each container; there is none without a client. A client that reads more slowly than lines
//! are written loses lines, and then gets one line that says how many. It holds up no other client, and at most [`QUEUE`] lines
//! wait for it. The server disconnects a client that reads nothing for ten seconds.
//!
//! A client that asks for what was written before is read that by itself; see `past`.
//!
//! ```text
//! past     what was written before, and how a client joins the others after it      logs/past.rs
//! ```

mod past;

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until};

use crate::followers::{Followed, Followers, Moment, Taken};
use crate::port::{Clock, Engine};
use crate::request::StreamRefusal;
use crate::state::live_log::{LiveLogLine, LogPast, LogQuery, LogSince};
use crate::state::{AppId, DeviceEvent, EngineTime, LogCursors, Status};
use crate::streams::logs::past::{Joining, LogPosition, Pass, PastContainer, ReadBefore, WaitingLine};
use crate::system_words::SystemWords;

/// How many clients follow the log at once. `balena push` and `balena device logs` are one each.
pub(super) const CLIENTS: usize = 8;
/// How many lines wait for a client. A line is at most 10,000 characters long, and clients share it.
pub(super) const QUEUE: usize = 64;
/// After so many lines the clients have a turn to take them.
const TURN_LINES: usize = QUEUE / 4;
/// How soon a client that lost lines is sent how many, once it has room.
const SAY_LOST_EVERY: Duration = Duration::from_millis(500);

/// Where the lines of a new client come from, or why there are none.
type Reply = oneshot::Sender<Result<mpsc::Receiver<Arc<LiveLogLine>>, StreamRefusal>>;

/// The log, and the clients that follow it.
pub(super) struct LogStreams<'w, E, K> {
    engine: &'w E,
    clock: &'w K,
    followers: Followers<'w, E>,
    status: watch::Receiver<Status>,
    events: broadcast::Receiver<Arc<DeviceEvent>>,
    words: SystemWords,
    /// When the first client came: lines from then on are read.
    cursors: LogCursors,
    /// Those that follow the log.
    clients: Vec<LogClient>,
    /// What was written before, for clients that asked for it. Of one that only wants that, there is nothing else.
    passes: FuturesUnordered<LocalBoxFuture<'w, Pass>>,
    /// How many of the passes are for clients that follow nothing.
    readers: usize,
    /// Completes with a client that has gone.
    gone: FuturesUnordered<LocalBoxFuture<'static, u64>>,
    next_client: u64,
    /// Lines that were sent since the clients had a turn.
    sent: usize,
    say_lost_at: Option<Instant>,
}

/// A client.
struct LogClient {
    id: u64,
    query: LogQuery,
    lines: mpsc::Sender<Arc<LiveLogLine>>,
    /// Lines that it lost and was not sent the number of.
    lost: u64,
    /// What was written before is still read for it.
    joining: Option<Joining>,
    /// How far that was read.
    read: ReadBefore,
}

impl<'w, E: Engine, K: Clock> LogStreams<'w, E, K> {
    /// Without a client.
    pub(super) fn new(
        engine: &'w E,
        clock: &'w K,
        status: watch::Receiver<Status>,
        events: broadcast::Receiver<Arc<DeviceEvent>>,
    ) -> Self {
        Self {
            engine,
            clock,
            followers: Followers::new(engine, Followed::All),
            status,
            events,
            words: SystemWords::default(),
            cursors: LogCursors::default(),
            clients: Vec::new(),
            passes: FuturesUnordered::new(),
            readers: 0,
            gone: FuturesUnordered::new(),
            next_client: 0,
            sent: 0,
            say_lost_at: None,
        }
    }

    /// A client comes.
    pub(super) fn subscribe(&mut self, query: LogQuery, reply: Reply) {
        if self.clients.len() + self.readers >= CLIENTS {
            let _ = reply.send(Err(StreamRefusal::TooMany(CLIENTS))); // The client may have gone.
            return;
        }
        let (lines, receiver) = mpsc::channel(QUEUE);
        if reply.send(Ok(receiver)).is_err() {
            return;
        }
        if !query.follow {
            if let Some(past) = query.past {
                self.readers += 1;
                self.read_past(&query, past, None, lines);
            }
            return;
        }
        if self.clients.is_empty() {
            self.begin();
        }
        let (id, watched) = (self.next_client, lines.clone());
        self.next_client = self.next_client.wrapping_add(1);
        self.gone.push(async move { watched.closed().await }.map(move |()| id).boxed_local());
        let joining = query.past.map(|past| {
            self.read_past(&query, past, Some(id), lines.clone());
            Joining::default()
        });
        self.clients.push(LogClient { id, query, lines, lost: 0, joining, read: ReadBefore::default() });
    }

    /// Begins to read what was written before.
    fn read_past(&self, query: &LogQuery, past: LogPast, client: Option<u64>, lines: mpsc::Sender<Arc<LiveLogLine>>) {
        let now = self.now_ms().saturating_mul(1_000_000);
        let since = match past.since {
            None => EngineTime::default(),
            Some(LogSince::At(at)) => at,
            Some(LogSince::Ago(ago)) => {
                EngineTime(now.saturating_sub(i64::try_from(ago.as_nanos()).unwrap_or(i64::MAX)).max(0))
            }
        };
        let status = self.status.borrow();
        let containers = status.current.containers.iter().filter_map(|it| PastContainer::of(it, query, since)).collect();
        let (tail, now_ms) = (past.tail, self.now_ms());
        self.passes.push(Pass { client, containers, tail, now_ms }.read(self.engine, lines).boxed_local());
    }

    /// What was written before was read.
    fn on_pass_ended(&mut self, pass: Pass) {
        let Some(id) = pass.client else { return self.readers = self.readers.saturating_sub(1) };
        let now_ms = self.now_ms();
        // A client that has gone is not there any more.
        let Some(client) = self.clients.iter_mut().find(|it| it.id == id) else { return };
        if client.joining.as_mut().is_some_and(Joining::needs_another_pass) {
            self.passes.push(pass.read(self.engine, client.lines.clone()).boxed_local());
            return;
        }
        client.read = ReadBefore::of(&pass.containers);
        let Joining { waiting, missed, .. } = client.joining.take().unwrap_or_default();
        for line in &waiting {
            client.send(line, now_ms);
        }
        client.lost = client.lost.saturating_add(missed);
    }

    /// Waits for something to happen, and handles it. May be dropped at any await.
    pub(super) async fn step(&mut self) {
        if self.clients.is_empty() {
            // Without a client that follows, nothing else happens.
            match self.passes.next().await {
                Some(pass) => return self.on_pass_ended(pass),
                None => return pending().await,
            }
        }
        if self.sent >= TURN_LINES {
            self.sent = 0;
            yield_now().await;
        }
        // The overload rule is about a cloud that takes less than is written; here a slow client loses lines.
        let moment = Moment { now_secs: self.clock.now_secs(), accepting_since: None };
        let wake = self.say_lost_at.into_iter().chain(self.followers.next_attempt()).min();
        tokio::select! {
            biased;
            Some(id) = self.gone.next() => self.remove(id),
            Some(pass) = self.passes.next() => self.on_pass_ended(pass),
            changed = self.status.changed() => match changed {
                Ok(()) => self.on_status(),
                // The reconciler has ended, and so does the agent.
                Err(_) => pending().await,
            },
            event = self.events.recv() => match event {
                Ok(event) => self.on_event(&event),
                Err(RecvError::Lagged(missed)) => self.clients.iter_mut().for_each(|it| it.lost = it.lost.saturating_add(missed)),
                Err(RecvError::Closed) => pending().await,
            },
            taken = self.followers.next(moment) => self.on_taken(taken),
            () = async { sleep_until(wake.unwrap_or_else(Instant::now)).await }, if wake.is_some() => (),
        }
        self.say_lost();
    }

    /// The first client came: the log begins now.
    fn begin(&mut self) {
        let began = EngineTime(self.clock.now_secs().saturating_mul(1_000_000_000));
        self.cursors = LogCursors { began, ..LogCursors::default() };
        self.events = self.events.resubscribe();
        self.words = SystemWords::default();
        let status = self.status.borrow_and_update().clone();
        // What was so before is no news.
        drop(self.words.on_status(&status));
        self.followers.update(&status, &self.cursors, self.clock.now_secs());
    }

    fn remove(&mut self, id: u64) {
        self.clients.retain(|it| it.id != id);
        if self.clients.is_empty() {
            self.followers.clear();
            self.say_lost_at = None;
        }
    }

    fn on_status(&mut self) {
        let status = self.status.borrow_and_update().clone();
        for (app, text) in self.words.exits(&status) {
            self.say(Some(app), text);
        }
        for text in self.words.on_device_status(&status) {
            self.say(None, text);
        }
        self.followers.update(&status, &self.cursors, self.clock.now_secs());
    }

    fn on_event(&mut self, event: &DeviceEvent) {
        let text = self.words.on_event(event, &self.status.borrow().current);
        let step = match event {
            DeviceEvent::Begun(step)
            | DeviceEvent::Succeeded(step)
            | DeviceEvent::Failed { step, .. }
            | DeviceEvent::Cancelled(step) => step,
        };
        if let Some(text) = text {
            self.say(step.app(), text);
        }
    }

    fn on_taken(&mut self, Taken { container, service, line, .. }: Taken) {
        // Only lines that the service's log level leaves out.
        let Some(line) = line else { return self.sent += 1 };
        if line.after_gap {
            let name = &service.service;
            let text = format!("Warning: Messages of service '{name}' were lost: the container engine rotated its log");
            self.say(Some(service.app), text);
        }
        let at_ms = line.at.0.div_euclid(1_000_000);
        let (app, from) = (Some(service.app), Some((service.service, line.stream)));
        let place = LogPosition { container, stream: line.stream, cursor: line.next.of(line.stream) };
        self.send(LiveLogLine { text: line.text, at_ms, app, from }, Some(place));
    }

    /// Sends a line of the agent's own.
    fn say(&mut self, app: Option<AppId>, text: String) {
        self.send(LiveLogLine { text, at_ms: self.now_ms(), app, from: None }, None);
    }

    fn send(&mut self, line: LiveLogLine, place: Option<LogPosition>) {
        let (line, now_ms) = ((Arc::new(line), place), self.now_ms());
        for client in &mut self.clients {
            client.send(&line, now_ms);
        }
        self.sent += 1;
    }

    /// Sends clients that have room again how many lines they lost.
    fn say_lost(&mut self) {
        let now_ms = self.now_ms();
        let is_due = self.say_lost_at.is_some_and(|it| it <= Instant::now());
        let left =
            self.clients.iter_mut().filter(|it| it.lost > 0).filter_map(|it| (!is_due || !it.say_lost(now_ms)).then_some(()));
        self.say_lost_at = match (left.count() > 0, self.say_lost_at) {
            (false, _) => None,
            (true, Some(at)) if !is_due => Some(at),
            (true, _) => Some(Instant::now() + SAY_LOST_EVERY),
        };
    }

    fn now_ms(&self) -> i64 {
        self.clock.now_secs().saturating_mul(1000)
    }
}

impl LogClient {
    fn send(&mut self, line: &WaitingLine, now_ms: i64) {
        if !self.query.wants(&line.0) || line.1.as_ref().is_some_and(|place| self.read.has(place)) {
            return;
        }
        if let Some(joining) = &mut self.joining {
            return joining.keep(line.clone(), QUEUE);
        }
        if !self.say_lost(now_ms) || self.lines.try_send(Arc::clone(&line.0)).is_err() {
            self.lost = self.lost.saturating_add(1);
        }
    }

    /// Sends how many lines were lost, if any and if there is room for a line after it. Whether none is left to be said.
    fn say_lost(&mut self, now_ms: i64) -> bool {
        if self.lost > 0 && self.joining.is_none() && self.lines.capacity() >= 2 {
            let text = format!("Warning: Suppressed {} message(s) due to high load", self.lost);
            let line = LiveLogLine { text, at_ms: now_ms, app: None, from: None };
            if self.lines.try_send(Arc::new(line)).is_ok() {
                self.lost = 0;
            }
        }
        self.lost == 0
    }
}

#[cfg(test)]
mod tests;
