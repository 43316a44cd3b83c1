//! Being woken when something of ours may have changed.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::time::Duration;

use bollard::errors::Error;
use bollard::models::{EventMessage, EventMessageTypeEnum};
use bollard::query_parameters::EventsOptions;
use futures_util::{Stream, StreamExt, stream};
use tokio::time::Instant;
use tracing::debug;

use crate::backoff::Backoff;
use crate::linux::engine::{Engine, labels};
use crate::state::ContainerId;

/// Waits between two tries to find the engine.
const LEAST: Duration = Duration::from_millis(200);
const MOST: Duration = Duration::from_secs(5);
/// A connection that lived so long was a good one.
const GOOD: Duration = Duration::from_secs(5);
/// Events that are taken for one when they come together.
const TOGETHER: usize = 256;

/// What the engine tells us about. It filters, so that a health check every second wakes nobody here.
const KINDS: [&str; 4] = ["container", "network", "volume", "image"];
/// `remove` is podman's word for `destroy`.
const DEEDS: [&str; 18] = [
    "create", "start", "restart", "die", "destroy", "remove", "rename", "update", "pause", "unpause", "pull", "delete", "tag",
    "untag", "load", "import", "prune", "oom",
];

type Batches = Pin<Box<dyn Stream<Item = Vec<Result<EventMessage, Error>>>>>;

/// A watcher of one engine, connected or not.
struct Watch<'a> {
    engine: &'a Engine,
    live: Option<(Batches, Instant)>,
    backoff: Backoff,
    pause: Duration,
}

impl Engine {
    /// An item whenever something of ours may have changed, and when the engine was found or lost. Never ends.
    pub(super) fn watch(&self) -> impl Stream<Item = ()> {
        let watch = Watch { engine: self, live: None, backoff: Backoff::new(LEAST, MOST), pause: Duration::ZERO };
        stream::unfold(watch, async |mut watch| {
            watch.next().await;
            Some(((), watch))
        })
    }

    async fn subscribe(&self) -> Option<Batches> {
        // Found anew each time: the engine that comes back may be another release.
        self.forget_link();
        let link = self.link().await.inspect_err(|error| debug!(%error, "no engine to listen to")).ok()?;
        let filters = [("type", &KINDS[..]), ("event", &DEEDS[..])];
        let list = |words: &[&str]| words.iter().map(|it| (*it).to_owned()).collect();
        let filters = filters.into_iter().map(|(name, words)| (name.to_owned(), list(words))).collect();
        // From the moment it was found: what happens before the stream stands is not lost.
        let options = EventsOptions { since: link.facts.since.clone(), until: None, filters: Some(filters) };
        Some(link.docker.events(Some(options)).ready_chunks(TOGETHER).boxed_local())
    }

    /// Whether an event may concern us. Forgets what was known of the container it is about.
    pub(super) fn concerns(&self, event: EventMessage) -> bool {
        let Some(actor) = event.actor else { return true };
        match event.typ {
            Some(EventMessageTypeEnum::CONTAINER) => {
                self.seen.borrow_mut().forget(&ContainerId(actor.id.unwrap_or_default()));
                let attributes: BTreeMap<_, _> = actor.attributes.unwrap_or_default().into_iter().collect();
                labels::supervised(&attributes)
            }
            _ => true,
        }
    }
}

impl Watch<'_> {
    async fn next(&mut self) {
        loop {
            let Some((batches, since)) = &mut self.live else {
                // An engine that hangs up at once is not asked without end.
                tokio::time::sleep(self.pause).await;
                if let Some(batches) = self.engine.subscribe().await {
                    self.live = Some((batches, Instant::now()));
                    return;
                }
                self.pause = self.backoff.fail();
                continue;
            };
            let batch = batches.next().await;
            let lost = batch.as_ref().is_none_or(|it| it.iter().any(Result::is_err));
            let mut concerned = false;
            for event in batch.into_iter().flatten().flatten() {
                concerned |= self.engine.concerns(event);
            }
            if lost {
                if since.elapsed() >= GOOD {
                    self.backoff.succeed();
                }
                self.live = None;
                self.pause = self.backoff.fail();
                return;
            }
            if concerned {
                return;
            }
        }
    }
}
