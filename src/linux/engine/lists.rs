//! The lists of the last snapshot, so that the next one requests only those that changed meanwhile.
//!
//! A list is requested again if an action of the agent or an event of the engine may have changed it, if an action failed, if
//! the engine's events are not read, and in any case when it is [`FRESH_FOR`] old: not every engine reports every change.

use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;

use crate::linux::engine::Engine;
use crate::port::EngineError;
use crate::state::{Container, EngineAction, Image, Network, Volume, VolumeSnapshot};

/// For how long a list is used again. A release of ten services is up within this time, and looks a dozen times.
const FRESH_FOR: Duration = Duration::from_secs(10);

/// The kinds of objects that an engine lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ListKind {
    Containers,
    Images,
    Networks,
    Volumes,
}

impl ListKind {
    /// What an action changes.
    pub(super) const fn of(action: &EngineAction) -> Self {
        match action {
            EngineAction::Pull(_) | EngineAction::RemoveImage(_) => Self::Images,
            EngineAction::Create(_)
            | EngineAction::Start(_)
            | EngineAction::Stop(_)
            | EngineAction::Kill(_)
            | EngineAction::Restart(_)
            | EngineAction::Rename(..)
            | EngineAction::Retire(..)
            | EngineAction::Connect(..)
            | EngineAction::RunHook(..) => Self::Containers,
            EngineAction::CreateNetwork(_) | EngineAction::RemoveNetwork(..) => Self::Networks,
            EngineAction::CreateVolume(_)
            | EngineAction::RemoveVolume(..)
            | EngineAction::KeepData(_)
            | EngineAction::PutDataBack(_) => Self::Volumes,
        }
    }
}

/// The lists of the last snapshot.
#[derive(Debug, Default)]
pub(super) struct ListCache {
    /// The engine's events are read.
    is_watched: bool,
    /// Actions under way that change networks.
    changing_networks: usize,
    pub(super) containers: CachedList<Vec<Container>>,
    pub(super) images: CachedList<Vec<Image>>,
    pub(super) networks: CachedList<Vec<Network>>,
    pub(super) volumes: CachedList<(Vec<Volume>, Vec<VolumeSnapshot>)>,
}

/// One of them.
#[derive(Debug)]
pub(super) struct CachedList<T> {
    /// How often the list may have changed.
    changes: u64,
    /// The list, and when it was requested. `None`: it may have changed since.
    known: Option<(Instant, T)>,
}

impl<T> Default for CachedList<T> {
    fn default() -> Self {
        Self { changes: 0, known: None }
    }
}

impl<T> CachedList<T> {
    fn forget(&mut self) {
        self.changes = self.changes.wrapping_add(1);
        self.known = None;
    }

    /// The list that the next snapshot uses. `None`: it is requested.
    pub(super) fn fresh(&mut self) -> Option<&mut T> {
        self.known.as_mut().filter(|(at, _)| at.elapsed() < FRESH_FOR).map(|(_, list)| list)
    }

    /// The list, to correct it by what the agent has just changed. What is being requested may be as it was before.
    pub(super) fn correct(&mut self) -> Option<&mut T> {
        self.changes = self.changes.wrapping_add(1);
        self.known.as_mut().map(|(_, list)| list)
    }

    /// The list as it was last requested, if nothing is known to have changed it since.
    pub(super) fn known(&self) -> Option<&T> {
        self.known.as_ref().map(|(_, list)| list)
    }
}

impl ListCache {
    /// Has the next snapshot request a list.
    pub(super) fn forget(&mut self, kind: ListKind) {
        match kind {
            ListKind::Containers => self.containers.forget(),
            ListKind::Images => self.images.forget(),
            ListKind::Networks => self.networks.forget(),
            ListKind::Volumes => self.volumes.forget(),
        }
    }

    /// Whether a network with this id or a volume of this name is listed.
    pub(super) fn have(&self, id: &str) -> bool {
        self.networks.known().is_some_and(|all| all.iter().any(|it| it.id.0 == id))
            || self.volumes.known().is_some_and(|(all, _)| all.iter().any(|it| it.name == id))
    }

    /// Has the next snapshot request every list.
    pub(super) fn forget_all(&mut self) {
        for kind in [ListKind::Containers, ListKind::Images, ListKind::Networks, ListKind::Volumes] {
            self.forget(kind);
        }
    }

    /// Whether an action of the agent changes networks now: a snapshot that lists them follows.
    pub(super) const fn are_networks_changing(&self) -> bool {
        self.changing_networks > 0
    }

    /// Whether the engine's events are read.
    pub(super) const fn is_watched(&self) -> bool {
        self.is_watched
    }

    /// Notes whether the engine's events are read. Events before are missed.
    pub(super) fn set_watched(&mut self, is_watched: bool) {
        self.is_watched = is_watched;
        self.forget_all();
    }
}

impl Engine {
    /// A list: as it is known, or as `request` gives it.
    pub(super) async fn listed<T: Clone>(
        &self,
        which: impl Fn(&mut ListCache) -> &mut CachedList<T>,
        request: impl Future<Output = Result<T, EngineError>>,
    ) -> Result<T, EngineError> {
        let begun = Instant::now();
        let changes = {
            let mut lists = self.lists.borrow_mut();
            let list = which(&mut lists);
            if let Some(list) = list.fresh() {
                return Ok(list.clone());
            }
            list.changes
        };
        let requested = request.await?;
        let mut lists = self.lists.borrow_mut();
        let is_watched = lists.is_watched;
        let list = which(&mut lists);
        // What changed meanwhile may be in it, or not.
        list.known = Some((begun, requested.clone())).filter(|_| is_watched && list.changes == changes);
        Ok(requested)
    }

    /// Notes that a list changes until the returned value is dropped: an action that is given up may be performed all the same.
    /// A container that an action is changing stays in its list as it was before.
    pub(super) fn changing(&self, kind: ListKind) -> ListChange<'_> {
        let mut lists = self.lists.borrow_mut();
        if kind != ListKind::Containers {
            lists.forget(kind);
        }
        lists.changing_networks += usize::from(kind == ListKind::Networks);
        ListChange { engine: self, kind, is_forgotten: true }
    }
}

/// A list that changes.
#[derive(Debug)]
pub(super) struct ListChange<'a> {
    engine: &'a Engine,
    kind: ListKind,
    /// The list is requested again once the change has ended.
    is_forgotten: bool,
}

impl ListChange<'_> {
    /// The change has ended, and the list was or will be corrected.
    pub(super) fn needs_no_request(mut self) {
        self.is_forgotten = false;
    }
}

impl Drop for ListChange<'_> {
    fn drop(&mut self) {
        let mut lists = self.engine.lists.borrow_mut();
        if self.is_forgotten {
            lists.forget(self.kind);
        }
        lists.changing_networks -= usize::from(self.kind == ListKind::Networks);
    }
}

#[cfg(test)]
mod tests;
