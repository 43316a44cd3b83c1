//! Examples of plans, each a short story, and properties that hold for every plan.
//!
//! A target is one line per service: `name image [word…]`; the words are in [`model::service`]. A device is one line per
//! container: `name image phase [word…]`. A story lists the steps, one line per wave, until no step is left; and then what is
//! waited for.

mod api;
mod beside;
mod changes;
mod data;
mod depends;
mod forecast;
mod hooks;
mod laws;
mod leases;
mod local_mode;
pub(crate) mod model;
mod networks;
mod on_its_way;
mod ports;
mod same;
mod shares;
mod volumes;
mod windows;

use insta::assert_snapshot;
use model::{parse_target, story, story_of};

use crate::plan::{Plan, inject_supervisor_env, plan};
use crate::sorted::SortedMap;
use crate::state::app::Generation;
use crate::state::service::Feature;
use crate::state::{AppId, Current, Device, HeldLock, Keys, LockState, Overrides, Secret, ServiceKey, Volume, VolumeConfig};

#[test]
fn nothing_to_do() {
    assert_snapshot!(story("web web:1", "web web:1 running"), @"");
}

#[test]
fn first_start() {
    assert_snapshot!(story("web web:1\ndb db:1", ""), @"
    pull db:1, pull web:1, create network app_default
    create 1/db from db:1, create 1/web from web:1
    start 1/db, start 1/web
    ");
}

/// The device moves to another fleet: its containers belong to an app that the target no longer has.
fn of_another_app(current: &mut Current) {
    let other = AppId(7);
    for container in &mut current.containers {
        container.key.app = other;
    }
    current.volumes.push(Volume { name: "7_data".to_owned(), app: other, config: VolumeConfig::default() });
}

#[test]
fn a_device_that_moves_to_another_fleet_runs_one_app_after_the_other() {
    assert_snapshot!(story_of("web web:2", "old old:1 running", |_, current| of_another_app(current)), @"
    pull web:2, lock 7 (old)
    create 1/web from web:2, kill 7/old
    start 1/web, remove volume 7_data, remove image old:1
    unlock 7
    ");
}

#[test]
fn a_lock_of_the_app_that_leaves_holds_up_the_move_and_its_data_stays_as_long() {
    let held = HeldLock { service: "old".to_owned(), path: "/lock".to_owned(), since_secs: 0 };
    let moves = |_: &mut Overrides, current: &mut Current| {
        of_another_app(current);
        current.locks.insert(AppId(7), LockState::Held(held));
    };
    assert_snapshot!(story_of("web web:2", "old old:1 running", moves), @"
    pull web:2
    create 1/web from web:2
    … 1/web waits until app 7, which gives way to it, no longer runs
    … app 7 is locked by its service old (/lock)
    ");
}

#[test]
fn kill_then_download_kills_first() {
    assert_snapshot!(story("web web:2 kill-first", "web web:1 running"), @"
    lock 1 (web)
    kill 1/web
    pull web:2
    create 1/web from web:2, remove image web:1
    start 1/web
    unlock 1
    ");
}

#[test]
fn delete_then_download_makes_room_first() {
    assert_snapshot!(story("web web:2 delete-first", "web web:1 running"), @"
    lock 1 (web)
    kill 1/web
    remove image web:1
    pull web:2
    create 1/web from web:2
    start 1/web
    unlock 1
    ");
}

#[test]
fn hand_over_starts_the_new_one_beside_the_old() {
    assert_snapshot!(story("web web:2 hand-over", "web web:1 running"), @"
    pull web:2
    create 1/web from web:2
    lock 1 (web)
    retire 1/web as old_web_1_1_one
    rename 1/web to web_1_1_one, start 1/web
    hand over 1/web
    unlock 1, remove image web:1
    ");
}

#[test]
fn an_interrupted_hand_over_is_finished() {
    assert_snapshot!(story("web web:2 hand-over", "web web:1 running retired\nweb web:2 created"), @"
    start 1/web
    lock 1 (web)
    hand over 1/web
    unlock 1, remove image web:1
    ");
    assert_snapshot!(story("web web:2 hand-over", "web web:1 running retired\nweb web:2 running"), @"
    lock 1 (web)
    hand over 1/web
    unlock 1, remove image web:1
    ");
}

#[test]
fn a_hand_over_that_the_next_release_overtook_ends_before_that_is_here() {
    let story = story_of("web web:3", "web web:1 running retired\nweb web:2 running", |_, current| {
        current.locks.insert(AppId(1), LockState::Ours(["web".to_owned()].into()));
    });
    assert_snapshot!(story, @"
    pull web:3, kill 1/web
    create 1/web from web:3, unlock 1, remove image web:1
    lock 1 (web)
    kill 1/web
    rename 1/web to web_1_1_one, start 1/web, remove image web:2
    unlock 1
    ");
}

#[test]
fn a_hand_over_from_a_dead_container_is_an_ordinary_update() {
    assert_snapshot!(story("web web:2 hand-over", "web web:1 exited rests"), @"
    pull web:2
    create 1/web from web:2
    lock 1 (web)
    kill 1/web
    rename 1/web to web_1_1_one, start 1/web, remove image web:1
    unlock 1
    ");
}

#[test]
fn a_new_release_of_the_same_containers_only_renames_them() {
    assert_snapshot!(story("release two\nweb web:1", "web web:1 running"), @"
    lock 1 (web)
    rename 1/web to web_1_1_two
    unlock 1
    ");
}

#[test]
fn a_changed_setting_recreates_the_container() {
    assert_snapshot!(story("web web:1 env:new", "web web:1 running"), @"
    create 1/web from web:1
    lock 1 (web)
    kill 1/web
    rename 1/web to web_1_1_one, start 1/web
    unlock 1
    ");
}

#[test]
fn a_service_nobody_wants_goes_when_its_successors_are_here() {
    assert_snapshot!(story("web web:2", "web web:1 running\nold old:1 running"), @"
    pull web:2
    create 1/web from web:2
    lock 1 (old web)
    kill 1/old, kill 1/web
    rename 1/web to web_1_1_one, start 1/web, remove image old:1, remove image web:1
    unlock 1
    ");
}

#[test]
fn an_app_nobody_wants_leaves_nothing_behind() {
    assert_snapshot!(story("", "web web:1 running volume:data\nvolume data\nnetwork default"), @"
    lock 1 (web)
    kill 1/web
    remove network app_default, remove volume 1_data, remove image web:1
    unlock 1
    ");
}

#[test]
fn created_and_never_started_is_started() {
    assert_snapshot!(story("web web:1", "web web:1 created"), @"start 1/web");
}

#[test]
fn an_orphan_of_an_interrupted_update_is_replaced() {
    assert_snapshot!(story("web web:2", "web web:1 created\nimage web:2"), @"
    create 1/web from web:2, start 1/web
    lock 1 (web)
    kill 1/web
    rename 1/web to web_1_1_one, start 1/web, remove image web:1
    unlock 1
    ");
}

#[test]
fn of_two_containers_of_one_service_the_right_one_stays() {
    assert_snapshot!(story("web web:2", "web web:1 running\nweb web:2 running"), @"
    lock 1 (web)
    kill 1/web
    rename 1/web to web_1_1_one, remove image web:1
    unlock 1
    ");
}

#[test]
fn what_exits_by_itself_and_may_rest_is_done() {
    assert_snapshot!(story("job job:1 rests", "job job:1 exited rests"), @"");
}

#[test]
fn what_somebody_stopped_by_hand_is_started() {
    assert_snapshot!(story("web web:1", "web web:1 exited"), @"start 1/web");
}

#[test]
fn what_a_person_stopped_through_the_api_stays_stopped() {
    let story = story_of("web web:1", "web web:1 running", |overrides, _| {
        overrides.stopped.insert(ServiceKey::new(AppId(1), "web"));
    });
    assert_snapshot!(story, @"
    lock 1 (web)
    stop 1/web
    unlock 1
    ");
}

#[test]
fn a_service_that_should_not_run_is_there_and_stopped() {
    assert_snapshot!(story("web web:1 off", ""), @"
    pull web:1, create network app_default
    create 1/web from web:1
    ");
    assert_snapshot!(story("web web:1 off", "web web:1 running off"), @"
    lock 1 (web)
    stop 1/web
    unlock 1
    ");
}

#[test]
fn a_lock_holds_up_the_whole_release_and_no_download() {
    let story = story_of("web web:2\ndb db:2\nnew new:1", "web web:1 running\ndb db:1 running", |_, current| {
        current.locks.insert(AppId(1), LockState::Held(held("db")));
    });
    assert_snapshot!(story, @"
    pull db:2, pull new:1, pull web:2
    create 1/db from db:2, create 1/web from web:2
    … app 1 is locked by its service db (/lock/db)
    ");
}

#[test]
fn a_lock_does_not_keep_down_what_fell_down() {
    let story = story_of("web web:1\ndb db:1", "db db:1 running\nimage web:1", |_, current| {
        current.locks.insert(AppId(1), LockState::Held(held("db")));
    });
    assert_snapshot!(story, @"
    create 1/web from web:1
    start 1/web
    ");
}

#[test]
fn force_takes_the_lock_away() {
    let story = story_of("web web:2", "web web:1 running", |overrides, current| {
        current.locks.insert(AppId(1), LockState::Held(held("web")));
        overrides.force.insert(AppId(1));
    });
    assert_snapshot!(story, @"
    pull web:2
    create 1/web from web:2
    lock 1 by force (web)
    kill 1/web
    rename 1/web to web_1_1_one, start 1/web, remove image web:1
    unlock 1
    ");
}

#[test]
fn force_takes_the_lock_of_a_service_that_is_gone_away_too() {
    let story = story_of("web web:2", "web web:1 running", |overrides, current| {
        current.locks.insert(AppId(1), LockState::Held(held("old")));
        overrides.force.insert(AppId(1));
    });
    assert_snapshot!(story, @"
    pull web:2
    create 1/web from web:2
    lock 1 by force (old web)
    kill 1/web
    rename 1/web to web_1_1_one, start 1/web, remove image web:1
    unlock 1
    ");
}

#[test]
fn locks_left_behind_by_a_crash_are_given_back() {
    let story = story_of("web web:1", "web web:1 running", |_, current| {
        current.locks.insert(AppId(1), LockState::Ours(["web".to_owned()].into()));
    });
    assert_snapshot!(story, @"unlock 1");
}

#[test]
fn a_restart_makes_the_containers_anew() {
    let story = story_of("web web:1\ndb db:1", "web web:1 running\ndb db:1 running", |overrides, current| {
        overrides.recreate.extend(current.containers.iter().map(|it| it.id.clone()));
    });
    assert_snapshot!(story, @"
    create 1/db from db:1, create 1/web from web:1
    lock 1 (db web)
    kill 1/db, kill 1/web
    rename 1/db to db_1_1_one, start 1/db, rename 1/web to web_1_1_one, start 1/web
    unlock 1
    ");
}

#[test]
fn a_purge_clears_the_volumes_and_brings_the_app_back() {
    let story = story_of("web web:1 volume:data", "web web:1 running volume:data\nvolume data", |overrides, _| {
        overrides.purge.insert(AppId(1));
    });
    assert_snapshot!(story, @"
    lock 1 (web)
    kill 1/web
    remove volume 1_data
    create volume 1_data
    create 1/web from web:1
    start 1/web
    unlock 1
    ");
}

#[test]
fn a_volume_whose_options_or_labels_changed_keeps_its_data_until_a_purge() {
    let (target, device) = ("web web:2 volume:data", "web web:1 running volume:data\nvolume data");
    for field in ["driver", "options", "labels"] {
        let (target, mut current) = (parse_target(target), model::parse_device(device));
        let config = &mut current.volumes[0].config;
        match field {
            "driver" => "rclone".clone_into(&mut config.driver),
            "options" => drop(config.driver_opts.insert("o".to_owned(), "password=x".to_owned())),
            _ => drop(config.labels.insert("a".to_owned(), "b".to_owned())),
        }
        let (overrides, volumes) = (Overrides::default(), current.volumes.clone());
        for _ in 0..10 {
            let plan = plan(&target, &overrides, &current);
            let [it] = &plan.differences[..] else { panic!("{field}: {plan:?}") };
            assert!(it.what == "volume 1_data" && it.why.contains("until the app is purged"), "{it:?}");
            for step in &plan.steps {
                model::apply(&mut current, step);
            }
        }
        assert_eq!(current.volumes, volumes, "{field}");
        assert_eq!(current.containers[0].image_ref.as_str(), "web:2", "what else changed is done");
        let mut overrides = Overrides { purge: [AppId(1)].into(), ..Overrides::default() };
        for _ in 0..10 {
            let steps = plan(&target, &overrides, &current).steps;
            for step in &steps {
                model::apply(&mut current, step);
            }
            model::drop_fulfilled(&mut overrides, &current, &steps);
        }
        assert_eq!(current.volumes[0].config.difference(&VolumeConfig::default()), None);
        assert_eq!(plan(&target, &overrides, &current), Plan { downloaded: true, ..Plan::default() });
    }
}

#[test]
fn a_volume_is_created_with_the_unique_name_of_its_app_as_a_label() {
    let mut current = model::parse_device("");
    for _ in 0..5 {
        for step in plan(&parse_target("web web:1 volume:data"), &Overrides::default(), &current).steps {
            model::apply(&mut current, &step);
        }
    }
    let [volume] = &current.volumes[..] else { panic!("{:?}", current.volumes) };
    assert_eq!(volume.config.labels, [("io.balena.app-uuid".to_owned(), "app".to_owned())].into_iter().collect());
}

#[test]
fn a_network_that_changed_is_made_anew_around_its_users() {
    assert_snapshot!(story("web web:1\nnetwork default internal", "web web:1 running\nnetwork default"), @"
    lock 1 (web)
    kill 1/web
    remove network app_default
    create network app_default
    create 1/web from web:1
    start 1/web
    unlock 1
    ");
}

#[test]
fn a_service_that_wants_a_reboot_is_started_by_the_next_boot() {
    assert_snapshot!(story("web web:1 reboot", "image web:1"), @"
    create network app_default
    create 1/web from web:1
    reboot
    ");
    assert_snapshot!(story("web web:1 reboot", "web web:1 created reboot before-boot"), @"start 1/web");
}

#[test]
fn a_host_that_was_configured_anew_is_booted_when_all_else_is_done() {
    let wanted = || Some("/f".to_owned());
    assert_snapshot!(story_of("web web:1", "image web:1", |_, current| current.reboot_request_file = wanted()), @"
    create network app_default
    create 1/web from web:1
    start 1/web
    reboot
    ");
    let locked = story_of("web web:1", "web web:1 running", |_, current| {
        current.reboot_request_file = wanted();
        current.locks.insert(AppId(1), LockState::Held(held("web")));
    });
    assert_snapshot!(locked, @"
    … the host's configuration counts from the next boot (/f)
    … app 1 is locked by its service web (/lock/web)
    ");
}

#[test]
fn the_images_of_others_are_not_ours_to_delete() {
    let story = story_of("web web:1", "web web:1 running\nimage stranger:1", |_, current| {
        current.removable_images.clear();
    });
    assert_snapshot!(story, @"");
}

#[test]
fn another_supervisors_container_is_adopted() {
    assert_snapshot!(story("web web:1", "web web:1 running elsewhere"), @"");
    assert_snapshot!(story("web web:1 env:new", "web web:1 running elsewhere"), @"
    create 1/web from web:1
    lock 1 (web)
    kill 1/web
    rename 1/web to web_1_1_one, start 1/web
    unlock 1
    ");
}

#[test]
fn no_service_is_given_the_devices_key_whatever_it_asks_for() {
    use Feature::{BalenaApi, BalenaSocket, BoardRev, Dbus, SupervisorApi};
    let own = "0123456789abcdef".repeat(4);
    let keys = Keys {
        device: Secret::new(own.clone()),
        root: Secret::from_bytes([1; 32]),
        generations: SortedMap::new(),
        kept: SortedMap::new(),
    };
    let device = Device { api_endpoint: Some("https://api.example.com".to_owned()), ..Device::default() };
    for shape in [Generation::Services, Generation::Single] {
        let mut target = parse_target("main main:1");
        for app in target.apps.iter_mut().map(|(_, it)| it) {
            app.shape = shape;
            let main = app.services.get_mut("main").unwrap();
            main.features = [BalenaApi, BalenaSocket, BoardRev, Dbus, SupervisorApi].into();
        }
        let env = &inject_supervisor_env(&target, &device, &keys).apps[&AppId(1)].services[&"main".to_owned()].config.env;
        assert_eq!(env[&"BALENA_API_URL".to_owned()], "https://api.example.com");
        assert!(env.values().all(|it| !it.contains(&own)), "{shape:?}");
        assert!(!env.contains_key("RESIN_API_KEY") && !env.contains_key("BALENA_API_KEY"), "{shape:?}");
    }
}

fn held(service: &str) -> HeldLock {
    HeldLock { service: service.to_owned(), path: format!("/lock/{service}"), since_secs: 0 }
}
