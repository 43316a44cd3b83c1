//! The data of volumes: copied before a release begins, and put back.

use insta::assert_snapshot;

use super::model::story_of;
use crate::sorted::SortedSet;
use crate::state::{AppId, Current, DataDemand, DataPlan, Overrides, VolumeCopy, VolumeSnapshot};

const APP: AppId = AppId(1);

fn demand(current: &mut Current, demand: DataDemand) {
    let kept = if matches!(demand, DataDemand::PutBack(_)) { ["data".to_owned()].into() } else { SortedSet::new() };
    current.data.insert(APP, DataPlan { demand, kept, ..DataPlan::default() });
}

/// The volume was copied, and that is recorded.
pub(super) fn copied(current: &mut Current, copy: &VolumeCopy) {
    let plan = current.data.get_mut(&APP).unwrap();
    if let DataDemand::Keep(names) | DataDemand::PutBack(names) = &mut plan.demand {
        assert!(names.remove(&copy.name), "{copy:?}");
        if names.is_empty() {
            plan.demand = DataDemand::Nothing;
        }
    }
}

fn keep(_: &mut Overrides, current: &mut Current) {
    demand(current, DataDemand::Keep(["data".to_owned()].into()));
}

fn put_back(_: &mut Overrides, current: &mut Current) {
    demand(current, DataDemand::PutBack(["data".to_owned()].into()));
}

const DEVICE: &str = "db db:1 running volume:data\nweb web:1 running\nvolume data";

#[test]
fn what_has_the_volume_is_stopped_first_and_nothing_new_is_started_before_the_copy() {
    assert_snapshot!(story_of("db db:2 volume:data\nweb web:2", DEVICE, keep), @"
    pull db:2, pull web:2
    create 1/db from db:2, create 1/web from web:2
    lock 1 (db web)
    kill 1/db
    rename 1/db to db_1_1_one, copy the data of volume 1_data, remove image db:1
    start 1/db, kill 1/web
    rename 1/web to web_1_1_one, start 1/web, remove image web:1
    unlock 1
    ");
}

#[test]
fn a_service_that_is_as_wanted_is_stopped_for_the_copy_and_started_again() {
    assert_snapshot!(story_of("db db:1 volume:data\nweb web:2", DEVICE, keep), @"
    pull web:2
    create 1/web from web:2
    lock 1 (db web)
    stop 1/db
    copy the data of volume 1_data
    start 1/db, kill 1/web
    rename 1/web to web_1_1_one, start 1/web, remove image web:1
    unlock 1
    ");
}

#[test]
fn a_release_that_starts_no_container_copies_nothing() {
    assert_snapshot!(story_of("db db:1 volume:data\nweb web:1", DEVICE, keep), @"");
}

#[test]
fn a_hand_over_of_what_has_the_volume_is_none_and_any_other_waits() {
    let target = "db db:2 volume:data hand-over\nweb web:2 hand-over";
    assert_snapshot!(story_of(target, DEVICE, keep), @"
    pull db:2, pull web:2
    create 1/db from db:2, create 1/web from web:2
    lock 1 (db web)
    kill 1/db
    rename 1/db to db_1_1_one, copy the data of volume 1_data, remove image db:1
    start 1/db, retire 1/web as old_web_1_1_one
    rename 1/web to web_1_1_one, start 1/web
    hand over 1/web
    unlock 1, remove image web:1
    ");
}

#[test]
fn a_volume_is_put_back_when_no_container_has_it() {
    assert_snapshot!(story_of("db db:1 volume:data\nweb web:2", DEVICE, put_back), @"
    pull web:2
    create 1/web from web:2, lock 1 (db web)
    kill 1/db
    put the data of volume 1_data back
    create 1/db from db:1, kill 1/web
    start 1/db, rename 1/web to web_1_1_one, start 1/web, remove image web:1
    unlock 1
    ");
}

#[test]
fn an_unsaved_record_holds_back_the_first_start_of_a_container() {
    let unsaved = |_: &mut Overrides, current: &mut Current| {
        current.data.insert(APP, DataPlan { unsaved: true, ..DataPlan::default() });
    };
    assert_snapshot!(story_of("db db:2 volume:data\nweb web:1", DEVICE, unsaved), @"
    pull db:2
    create 1/db from db:2
    lock 1 (db web)
    kill 1/db
    rename 1/db to db_1_1_one, remove image db:1
    … 1/db waits for the record of its volumes' data to be saved
    ");
}

/// A target is on trial, and its images are yet to come: the container was created for a release of the target beneath.
#[test]
fn a_container_that_never_ran_does_not_fill_in_where_the_target_beneath_keeps_data() {
    let device = "db db:2 created volume:data\nvolume data";
    for (guarded, first) in [(true, "pull db:3"), (false, "pull db:3, start 1/db")] {
        let beneath = |_: &mut Overrides, current: &mut Current| {
            current.data.insert(APP, DataPlan { guarded, ..DataPlan::default() });
        };
        let story = story_of("db db:3", device, beneath);
        assert_eq!(story.lines().next(), Some(first), "{story}");
    }
}

#[test]
fn a_purge_removes_the_copy_before_the_data_and_puts_nothing_back() {
    let purge = |overrides: &mut Overrides, current: &mut Current| {
        put_back(overrides, current);
        overrides.purge.insert(APP);
        let name = VolumeSnapshot::engine_name(APP, "data");
        current.snapshots.push(VolumeSnapshot { name, app: APP, volume: "data".to_owned() });
    };
    assert_snapshot!(story_of("db db:1 volume:data", "db db:1 running volume:data\nvolume data", purge), @"
    lock 1 (db)
    kill 1/db
    remove volume boardkeeper-before-1_data
    remove volume 1_data
    create volume 1_data
    create 1/db from db:1
    start 1/db
    unlock 1
    ");
}

#[test]
fn a_copy_that_is_not_recorded_is_removed() {
    let left = |_: &mut Overrides, current: &mut Current| {
        let name = VolumeSnapshot::engine_name(APP, "data");
        current.snapshots.push(VolumeSnapshot { name, app: APP, volume: "data".to_owned() });
    };
    assert_snapshot!(story_of("db db:1 volume:data", "db db:1 running volume:data\nvolume data", left), @"remove volume boardkeeper-before-1_data");
}

#[test]
fn a_closed_window_of_one_service_with_the_volume_keeps_all_of_them_running() {
    let closed = |overrides: &mut Overrides, current: &mut Current| {
        keep(overrides, current);
        super::windows::close(current, &["log"]);
    };
    let device = "db db:1 running volume:data\nlog log:1 running volume:data\nweb web:1 running\nvolume data";
    assert_snapshot!(story_of("db db:2 volume:data\nlog log:2 volume:data\nweb web:2", device, closed), @"
    pull db:2, pull log:2, pull web:2
    create 1/db from db:2, create 1/log from log:2, create 1/web from web:2
    … 1/log waits for the update window `02:00-04:00`, which opens at 1970-01-01T02:00:00Z
    … 1/web waits for the data of volume data to be copied
    ");
}

#[test]
fn a_container_that_never_ran_is_not_started_beside_data_that_may_go_back() {
    // It is of a release that was overtaken; its image is still here, and that of the wanted one is not.
    let device = "db db:2 created volume:data\nvolume data";
    let restored = |_: &mut Overrides, current: &mut Current| {
        demand(current, DataDemand::Keep(["data".to_owned()].into()));
        current.images.retain(|it| !it.names.iter().any(|name| name.as_str() == "db:1"));
    };
    assert_snapshot!(story_of("db db:1 volume:data", device, restored), @"
    pull db:1
    create 1/db from db:1
    copy the data of volume 1_data, lock 1 (db)
    kill 1/db
    rename 1/db to db_1_1_one, start 1/db, remove image db:2
    unlock 1
    ");
}

#[test]
fn the_removal_of_an_app_waits_for_no_data() {
    assert_snapshot!(story_of("", DEVICE, put_back), @"
    lock 1 (db web)
    kill 1/db, kill 1/web
    remove network app_default, remove volume 1_data, remove image db:1, remove image web:1
    unlock 1
    ");
}
