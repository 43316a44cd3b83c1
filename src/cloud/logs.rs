//! Uploads the lines of containers, and the agent's own.
//!
//! ```text
//! body       the lines of one request                                logs/body.rs
//! progress   how far each container was uploaded, saved              logs/progress.rs
//! upload     a body is sent until the cloud has it                   logs/upload.rs
//! ```
//!
//! A body of at most 50 lines is sent, and kept until its 201; meanwhile the next one is gathered, a line of each container in
//! turn. That is all that is held: further lines stay with the engine, whose streams are not read, and are closed if the cloud
//! is away for a minute. So a container that writes ten megabytes a second delays the line of another by one body.
//!
//! After each 201 the cursors of the body's containers are saved, in the runtime directory, and then the next body is sent. An
//! agent that was killed goes on from there; only if it is killed between the 201 and that write are up to 50 lines sent twice.
//! The durable copy is written once an hour, and before the machine goes down; after a power cut up to an hour of lines is sent
//! again rather than lost.
//!
//! Lines are dropped only by the rule in `followers/overload.rs`, never because the cloud is away. What the engine rotates away
//! meanwhile is lost, and said. The agent's own lines are not kept by any engine: of these the newest hundred wait.

mod body;
mod progress;
mod upload;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Notify, broadcast, watch};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until};
use tracing::info;

use crate::cloud::logs::body::Body;
use crate::cloud::logs::progress::Progress;
use crate::cloud::logs::upload::{Accepting, Sent, send};
use crate::cloud::pace::Pace;
use crate::followers::{Followed, Followers, Moment, Taken};
use crate::port::{Clock, Cloud, Engine, Store, World};
use crate::state::cloud::{CloudAccount, CloudLogLine, CloudStatus, LogSource};
use crate::state::switch::parse_switch;
use crate::state::{DeviceEvent, OutputStream, Status};
use crate::system_words::{self, SystemWords};

/// How many of the agent's own lines wait.
const SYSTEM_LINES: usize = 100;
/// After so long without room for a line the engine's streams are closed.
const CLOSE_AFTER: Duration = Duration::from_secs(60);
/// How often dropped lines are said, at most.
const LOG_DROPPED_EVERY: Duration = Duration::from_secs(10);

/// The ports that the upload needs.
struct LogPorts<'w, E, C, S, K> {
    engine: &'w E,
    cloud: &'w C,
    store: &'w S,
    clock: &'w K,
}

/// The channels of the upload.
struct LogLinks<'w> {
    account: &'w CloudAccount,
    pace: &'w Pace,
    request_refused: &'w Notify,
    publish: &'w watch::Sender<CloudStatus>,
}

/// The upload's channels to the rest of the agent.
#[derive(Debug)]
pub(super) struct LogFeeds<'a> {
    /// What the reconciler publishes.
    pub(super) status: watch::Receiver<Status>,
    /// What it does.
    pub(super) events: broadcast::Receiver<Arc<DeviceEvent>>,
    /// Asks for a poll without an `ETag`: the cloud may not have the device any more.
    pub(super) request_refused: &'a Notify,
    /// What became of the upload.
    pub(super) publish: &'a watch::Sender<CloudStatus>,
}

/// Uploads lines for as long as it is polled.
pub(super) async fn run<W: World>(world: &W, account: &CloudAccount, pace: &Pace, feeds: LogFeeds<'_>) -> Infallible {
    let LogFeeds { status, events, request_refused, publish } = feeds;
    let ports = LogPorts { engine: world.engine(), cloud: world.cloud(), store: world.store(), clock: world.clock() };
    upload(&ports, &LogLinks { account, pace, request_refused, publish }, status, events).await
}

/// A request under way.
type Sending<'w> = Pin<Box<dyn Future<Output = (Body, Sent)> + 'w>>;

/// What the upload knows.
struct LogUploader<'w, E, C, S, K> {
    ports: &'w LogPorts<'w, E, C, S, K>,
    links: &'w LogLinks<'w>,
    followers: Followers<'w, E>,
    progress: Progress,
    words: SystemWords,
    system: VecDeque<CloudLogLine>,
    next: Body,
    accepting: &'w Accepting,
    /// Whether the body that is gathered has no room, and when the engine's streams are closed for that.
    is_full: bool,
    close_at: Option<Instant>,
    /// Lines that were dropped and not said yet, and when that was last said.
    dropped: u64,
    dropped_logged: Option<Instant>,
    is_on: bool,
}

async fn upload<E: Engine, C: Cloud, S: Store, K: Clock>(
    ports: &LogPorts<'_, E, C, S, K>,
    links: &LogLinks<'_>,
    mut status: watch::Receiver<Status>,
    mut events: broadcast::Receiver<Arc<DeviceEvent>>,
) -> Infallible {
    let accepting = Accepting::default();
    let progress = Progress::load(ports.store, ports.clock.now_secs()).await;
    let mut it = LogUploader {
        ports,
        links,
        followers: Followers::new(ports.engine, Followed::Numbered),
        progress,
        words: SystemWords::default(),
        system: VecDeque::new(),
        next: Body::default(),
        accepting: &accepting,
        is_full: false,
        close_at: None,
        dropped: 0,
        dropped_logged: None,
        is_on: true,
    };
    it.say(system_words::STARTING.to_owned());
    it.on_status(&status.borrow_and_update());
    let mut sending: Option<Sending<'_>> = None;
    loop {
        it.fill();
        if sending.is_none() && it.next.due().is_some_and(|due| due <= Instant::now()) {
            sending = it.send_next().await;
        }
        let (room, moment) = (it.next.has_room(), it.moment());
        let due = it.next.due().filter(|_| sending.is_none());
        let attempt = it.followers.next_attempt().filter(|_| room);
        let wake = due.into_iter().chain(attempt).min();
        tokio::select! {
            biased;
            changed = status.changed() => match changed {
                Ok(()) => it.on_status(&status.borrow_and_update()),
                Err(_) => pending().await,
            },
            event = events.recv() => it.on_event(event, &status).await,
            (body, sent) = under_way(&mut sending) => {
                sending = None;
                if let Some(rest) = it.on_sent(body, sent).await {
                    sending = Some(it.sending(rest));
                }
            }
            taken = it.followers.next(moment), if room && it.is_on => it.on_taken(taken).await,
            // A body is due, or an engine that broke off is asked again.
            () = at(wake) => (),
            () = at(it.close_at) => {
                it.close_at = None;
                it.followers.close();
            }
            () = at(it.progress.next_durable()) => it.progress.save_durable(ports.store).await,
        }
    }
}

impl<'w, E: Engine, C: Cloud, S: Store, K: Clock> LogUploader<'w, E, C, S, K> {
    fn moment(&self) -> Moment {
        Moment { now_secs: self.ports.clock.now_secs(), accepting_since: self.accepting.since() }
    }

    /// Moves lines of the agent to the body, and notes whether that has room.
    fn fill(&mut self) {
        let now = Instant::now();
        let is_sayable = self.next.has_room() && self.system.len() < SYSTEM_LINES;
        if self.dropped > 0 && is_sayable && self.dropped_logged.is_none_or(|it| now.duration_since(it) >= LOG_DROPPED_EVERY) {
            let dropped = std::mem::take(&mut self.dropped);
            self.dropped_logged = Some(now);
            self.say(format!("Warning: Suppressed {dropped} message(s) due to high load"));
        }
        while self.next.has_room()
            && let Some(line) = self.system.pop_front()
        {
            self.next.push(line, self.accepting.last());
        }
        let was_full = std::mem::replace(&mut self.is_full, !self.next.has_room());
        if self.is_full != was_full {
            self.close_at = self.is_full.then(|| now + CLOSE_AFTER);
        }
    }

    /// Says a line of the agent's own.
    fn say(&mut self, text: String) {
        let at_ms = self.ports.clock.now_secs().saturating_mul(1000);
        if self.is_on {
            self.system.push_back(CloudLogLine { text, at_ms, source: LogSource::System });
        }
        if self.system.len() > SYSTEM_LINES {
            self.system.pop_front();
            self.count_dropped(1);
        }
    }

    fn count_dropped(&mut self, lines: u64) {
        self.dropped = self.dropped.saturating_add(lines);
        self.links.publish.send_modify(|it| {
            it.log_upload.dropped_lines = it.log_upload.dropped_lines.saturating_add(lines);
        });
    }

    fn on_status(&mut self, status: &Status) {
        self.switch(is_wanted(status));
        for line in self.words.on_status(status) {
            self.say(line);
        }
        if !self.is_on {
            return;
        }
        self.followers.update(status, self.progress.cursors(), self.ports.clock.now_secs());
        let followers = &self.followers;
        self.progress.observe(status, |id| followers.has(id));
        self.progress.hurry(status.shutdown.is_under_way());
        if status.shutdown.is_under_way() {
            self.fill();
            self.next.hurry();
        }
    }

    /// Switches the upload on or off. What is written while it is off is not uploaded later.
    fn switch(&mut self, is_on: bool) {
        if self.is_on == is_on {
            return;
        }
        self.is_on = is_on;
        if is_on {
            self.progress.begin_anew(self.ports.clock.now_secs());
        } else {
            self.followers.clear();
            self.system.clear();
            self.next = Body::default();
        }
        info!("the upload of logs is switched {}", if is_on { "on" } else { "off" });
    }

    async fn on_event(&mut self, event: Result<Arc<DeviceEvent>, RecvError>, status: &watch::Receiver<Status>) {
        match event {
            Ok(event) => {
                let text = self.words.on_event(&event, &status.borrow().current);
                if let Some(line) = text {
                    self.say(line);
                }
            }
            Err(RecvError::Lagged(missed)) => self.count_dropped(missed),
            // The reconciler has ended, and so does the agent.
            Err(RecvError::Closed) => pending().await,
        }
    }

    async fn on_taken(&mut self, taken: Taken) {
        let Taken { container, service, service_id, cursor, line, dropped } = taken;
        if dropped > 0 {
            self.count_dropped(dropped);
        }
        let Some(line) = line else {
            self.next.mark(&container, cursor);
            // A flood that is left out must not keep others from their turn.
            return yield_now().await;
        };
        if line.after_gap {
            self.say(format!(
                "Warning: Messages of service '{}' were lost: the container engine rotated its log",
                service.service
            ));
        }
        let source = match line.stream {
            OutputStream::Stdout => LogSource::Stdout(service_id),
            OutputStream::Stderr => LogSource::Stderr(service_id),
        };
        let at_ms = line.at.0.div_euclid(1_000_000);
        self.next.push(CloudLogLine { text: line.text, at_ms, source }, self.accepting.last());
        self.next.mark(&container, cursor);
    }

    /// Begins to send the body that was gathered. One without lines only moves cursors.
    async fn send_next(&mut self) -> Option<Sending<'w>> {
        let mut body = std::mem::take(&mut self.next);
        if body.lines().is_empty() {
            self.progress.advance(body.take(0));
            self.progress.save(self.ports.store).await;
            return None;
        }
        Some(self.sending(body))
    }

    fn sending(&self, body: Body) -> Sending<'w> {
        let (cloud, links, accepting) = (self.ports.cloud, self.links, self.accepting);
        Box::pin(send(cloud, links, accepting, body))
    }

    /// The cloud has lines, or will never take one. The lines that are still to be sent, if any.
    async fn on_sent(&mut self, mut body: Body, sent: Sent) -> Option<Body> {
        let lines = match sent {
            Sent::Accepted(lines) => lines,
            Sent::Refused => {
                self.count_dropped(1);
                1
            }
        };
        self.progress.advance(body.take(lines));
        self.progress.save(self.ports.store).await;
        (!body.lines().is_empty()).then_some(body)
    }
}

/// Whether lines are uploaded: not in local mode, whose user reads them on the device.
fn is_wanted(status: &Status) -> bool {
    let control = status.target.as_ref().and_then(|it| it.config.get("SUPERVISOR_LOG_CONTROL"));
    !status.access.local_mode && control.and_then(|it| parse_switch(it)).unwrap_or(true)
}

/// A request's end, if one is under way.
async fn under_way(sending: &mut Option<Sending<'_>>) -> (Body, Sent) {
    match sending {
        Some(it) => it.await,
        None => pending().await,
    }
}

/// An instant, if there is one.
async fn at(instant: Option<Instant>) {
    match instant {
        Some(it) => sleep_until(it).await,
        None => pending().await,
    }
}

#[cfg(test)]
mod tests;
