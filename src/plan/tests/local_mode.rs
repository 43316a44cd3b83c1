//! Local mode: the owner's apps are kept, and pushed ones run.

use insta::assert_snapshot;

use super::model::{parse_target, story_with};
use crate::state::local_mode::LocalApps;
use crate::state::{AppId, Current, HeldLock, ImageId, LockState, Overrides, Target, Volume, VolumeConfig};

/// The pushed app.
const PUSHED: AppId = AppId(7);

/// The owner's app of these words, and the pushed one of those.
fn target(owners: &str, pushed: &str, local: LocalApps) -> Target {
    let mut target = parse_target(owners);
    if !pushed.is_empty() {
        for mut app in parse_target(pushed).apps.into_iter().map(|(_, it)| it) {
            (app.id, app.uuid, app.name) = (PUSHED, "7".to_owned(), "localapp".to_owned());
            target.apps.insert(app.id, app);
        }
    }
    Target { local: Some(local), ..target }
}

fn on() -> LocalApps {
    LocalApps { is_on: true, has_owner: true, pushed: [PUSHED].into() }
}

fn left() -> LocalApps {
    LocalApps { is_on: false, ..on() }
}

/// The containers of services that begin with `pushed` are the pushed app's.
fn pushed_containers(current: &mut Current) {
    for container in current.containers.iter_mut().filter(|it| it.key.service.starts_with("pushed")) {
        container.key.app = PUSHED;
    }
}

fn volume(name: &str, app: AppId) -> Volume {
    Volume { name: name.to_owned(), app, config: VolumeConfig::default() }
}

#[test]
fn the_owners_app_is_stopped_and_kept_when_local_mode_is_entered() {
    let story = |change: fn(&mut Overrides, &mut Current)| {
        story_with(&target("web web:2\nnew new:1", "", on()), "web web:1 running\nold old:1 exited", change)
    };
    // Neither the new release is pulled nor is the old one removed.
    assert_snapshot!(story(|_, current| current.volumes.push(volume("1_data", AppId(1)))), @"
    lock 1 (new old web)
    stop 1/web
    unlock 1
    ");
    // A lock is respected, unless it is forced.
    let held = HeldLock { service: "web".to_owned(), path: "/lock".to_owned(), since_secs: 0 };
    assert_snapshot!(story_with(&target("web web:1", "", on()), "web web:1 running", |_, current| {
        current.locks.insert(AppId(1), LockState::Held(held.clone()));
    }), @"… app 1 is locked by its service web (/lock)");
}

#[test]
fn a_pushed_app_starts_when_the_owners_no_longer_runs() {
    let target = target("web web:1", "pushed local_image_pushed:latest", on());
    assert_snapshot!(story_with(&target, "web web:1 running\nimage local_image_pushed:latest", |_, _| ()), @"
    lock 1 (web), create network 7_default
    stop 1/web, create 7/pushed from local_image_pushed:latest
    unlock 1, start 7/pushed
    ");
}

#[test]
fn an_app_that_left_the_owners_target_is_kept_too() {
    let story = story_with(&target("web web:1", "", on()), "gone gone:1 running", |_, current| {
        current.containers[0].key.app = AppId(3);
        current.volumes.push(volume("3_data", AppId(3)));
    });
    assert_snapshot!(story, @"
    lock 3 (gone)
    stop 3/gone
    unlock 3
    ");
}

#[test]
fn a_service_that_is_no_longer_pushed_is_removed() {
    let target = target("web web:1", "pushed app:1", on());
    let device = "web web:1 exited\npushed app:1 running\npushed2 app:1 running\nnetwork default";
    assert_snapshot!(story_with(&target, device, |_, current| {
        pushed_containers(current);
        current.networks[0].name = "7_default".to_owned();
        current.networks[0].app = Some(PUSHED);
    }), @"
    lock 7 (pushed pushed2)
    kill 7/pushed2
    unlock 7
    ");
}

#[test]
fn leaving_removes_what_was_pushed_before_the_owners_app_starts() {
    let story = story_with(&target("web web:1", "", left()), "web web:1 exited\npushed app:1 running", |_, current| {
        pushed_containers(current);
        current.volumes.extend([volume("1_data", AppId(1)), volume("7_data", PUSHED)]);
        current.removable_images.insert(crate::state::ImageRef::new("app:1"));
    });
    assert_snapshot!(story, @"
    lock 7 (pushed)
    kill 7/pushed
    start 1/web, remove volume 7_data, remove image app:1
    unlock 7
    ");
}

#[test]
fn on_a_device_without_a_target_nothing_else_is_touched() {
    let local = LocalApps { is_on: false, has_owner: false, pushed: [PUSHED].into() };
    let none = Target { local: Some(local), ..Target::default() };
    let story = story_with(&none, "other other:1 running\npushed app:1 running", |_, current| {
        pushed_containers(current);
        current.volumes.push(volume("1_data", AppId(1)));
    });
    assert_snapshot!(story, @"
    lock 7 (pushed)
    kill 7/pushed
    unlock 7, remove image app:1
    ");
}

#[test]
fn an_image_that_was_built_anew_under_its_name_is_run() {
    let target = target("web web:1", "pushed app:1", on());
    let device = "web web:1 exited\npushed app:1 running\nnetwork default\nimage app:1";
    let rebuilt = |change: fn(&mut Current)| {
        story_with(&target, device, |_, current| {
            pushed_containers(current);
            current.networks[0].name = "7_default".to_owned();
            current.networks[0].app = Some(PUSHED);
            change(current);
        })
    };
    assert_snapshot!(rebuilt(|_| ()), @"");
    let runs_the_old = |current: &mut Current| {
        for container in current.containers.iter_mut().filter(|it| it.key.app == PUSHED) {
            container.image = ImageId("sha256:old".to_owned());
        }
    };
    assert_snapshot!(rebuilt(runs_the_old), @"
    create 7/pushed from app:1
    lock 7 (pushed)
    kill 7/pushed
    rename 7/pushed to pushed_1_1_one, start 7/pushed
    unlock 7
    ");
    // A name that is gone for the moment of a build is no reason.
    assert_snapshot!(rebuilt(|current| current.images.clear()), @"");
}

#[test]
fn a_container_that_a_developers_tool_stopped_a_moment_ago_is_left_to_it() {
    let target = target("web web:1", "pushed app:1", on());
    let story = story_with(&target, "web web:1 exited\npushed app:1 exited\nnetwork default\nimage app:1", |_, current| {
        pushed_containers(current);
        current.networks[0].name = "7_default".to_owned();
        current.networks[0].app = Some(PUSHED);
        let pushed = current.containers.iter().find(|it| it.key.app == PUSHED).map(|it| it.id.clone());
        current.stopped_lately.extend(pushed);
    });
    assert_snapshot!(story, @"… 7/pushed was stopped on the engine; unless that program starts it again, the agent does in some seconds");
}
