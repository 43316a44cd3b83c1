//! How far each container was uploaded: a copy for each body in the runtime directory, and a durable one now and then.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::warn;

use crate::port::{CursorCopy, Store, StoreError};
use crate::state::{ContainerId, EngineState, EngineTime, LogCursor, LogCursors, Status};

/// How often the durable copy is written: flash wears.
const DURABLE_EVERY: Duration = Duration::from_secs(60 * 60);
/// A store that fails is asked again after this long.
const RETRY: Duration = Duration::from_secs(60);
/// How often a start tries again to load the cursors, and after how long.
const LOADS: u32 = 3;
const LOAD_RETRY: Duration = Duration::from_secs(5);

/// The cursors, and when they were saved.
#[derive(Debug)]
pub(super) struct Progress {
    cursors: LogCursors,
    /// When the durable copy is written next. `None`: it is as the cursors are.
    next_durable: Option<Instant>,
    last_durable: Option<Instant>,
    is_failing: bool,
    is_hurried: bool,
}

impl Progress {
    /// What was saved. A device that uploads for the first time begins now, and a durable copy says so at once: the history of
    /// its containers is not uploaded, by no later start either.
    pub(super) async fn load(store: &impl Store, now_secs: i64) -> Self {
        let mut loaded = store.load_log_cursors().await;
        for _ in 0..LOADS {
            let Err(error) = &loaded else { break };
            warn!(%error, "how far logs were uploaded cannot be read yet");
            sleep(LOAD_RETRY).await;
            loaded = store.load_log_cursors().await;
        }
        let cursors = loaded.unwrap_or_else(|error| {
            warn!(%error, "how far logs were uploaded is not known; they are uploaded from now on");
            None
        });
        let is_new = cursors.is_none();
        let cursors = cursors.unwrap_or_else(|| LogCursors { began: time(now_secs), ..LogCursors::default() });
        let mut progress = Self { cursors, next_durable: None, last_durable: None, is_failing: false, is_hurried: false };
        if is_new {
            progress.save_durable(store).await;
        } else {
            // As far as an earlier start came.
            progress.last_durable = Some(Instant::now());
        }
        progress
    }

    /// The cursors.
    pub(super) const fn cursors(&self) -> &LogCursors {
        &self.cursors
    }

    /// Every container that is there is uploaded from now on. A durable copy says so at once, or a start after a power cut
    /// would upload what was written before.
    pub(super) fn begin_anew(&mut self, now_secs: i64) {
        self.cursors.began = time(now_secs.saturating_add(1));
        self.cursors.containers.clear();
        self.next_durable = Some(Instant::now());
    }

    /// The cloud has these lines.
    pub(super) fn advance(&mut self, reached: impl Iterator<Item = (ContainerId, LogCursor)>) {
        self.cursors.containers.extend(reached);
        self.on_change();
    }

    /// Forgets containers that were removed.
    pub(super) fn observe(&mut self, status: &Status, is_followed: impl Fn(&ContainerId) -> bool) {
        // Nothing is known of an engine that was not asked yet, or does not answer.
        if status.engine == EngineState::Up && status.observed_at.is_some() {
            let there = &status.current.containers;
            self.cursors.containers.retain(|id, _| is_followed(id) || there.iter().any(|it| it.id == *id));
        }
    }

    /// Whether the machine goes down: then the durable copy is written after each body.
    pub(super) fn hurry(&mut self, is_hurried: bool) {
        if is_hurried && self.next_durable.is_some() {
            self.next_durable = Some(Instant::now());
        }
        self.is_hurried = is_hurried;
    }

    /// When the durable copy is to be written.
    pub(super) const fn next_durable(&self) -> Option<Instant> {
        self.next_durable
    }

    /// Saves the cursors until the machine reboots.
    pub(super) async fn save(&mut self, store: &impl Store) {
        self.cursors.saves += 1;
        let saved = store.save_log_cursors(&self.cursors, CursorCopy::Boot).await;
        self.report(saved.as_ref().err());
    }

    /// Saves the durable copy.
    pub(super) async fn save_durable(&mut self, store: &impl Store) {
        self.cursors.saves += 1;
        let saved = store.save_log_cursors(&self.cursors, CursorCopy::Durable).await;
        let now = Instant::now();
        self.report(saved.as_ref().err());
        match saved {
            Ok(()) => (self.last_durable, self.next_durable) = (Some(now), None),
            Err(_) => self.next_durable = Some(now + RETRY),
        }
    }

    fn on_change(&mut self) {
        let now = Instant::now();
        let due = self.last_durable.map_or(now, |it| it + DURABLE_EVERY);
        let due = if self.is_hurried { now } else { due };
        self.next_durable = Some(self.next_durable.map_or(due, |it| it.min(due)));
    }

    fn report(&mut self, error: Option<&StoreError>) {
        if let Some(error) = error.filter(|_| !self.is_failing) {
            warn!(%error, "how far logs are uploaded cannot be saved; lines may be uploaded twice after the next start");
        }
        self.is_failing = error.is_some();
    }
}

const fn time(secs: i64) -> EngineTime {
    EngineTime(secs.saturating_mul(1_000_000_000))
}
