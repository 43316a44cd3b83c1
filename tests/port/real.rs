//! The suites, on this machine.

use std::fs;
use std::path::PathBuf;

use boardkeeper::linux::locks::Locks;
use boardkeeper::linux::store::Store;
use boardkeeper::state::ServiceKey;

use crate::{locks, store};

struct Host {
    root: tempfile::TempDir,
    locks: Locks,
}

impl Host {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("tmp")).unwrap();
        let locks = Locks::new(root.path());
        Self { root, locks }
    }

    fn directory(&self, service: &ServiceKey) -> PathBuf {
        self.root.path().join(format!("tmp/balena-supervisor/services/{}/{}", service.app, service.service))
    }
}

impl locks::Fixture for Host {
    fn locks(&self) -> &impl boardkeeper::port::Locks {
        &self.locks
    }

    fn makes(&self, service: &ServiceKey, file: &str) {
        let directory = self.directory(service);
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join(file), "").unwrap();
    }

    fn removes(&self, service: &ServiceKey, file: &str) {
        fs::remove_file(self.directory(service).join(file)).unwrap();
    }

    fn has(&self, service: &ServiceKey) -> Vec<String> {
        let entries = fs::read_dir(self.directory(service)).into_iter().flatten().flatten();
        let mut names: Vec<_> = entries.map(|it| it.file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

struct Disk {
    dir: tempfile::TempDir,
}

impl Disk {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }
}

impl store::Fixture for Disk {
    fn open(&self) -> impl boardkeeper::port::Store + use<> {
        Store::new(&self.dir.path().join("state"), Box::new(|document| Ok(store::target(document))))
    }

    fn spoils(&self, kind: &str) {
        fs::write(self.dir.path().join(format!("state/{kind}.json")), "\0\0\0\0").unwrap();
    }
}

/// A test for each fact of a suite.
macro_rules! hold {
    ($suite:ident, $world:ident: $($fact:ident)*) => {
        mod $suite {
            $(#[tokio::test]
            async fn $fact() {
                crate::$suite::$fact(super::$world::new()).await;
            })*
        }
    };
}

mod on_linux {
    use super::{Disk, Host};

    hold!(locks, Host:
        there_are_none_at_first
        what_is_taken_is_ours_until_released
        a_lock_of_a_service_holds_up_the_app
        a_refused_one_leaves_none_of_ours
        force_takes_it_away
        what_is_given_back_is_told
        a_hand_over_is_waited_for
        names_that_lead_elsewhere_are_refused);

    hold!(store, Disk:
        there_is_nothing_at_first
        what_was_saved_comes_back
        the_last_one_counts
        what_cannot_be_read_is_put_aside);
}
