use super::super::tests::{self, images, stored, target};
use super::*;
use crate::reconcile::testing::{APP, TestWorld};

/// How the wanted release of the app fails.
fn failure_of(targets: &TargetTracker) -> FailedRelease {
    let fingerprint = targets.wanted_app(APP).unwrap().fingerprint();
    FailedRelease { fingerprint, commit: Some("one".to_owned()), at_secs: 0, cause: None, services: Vec::new() }
}

/// The image that the target in force has.
fn in_force(targets: &TargetTracker) -> String {
    targets.with_rollbacks().unwrap().apps[&APP].services[&"web".to_owned()].image.to_string()
}

fn on_trial(wanted: &str, good: Option<&str>) -> TargetTracker {
    TargetTracker { releases: ReleaseTracker::new(true), ..stored(Some(wanted), good, 0) }
}

#[test]
fn only_apps_that_ask_for_it_are_on_trial() {
    assert_eq!(stored(Some("web web:2"), Some("web web:1"), 0).on_trial().len(), 0);
    assert_eq!(on_trial("web web:2", Some("web web:1")).on_trial().len(), 1);
    let mut labelled = on_trial("web web:2\ndb db:1", Some("web web:1"));
    let label = |targets: &mut TargetTracker, service: &str, rollback| {
        let app = targets.stored.wanted.as_mut().unwrap().apps.get_mut(&APP).unwrap();
        app.services.get_mut(service).unwrap().trial.rollback = rollback;
    };
    label(&mut labelled, "db", Some(false));
    assert!(!labelled.rolls_back(APP), "a label wins over the agent's configuration");
    label(&mut labelled, "web", Some(true));
    assert!(labelled.rolls_back(APP), "one service asks for all");
    let mut by_variable = stored(Some("web web:2"), None, 0);
    by_variable.stored.wanted.as_mut().unwrap().config.insert(ROLLBACK_SETTING.to_owned(), "1".to_owned());
    assert!(by_variable.rolls_back(APP));
}

#[test]
fn an_app_goes_back_to_the_release_of_its_own_that_was_proven_last() {
    let mut targets = on_trial("web web:2", Some("web web:1"));
    assert!(!targets.prove(APP), "there was no failure to forget");
    assert!(targets.are_releases_proven());
    targets.stored.wanted = Some(target("web web:3"));
    let failed = failure_of(&targets);
    targets.releases.fail(APP, failed);
    assert_eq!(in_force(&targets), "web:2", "the whole last good target has an older one");
    assert!(targets.is_rolled_back() && !targets.are_releases_proven() && targets.on_trial().is_empty());
    let kept: Vec<_> = targets.good_services().map(|(.., it)| it.image.to_string()).collect();
    assert_eq!(kept, ["web:2"]);
}

#[test]
fn a_failure_is_forgotten_with_its_release_and_not_before() {
    let mut targets = on_trial("web web:2", Some("web web:1"));
    let failed = failure_of(&targets);
    targets.releases.fail(APP, failed);
    assert!(!targets.forget_other_failures());
    assert_eq!(in_force(&targets), "web:1");
    targets.stored.wanted = Some(target("web web:3"));
    assert!(targets.failure_of(APP).is_none() && targets.forget_other_failures());
    assert_eq!((in_force(&targets), targets.on_trial().len()), ("web:3".to_owned(), 1));
}

#[test]
fn without_a_good_release_the_one_that_failed_stays_and_stays_on_trial() {
    let mut targets = on_trial("web web:2", None);
    let failed = failure_of(&targets);
    targets.releases.fail(APP, failed);
    assert_eq!((in_force(&targets), targets.on_trial().len()), ("web:2".to_owned(), 1));
    assert!(matches!(targets.trials()[&APP], Some(ReleaseTrial::Failed(_))));
}

/// A target of two apps, each with one service; only the first goes back.
fn of_two(first: &str, second: &str) -> Target {
    let mut both = target(first);
    both.document = format!("{first}, {second}");
    let mut other = target(second).apps[&APP].clone();
    other.id = OTHER;
    other.services.iter_mut().map(|(_, it)| it).for_each(|it| it.trial.rollback = Some(false));
    both.apps.insert(OTHER, other);
    both
}

const OTHER: AppId = AppId(2);

/// The wanted target of two apps, and the one that was reached last.
fn two(wanted: Target, good: Target) -> TargetTracker {
    tests::on_trial(wanted, Some(good))
}

#[test]
fn suspect_of_a_crash_loop_is_what_is_not_proven_and_can_go_back() {
    let suspects = |it: &TargetTracker| it.suspects().iter().map(|it| it.id).collect::<Vec<_>>();
    assert_eq!(suspects(&two(of_two("web web:2", "db db:2"), of_two("web web:1", "db db:1"))), [APP]);
    assert_eq!(suspects(&two(of_two("web web:1", "db db:2"), of_two("web web:1", "db db:1"))), []);
    assert_eq!(suspects(&on_trial("web web:2", None)), [], "it has none to go back to");
    let mut failed = two(of_two("web web:2", "db db:2"), of_two("web web:1", "db db:1"));
    let failure = failure_of(&failed);
    failed.releases.fail(APP, failure);
    assert_eq!(suspects(&failed), []);
}

#[test]
fn what_stays_when_an_app_went_back_is_proven_once_it_is_reached() {
    let mut targets = two(of_two("web web:2", "db db:2"), of_two("web web:1", "db db:1"));
    assert!(targets.has_unproven());
    assert_eq!(targets.prove_what_stayed(), None, "a release is on trial");
    let failure = failure_of(&targets);
    targets.releases.fail(APP, failure);
    assert!(targets.has_unproven());
    assert_eq!(targets.prove_what_stayed(), Some(true));
    assert!(!targets.has_unproven() && targets.is_rolled_back());
    assert_eq!(targets.prove_what_stayed(), None, "nothing is left");
    let good = targets.good_target().unwrap();
    let images = [APP, OTHER].map(|it| good.apps[&it].services.values().next().unwrap().image.to_string());
    assert_eq!(images, ["web:1", "db:2"]);
}

#[test]
fn a_changed_configuration_of_the_device_is_unproven_until_something_proved_good_with_it() {
    let mut targets = two(of_two("web web:2", "db db:1"), of_two("web web:1", "db db:1"));
    let failure = failure_of(&targets);
    targets.releases.fail(APP, failure);
    assert!(!targets.has_unproven(), "all that is left was reached before");
    targets.stored.wanted.as_mut().unwrap().config.insert("SUPERVISOR_POLL_INTERVAL".to_owned(), "1".to_owned());
    assert!(targets.has_unproven());
    assert_eq!(targets.prove_what_stayed(), Some(true));
    assert!(!targets.has_unproven());
}

#[tokio::test]
async fn starts_are_counted_for_what_is_left_when_an_app_went_back() {
    let world = TestWorld::default();
    for (second, counted) in [("db db:1", false), ("db db:2", true)] {
        let mut targets = two(of_two("web web:2", second), of_two("web web:1", "db db:1"));
        let failure = failure_of(&targets);
        targets.releases.fail(APP, failure);
        targets.count_start(&world.context()).await;
        assert_eq!(!world.saved.take().is_empty(), counted, "{second}");
    }
}

#[tokio::test]
async fn images_of_the_good_release_stay_without_room_too() {
    let world = TestWorld::default();
    for (rollback, kept) in [(true, images(&["web:2"])), (false, images(&["web:1", "web:2"]))] {
        let mut targets = on_trial("web web:2", Some("web web:1"));
        targets.releases = ReleaseTracker::new(rollback);
        assert_eq!(targets.removable_images(true), kept);
    }
    let mut targets = on_trial("web web:2", Some("web web:1"));
    targets.prove(APP);
    targets.mark_reached(false, &world.context()).await;
    assert_eq!(targets.removable_images(false), images(&["web:1", "web:2"]));
    assert!(targets.stored.good_apps.is_empty());
}
