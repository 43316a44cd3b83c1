//! New containers that are created before old ones are killed.

use insta::assert_snapshot;

use super::model::{apply, parse_device, parse_target, story, story_of};
use crate::plan::plan;
use crate::state::{AppId, Current, EngineAction, LockState, Overrides, ServiceKey, Step};

/// The steps on a device whose engine rejects the containers of a service; and what is waited for.
fn refused(service: &str, target: &str, device: &str, change: impl FnOnce(&mut Overrides, &mut Current)) -> String {
    let is_refused = |step: &Step| matches!(step, Step::Engine(EngineAction::Create(spec)) if spec.key.service == service);
    without(is_refused, target, device, change)
}

/// The steps on a device whose engine rejects some steps; and what is waited for.
fn without(
    is_refused: impl Fn(&Step) -> bool,
    target: &str,
    device: &str,
    change: impl FnOnce(&mut Overrides, &mut Current),
) -> String {
    let (target, mut current, mut overrides) = (parse_target(target), parse_device(device), Overrides::default());
    change(&mut overrides, &mut current);
    let mut story = Vec::new();
    for _ in 0..20 {
        let plan = plan(&target, &overrides, &current);
        let steps: Vec<_> = plan.steps.iter().filter(|it| !is_refused(it)).collect();
        if steps.is_empty() {
            return story.into_iter().chain(plan.waiting.iter().map(|it| format!("… {it}"))).collect::<Vec<_>>().join("\n");
        }
        story.push(steps.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "));
        for step in steps {
            apply(&mut current, step);
        }
    }
    panic!("it never ends: {story:#?}");
}

#[test]
fn nothing_is_killed_for_a_container_that_the_engine_refuses() {
    assert_snapshot!(refused("web", "web web:2\ndb db:2\nnew new:1", "web web:1 running\ndb db:1 running\nold old:1 running", |_, _| ()), @"
    pull db:2, pull new:1, pull web:2
    create 1/db from db:2
    … 1/db waits until the new containers of the release are created
    … 1/old waits until the new containers of the release are created
    … 1/web waits until the new containers of the release are created
    ");
    for strategy in ["kill-first", "delete-first", "hand-over"] {
        let story = refused("web", &format!("web web:1 env:new {strategy}"), "web web:1 running", |_, _| ());
        assert_eq!(story, "… 1/web waits until the new containers of the release are created", "{strategy}");
    }
}

#[test]
fn what_runs_is_stopped_and_started_while_a_new_container_is_refused() {
    let stopped = refused("web", "web web:2", "web web:1 running\nimage web:2", |overrides, _| {
        overrides.stopped.insert(ServiceKey::new(AppId(1), "web"));
    });
    assert_snapshot!(stopped, @"
    lock 1 (web)
    stop 1/web
    unlock 1
    … 1/web waits until the new containers of the release are created
    ");
    assert_snapshot!(refused("web", "web web:2", "web web:1 exited\nimage web:2", |_, _| ()), @"
    start 1/web
    … 1/web waits until the new containers of the release are created
    ");
}

#[test]
fn a_restart_and_a_purge_kill_nothing_that_cannot_come_back() {
    let restart = |overrides: &mut Overrides, current: &mut Current| {
        overrides.recreate.extend(current.containers.iter().map(|it| it.id.clone()));
    };
    assert_snapshot!(refused("web", "web web:1\ndb db:1", "web web:1 running\ndb db:1 running", restart), @"
    create 1/db from db:1
    … 1/db waits until the new containers of the release are created
    … 1/web waits until the new containers of the release are created
    ");
    let purge = |overrides: &mut Overrides, _: &mut Current| overrides.purge = [AppId(1)].into();
    assert_snapshot!(refused("web", "web web:2\ndb db:1", "web web:1 running\ndb db:1 running\nimage web:2", purge), @"
    … 1/db waits until the new containers of the release are created
    … 1/web waits until the new containers of the release are created
    ");
    let device = "web web:1 running volume:data\nvolume data\nimage web:2";
    assert_snapshot!(story_of("web web:2 volume:data", device, purge), @"
    create 1/web from web:2
    lock 1 (web)
    kill 1/web
    kill 1/web, remove image web:1
    remove volume 1_data
    create volume 1_data
    create 1/web from web:2
    start 1/web
    unlock 1
    ");
}

#[test]
fn an_update_that_was_cut_short_goes_on_where_it_was() {
    // The new container is created; the old one is not killed yet.
    assert_snapshot!(story("web web:2", "web web:1 running\nweb web:2 created"), @"
    lock 1 (web)
    kill 1/web
    rename 1/web to web_1_1_one, start 1/web, remove image web:1
    unlock 1
    ");
    // The old container is gone, and the new one still has the `new_` name.
    assert_snapshot!(story("web web:1", "web web:1 created beside"), @"rename 1/web to web_1_1_one, start 1/web");
    // The overrides of a restart were lost: the running container is kept.
    assert_snapshot!(story("web web:1", "web web:1 running\nweb web:1 created beside"), @"kill 1/web");
    // Another release is wanted by now.
    assert_snapshot!(story("web web:3", "web web:1 running\nweb web:2 created\nimage web:3"), @"
    kill 1/web, create 1/web from web:3
    lock 1 (web), remove image web:2
    kill 1/web
    rename 1/web to web_1_1_one, start 1/web, remove image web:1
    unlock 1
    ");
    assert_snapshot!(story("web web:1", "web web:1 running\nweb web:2 created"), @"
    kill 1/web
    remove image web:2
    ");
    // A hand-over: neither retired nor started yet; and retired only.
    assert_snapshot!(story("web web:2 hand-over", "web web:1 running\nweb web:2 created beside"), @"
    lock 1 (web)
    retire 1/web as old_web_1_1_one
    rename 1/web to web_1_1_one, start 1/web
    hand over 1/web
    unlock 1, remove image web:1
    ");
    assert_snapshot!(story("web web:2 hand-over", "web web:1 running retired\nweb web:2 created beside"), @"
    rename 1/web to web_1_1_one, start 1/web
    lock 1 (web)
    hand over 1/web
    unlock 1, remove image web:1
    ");
}

#[test]
fn a_new_service_waits_with_the_release() {
    let story = story_of("web web:2\nnew new:1", "web web:1 running\nimage web:2\nimage new:1", |_, current| {
        current.locks.insert(AppId(1), LockState::Held(super::held("web")));
    });
    assert_snapshot!(story, @"
    create 1/web from web:2
    … app 1 is locked by its service web (/lock/web)
    ");
    // Except where a container shares its network: that one cannot be created before.
    assert_snapshot!(super::story("web web:1 shares:vpn\nvpn vpn:1", "web web:1 running\nimage vpn:1"), @"
    create 1/vpn from vpn:1
    start 1/vpn, create 1/web from web:1
    lock 1 (vpn web)
    kill 1/web
    rename 1/web to web_1_1_one, start 1/web
    unlock 1
    ");
}

#[test]
fn a_service_may_be_called_as_the_prefix_of_a_name_is() {
    assert_snapshot!(story("new new:1\nold old:1", "new new:1 running\nold old:1 running"), @"");
    assert_snapshot!(story("new new:1", "new new:1 created beside"), @"rename 1/new to new_1_1_one, start 1/new");
    assert_snapshot!(story("old old:2 hand-over", "old old:1 running\nimage old:2"), @"
    create 1/old from old:2
    lock 1 (old)
    retire 1/old as old_old_1_1_one
    rename 1/old to old_1_1_one, start 1/old
    hand over 1/old
    unlock 1, remove image old:1
    ");
}

#[test]
fn a_container_that_still_has_the_name_it_was_created_beside_is_retired_once() {
    let story = story("web web:2 hand-over", "web web:1 running beside\nimage web:2");
    assert!(story.contains("retire 1/web as old_web_1_1_one") && !story.contains("old_new_"), "{story}");
}

#[test]
fn nothing_is_killed_for_a_network_driver_that_the_engine_lacks() {
    let lacks = |step: &Step| matches!(step, Step::Engine(EngineAction::CreateNetwork(it)) if it.config.driver == "odd");
    for strategy in ["", " kill-first", " delete-first", " hand-over"] {
        let target = format!("web web:2{strategy}\ndb db:2{strategy}\nnetwork default driver:odd");
        let device = "web web:1 running\ndb db:1 running\nold old:1 running\nimage web:2\nimage db:2\nnetwork default";
        let story = without(lacks, &target, device, |_, _| ());
        assert!(!story.contains("kill 1/") && !story.contains("remove network"), "{strategy}: {story}");
        assert!(story.contains("driver odd is tried first"), "{strategy}: {story}");
        for is_purge in [true, false] {
            let story = without(lacks, &target, device, |overrides, current| {
                if is_purge {
                    overrides.purge = [AppId(1)].into();
                } else {
                    overrides.recreate.extend(current.containers.iter().map(|it| it.id.clone()));
                }
            });
            assert!(!story.contains("kill 1/") && !story.contains("remove network"), "{strategy}: {story}");
        }
    }
    // Also where a service that kills first has no image yet.
    let story =
        without(lacks, "web web:2 kill-first\nnetwork default driver:odd", "web web:1 running\nnetwork default", |_, _| ());
    assert!(!story.contains("kill 1/"), "{story}");
}

#[test]
fn a_network_is_given_another_driver_once_the_engine_has_shown_that_it_has_it() {
    assert_snapshot!(story("web web:1\nnetwork default driver:macvlan", "web web:1 running\nnetwork default"), @"
    create network new_app_default
    lock 1 (web)
    kill 1/web
    remove network app_default
    remove network new_app_default
    create network app_default
    create 1/web from web:1
    start 1/web
    unlock 1
    ");
    // The document changed back meanwhile.
    let left = |_: &mut Overrides, current: &mut Current| {
        let trial = crate::state::Network { name: "new_app_default".into(), ..super::model::network("new_app_default") };
        current.networks.push(trial);
    };
    assert_snapshot!(story_of("web web:1", "web web:1 running\nnetwork default", left), @"remove network new_app_default");
}

/// The target changed twice before a container was started. Each has one of the names that a container of the service may have.
#[test]
fn of_two_outdated_containers_that_never_ran_one_makes_way() {
    assert_snapshot!(story("web web:3", "web web:1 created\nweb web:2 created beside\nimage web:3"), @"
    kill 1/web, start 1/web
    create 1/web from web:3, remove image web:1
    lock 1 (web)
    kill 1/web
    start 1/web, remove image web:2
    unlock 1
    ");
}

/// The next release overtook a hand-over whose new container was yet to be started, and waits for another service.
#[test]
fn an_outdated_container_that_never_ran_goes_while_the_right_one_waits_to_take_over() {
    let device = "web web:1 running retired\nweb web:2 created\nweb web:3 created beside\ndb db:1 exited";
    assert_snapshot!(story("web web:3 hand-over healthy:db\ndb db:1 off", device), @"
    kill 1/web
    remove image web:2
    … 1/web waits for db to be healthy, and it does not: its target says `running: false`; change the target
    ");
}
