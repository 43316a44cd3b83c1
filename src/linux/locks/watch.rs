//! Waiting for locks to be released and for hand-overs, with inotify.

use std::ffi::OsStr;
use std::time::Duration;
use std::{io, mem};

use futures_util::{FutureExt, Stream, StreamExt, stream};
use inotify::{EventMask, EventStream, Inotify, WatchDescriptor, WatchMask};
use tokio::time::sleep;
use tracing::warn;

use super::tree::LockTree;
use super::tree::dir::OpenDir;
use crate::linux::off_thread;
use crate::port::LockError;
use crate::sorted::SortedMap;
use crate::state::ServiceKey;

/// Bytes read from the kernel's queue at once: some hundred events.
const BUFFER: usize = 4096;
/// Polling interval if the kernel allows no watch.
const BLIND: Duration = Duration::from_secs(30);
/// Rate limit: a service that releases locks all the time causes an item this often at most.
const PAUSE: Duration = Duration::from_millis(100);
/// Advice for when the kernel refuses a watch.
const ADVICE: &str = "raise fs.inotify.max_user_watches and fs.inotify.max_user_instances with sysctl";

type Events = EventStream<[u8; BUFFER]>;

/// An item whenever a lock may have been released. Never ends.
pub(super) fn changes(tree: LockTree) -> impl Stream<Item = ()> {
    let watch = Watch { tree, watched: None, missed: false, complained: false };
    stream::unfold(watch, async |mut watch| {
        watch.next().await;
        Some(((), watch))
    })
}

/// Waits until a service reports that it is ready.
pub(super) async fn signalled(tree: &LockTree, key: &ServiceKey) -> Result<(), LockError> {
    loop {
        let mut events = watched(tree, key)?;
        // Checked after the watch was set, so no file is missed.
        let is_signalled = loop {
            if tree.is_signalled(key)? {
                break true;
            }
            match events.next().await {
                Some(Ok(event)) if !event.mask.contains(EventMask::IGNORED) => (),
                // The directory was removed: create it again, and watch it anew.
                Some(Ok(_) | Err(_)) | None => break false,
            }
        };
        // The kernel takes some 15 ms to close a queue of events, in which this thread would answer nothing.
        let _ = off_thread(move || drop(events)).await;
        if is_signalled {
            return Ok(());
        }
        sleep(PAUSE).await;
    }
}

/// The events in a service's directory. Its handle is closed again, or the kernel would not report its removal.
fn watched(tree: &LockTree, key: &ServiceKey) -> Result<Events, LockError> {
    let dir = tree.service(key)?;
    let watch = || {
        let events = events()?;
        let mask = WatchMask::CREATE | WatchMask::MOVED_TO | WatchMask::DELETE_SELF | WatchMask::ONLYDIR;
        events.watches().add(dir.handle_path(), mask)?;
        Ok(events)
    };
    watch().map_err(|why: io::Error| LockError::Failed(format!("cannot watch for the hand-over of {key}: {why}; {ADVICE}")))
}

fn events() -> io::Result<Events> {
    Inotify::init()?.into_event_stream([0; BUFFER])
}

struct Watch {
    tree: LockTree,
    watched: Option<Watched>,
    /// Something may have changed while nothing was watched.
    missed: bool,
    /// The failure was logged.
    complained: bool,
}

/// One queue of events for as long as the agent runs: the kernel takes some 15 ms to close one, in which this thread would
/// answer nothing.
struct Watched {
    events: Events,
    /// The directories that are watched, by the kernel's number of the watch.
    places: SortedMap<i32, (WatchDescriptor, PlaceKind)>,
    /// Directories came or went since they were watched.
    stale: bool,
    _kept: Option<OpenDir>,
}

/// What a watched directory is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PlaceKind {
    /// A service's own: its locks are in it.
    Service,
    /// Directories are in it.
    Above,
}

impl Watch {
    /// Waits until a lock may have been released.
    async fn next(&mut self) {
        loop {
            let Some(watched) = self.watched.as_mut().filter(|it| !it.stale) else {
                self.begin().await;
                if mem::replace(&mut self.missed, true) {
                    return;
                }
                continue;
            };
            match watched.wait().await {
                LockEvent::Release => {
                    sleep(PAUSE).await;
                    watched.drain();
                    return;
                }
                // A directory came or went; its events until it is watched are lost.
                LockEvent::Directory => {
                    watched.stale = true;
                    sleep(PAUSE).await;
                }
                LockEvent::Else => (),
            }
        }
    }

    async fn begin(&mut self) {
        let begun = match self.watched.take() {
            Some(watched) => Ok(watched),
            None => Watched::new(),
        };
        match begun.and_then(|it| it.armed(&self.tree)) {
            Ok(watched) => {
                self.watched = Some(watched);
                self.complained = false;
            }
            Err(why) => {
                if !mem::replace(&mut self.complained, true) {
                    warn!(%why, "update locks cannot be watched; {ADVICE}. They are read every {} s", BLIND.as_secs());
                }
                sleep(BLIND).await;
            }
        }
    }
}

/// What an event means for the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LockEvent {
    /// A lock was released.
    Release,
    /// Directories came or went, or events were lost.
    Directory,
    /// Nothing.
    Else,
}

impl Watched {
    /// Nothing is watched yet.
    fn new() -> Result<Self, String> {
        let events = events().map_err(|why| why.to_string())?;
        Ok(Self { events, places: SortedMap::new(), stale: false, _kept: None })
    }

    /// Watches the directories that are there now. Events until then are lost.
    fn armed(mut self, tree: &LockTree) -> Result<Self, String> {
        let text = |why: io::Error| why.to_string();
        while let Some(Some(_)) = self.events.next().now_or_never() {}
        let before = mem::take(&mut self.places);
        self.stale = false;
        let top = tree.make_services().map_err(|why| why.to_string())?;
        let kept = tree.keep();
        self.watch(&top, PlaceKind::Above).map_err(text)?;
        // Each directory is watched before it is listed, so that none in it is missed.
        for app in children(&top) {
            self.watch(&app, PlaceKind::Above).map_err(text)?;
            for service in children(&app) {
                self.watch(&service, PlaceKind::Service).map_err(text)?;
            }
        }
        for (number, (watch, _)) in before {
            if !self.places.contains_key(&number) {
                // The kernel has removed it, if the directory is gone.
                let _ = self.events.watches().remove(watch);
            }
        }
        Ok(Self { _kept: kept, ..self })
    }

    fn watch(&mut self, dir: &OpenDir, kind: PlaceKind) -> io::Result<()> {
        let goes = WatchMask::DELETE | WatchMask::MOVED_FROM | WatchMask::ONLYDIR;
        let mask = match kind {
            PlaceKind::Service => goes,
            PlaceKind::Above => goes | WatchMask::CREATE | WatchMask::MOVED_TO | WatchMask::DELETE_SELF,
        };
        let watch = self.events.watches().add(dir.handle_path(), mask)?;
        self.places.insert(watch.get_watch_descriptor_id(), (watch, kind));
        Ok(())
    }

    async fn wait(&mut self) -> LockEvent {
        match self.events.next().await {
            Some(Ok(event)) => self.meaning(event.mask, &event.wd, event.name.as_deref()),
            Some(Err(_)) | None => LockEvent::Directory,
        }
    }

    fn meaning(&self, mask: EventMask, watch: &WatchDescriptor, name: Option<&OsStr>) -> LockEvent {
        if mask.contains(EventMask::Q_OVERFLOW) {
            return LockEvent::Directory;
        }
        let is_lock = name.is_some_and(|it| it.as_encoded_bytes().ends_with(b"updates.lock"));
        match self.places.get(&watch.get_watch_descriptor_id()).map(|(_, kind)| *kind) {
            Some(_) if mask.contains(EventMask::IGNORED) => LockEvent::Directory,
            Some(PlaceKind::Service) if is_lock => LockEvent::Release,
            Some(PlaceKind::Above) if mask.intersects(EventMask::ISDIR | EventMask::DELETE_SELF) => LockEvent::Directory,
            // Among them are the agent's own locks in the making: they are files beside the services' directories.
            Some(PlaceKind::Service | PlaceKind::Above) | None => LockEvent::Else,
        }
    }

    /// Discards events that the item just given covers, unless they are about directories.
    fn drain(&mut self) {
        while let Some(Some(Ok(event))) = self.events.next().now_or_never() {
            self.stale |= self.meaning(event.mask, &event.wd, event.name.as_deref()) == LockEvent::Directory;
        }
    }
}

fn children(dir: &OpenDir) -> Vec<OpenDir> {
    let names = dir.directories().unwrap_or_default();
    names.iter().filter_map(|name| dir.open(name).ok().flatten()).collect()
}
