//! Waiting for locks to be released and for hand-overs, with inotify.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::time::Duration;
use std::{io, mem};

use futures_util::{FutureExt, Stream, StreamExt, stream};
use inotify::{EventMask, EventStream, Inotify, WatchMask};
use tokio::time::sleep;
use tracing::warn;

use super::tree::LockTree;
use super::tree::dir::OpenDir;
use crate::port::LockError;
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
        loop {
            if tree.is_signalled(key)? {
                return Ok(());
            }
            match events.next().await {
                Some(Ok(event)) if !event.mask.contains(EventMask::IGNORED) => (),
                // The directory was removed: create it again, and watch it anew.
                Some(Ok(_) | Err(_)) | None => break,
            }
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

struct Watched {
    events: Events,
    /// The watches of services' directories. The others are of the directories above.
    services: BTreeSet<i32>,
    /// Directories changed while events were skipped.
    stale: bool,
    _kept: Option<OpenDir>,
}

impl Watch {
    /// Waits until a lock may have been released.
    async fn next(&mut self) {
        loop {
            let Some(watched) = &mut self.watched else {
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
                // A directory came or went; its events until it was watched are lost.
                LockEvent::Directory => {
                    self.watched = None;
                    sleep(PAUSE).await;
                }
                LockEvent::Else => (),
            }
        }
    }

    async fn begin(&mut self) {
        match Watched::new(&self.tree) {
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
    fn new(tree: &LockTree) -> Result<Self, String> {
        let text = |why: io::Error| why.to_string();
        let top = tree.make_services().map_err(|why| why.to_string())?;
        let mut watched = Self { events: events().map_err(text)?, services: BTreeSet::new(), stale: false, _kept: tree.keep() };
        watched.above(&top).map_err(text)?;
        // Each directory is watched before it is listed, so that none in it is missed.
        for app in children(&top) {
            watched.above(&app).map_err(text)?;
            for service in children(&app) {
                let mask = WatchMask::DELETE | WatchMask::MOVED_FROM | WatchMask::ONLYDIR;
                let descriptor = watched.events.watches().add(service.handle_path(), mask).map_err(text)?;
                watched.services.insert(descriptor.get_watch_descriptor_id());
            }
        }
        Ok(watched)
    }

    /// Watches a directory of directories.
    fn above(&self, dir: &OpenDir) -> io::Result<()> {
        let mask = WatchMask::CREATE
            | WatchMask::MOVED_TO
            | WatchMask::DELETE
            | WatchMask::MOVED_FROM
            | WatchMask::DELETE_SELF
            | WatchMask::ONLYDIR;
        self.events.watches().add(dir.handle_path(), mask).map(|_| ())
    }

    async fn wait(&mut self) -> LockEvent {
        if self.stale {
            return LockEvent::Directory;
        }
        match self.events.next().await {
            Some(Ok(event)) => self.meaning(event.mask, event.wd.get_watch_descriptor_id(), event.name.as_deref()),
            Some(Err(_)) | None => LockEvent::Directory,
        }
    }

    fn meaning(&self, mask: EventMask, descriptor: i32, name: Option<&OsStr>) -> LockEvent {
        if mask.intersects(EventMask::Q_OVERFLOW | EventMask::IGNORED) {
            return LockEvent::Directory;
        }
        let is_lock = name.is_some_and(|it| it.as_encoded_bytes().ends_with(b"updates.lock"));
        match (self.services.contains(&descriptor), is_lock) {
            (true, true) => LockEvent::Release,
            (false, _) if mask.intersects(EventMask::ISDIR | EventMask::DELETE_SELF) => LockEvent::Directory,
            // Among them are the agent's own locks in the making: they are files beside the services' directories.
            (true, false) | (false, _) => LockEvent::Else,
        }
    }

    /// Discards events that the item just given covers, unless they are about directories.
    fn drain(&mut self) {
        while let Some(Some(Ok(event))) = self.events.next().now_or_never() {
            let meaning = self.meaning(event.mask, event.wd.get_watch_descriptor_id(), event.name.as_deref());
            if meaning == LockEvent::Directory {
                self.stale = true;
            }
        }
    }
}

fn children(dir: &OpenDir) -> Vec<OpenDir> {
    let names = dir.directories().unwrap_or_default();
    names.iter().filter_map(|name| dir.open(name).ok().flatten()).collect()
}
