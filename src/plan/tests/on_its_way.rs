//! Which steps are taken, and which are not, while images of a release are still being pulled.

use insta::assert_snapshot;

use super::model::{parse_device, parse_target, story, story_of};
use crate::plan::{AppUpdate, Plan, plan};
use crate::state::{AppId, Current, ImageRef, LockState, Overrides, ServiceKey, Step};

/// The steps of the first plan; its pulls may take for ever.
fn at_once(target: &str, device: &str, change: impl FnOnce(&mut Overrides, &mut Current)) -> String {
    let (mut current, mut overrides) = (parse_device(device), Overrides::default());
    change(&mut overrides, &mut current);
    let steps = plan(&parse_target(target), &overrides, &current).steps;
    steps.iter().map(Step::to_string).collect::<Vec<_>>().join(", ")
}

fn ours(_: &mut Overrides, current: &mut Current) {
    let services = current.containers.iter().map(|it| it.key.service.clone());
    current.locks.insert(AppId(1), LockState::Ours(services.collect()));
}

#[test]
fn locks_are_given_back_while_a_release_is_on_its_way() {
    let target = "web web:2\ndb db:2";
    let story = story_of(target, "web web:1 running\ndb db:1 running", |_, current| {
        current.locks.insert(AppId(1), LockState::Ours(["web", "db"].map(str::to_owned).into()));
    });
    assert_snapshot!(story, @"
    pull db:2, pull web:2, unlock 1
    create 1/db from db:2, create 1/web from web:2
    lock 1 (db web)
    kill 1/db, kill 1/web
    rename 1/db to db_1_1_one, start 1/db, rename 1/web to web_1_1_one, start 1/web, remove image db:1, remove image web:1
    unlock 1
    ");
}

#[test]
fn what_is_of_use_only_together_is_not_begun_in_part() {
    let updates = |target: &str, device: &str| {
        let plan = plan(&parse_target(target), &Overrides::default(), &parse_device(device));
        let words = |it: &AppUpdate| {
            let images = it.images.iter().map(ImageRef::as_str);
            images.chain(it.make_way.iter().map(|id| id.0.as_str())).collect::<Vec<_>>().join(" ")
        };
        plan.updates.iter().map(words).collect::<Vec<_>>()
    };
    let target = "web web:2\ndb db:2\nnew new:1";
    assert_eq!(updates(target, "web web:1 running\ndb db:1 running"), ["db:2 new:1 web:2"]);
    assert_eq!(updates(target, "web web:1 running\nimage new:1"), ["db:2 web:2"]);
    // A container that is killed to pull an image belongs to the update until it is gone.
    let target = "web web:2 kill-first\ndb db:1";
    assert_eq!(updates(target, "web web:1 running\ndb db:1 running"), ["web:2 web-0"]);
    assert_eq!(updates(target, "db db:1 running"), [""; 0]);
    // A first installation is better done in part than not at all; for a strategy that deletes first, the freed space is not
    // known.
    let target = "web web:2\ndb db:2 delete-first";
    assert_eq!(updates(target, ""), [""; 0]);
    assert_eq!(updates(target, "web web:1 running\nimage web:2"), [""; 0]);
    assert_eq!(updates(target, "web web:1 running\ndb db:1 running"), [""; 0]);
}

#[test]
fn one_slow_image_does_not_hold_up_a_service_that_has_its_own() {
    assert_snapshot!(story("web web:1\ndb db:1", "image db:1"), @"
    pull web:1, create network app_default
    create 1/db from db:1, create 1/web from web:1
    start 1/db, start 1/web
    ");
}

#[test]
fn the_old_one_runs_until_every_image_of_the_release_is_here() {
    assert_snapshot!(story("web web:2\ndb db:2", "web web:1 running\ndb db:1 running\nimage db:2"), @"
    pull web:2
    create 1/db from db:2, create 1/web from web:2
    lock 1 (db web)
    kill 1/db, kill 1/web
    rename 1/db to db_1_1_one, start 1/db, rename 1/web to web_1_1_one, start 1/web, remove image db:1, remove image web:1
    unlock 1
    ");
}

#[test]
fn a_restart_while_an_update_downloads_restarts_what_runs() {
    let story = story_of("web web:2", "web web:1 running", |overrides, current| {
        overrides.recreate.extend(current.containers.iter().map(|it| it.id.clone()));
    });
    assert_snapshot!(story, @"
    pull web:2, lock 1 (web)
    create 1/web from web:2, unlock 1
    lock 1 (web)
    kill 1/web
    rename 1/web to web_1_1_one, start 1/web, remove image web:1
    unlock 1
    ");
}

#[test]
fn what_runs_meanwhile_is_stopped_and_started_as_a_person_asks() {
    let stopped = |overrides: &mut Overrides, current: &mut Current| {
        overrides.stopped.insert(ServiceKey::new(AppId(1), "web"));
        ours(overrides, current);
    };
    assert_snapshot!(at_once("web web:2", "web web:1 running", stopped), @"pull web:2, stop 1/web");
    assert_snapshot!(at_once("web web:2", "web web:1 exited", stopped), @"pull web:2, unlock 1");
    let start = |overrides: &mut Overrides, current: &mut Current| {
        overrides.start.extend(current.containers.iter().map(|it| it.id.clone()));
    };
    assert_snapshot!(at_once("web web:2", "web web:1 exited rests", start), @"pull web:2, start 1/web");
}

#[test]
fn what_fell_down_meanwhile_is_started() {
    assert_snapshot!(at_once("web web:2", "web web:1 exited", |_, _| ()), @"pull web:2, start 1/web");
    assert_snapshot!(at_once("web web:2", "web web:1 created", |_, _| ()), @"pull web:2, start 1/web");
    assert_snapshot!(at_once("web web:2 off", "web web:1 exited", |_, _| ()), @"pull web:2");
    // A dependency starts first, whichever release its container is of.
    let target = "web web:2 after:db\ndb db:2";
    assert_snapshot!(at_once(target, "web web:1 exited\ndb db:1 created", |_, _| ()), @"pull db:2, start 1/db, pull web:2");
    assert_snapshot!(at_once(target, "web web:1 exited\ndb db:1 running", |_, _| ()), @"pull db:2, pull web:2, start 1/web");
    // A container that is killed in the same plan does not satisfy the dependency.
    let device = "web web:1 created\ndb db:1 exited retired\ndb db:1 created";
    assert_snapshot!(at_once("web web:2 after:db\ndb db:2 hand-over", device, |_, _| ()), @"pull db:2, start 1/db, pull web:2, lock 1 (db web)");
    let target = "web web:2 after:db\ndb db:2 kill-first";
    assert_snapshot!(at_once(target, "web web:1 exited\ndb db:1 running", ours), @"kill 1/db, pull web:2");
}

#[test]
fn what_made_way_does_not_wait_for_the_images_of_others() {
    let target = "web web:2 kill-first\ndb db:2";
    let device = "db db:1 running\nimage web:2";
    assert_snapshot!(at_once(target, device, |_, _| ()), @"pull db:2, create 1/web from web:2");
}

#[test]
fn nothing_is_retired_before_its_successor_can_be_made() {
    let target = "web web:2 hand-over\ndb db:2";
    let device = "web web:1 running\ndb db:1 running\nimage web:2";
    assert_snapshot!(at_once(target, device, ours), @"pull db:2, unlock 1");
}

#[test]
fn locks_for_nothing_but_what_may_not_fit_are_asked_about_first() {
    let begun = |target: &str, device: &str| {
        let Plan { steps, updates, .. } = plan(&parse_target(target), &Overrides::default(), &parse_device(device));
        steps
            .iter()
            .filter(|step| updates.iter().any(|it| it.begins_with(step)))
            .map(Step::to_string)
            .collect::<Vec<_>>()
            .join(", ")
    };
    assert_snapshot!(begun("web web:2 kill-first", "web web:1 running"), @"lock 1 (web)");
    // Another step needs the locks too, and does not have to wait for space.
    assert_snapshot!(begun("web web:2 kill-first\ndb db:1 off", "web web:1 running\ndb db:1 running"), @"");
}

#[test]
fn an_image_that_was_deleted_under_its_container_is_pulled_for_the_next_release() {
    let next = |device: &str, target: &str| {
        story_of(target, device, |_, current| {
            current.images.retain(|it| !it.answers_to(&ImageRef::new("web:1")));
            // The release before this one.
            for it in &mut current.containers {
                it.name = it.name.replace("_1_one", "_0_zero");
            }
        })
    };
    assert_snapshot!(next("web web:1 running", "web web:1"), @"
    pull web:1
    lock 1 (web)
    rename 1/web to web_1_1_one
    unlock 1
    ");
    assert_snapshot!(next("web web:1 running\ndb db:1 running", "web web:1\ndb db:1 env:new"), @"
    pull web:1
    create 1/db from db:1
    lock 1 (db web)
    kill 1/db, rename 1/web to web_1_1_one
    start 1/db
    unlock 1
    ");
}
