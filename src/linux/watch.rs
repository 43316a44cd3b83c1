//! Reports that a file may have changed: written in place, replaced or removed, or its directory created, moved or removed.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::task::{Context, Poll, ready};

use inotify::{Event, EventMask, Inotify, WatchDescriptor, WatchMask, Watches};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Room for the events of one read: a name may take 255 bytes.
const BUFFER_BYTES: usize = 4096;

/// How often to retry if directories come and go while the watches are set.
const TRIES: usize = 10;

/// Watches a file through the directories that lead to it.
#[derive(Debug)]
pub(in crate::linux) struct FileWatcher {
    path: PathBuf,
    events: AsyncFd<Inotify>,
    /// Each watched directory, and the name in it that matters.
    places: Vec<(WatchDescriptor, OsString)>,
    /// The file is a symbolic link, so any name beside it may matter.
    link: bool,
}

/// What happened to the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::linux) enum FileChange {
    /// A program is still writing it.
    Writing,
    /// A program closed it after writing, or it appeared or disappeared.
    Done,
}

impl FileWatcher {
    /// A watcher without watches yet.
    #[expect(deprecated, reason = "what came instead is unsafe; an Inotify keeps its descriptor as long as it lives")]
    pub(in crate::linux) fn new(path: &Path) -> io::Result<Self> {
        let events = AsyncFd::with_interest(Inotify::init()?, Interest::READABLE)?;
        Ok(Self { path: path.to_owned(), events, places: Vec::new(), link: false })
    }

    /// Watches the directories that exist now. Call it again after each change.
    pub(in crate::linux) fn arm(&mut self) -> io::Result<()> {
        let mut places = Vec::new();
        for _ in 0..TRIES {
            places = self.places_now()?;
            // A directory that was created between two attempts is found by a third.
            let nearest = places.first().map(|(_, level, _)| *level);
            let appeared = nearest.is_some_and(|level| level > 0 && self.directory(level - 1).is_some_and(Path::is_dir));
            if !appeared {
                break;
            }
        }
        self.link = self.path.is_symlink();
        let mut kept: Vec<_> = places.into_iter().map(|(watch, _, name)| (watch, name)).collect();
        if self.link {
            // The watch follows the link; a dangling link is covered by the watch on its directory.
            kept.extend(self.watches().add(&self.path, file()).ok().map(|it| (it, OsString::new())));
        }
        let old = std::mem::replace(&mut self.places, kept);
        for (watch, _) in old {
            if !self.places.iter().any(|(kept, _)| *kept == watch) {
                // The kernel may have removed it, with its directory.
                let _ = self.watches().remove(watch);
            }
        }
        Ok(())
    }

    /// The next change. Reads what the kernel has queued at once, whether or not the reactor has reported readiness.
    pub(in crate::linux) fn poll_change(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<FileChange>> {
        loop {
            let read = match read(self.events.get_mut(), &self.places, self.link) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let mut guard = ready!(self.events.poll_read_ready_mut(cx))?;
                    match guard.try_io(|events| read(events.get_mut(), &self.places, self.link)) {
                        Ok(read) => read,
                        Err(_would_block) => continue,
                    }
                }
                read => read,
            };
            if let Some(change) = read? {
                return Poll::Ready(Ok(change));
            }
        }
    }

    fn watches(&self) -> Watches {
        self.events.get_ref().watches()
    }

    /// The directories above the file that exist, nearest first, with their distance.
    fn places_now(&self) -> io::Result<Vec<(WatchDescriptor, usize, OsString)>> {
        let mut places = Vec::new();
        let levels = self.path.ancestors().zip(self.path.ancestors().skip(1));
        for (level, (child, directory)) in levels.enumerate() {
            let mask = match (places.is_empty(), level) {
                (true, 0) => holder(),
                (true, _) => nearest(),
                (false, _) => above(),
            };
            match self.watches().add(directory, mask | WatchMask::ONLYDIR) {
                Ok(watch) => places.push((watch, level, child.file_name().unwrap_or(OsStr::new("")).to_owned())),
                Err(error) if absent(&error) => {}
                Err(error) if places.is_empty() => return Err(error),
                // A directory further up matters only if it is moved, so it is no error if it may not be watched.
                Err(_) => {}
            }
        }
        Ok(places)
    }

    fn directory(&self, level: usize) -> Option<&Path> {
        self.path.ancestors().nth(level + 1)
    }
}

/// Reads the queued events. Returns the last change that matters.
fn read(events: &mut Inotify, places: &[(WatchDescriptor, OsString)], link: bool) -> io::Result<Option<FileChange>> {
    let mut buffer = [0; BUFFER_BYTES];
    let events = events.read_events(&mut buffer)?;
    Ok(events.filter_map(|event| change(&event, places, link)).last())
}

fn change(event: &Event<&OsStr>, places: &[(WatchDescriptor, OsString)], link: bool) -> Option<FileChange> {
    if event.mask.contains(EventMask::Q_OVERFLOW) {
        return Some(FileChange::Done);
    }
    let (_, wanted) = places.iter().find(|(watch, _)| *watch == event.wd)?;
    let ours = event.name.is_none_or(|name| link || name == wanted);
    if !ours || event.mask.contains(EventMask::IGNORED) {
        return None;
    }
    let directory = event.mask.contains(EventMask::ISDIR);
    let begun = !directory && event.mask.intersects(EventMask::MODIFY | EventMask::CREATE);
    Some(if begun { FileChange::Writing } else { FileChange::Done })
}

fn absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// For the directory that holds the file.
fn holder() -> WatchMask {
    nearest()
        | WatchMask::MODIFY
        | WatchMask::CLOSE_WRITE
        | WatchMask::MOVED_FROM
        | WatchMask::DELETE
        // Permissions: who may read it.
        | WatchMask::ATTRIB
}

/// For the nearest directory above one that is missing.
fn nearest() -> WatchMask {
    above() | WatchMask::CREATE | WatchMask::MOVED_TO
}

/// For directories further up.
fn above() -> WatchMask {
    WatchMask::DELETE_SELF | WatchMask::MOVE_SELF
}

/// For the file a link leads to.
fn file() -> WatchMask {
    above() | WatchMask::MODIFY | WatchMask::CLOSE_WRITE | WatchMask::ATTRIB
}
