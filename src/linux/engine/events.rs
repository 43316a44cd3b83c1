//! The engine's event stream, which triggers a snapshot whenever one of the agent's objects may have changed.

use std::pin::Pin;
use std::time::Duration;

use bollard::errors::Error;
use futures_util::{Stream, StreamExt, stream};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};
use tracing::{debug, warn};

use crate::backoff::Backoff;
use crate::linux::engine::json::EngineJson;
use crate::linux::engine::lists::ListKind;
use crate::linux::engine::{Engine, labels, transport};
use crate::linux::escaped;
use crate::state::{ContainerId, HealthStatus};

/// The first and the longest backoff between two attempts to find the engine.
const MIN_BACKOFF: Duration = Duration::from_millis(200);
const MAX_BACKOFF: Duration = Duration::from_secs(5);
/// A connection that lived so long resets the backoff.
const STABLE_AFTER: Duration = Duration::from_secs(5);
/// How many events are read as one batch if they arrive together.
const BATCH: usize = 256;
/// Rate limit of the stream's items: each causes a snapshot of the whole engine. The first event after a pause gives an item at
/// once.
const MIN_INTERVAL: Duration = Duration::from_millis(200);
/// Limit of events read within [`MIN_INTERVAL`]. An engine that sends more is not read to the end: the agent subscribes
/// anew after [`FLOOD_PAUSE`], and every container is inspected again. A hundred containers that start at once send 400.
const MAX_EVENTS: usize = 512;
/// How long the agent stays unsubscribed from an engine that floods the stream.
const FLOOD_PAUSE: Duration = Duration::from_secs(1);

/// The kinds of objects subscribed to. The engine filters, so that a health check every second causes no snapshot: `exec_start`
/// and its like are left out.
const KINDS: [&str; 4] = ["container", "network", "volume", "image"];
/// The actions subscribed to. `remove` is podman's term for `destroy`. Docker sends `health_status: healthy` when a container's
/// health changed; podman sends `health_status` after every check.
const ACTIONS: [&str; 20] = [
    "create",
    "start",
    "restart",
    "die",
    "destroy",
    "remove",
    "rename",
    "update",
    "pause",
    "unpause",
    "pull",
    "delete",
    "tag",
    "untag",
    "load",
    "import",
    "prune",
    "oom",
    "disconnect",
    HEALTH,
];
const HEALTH: &str = "health_status";

type Batches = Pin<Box<dyn Stream<Item = Vec<Result<Value, Error>>>>>;

/// A watcher of one engine, connected or not.
struct EventWatcher<'a> {
    engine: &'a Engine,
    live: Option<(Batches, Instant)>,
    /// Events of this engine, or of one before it, were read.
    was_live: bool,
    backoff: Backoff,
    pause: Duration,
    /// The earliest time of the next item.
    next_item: Instant,
    /// How many events were read since an instant, which is at most [`MIN_INTERVAL`] ago.
    events: (Instant, usize),
}

impl Engine {
    /// An item whenever one of the agent's objects may have changed, and when the engine was found or lost; at most five a
    /// second, however many events the engine sends. Never ends.
    pub(super) fn watch(&self) -> impl Stream<Item = ()> {
        let (backoff, now) = (Backoff::new(MIN_BACKOFF, MAX_BACKOFF), Instant::now());
        let watch = EventWatcher {
            engine: self,
            live: None,
            was_live: false,
            backoff,
            pause: Duration::ZERO,
            next_item: now,
            events: (now, 0),
        };
        stream::unfold(watch, async |mut watch| {
            watch.next().await;
            Some(((), watch))
        })
    }

    async fn subscribe(&self) -> Option<Batches> {
        // Events were missed meanwhile.
        self.container_cache.borrow_mut().forget_all();
        let connection = self.connection().await.inspect_err(|error| debug!(%error, "no engine to listen to")).ok()?;
        let filters = json!({"type": KINDS, "event": ACTIONS}).to_string();
        // Events since the engine was found: what happens before the subscription begins is not lost.
        let since = connection.facts.since.as_ref().map(|it| format!("&since={it}")).unwrap_or_default();
        let path = format!("{}/events?filters={}{since}", connection.version_path(), escaped(&filters));
        let events = transport::lines(connection.facts.host(), &path).await;
        let events = events.inspect_err(|error| debug!(%error, "the engine tells no events")).ok()?;
        Some(events.ready_chunks(BATCH).boxed_local())
    }

    /// Whether an event may concern the agent's objects. Has the event's container inspected again, or every container if the
    /// event has an unknown form. An unknown term ends nothing: the engine may be newer, and run foreign containers.
    pub(super) fn concerns(&self, event: &EngineJson) -> bool {
        let mut cache = self.container_cache.borrow_mut();
        let mut lists = self.lists.borrow_mut();
        if event.at("/Actor").is_none() {
            cache.forget_all();
            lists.forget_all();
            return true;
        }
        let id = event.text("/Actor/ID");
        match event.text("/Type") {
            "container" => {
                if health_of(event).is_some_and(|it| cache.knows_health(id, Some(it))) {
                    return false;
                }
                let (container, action) = (ContainerId(id.to_owned()), event.text("/Action"));
                let is_being_created = action == "create" && cache.is_creating(event.text("/Actor/Attributes/name"));
                let is_own_name = action == "rename" && cache.is_named(&container, event.text("/Actor/Attributes/name"));
                if is_being_created || is_own_name || cache.is_changing(&container) {
                    // What it is becomes known when the agent's own action has ended.
                    return false;
                }
                let is_ours = labels::supervised(&event.labels("/Actor/Attributes"));
                if is_ours && cache.hold_back(&container, action) || cache.has_seen(&container, action) {
                    return false;
                }
                lists.forget(ListKind::Containers);
                // The list has its new name.
                if action != "rename" {
                    cache.forget(&container);
                }
                is_ours || cache.lends_its_network(id)
            }
            // Containers leave networks all the time. The agent's do when they are stopped, or when a user disconnects them.
            "network" if event.text("/Action") == "disconnect" => {
                let container = ContainerId(event.text("/Actor/Attributes/container").to_owned());
                if cache.is_changing(&container) {
                    return false;
                }
                lists.forget(ListKind::Containers);
                let ours = cache.knows(&container.0);
                cache.forget(&container);
                ours
            }
            // A list has all that there is to know of them.
            "network" | "volume" if event.text("/Action") == "create" && lists.have(id) => false,
            kind => {
                match kind {
                    "network" => lists.forget(ListKind::Networks),
                    "volume" => lists.forget(ListKind::Volumes),
                    "image" => lists.forget(ListKind::Images),
                    _ => lists.forget_all(),
                }
                true
            }
        }
    }
}

/// The health that an event reports.
fn health_of(event: &EngineJson) -> Option<HealthStatus> {
    let health = event.text("/Action").strip_prefix(HEALTH)?.trim_start_matches([':', ' ']);
    // Labels are among the attributes, so podman's attribute counts only if the action has no health.
    HealthStatus::named(if health.is_empty() { event.text("/Actor/Attributes/health_status") } else { health })
}

impl Drop for EventWatcher<'_> {
    fn drop(&mut self) {
        self.engine.lists.borrow_mut().set_watched(false);
    }
}

impl EventWatcher<'_> {
    /// Waits for the next item.
    async fn next(&mut self) {
        let mut concerned = false;
        loop {
            let Some((batches, _)) = &mut self.live else {
                // Backoff, also for an engine that closes the stream at once.
                tokio::time::sleep(self.pause).await;
                if self.was_live {
                    // Found anew: the engine that comes back may be another release.
                    self.engine.forget_connection();
                }
                if let Some(batches) = self.engine.subscribe().await {
                    self.engine.lists.borrow_mut().set_watched(true);
                    self.was_live = true;
                    self.live = Some((batches, Instant::now()));
                    return self.gave_item();
                }
                self.pause = self.backoff.fail();
                continue;
            };
            let batch = tokio::select! {
                biased;
                // Read events even while no item is due: the containers they are about must be inspected again.
                batch = batches.next() => batch,
                () = self.engine.news.notified() => {
                    concerned = true;
                    continue;
                }
                () = sleep_until(self.next_item), if concerned => return self.gave_item(),
            };
            let lost = batch.as_ref().is_none_or(|it| it.iter().any(Result::is_err));
            if self.events.0.elapsed() >= MIN_INTERVAL {
                self.events = (Instant::now(), 0);
            }
            for event in batch.into_iter().flatten().flatten() {
                self.events.1 += 1;
                concerned |= self.engine.concerns(&EngineJson(event));
            }
            if lost || self.events.1 > MAX_EVENTS {
                self.hang_up(lost);
                return self.gave_item();
            }
            if concerned && Instant::now() >= self.next_item {
                return self.gave_item();
            }
        }
    }

    /// Drops the stream. The next item comes with the next subscription.
    fn hang_up(&mut self, lost: bool) {
        self.engine.lists.borrow_mut().set_watched(false);
        let since = self.live.take().map_or_else(Instant::now, |(_, since)| since);
        if !lost {
            warn!(events = self.events.1, "the engine sends too many events; the agent reads its whole state instead");
            self.engine.container_cache.borrow_mut().forget_all();
            self.pause = FLOOD_PAUSE;
            return;
        }
        if since.elapsed() >= STABLE_AFTER {
            self.backoff.succeed();
        }
        self.pause = self.backoff.fail();
    }

    fn gave_item(&mut self) {
        self.next_item = Instant::now() + MIN_INTERVAL;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::path::Path;

    use tokio::io::AsyncWriteExt;
    use tokio::net::UnixStream;

    use super::*;
    use crate::linux::engine::tests::scripted::{HELLO, asked, engine, serve};
    use crate::port::Engine as _;

    const EVENT: &str =
        r#"{"Type":"container","Action":"die","Actor":{"ID":"c","Attributes":{"io.balena.supervised":"1"}},"time":1}"#;

    /// Sends this many events for each subscription, and counts those that were written.
    async fn sends(socket: &Path, events: usize, sent: &Cell<usize>) {
        let answer = async |mut stream: UnixStream| {
            if !asked(&mut stream).await.contains("/events") {
                let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{HELLO}", HELLO.len());
                let _ = stream.write_all(answer.as_bytes()).await;
                return;
            }
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
            let chunk = format!("{:x}\r\n{EVENT}\n\r\n", EVENT.len() + 1);
            for _ in 0..events {
                if stream.write_all(chunk.as_bytes()).await.is_err() {
                    return;
                }
                sent.set(sent.get() + 1);
            }
            std::future::pending::<()>().await;
        };
        serve(socket, answer).await;
    }

    #[tokio::test]
    async fn a_flood_of_events_causes_five_snapshots_a_second_and_is_not_read_to_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let (socket, sent) = (dir.path().join("s"), Cell::new(0));
        let engine = engine(&socket);
        let counts = async {
            let mut events = std::pin::pin!(engine.events());
            let (began, mut items) = (Instant::now(), 0_u32);
            while began.elapsed() < Duration::from_secs(3) {
                events.next().await;
                items += 1;
            }
            (items, began.elapsed())
        };
        let (items, took) = tokio::select! {
            biased;
            counted = counts => counted,
            () = sends(&socket, usize::MAX, &sent) => unreachable!("it sends without end"),
        };
        // One item for each subscription, and one for each that is closed.
        assert!(items >= 3 && f64::from(items) <= took.as_secs_f64() * 5.0 + 3.0, "{items} in {took:?}");
        // What the socket's buffers hold is sent, and not read.
        assert!(sent.get() < 20_000, "{}", sent.get());
    }

    /// Sends the lines of `says` one after the other, [`STEP`] apart, to each subscriber; counts subscriptions.
    async fn tells(socket: &Path, says: &[&str], subscriptions: &Cell<usize>) {
        let answer = async |mut stream: UnixStream| {
            if !asked(&mut stream).await.contains("/events") {
                let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{HELLO}", HELLO.len());
                let _ = stream.write_all(answer.as_bytes()).await;
                return;
            }
            subscriptions.set(subscriptions.get() + 1);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
            for it in says {
                tokio::time::sleep(STEP).await;
                let _ = stream.write_all(format!("{:x}\r\n{it}\n\r\n", it.len() + 1).as_bytes()).await;
            }
            std::future::pending::<()>().await;
        };
        serve(socket, answer).await;
    }

    const STEP: Duration = Duration::from_millis(600);

    #[tokio::test]
    async fn an_event_in_words_that_are_not_known_delays_no_other() {
        for odd in [
            r#"{"Type":"wormhole","Action":"die","Actor":{"ID":"c","Attributes":{}}}"#,
            r#"{"Type":"container","Action":"ascend","scope":"galaxy","Actor":{"ID":"c","Attributes":{}},"timeNano":1e99}"#,
            r#"{"Type":7,"Action":null,"Actor":{"ID":[],"Attributes":{"a":null}}}"#,
            r#"{"Type":"container","Actor":null}"#,
            "nonsense",
        ] {
            let dir = tempfile::tempdir().unwrap();
            let (socket, subscriptions) = (dir.path().join("s"), Cell::new(0));
            let engine = engine(&socket);
            let last = async {
                let mut events = std::pin::pin!(engine.events());
                let (began, mut last) = (Instant::now(), Duration::ZERO);
                while tokio::time::timeout(4 * STEP, events.next()).await.is_ok() {
                    last = began.elapsed();
                }
                last
            };
            let says = [odd, odd, EVENT];
            let last = tokio::select! {
                biased;
                last = last => last,
                () = tells(&socket, &says, &subscriptions) => unreachable!("it serves without end"),
            };
            // The agent's own event is the third that is sent, and an item of the same stream.
            assert_eq!(subscriptions.get(), 1, "{odd}");
            assert!((3 * STEP..5 * STEP).contains(&last), "{odd}: the last item came after {last:?}");
        }
    }

    #[tokio::test]
    async fn an_event_after_a_rest_is_an_item_and_so_is_the_last_of_several() {
        let dir = tempfile::tempdir().unwrap();
        let (socket, sent) = (dir.path().join("s"), Cell::new(0));
        let engine = engine(&socket);
        let items = async {
            let mut events = std::pin::pin!(engine.events());
            let mut items = 0;
            while tokio::time::timeout(Duration::from_secs(2), events.next()).await.is_ok() {
                items += 1;
            }
            items
        };
        let items = tokio::select! {
            biased;
            items = items => items,
            () = sends(&socket, 100, &sent) => unreachable!("it serves without end"),
        };
        // One item for the subscription; a hundred events come at once and give one item, or two if the machine is slow.
        assert!((2..=12).contains(&items) && sent.get() == 100, "{items} items, {} events", sent.get());
    }
}
