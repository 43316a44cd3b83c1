//! Being woken when something of ours may have changed.

use std::pin::Pin;
use std::time::Duration;

use bollard::errors::Error;
use futures_util::{Stream, StreamExt, stream};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};
use tracing::{debug, warn};

use crate::backoff::Backoff;
use crate::linux::engine::json::EngineJson;
use crate::linux::engine::{Engine, labels, transport};
use crate::state::{ContainerId, HealthStatus};

/// Waits between two tries to find the engine.
const LEAST: Duration = Duration::from_millis(200);
const MOST: Duration = Duration::from_secs(5);
/// A connection that lived so long was a good one.
const GOOD: Duration = Duration::from_secs(5);
/// Events that are taken for one when they come together.
const TOGETHER: usize = 256;
/// The least time between two items: each is a snapshot of the whole engine. The first event after a rest is an item at once.
const BETWEEN: Duration = Duration::from_millis(200);
/// The most events that are read in that time. An engine that sends more is not read to the end: the stream is begun anew after
/// [`AFTER_FLOOD`], and every container is asked for details again. A hundred containers that start at once send 400.
const MOST_EVENTS: usize = 512;
/// How long an engine that floods the stream is not listened to.
const AFTER_FLOOD: Duration = Duration::from_secs(1);

/// What the engine tells us about. It filters, so that a health check every second causes no snapshot: `exec_start` and its like are
/// left out.
const KINDS: [&str; 4] = ["container", "network", "volume", "image"];
/// `remove` is podman's word for `destroy`. Docker sends `health_status: healthy` where a container's health changed; podman sends
/// `health_status` after every check.
const DEEDS: [&str; 20] = [
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
    backoff: Backoff,
    pause: Duration,
    /// The next item is given then at the soonest.
    next_item: Instant,
    /// Events that were read since an instant, which is not longer ago than [`BETWEEN`].
    events: (Instant, usize),
}

impl Engine {
    /// An item whenever something of ours may have changed, and when the engine was found or lost; at most five in a second,
    /// however many events the engine sends. Never ends.
    pub(super) fn watch(&self) -> impl Stream<Item = ()> {
        let (backoff, now) = (Backoff::new(LEAST, MOST), Instant::now());
        let watch = EventWatcher { engine: self, live: None, backoff, pause: Duration::ZERO, next_item: now, events: (now, 0) };
        stream::unfold(watch, async |mut watch| {
            watch.next().await;
            Some(((), watch))
        })
    }

    async fn subscribe(&self) -> Option<Batches> {
        // Found anew each time: the engine that comes back may be another release.
        self.forget_link();
        // Nothing was heard meanwhile.
        self.seen.borrow_mut().forget_all();
        let link = self.link().await.inspect_err(|error| debug!(%error, "no engine to listen to")).ok()?;
        let filters = json!({"type": KINDS, "event": DEEDS}).to_string();
        // From the moment it was found: what happens before the stream stands is not lost.
        let since = link.facts.since.as_ref().map(|it| format!("&since={it}")).unwrap_or_default();
        let path = format!("{}/events?filters={}{since}", link.version_path(), escaped(&filters));
        let events = transport::lines(link.facts.host(), &path).await;
        let events = events.inspect_err(|error| debug!(%error, "the engine tells no events")).ok()?;
        Some(events.ready_chunks(TOGETHER).boxed_local())
    }

    /// Whether an event may concern us. Forgets what was known of the container it is about; of every container where the event is
    /// in no form that is known. A word that is not known ends nothing: the engine may be newer, and have things of other people.
    pub(super) fn concerns(&self, event: &EngineJson) -> bool {
        let mut seen = self.seen.borrow_mut();
        if event.at("/Actor").is_none() {
            seen.forget_all();
            return true;
        }
        let id = event.text("/Actor/ID");
        match event.text("/Type") {
            "container" => {
                if told_health(event).is_some_and(|it| seen.knows_health(id, Some(it))) {
                    return false;
                }
                let lends = seen.lends_its_network(id);
                seen.forget(&ContainerId(id.to_owned()));
                lends || labels::supervised(&event.labels("/Actor/Attributes"))
            }
            // Containers leave networks all the time; ours when they are stopped, or by hand.
            "network" if event.text("/Action") == "disconnect" => {
                let container = event.text("/Actor/Attributes/container");
                let ours = seen.knows(container);
                seen.forget(&ContainerId(container.to_owned()));
                ours
            }
            _ => true,
        }
    }
}

/// A text as part of a query.
fn escaped(text: &str) -> String {
    let escape = |byte: u8| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(escape).collect()
}

/// The health that an event tells of.
fn told_health(event: &EngineJson) -> Option<HealthStatus> {
    let said = event.text("/Action").strip_prefix(HEALTH)?.trim_start_matches([':', ' ']);
    // Labels are among the attributes, so podman's attribute counts only where the action does not say it.
    HealthStatus::named(if said.is_empty() { event.text("/Actor/Attributes/health_status") } else { said })
}

impl EventWatcher<'_> {
    /// Waits for the next item.
    async fn next(&mut self) {
        let mut concerned = false;
        loop {
            let Some((batches, _)) = &mut self.live else {
                // An engine that hangs up at once is not asked without end.
                tokio::time::sleep(self.pause).await;
                if let Some(batches) = self.engine.subscribe().await {
                    self.live = Some((batches, Instant::now()));
                    return self.gave_item();
                }
                self.pause = self.backoff.fail();
                continue;
            };
            let batch = tokio::select! {
                biased;
                // Also while nothing may be given yet: containers that events are about must be asked for details.
                batch = batches.next() => batch,
                () = sleep_until(self.next_item), if concerned => return self.gave_item(),
            };
            let lost = batch.as_ref().is_none_or(|it| it.iter().any(Result::is_err));
            if self.events.0.elapsed() >= BETWEEN {
                self.events = (Instant::now(), 0);
            }
            for event in batch.into_iter().flatten().flatten() {
                self.events.1 += 1;
                concerned |= self.engine.concerns(&EngineJson(event));
            }
            if lost || self.events.1 > MOST_EVENTS {
                self.hang_up(lost);
                return self.gave_item();
            }
            if concerned && Instant::now() >= self.next_item {
                return self.gave_item();
            }
        }
    }

    /// Drops the stream. The next item is given when another one stands.
    fn hang_up(&mut self, lost: bool) {
        let since = self.live.take().map_or_else(Instant::now, |(_, since)| since);
        if !lost {
            warn!(events = self.events.1, "the engine floods its events; everything is looked at anew instead");
            self.engine.seen.borrow_mut().forget_all();
            self.pause = AFTER_FLOOD;
            return;
        }
        if since.elapsed() >= GOOD {
            self.backoff.succeed();
        }
        self.pause = self.backoff.fail();
    }

    fn gave_item(&mut self) {
        self.next_item = Instant::now() + BETWEEN;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::path::Path;

    use tokio::io::AsyncWriteExt;
    use tokio::net::UnixStream;

    use super::*;
    use crate::linux::engine::scripted::{HELLO, asked, engine, serve};
    use crate::port::Engine as _;

    const EVENT: &str =
        r#"{"Type":"container","Action":"die","Actor":{"ID":"c","Attributes":{"io.balena.supervised":"1"}},"time":1}"#;

    /// Sends this many events for each subscription, and counts those that were taken.
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
        // One for each stream that stands, and one for each that is hung up on.
        assert!(items >= 3 && f64::from(items) <= took.as_secs_f64() * 5.0 + 3.0, "{items} in {took:?}");
        // What the socket's buffers hold is sent, and not read.
        assert!(sent.get() < 20_000, "{}", sent.get());
    }

    /// Says one after the other what is in `says`, [`STEP`] apart, to whoever subscribes; counts subscriptions.
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
            // The event of ours is the third that is sent, and an item of the same stream.
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
        // The stream stands; a hundred events come at once and are told together, or in two parts where the machine is slow.
        assert!((2..=12).contains(&items) && sent.get() == 100, "{items} items, {} events", sent.get());
    }
}
