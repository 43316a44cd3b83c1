//! Update locks: files in a directory each service shares with us.
//!
//! A service finds its directory `<root>/tmp/balena-supervisor/services/<app>/<service>` mounted as `/tmp/balena` and
//! `/tmp/resin`. A file `updates.lock` or `resin-updates.lock` in it holds up updates, whatever it is: a file, a directory, a link
//! that leads nowhere. We take a service's locks by making both.
//!
//! Which locks are ours is told by their owner, uid 65534, as the supervisors before us did; so theirs are found and given back
//! too. A program in a container that runs as that very uid is taken for us: nothing distinguishes them. Without root we cannot
//! give files away; then a file of our own uid is ours whose mode has the sticky bit, which means nothing there and is nobody's
//! habit. Neither takes room, so that an app can be locked, and the board rebooted, on a full disk.
//!
//! Everything is reached through directory handles that follow no symbolic link, because a container is root in its directory.

mod tree;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use futures_util::Stream;

use crate::linux::off_thread;
use crate::port::{self, LockError};
use crate::state::{AppId, Force, Locks as LockState, ServiceKey};

use tree::Tree;

/// The update locks below a host's root.
#[derive(Debug, Clone)]
pub struct Locks {
    tree: Tree,
}

impl Locks {
    /// The locks of the host whose root is `root`. Nothing is touched yet.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self { tree: Tree::new(root) }
    }

    async fn with_tree<T: Send + 'static>(
        &self,
        deed: impl FnOnce(&Tree) -> Result<T, LockError> + Send + 'static,
    ) -> Result<T, LockError> {
        let tree = self.tree.clone();
        off_thread(move || deed(&tree)).await.map_err(LockError::Failed)?
    }
}

impl port::Locks for Locks {
    async fn observe(&self, apps: &BTreeSet<AppId>) -> Result<BTreeMap<AppId, LockState>, LockError> {
        let apps = apps.clone();
        self.with_tree(move |tree| {
            let mut seen = BTreeMap::new();
            for app in apps {
                if let Some(state) = tree.look(app)? {
                    seen.insert(app, state);
                }
            }
            Ok(seen)
        })
        .await
    }

    async fn apps(&self) -> Result<BTreeSet<AppId>, LockError> {
        self.with_tree(Tree::apps).await
    }

    async fn take(&self, app: AppId, services: &BTreeSet<String>, force: Force) -> Result<(), LockError> {
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
