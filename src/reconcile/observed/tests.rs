use std::time::Duration;

use super::*;
use crate::reconcile::testing::{APP, TestWorld, held, key, parse_device, parse_target};

const OTHER: AppId = AppId(2);

fn observed(device: &str) -> Observed {
    let mut observed = Observed::new(SortedMap::new(), Schedule::new(Duration::from_secs(60)));
    observed.set_current(parse_device(device));
    observed
}

fn services(names: &[&str]) -> SortedSet<String> {
    names.iter().map(|&it| it.to_owned()).collect()
}

fn ours(names: &[&str]) -> LockState {
    LockState::Ours(services(names))
}

fn theirs() -> LockState {
    LockState::Held(held("web"))
}

/// The plan waits for this.
fn waits(observed: &mut Observed, waiting: Waiting) {
    observed.set_plan(Plan { waiting: vec![waiting], ..Plan::default() });
}

fn id(text: &str) -> ContainerId {
    ContainerId(text.to_owned())
}

#[test]
fn a_lock_of_ours_does_not_count_after_a_release_during_the_observation() {
    let mut observed = observed("");
    let seen = SortedMap::from_iter([(APP, ours(&["web"])), (OTHER, LockState::Both(held("web")))]);
    assert_eq!(observed.merged_locks(Some(seen.clone()), |_| false), seen);
    observed.locks_mut().on_released();
    assert_eq!(observed.merged_locks(Some(seen.clone()), |_| false), [(OTHER, theirs())].into_iter().collect());
    observed.locks_mut().on_observation_begins();
    assert_eq!(observed.merged_locks(Some(seen.clone()), |_| false), seen);
}

#[test]
fn a_lock_of_ours_does_not_count_while_it_is_being_released_or_lent() {
    let mut observed = observed("");
    let seen = SortedMap::from_iter([(APP, ours(&["web"])), (OTHER, ours(&["web"]))]);
    let left = SortedMap::from_iter([(OTHER, ours(&["web"]))]);
    assert_eq!(observed.merged_locks(Some(seen.clone()), |app| app == APP), left);
    observed.locks_mut().lend([APP].into());
    assert_eq!(observed.merged_locks(Some(seen), |_| false), left);
}

#[test]
fn locks_that_cannot_be_read_count_as_they_were_last_known() {
    let mut observed = observed("");
    observed.add_ours(APP, &services(&["web"]));
    assert_eq!(observed.merged_locks(None, |_| false), [(APP, ours(&["web"]))].into_iter().collect());
    assert_eq!(observed.merged_locks(None, |app| app == APP), [].into_iter().collect());
    assert_eq!(observed.merged_locks(Some(SortedMap::new()), |_| false), [].into_iter().collect());
}

#[test]
fn a_lock_blocks_unless_a_request_has_read_the_locks_since_the_observation_began() {
    let mut observed = observed("web web:1 running");
    waits(&mut observed, Waiting::Lock(APP, held("web")));
    assert_eq!(observed.blocking_lock(APP), Some(Refusal::Locked(held("web"))));
    assert_eq!(observed.blocking_lock(OTHER), None);
    observed.locks_mut().on_checked(APP);
    assert_eq!(observed.blocking_lock(APP), None);
    observed.locks_mut().on_observation_begins();
    assert_eq!(observed.blocking_lock(APP), Some(Refusal::Locked(held("web"))));
}

#[test]
fn services_of_the_target_and_of_containers_can_hold_locks() {
    let mut observed = observed("old old:1 running");
    let only = |names: &[&str]| LockHolders::Only(services(names));
    assert_eq!(observed.lock_holders(Some(&parse_target("web web:1"))), [(APP, only(&["old", "web"]))].into_iter().collect());
    // Our locks are released also if nothing else is left of an app.
    observed.add_ours(OTHER, &services(&["gone"]));
    assert_eq!(observed.lock_holders(None), [(APP, only(&["old"])), (OTHER, only(&[]))].into_iter().collect());
}

#[test]
fn an_app_is_known_by_the_target_or_by_what_is_left_of_it() {
    let mut observed = observed("");
    assert_eq!(observed.known_apps(None), [].into());
    assert_eq!(observed.known_apps(Some(&parse_target("web web:1"))), [APP].into());
    observed.add_ours(OTHER, &services(&["gone"]));
    assert_eq!(observed.known_apps(None), [OTHER].into());
    observed.set_current(parse_device("web web:1 exited"));
    assert_eq!(observed.known_apps(None), [APP].into());
}

#[test]
fn a_container_waits_for_a_boot_other_than_the_one_in_which_it_was_first_seen_waiting() {
    let mut observed = observed("web web:1 created\ndb db:1 created");
    waits(&mut observed, Waiting::Boot(key("web")));
    assert!(observed.record_awaiting_reboot("first"));
    assert!(!observed.record_awaiting_reboot("first"));
    assert_eq!(observed.awaited_boots("first"), [(id("web-0"), BootState::NotYet)].into_iter().collect());
    assert_eq!(observed.awaited_boots("second"), [(id("web-0"), BootState::Done)].into_iter().collect());
    // The plan of the next boot has not seen that yet.
    assert!(!observed.record_awaiting_reboot("second"));
    assert_eq!(*observed.awaiting_reboot(), [(id("web-0"), "first".to_owned())].into_iter().collect());
}

#[test]
fn a_container_that_is_gone_waits_for_no_boot() {
    let mut observed = observed("web web:1 created");
    waits(&mut observed, Waiting::Boot(key("web")));
    assert!(observed.record_awaiting_reboot("first"));
    observed.set_current(parse_device(""));
    assert!(observed.record_awaiting_reboot("first"));
    assert!(observed.awaiting_reboot().is_empty());
}

#[test]
fn no_boot_is_awaited_by_a_container_that_has_run_or_on_a_machine_without_boot_ids() {
    let mut running = observed("web web:1 running");
    waits(&mut running, Waiting::Boot(key("web")));
    assert!(!running.record_awaiting_reboot("first"));
    let mut nameless = observed("web web:1 created");
    waits(&mut nameless, Waiting::Boot(key("web")));
    assert!(!nameless.record_awaiting_reboot(""));
}

#[tokio::test]
async fn a_request_reads_the_locks_of_its_app_as_they_are_now() {
    let mut world = TestWorld { locks: Some(SortedMap::from_iter([(APP, theirs())])), ..TestWorld::default() };
    let mut observed = observed("web web:1 running");
    observed.refresh_locks(APP, None, &world).await;
    assert_eq!(observed.held_lock(APP), Some(&held("web")));
    assert!(observed.locks().was_checked(APP) && !observed.locks().was_checked(OTHER));
    world.locks = Some(SortedMap::new());
    observed.refresh_locks(APP, None, &world).await;
    assert_eq!(observed.held_lock(APP), None);
}

#[tokio::test]
async fn a_request_that_reads_the_locks_adds_none_of_ours_and_removes_none() {
    let world = TestWorld { locks: Some(SortedMap::from_iter([(APP, ours(&["web"]))])), ..TestWorld::default() };
    let mut observed = observed("web web:1 running");
    observed.refresh_locks(APP, None, &world).await;
    assert!(!observed.are_ours(APP));
    observed.add_ours(APP, &services(&["web"]));
    observed.refresh_locks(APP, None, &world).await;
    assert!(observed.are_ours(APP));
    observed.forget_ours(|app| app == APP);
    assert!(!observed.are_ours(APP));
}

#[tokio::test]
async fn a_request_that_cannot_read_the_locks_leaves_them_as_they_were_known() {
    let world = TestWorld::default();
    let mut observed = observed("web web:1 running");
    observed.update_locks(SortedMap::from_iter([(APP, theirs())]));
    observed.refresh_locks(APP, None, &world).await;
    assert_eq!(observed.held_lock(APP), Some(&held("web")));
    assert!(!observed.locks().was_checked(APP));
}

#[test]
fn a_reader_of_an_earlier_observation_keeps_its_locks() {
    let mut observed = observed("");
    let before = Arc::clone(observed.current());
    observed.add_ours(APP, &services(&["web"]));
    assert!(before.locks.is_empty() && observed.are_ours(APP));
}

#[test]
fn the_containers_of_a_service_are_known_after_the_first_observation() {
    let mut observed = Observed::new(SortedMap::new(), Schedule::new(Duration::from_secs(60)));
    assert!(!observed.knows_containers() && !observed.has_container(&key("web")));
    observed.set_current(parse_device("web web:1 exited\nweb web:2 running"));
    assert!(observed.knows_containers() && observed.has_container(&key("web")));
    assert_eq!(observed.containers(&key("web")).count(), 2);
    assert_eq!(observed.services(), [(APP, services(&["web"]))].into_iter().collect());
}
