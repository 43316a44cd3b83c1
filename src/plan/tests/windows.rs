//! Update windows: what waits for one, and what does not.

use insta::assert_snapshot;

use super::model::{parse_target, story, story_of, story_with};
use crate::sorted::SortedSet;
use crate::state::local_mode::LocalApps;
use crate::state::window::{ClosedWindow, Opening};
use crate::state::{AppId, Current, LockState, Overrides, ServiceKey, Target};

fn closed() -> ClosedWindow {
    ClosedWindow { text: "02:00-04:00".to_owned(), opens: Opening::At { secs: 7200, offset: 0 } }
}

/// The windows of these services are closed.
pub(super) fn close(current: &mut Current, services: &[&str]) {
    current.windows.services = services.iter().map(|it| (ServiceKey::new(AppId(1), it), closed())).collect();
}

fn web_is_closed(_: &mut Overrides, current: &mut Current) {
    close(current, &["web"]);
}

#[test]
fn an_update_is_downloaded_and_created_and_waits_for_its_window() {
    assert_snapshot!(story_of("web web:2", "web web:1 running", web_is_closed), @"
    pull web:2
    create 1/web from web:2
    … 1/web waits for the update window `02:00-04:00`, which opens at 1970-01-01T02:00:00Z
    ");
}

#[test]
fn a_service_without_a_closed_window_is_updated_beside_one_that_waits() {
    assert_snapshot!(story_of("web web:2\ndb db:2", "web web:1 running\ndb db:1 running", web_is_closed), @"
    pull db:2, pull web:2
    create 1/db from db:2, create 1/web from web:2
    lock 1 (db web)
    kill 1/db
    rename 1/db to db_1_1_one, start 1/db, remove image db:1
    unlock 1
    … 1/web waits for the update window `02:00-04:00`, which opens at 1970-01-01T02:00:00Z
    ");
}

#[test]
fn what_does_not_run_is_installed_started_and_replaced_at_any_time() {
    assert_eq!(story_of("web web:1", "", web_is_closed), story("web web:1", ""));
    assert_eq!(story_of("web web:1", "web web:1 exited", web_is_closed), story("web web:1", "web web:1 exited"));
    // The one that crashed comes back first, and its update waits.
    assert_snapshot!(story_of("web web:2", "web web:1 exited", web_is_closed), @"
    pull web:2, start 1/web
    create 1/web from web:2
    … 1/web waits for the update window `02:00-04:00`, which opens at 1970-01-01T02:00:00Z
    ");
}

#[test]
fn a_service_that_is_removed_or_stopped_by_its_target_waits() {
    assert_snapshot!(story_of("", "web web:1 running", web_is_closed), @"… 1/web waits for the update window `02:00-04:00`, which opens at 1970-01-01T02:00:00Z");
    assert_snapshot!(story_of("web web:1 off", "web web:1 running", web_is_closed), @"… 1/web waits for the update window `02:00-04:00`, which opens at 1970-01-01T02:00:00Z");
}

#[test]
fn strategies_that_make_way_first_wait_with_their_download() {
    assert_snapshot!(story_of("web web:2 kill-first", "web web:1 running", web_is_closed), @"… 1/web waits for the update window `02:00-04:00`, which opens at 1970-01-01T02:00:00Z");
    assert_snapshot!(story_of("web web:2 hand-over", "web web:1 running", web_is_closed), @"
    pull web:2
    create 1/web from web:2
    … 1/web waits for the update window `02:00-04:00`, which opens at 1970-01-01T02:00:00Z
    ");
}

#[test]
fn a_hand_over_that_was_begun_is_finished() {
    let device = "web web:1 running retired\nweb web:2 running";
    assert_eq!(story_of("web web:2 hand-over", device, web_is_closed), story("web web:2 hand-over", device));
}

#[test]
fn a_network_is_made_anew_within_the_window_of_its_services() {
    let device = "web web:1 running\nnetwork default";
    assert_snapshot!(story_of("web web:1\nnetwork default internal", device, web_is_closed), @"… 1/web waits for the update window `02:00-04:00`, which opens at 1970-01-01T02:00:00Z");
    // Its containers are gone: nothing is disturbed any more.
    let device = "network default";
    let target = "web web:1\nnetwork default internal";
    assert_eq!(story_of(target, device, web_is_closed), story(target, device));
}

#[test]
fn what_shares_a_namespace_is_disturbed_with_its_owner() {
    let (target, device) = ("vpn vpn:2\nweb web:1 shares:vpn", "vpn vpn:1 running\nweb web:1 running shares:vpn");
    assert_snapshot!(story_of(target, device, web_is_closed), @"
    pull vpn:2
    create 1/vpn from vpn:2
    create 1/web from web:1
    … 1/web waits for the update window `02:00-04:00`, which opens at 1970-01-01T02:00:00Z
    ");
}

#[test]
fn a_forced_update_goes_on_outside_and_one_that_overrides_locks_does_not() {
    let forced = story_of("web web:2", "web web:1 running", |overrides, current| {
        close(current, &["web"]);
        overrides.outside_windows.insert(AppId(1));
    });
    assert_eq!(forced, story("web web:2", "web web:1 running"));
    let overriding = story_of("web web:2", "web web:1 running", |overrides, current| {
        close(current, &["web"]);
        overrides.force.insert(AppId(1));
    });
    assert_eq!(overriding, story_of("web web:2", "web web:1 running", web_is_closed));
}

#[test]
fn what_a_person_asks_for_waits_for_no_window() {
    let restarted = |target: &str| {
        story_of(target, "web web:1 running", |overrides, current| {
            close(current, &["web"]);
            overrides.recreate.extend(current.containers.iter().map(|it| it.id.clone()));
        })
    };
    // As it is, by a new container; and with an update that waits, in place.
    assert_snapshot!(restarted("web web:1"), @"
    create 1/web from web:1
    lock 1 (web)
    kill 1/web
    rename 1/web to web_1_1_one, start 1/web
    unlock 1
    ");
    assert_snapshot!(restarted("web web:2"), @"
    pull web:2, lock 1 (web)
    create 1/web from web:2, unlock 1
    lock 1 (web)
    restart 1/web
    unlock 1
    … 1/web waits for the update window `02:00-04:00`, which opens at 1970-01-01T02:00:00Z
    ");
    let stopped = story_of("web web:1", "web web:1 running", |overrides, current| {
        close(current, &["web"]);
        overrides.stopped.insert(ServiceKey::new(AppId(1), "web"));
    });
    assert_snapshot!(stopped, @"
    lock 1 (web)
    stop 1/web
    unlock 1
    ");
    let purged = |windows: &'static [&str]| {
        story_of("web web:1 volume:data", "web web:1 running volume:data\nvolume data", move |overrides, current| {
            close(current, windows);
            overrides.purge.insert(AppId(1));
        })
    };
    assert_eq!(purged(&["web"]), purged(&[]));
}

#[test]
fn local_mode_is_entered_at_any_time() {
    let local = LocalApps { is_on: true, has_owner: true, pushed: SortedSet::new() };
    let target = Target { local: Some(local), ..parse_target("web web:1") };
    assert_snapshot!(story_with(&target, "web web:1 running", web_is_closed), @"
    lock 1 (web)
    stop 1/web
    unlock 1
    ");
}

#[test]
fn locks_are_not_held_while_a_window_is_waited_for() {
    let held = story_of("web web:2", "web web:1 running\nimage web:2", |_, current| {
        close(current, &["web"]);
        current.locks.insert(AppId(1), LockState::Ours(["web".to_owned()].into()));
    });
    assert_snapshot!(held, @"
    create 1/web from web:2, unlock 1
    … 1/web waits for the update window `02:00-04:00`, which opens at 1970-01-01T02:00:00Z
    ");
}

#[test]
fn a_reboot_waits_for_the_window_of_the_device() {
    let wants = |outside: &'static [u32]| {
        move |overrides: &mut Overrides, current: &mut Current| {
            current.reboot_request_file = Some("/f".to_owned());
            current.windows.reboot = Some(closed());
            overrides.outside_windows.extend(outside.iter().map(|it| AppId(*it)));
        }
    };
    assert_snapshot!(story_of("web web:1", "web web:1 running", wants(&[])), @"
    … the host's configuration counts from the next boot (/f)
    … the reboot waits for the update window `02:00-04:00`, which opens at 1970-01-01T02:00:00Z
    ");
    assert_snapshot!(story_of("web web:1", "web web:1 running", wants(&[1])), @"reboot");
}
