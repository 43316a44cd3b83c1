//! Reports that one of some files may have changed: written in place, replaced or removed, or its directory created, moved or
//! removed.

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

/// Watches files through the directories that lead to them.
#[derive(Debug)]
pub(in crate::linux) struct FileWatcher {
    paths: Vec<PathBuf>,
    events: AsyncFd<Inotify>,
    places: Vec<Watched>,
}

/// A watched directory.
#[derive(Debug)]
struct Watched {
    watch: WatchDescriptor,
    /// The name in it that matters.
    name: OsString,
    /// The file is a symbolic link, so any name beside it may matter.
    is_link: bool,
}

/// What happened to the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::linux) enum FileChange {
    /// A program is still writing it.
    Writing,
    /// A program closed it after writing.
    Written,
    /// It was renamed to its path, whole.
    Replaced,
    /// It disappeared, or something else happened to it or to the directories that lead to it.
    Other,
}

impl FileWatcher {
    /// A watcher without watches yet.
    #[expect(deprecated, reason = "what came instead is unsafe; an Inotify keeps its descriptor as long as it lives")]
    pub(in crate::linux) fn new(path: &Path) -> io::Result<Self> {
        let events = AsyncFd::with_interest(Inotify::init()?, Interest::READABLE)?;
        Ok(Self { paths: vec![path.to_owned()], events, places: Vec::new() })
    }

    /// Watches these files, from the next [`FileWatcher::arm`] on.
    pub(in crate::linux) fn set_paths(&mut self, paths: Vec<PathBuf>) {
        self.paths = paths;
    }

    /// Watches the directories that exist now. Call it again after each change.
    pub(in crate::linux) fn arm(&mut self) -> io::Result<()> {
        let mut kept = Vec::new();
        for path in &self.paths {
            kept.extend(self.arm_path(path)?);
        }
        let old = std::mem::replace(&mut self.places, kept);
        for it in old {
            if !self.places.iter().any(|kept| kept.watch == it.watch) {
                // The kernel may have removed it, with its directory.
                let _ = self.watches().remove(it.watch);
            }
        }
        Ok(())
    }

    fn arm_path(&self, path: &Path) -> io::Result<Vec<Watched>> {
        let mut places = Vec::new();
        for _ in 0..TRIES {
            places = self.places_now(path)?;
            // A directory that was created between two attempts is found by a third.
            let nearest = places.first().map(|(_, level, _)| *level);
            let appeared = nearest.is_some_and(|level| level > 0 && directory(path, level - 1).is_some_and(Path::is_dir));
            if !appeared {
                break;
            }
        }
        let is_link = path.is_symlink();
        let mut kept: Vec<_> = places.into_iter().map(|(watch, _, name)| Watched { watch, name, is_link }).collect();
        if is_link {
            // The watch follows the link; a dangling link is covered by the watch on its directory.
            let watch = self.watches().add(path, self.mask(file()));
            kept.extend(watch.ok().map(|watch| Watched { watch, name: OsString::new(), is_link }));
        }
        Ok(kept)
    }

    /// Of several files, one may be in a directory that leads to another.
    fn mask(&self, mask: WatchMask) -> WatchMask {
        if self.paths.len() > 1 { mask | WatchMask::MASK_ADD } else { mask }
    }

    /// The next change. Reads what the kernel has queued at once, whether or not the reactor has reported readiness.
    pub(in crate::linux) fn poll_change(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<FileChange>> {
        loop {
            let read = match read(self.events.get_mut(), &self.places) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let mut guard = ready!(self.events.poll_read_ready_mut(cx))?;
                    match guard.try_io(|events| read(events.get_mut(), &self.places)) {
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
    fn places_now(&self, path: &Path) -> io::Result<Vec<(WatchDescriptor, usize, OsString)>> {
        let mut places = Vec::new();
        let levels = path.ancestors().zip(path.ancestors().skip(1));
        for (level, (child, directory)) in levels.enumerate() {
            let mask = match (places.is_empty(), level) {
                (true, 0) => holder(),
                (true, _) => nearest(),
                (false, _) => above(),
            };
            match self.watches().add(directory, self.mask(mask) | WatchMask::ONLYDIR) {
                Ok(watch) => places.push((watch, level, child.file_name().unwrap_or(OsStr::new("")).to_owned())),
                Err(error) if absent(&error) => {}
                Err(error) if places.is_empty() => return Err(error),
                // A directory further up matters only if it is moved, so it is no error if it may not be watched.
                Err(_) => {}
            }
        }
        Ok(places)
    }
}

fn directory(path: &Path, level: usize) -> Option<&Path> {
    path.ancestors().nth(level + 1)
}

/// Reads the queued events. Returns the last change that matters.
fn read(events: &mut Inotify, places: &[Watched]) -> io::Result<Option<FileChange>> {
    let mut buffer = [0; BUFFER_BYTES];
    let events = events.read_events(&mut buffer)?;
    Ok(events.filter_map(|event| change(&event, places)).last())
}

fn change(event: &Event<&OsStr>, places: &[Watched]) -> Option<FileChange> {
    if event.mask.contains(EventMask::Q_OVERFLOW) {
        return Some(FileChange::Other);
    }
    let mut of_watch = places.iter().filter(|it| it.watch == event.wd);
    let place = of_watch.find(|it| event.name.is_none_or(|name| it.is_link || name == it.name))?;
    if event.mask.contains(EventMask::IGNORED) {
        return None;
    }
    // Of a link's neighbours it is not known which of them it leads through.
    let is_file = !event.mask.contains(EventMask::ISDIR);
    Some(match event.mask {
        mask if is_file && mask.intersects(EventMask::MODIFY | EventMask::CREATE) => FileChange::Writing,
        mask if is_file && !place.is_link && mask.contains(EventMask::CLOSE_WRITE) => FileChange::Written,
        mask if is_file && !place.is_link && mask.contains(EventMask::MOVED_TO) => FileChange::Replaced,
        _ => FileChange::Other,
    })
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
