//! Leases of an app, which hold up what a lock file of one of its services would hold up.

use std::time::Duration;

use insta::assert_snapshot;

use super::model::{story, story_of};
use crate::sorted::SortedMap;
use crate::state::lease::{Lease, Leases};
use crate::state::{AppId, Current, LockState, Overrides};

fn lease(owner: &str, minutes: u32) -> Lease {
    let seconds = minutes * 60;
    let ends_up = Duration::from_secs(seconds.into());
    Lease { owner: owner.to_owned(), reason: "it records".to_owned(), seconds, ends_up, ends_secs: i64::from(seconds) }
}

fn leases(app: u32, all: &[Lease]) -> Leases {
    let of_app: SortedMap<_, _> = all.iter().map(|it| (it.owner.clone(), it.clone())).collect();
    SortedMap::from_iter([(AppId(app), of_app)])
}

fn leased(_: &mut Overrides, current: &mut Current) {
    current.leases = leases(1, &[lease("recorder", 5)]);
}

#[test]
fn a_lease_holds_up_an_update_and_not_its_download() {
    assert_snapshot!(story_of("web web:2", "web web:1 running", leased), @"
    pull web:2
    create 1/web from web:2
    … app 1 is locked by a lease of recorder until 1970-01-01T00:05:00Z (it records)
    ");
}

#[test]
fn what_does_not_run_is_started_under_a_lease() {
    let first = story("web web:1", "");
    assert_eq!(story_of("web web:1", "", leased), first);
    assert_snapshot!(story_of("web web:1", "web web:1 exited", leased), @"start 1/web");
}

#[test]
fn of_several_leases_the_one_that_ends_last_is_told() {
    let held = story_of("", "web web:1 running", |_, current| {
        current.leases = leases(1, &[lease("b", 5), lease("a", 10), lease("c", 1)]);
    });
    assert_snapshot!(held, @"… app 1 is locked by a lease of a until 1970-01-01T00:10:00Z (it records)");
}

#[test]
fn a_lease_of_another_app_holds_up_nothing_here() {
    let other = story_of("web web:2", "web web:1 running", |_, current| current.leases = leases(7, &[lease("a", 5)]));
    assert_eq!(other, story("web web:2", "web web:1 running"));
}

#[test]
fn force_overrides_a_lease() {
    let forced = story_of("web web:2", "web web:1 running", |overrides, current| {
        leased(overrides, current);
        overrides.force.insert(AppId(1));
    });
    assert_snapshot!(forced, @"
    pull web:2
    create 1/web from web:2
    lock 1 by force (web)
    kill 1/web
    rename 1/web to web_1_1_one, start 1/web, remove image web:1
    unlock 1
    ");
}

/// The force of a request ended with it, and the update that is left is held up again.
#[test]
fn our_locks_are_given_back_beside_a_lease_that_counts() {
    let held = story_of("web web:2", "web web:1 running", |overrides, current| {
        leased(overrides, current);
        current.locks.insert(AppId(1), LockState::Ours(["web".to_owned()].into()));
    });
    assert_snapshot!(held, @"
    pull web:2, unlock 1
    create 1/web from web:2
    … app 1 is locked by a lease of recorder until 1970-01-01T00:05:00Z (it records)
    ");
}

#[test]
fn a_lease_holds_up_a_reboot_unless_its_app_has_no_container() {
    let wants = |app: u32| {
        move |_: &mut Overrides, current: &mut Current| {
            current.reboot_request_file = Some("/f".to_owned());
            current.leases = leases(app, &[lease("recorder", 5)]);
        }
    };
    assert_snapshot!(story_of("web web:1", "web web:1 running", wants(1)), @"
    … the host's configuration counts from the next boot (/f)
    … app 1 is locked by a lease of recorder until 1970-01-01T00:05:00Z (it records)
    ");
    assert_snapshot!(story_of("web web:1", "web web:1 running", wants(7)), @"reboot");
}
