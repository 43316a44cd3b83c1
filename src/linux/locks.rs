//! Update locks: files in a directory that each service shares with the agent.
//!
//! A service finds its directory `<root>/tmp/balena-supervisor/services/<app>/<service>` mounted as `/tmp/balena` and
//! `/tmp/resin`. A file `updates.lock` or `resin-updates.lock` in it holds up updates, whatever its kind: a file, a directory,
//! a dangling link. The agent takes a service's locks by creating both.
//!
//! Two marks together identify a lock of the agent. Its owner is uid 65534, by which other supervisors know a lock of a
//! supervisor. Its mode has the sticky bit, which means nothing on a file and which no program sets by habit. The owner alone
//! is no proof: a service may run as uid 65534. Without root the agent cannot give files away; then the owner is its own uid.
//! Both marks are in the inode: they outlive a crash, need no record, and take no space, so that an app can be locked on a full
//! disk.
//!
//! A lock that another supervisor left behind has the supervisors' owner, but not the agent's mark. It counts as the agent's
//! own if all of this is true: both files of the service exist, and each belongs to uid 65534 and to group 0, has mode 0444 and
//! at most one byte. The supervisors' tool `lockfile` creates them so. Any other file of that owner is a service's lock, and
//! only force removes it: to wait for a lock that no service holds costs time, to remove one that a service holds may cost its
//! data.
//!
//! Every file is reached through directory handles that follow no symbolic link, because a container is root in its directory.

mod hand_over;
mod tree;
mod watch;

use std::path::Path;

use futures_util::Stream;

use crate::linux::off_thread;
use crate::port::{self, LockError};
use crate::sorted::{SortedMap, SortedSet};
use crate::state::{AppId, Force, LockHolders, LockState, ServiceKey};

pub use hand_over::hand_over;
use tree::LockTree;

/// The update locks below a host's root.
#[derive(Debug, Clone)]
pub struct Locks {
    tree: LockTree,
}

impl Locks {
    /// The locks of the host whose root is `root`. Touches no file yet.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self { tree: LockTree::new(root) }
    }

    async fn with_tree<T: Send + 'static>(
        &self,
        call: impl FnOnce(&LockTree) -> Result<T, LockError> + Send + 'static,
    ) -> Result<T, LockError> {
        let tree = self.tree.clone();
        off_thread(move || call(&tree)).await.map_err(LockError::Failed)?
    }
}

impl port::Locks for Locks {
    async fn observe(&self, apps: &SortedMap<AppId, LockHolders>) -> Result<SortedMap<AppId, LockState>, LockError> {
        let apps = apps.clone();
        self.with_tree(move |tree| {
            let mut seen = SortedMap::new();
            for (app, holders) in apps {
                if let Some(state) = tree.look(app, &holders)? {
                    seen.insert(app, state);
                }
            }
            Ok(seen)
        })
        .await
    }

    async fn apps(&self) -> Result<SortedSet<AppId>, LockError> {
        self.with_tree(LockTree::apps).await
    }

    async fn take(&self, app: AppId, services: &SortedSet<String>, force: Force) -> Result<(), LockError> {
        let services = services.clone();
        self.with_tree(move |tree| tree.take(app, &services, force)).await
    }

    async fn release(&self, app: AppId) -> Result<(), LockError> {
        self.with_tree(move |tree| tree.release(app)).await
    }

    async fn prepare(&self, key: &ServiceKey) -> Result<(), LockError> {
        let key = key.clone();
        self.with_tree(move |tree| tree.service(&key).map(drop)).await
    }

    async fn expect_hand_over(&self, key: &ServiceKey) -> Result<(), LockError> {
        let key = key.clone();
        self.with_tree(move |tree| tree.forget_signals(&key)).await
    }

    async fn handed_over(&self, key: &ServiceKey) -> Result<(), LockError> {
        watch::signalled(&self.tree, key).await
    }

    fn changes(&self) -> impl Stream<Item = ()> {
        watch::changes(self.tree.clone())
    }
}

#[cfg(test)]
mod tests;
