//! The hook before an update: what it goes before, and what it does not hold up.

use insta::assert_snapshot;

use super::model::{APP, parse_target, story, story_of, story_with};
use crate::plan::ConfigHashes;
use crate::state::hook::{HookOutcome, UpdateHook};
use crate::state::local_mode::LocalApps;
use crate::state::{Current, Overrides, ServiceKey, Target};

/// The containers of `web` have a hook.
fn with_hook(_: &mut Overrides, current: &mut Current) {
    let hook = UpdateHook { command: vec!["flush".to_owned()], timeout: std::time::Duration::from_secs(60) };
    for container in current.containers.iter_mut().filter(|it| it.key.service == "web") {
        container.before_update = Some(hook.clone());
    }
}

/// The same, and the hook failed for an update to this target.
fn failed(target: &str) -> impl FnOnce(&mut Overrides, &mut Current) + use<> {
    let wanted = ConfigHashes::of(&parse_target(target)).get(&ServiceKey::new(APP, "web")).unwrap().clone();
    move |overrides, current| {
        with_hook(overrides, current);
        let ids: Vec<_> = current.containers.iter().filter(|it| it.key.service == "web").map(|it| it.id.clone()).collect();
        let why = HookOutcome::Failed("the hook ended with exit code 3".to_owned());
        current.hooks.extend(ids.into_iter().map(|id| ((id, wanted.clone()), why.clone())));
    }
}

#[test]
fn it_is_run_under_the_locks_before_the_first_step_that_disturbs() {
    assert_snapshot!(story_of("web web:2", "web web:1 running", with_hook), @"
    pull web:2
    create 1/web from web:2
    lock 1 (web)
    run the hook of 1/web
    kill 1/web
    rename 1/web to web_1_1_one, start 1/web, remove image web:1
    unlock 1
    ");
    assert_snapshot!(story_of("web web:2 kill-first", "web web:1 running", with_hook), @"
    lock 1 (web)
    run the hook of 1/web
    kill 1/web
    pull web:2
    create 1/web from web:2, remove image web:1
    start 1/web
    unlock 1
    ");
    assert_snapshot!(story_of("web web:2 hand-over", "web web:1 running", with_hook), @"
    pull web:2
    create 1/web from web:2
    lock 1 (web)
    run the hook of 1/web
    retire 1/web as old_web_1_1_one
    rename 1/web to web_1_1_one, start 1/web
    hand over 1/web
    unlock 1, remove image web:1
    ");
}

#[test]
fn one_that_failed_holds_its_service_up_and_no_lock() {
    let target = "web web:2\ndb db:2";
    assert_snapshot!(story_of(target, "web web:1 running\ndb db:1 running", failed(target)), @"
    pull db:2, pull web:2
    create 1/db from db:2, create 1/web from web:2
    lock 1 (db web)
    kill 1/db
    rename 1/db to db_1_1_one, start 1/db, remove image db:1
    unlock 1
    … the update of 1/web waits for its hook: the hook ended with exit code 3
    ");
    // For another update it is run once more.
    let other = story_of("web web:3", "web web:1 running", failed("web web:2"));
    assert!(other.contains("run the hook of 1/web"), "{other}");
}

#[test]
fn what_a_person_requested_is_not_held_up() {
    let plain = |change: fn(&mut Overrides, &mut Current)| story_of("web web:1", "web web:1 running", change);
    let with = |change: fn(&mut Overrides, &mut Current)| {
        story_of("web web:1", "web web:1 running", move |overrides, current| {
            with_hook(overrides, current);
            change(overrides, current);
        })
    };
    let requests: [fn(&mut Overrides, &mut Current); 3] = [
        |overrides, current| overrides.recreate.extend(current.containers.iter().map(|it| it.id.clone())),
        |overrides, _| overrides.purge.extend([APP]),
        |overrides, _| overrides.stopped.extend([ServiceKey::new(APP, "web")]),
    ];
    for request in requests {
        assert_eq!(with(request), plain(request));
    }
}

#[test]
fn an_update_by_force_or_back_to_what_ran_before_is_not_held_up() {
    let target = "web web:2";
    for skip in [
        |overrides: &mut Overrides| overrides.outside_windows.extend([APP]),
        |overrides: &mut Overrides| overrides.without_hooks.extend([APP]),
    ] {
        let skipped = story_of(target, "web web:1 running", |overrides, current| {
            failed(target)(overrides, current);
            skip(overrides);
        });
        assert_eq!(skipped, story(target, "web web:1 running"));
    }
}

#[test]
fn a_service_that_leaves_the_target_or_does_not_run_has_no_hook() {
    assert_eq!(story_of("", "web web:1 running", with_hook), story("", "web web:1 running"));
    assert_eq!(story_of("web web:2", "web web:1 paused", with_hook), story("web web:2", "web web:1 paused"));
    let local = LocalApps { is_on: true, has_owner: true, pushed: [APP].into() };
    let target = Target { local: Some(local), ..parse_target("web web:2") };
    let plain = story_with(&target, "web web:1 running", |_, _| ());
    assert_eq!(story_with(&target, "web web:1 running", with_hook), plain);
}
