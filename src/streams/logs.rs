//! The lines of the containers and of the agent, as they are written, for clients on the device.
//!
//! All clients share one reader of each container; there is none without a client. A client that reads more slowly than lines
//! are written loses lines, and then gets one line that says how many. It holds up no other client, and at most [`QUEUE`] lines
//! wait for it. The server disconnects a client that reads nothing for ten seconds.

use std::collections::BTreeSet;
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
use crate::state::live_log::LiveLogLine;
use crate::state::{AppId, DeviceEvent, EngineTime, LogCursors, Status};
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
    clock: &'w K,
    followers: Followers<'w, E>,
    status: watch::Receiver<Status>,
    events: broadcast::Receiver<Arc<DeviceEvent>>,
    words: SystemWords,
    /// When the first client came: lines from then on are read.
    cursors: LogCursors,
    clients: Vec<LogClient>,
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
    /// The apps whose lines it may see. `None`: all, and those about the device.
    apps: Option<BTreeSet<AppId>>,
    lines: mpsc::Sender<Arc<LiveLogLine>>,
    /// Lines that it lost and was not sent the number of.
    lost: u64,
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
            clock,
            followers: Followers::new(engine, Followed::All),
            status,
            events,
            words: SystemWords::default(),
            cursors: LogCursors::default(),
            clients: Vec::new(),
            gone: FuturesUnordered::new(),
            next_client: 0,
            sent: 0,
            say_lost_at: None,
        }
    }

    /// A client comes.
    pub(super) fn subscribe(&mut self, apps: Option<BTreeSet<AppId>>, reply: Reply) {
        if self.clients.len() >= CLIENTS {
            let _ = reply.send(Err(StreamRefusal::TooMany(CLIENTS))); // The client may have gone.
            return;
        }
        let (lines, receiver) = mpsc::channel(QUEUE);
        if reply.send(Ok(receiver)).is_err() {
            return;
        }
        if self.clients.is_empty() {
            self.begin();
        }
        let (id, watched) = (self.next_client, lines.clone());
        self.next_client = self.next_client.wrapping_add(1);
        self.gone.push(async move { watched.closed().await }.map(move |()| id).boxed_local());
        self.clients.push(LogClient { id, apps, lines, lost: 0 });
    }

    /// Waits for something to happen, and handles it. May be dropped at any await.
    pub(super) async fn step(&mut self) {
        if self.clients.is_empty() {
            return pending().await;
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

    fn on_taken(&mut self, Taken { service, line, .. }: Taken) {
        // Only lines that the service's log level leaves out.
        let Some(line) = line else { return self.sent += 1 };
        if line.after_gap {
            let name = &service.service;
            let text = format!("Warning: Messages of service '{name}' were lost: the container engine rotated its log");
            self.say(Some(service.app), text);
        }
        let at_ms = line.at.0.div_euclid(1_000_000);
        let (app, from) = (Some(service.app), Some((service.service, line.stream)));
        self.send(LiveLogLine { text: line.text, at_ms, app, from });
    }

    /// Sends a line of the agent's own.
    fn say(&mut self, app: Option<AppId>, text: String) {
        self.send(LiveLogLine { text, at_ms: self.now_ms(), app, from: None });
    }

    fn send(&mut self, line: LiveLogLine) {
        let (line, now_ms) = (Arc::new(line), self.now_ms());
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
    fn send(&mut self, line: &Arc<LiveLogLine>, now_ms: i64) {
        let may_see = self.apps.as_ref().is_none_or(|apps| line.app.is_some_and(|app| apps.contains(&app)));
        if may_see && (!self.say_lost(now_ms) || self.lines.try_send(Arc::clone(line)).is_err()) {
            self.lost = self.lost.saturating_add(1);
        }
    }

    /// Sends how many lines were lost, if any and if there is room for a line after it. Whether none is left to be said.
    fn say_lost(&mut self, now_ms: i64) -> bool {
        if self.lost > 0 && self.lines.capacity() >= 2 {
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
