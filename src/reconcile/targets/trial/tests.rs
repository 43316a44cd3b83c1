use super::*;
use crate::reconcile::targets::tests::{images, stored, target};
use crate::reconcile::testing::{APP, TestWorld};
use crate::state::target_trial::{KeptTarget, TrialTime, TriedTarget};

fn now() -> BootTime {
    BootTime { boot_id: "a".to_owned(), up_secs: 0 }
}

fn tried(words: &str, over: &str) -> TargetTrialRecord {
    let time = TrialTime::begin(600, &now());
    TargetTrialRecord { tried: Some(TriedTarget { target: target(words), time, over: target(over).fingerprint() }), kept: None }
}

fn kept(words: &str, over: &str) -> TargetTrialRecord {
    let kept = KeptTarget { target: target(words), over: target(over).fingerprint() };
    TargetTrialRecord { tried: None, kept: Some(kept) }
}

fn in_force(targets: &TargetTracker) -> Option<Target> {
    targets.wanted().cloned()
}

#[tokio::test]
async fn what_is_tried_lies_over_what_the_sources_give() {
    let world = TestWorld::default();
    let mut targets = stored(Some("web web:1"), Some("web web:1"), 0);
    targets.set_trial(tried("web web:2", "web web:1"), &world.publish);
    assert_eq!(in_force(&targets), Some(target("web web:2")));
    assert!(targets.accept(target("web web:3"), &world.context()).await);
    assert_eq!(in_force(&targets), Some(target("web web:2")));
    assert!(targets.trial_status(&now()).unwrap().has_newer);
    targets.end_trial(&world.publish);
    assert_eq!(in_force(&targets), Some(target("web web:3")));
    assert_eq!(targets.trial_status(&now()), None);
}

#[tokio::test]
async fn a_trial_keeps_the_images_of_what_it_returns_to_and_proves_nothing() {
    let world = TestWorld::default();
    let mut targets = stored(Some("web web:1"), Some("web web:1"), 0);
    targets.set_trial(tried("web web:2", "web web:1"), &world.publish);
    targets.record_expected_pulls(&[], |_| false);
    assert!(!targets.mark_reached(false, &world.context()).await);
    assert!(targets.is_reached());
    for is_out_of_space in [false, true] {
        assert_eq!(targets.removable_images(is_out_of_space), images(&["web:2"]), "{is_out_of_space}");
    }
    assert_eq!(targets.last_good(), Some(&target("web web:1")));
    targets.end_trial(&world.publish);
    assert!(targets.is_reached());
}

#[tokio::test]
async fn a_service_that_makes_room_does_so_on_trial_too() {
    let world = TestWorld::default();
    let mut targets = stored(Some("web web:1"), Some("web web:1"), 0);
    let mut record = tried("web web:2", "web web:1");
    let tried = &mut record.tried.as_mut().unwrap().target;
    tried.apps.get_mut(&APP).unwrap().services.get_mut("web").unwrap().strategy = Strategy::DeleteThenDownload;
    targets.set_trial(record, &world.publish);
    assert!(targets.makes_room(APP, "web"));
    assert_eq!(targets.removable_images(false), images(&["web:1"]));
}

#[tokio::test]
async fn a_kept_target_gives_way_to_another_and_becomes_the_last_good_one() {
    let world = TestWorld::default();
    let mut targets = stored(Some("web web:1"), Some("web web:1"), 0).with_target_trial(kept("web web:2", "web web:1"));
    assert_eq!(in_force(&targets), Some(target("web web:2")));
    assert!(!targets.is_reached());
    // The record is saved whole: a mark would say it of the sources' target.
    assert!(targets.mark_reached(false, &world.context()).await);
    assert_eq!(targets.last_good(), Some(&target("web web:2")));
    assert!(!targets.accept(target("web web:1"), &world.context()).await);
    assert!(!targets.drop_outdated_kept());
    assert!(targets.accept(target("web web:3"), &world.context()).await);
    assert!(targets.drop_outdated_kept());
    assert_eq!(in_force(&targets), Some(target("web web:3")));
    assert_eq!(targets.last_good(), Some(&target("web web:2")));
}

#[test]
fn a_kept_target_is_dropped_at_the_start_if_another_one_was_saved() {
    let targets = stored(Some("web web:3"), None, 0).with_target_trial(kept("web web:2", "web web:1"));
    assert_eq!(in_force(&targets), Some(target("web web:3")));
}
