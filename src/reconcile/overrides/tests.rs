use super::*;
use crate::reconcile::testing::{APP, key, parse_device, parse_target};

/// The overrides of an agent that ended while the user had stopped `web`.
fn web_was_stopped() -> ActiveOverrides {
    ActiveOverrides::new([key("web")].into())
}

fn none() -> ActiveOverrides {
    ActiveOverrides::new(SortedSet::new())
}

fn id(text: &str) -> ContainerId {
    ContainerId(text.to_owned())
}

fn is_forced(overrides: &ActiveOverrides) -> bool {
    overrides.effective(SortedSet::new()).force.contains(&APP)
}

#[test]
fn a_service_that_is_stopped_twice_changes_the_record_once() {
    let mut overrides = none();
    assert_eq!(overrides.stop(&key("web")), StoppedRecord::Changed);
    assert_eq!(overrides.stop(&key("web")), StoppedRecord::Same);
    assert!(overrides.has_stopped(&key("web")) && !overrides.has_stopped(&key("db")));
    assert_eq!(overrides.stopped_record(), [key("web")].into());
}

#[test]
fn a_start_ends_the_stop_and_starts_the_containers_that_start_only_on_request() {
    let device = parse_device("web web:1 exited\nweb web:2 running\nweb web:3 paused\nweb web:4 created\ndb db:1 exited");
    let mut overrides = none();
    let _ = overrides.stop(&key("web"));
    assert_eq!(overrides.start(&key("web"), &device), StoppedRecord::Changed);
    assert!(!overrides.has_stopped(&key("web")));
    assert_eq!(overrides.requested().start, [id("web-0"), id("web-2")].into());
    assert!(overrides.is_start_requested(&id("web-0")) && !overrides.is_start_requested(&id("web-1")));
    assert_eq!(overrides.start(&key("db"), &device), StoppedRecord::Same);
}

/// It takes the place of the other, and would be created again and again.
#[test]
fn a_restart_leaves_the_container_alone_that_was_created_beside_another() {
    for (device, recreated) in [
        ("web web:1 running\nweb web:1 created beside", vec!["web-0"]),
        ("web web:1 created\nweb web:2 created beside", vec!["web-0"]),
        ("web web:1 created", vec!["web-0"]),
        ("web web:1 created beside", vec!["web-0"]),
        ("web web:1 running\ndb db:1 created", vec!["web-0", "db-1"]),
        ("web web:1 exited\nweb web:1 running beside", vec!["web-0", "web-1"]),
    ] {
        let mut overrides = none();
        overrides.restart(APP, &parse_device(device));
        assert_eq!(overrides.requested().recreate, recreated.into_iter().map(id).collect(), "{device}");
    }
}

#[test]
fn a_restart_of_an_app_drops_its_own_stops_only() {
    let mut overrides = none();
    let other = ServiceKey::new(AppId(2), "web");
    let _ = (overrides.stop(&key("web")), overrides.stop(&key("db")), overrides.stop(&other));
    assert_eq!(overrides.clear_stops(APP), StoppedRecord::Changed);
    assert_eq!(overrides.clear_stops(APP), StoppedRecord::Same);
    assert_eq!(overrides.requested().stopped, [other].into());
}

#[test]
fn a_volume_is_unused_until_it_is_gone_or_the_target_names_it() {
    let mut device = parse_device("volume old\nvolume data\nvolume held");
    let all: SortedSet<String> = ["1_old", "1_data", "1_held"].map(str::to_owned).into();
    let mut overrides = none();
    overrides.remove_unused_volumes(&all);
    overrides.keep_only(&parse_target("web web:1 volume:data"));
    assert_eq!(overrides.requested().unused_volumes, ["1_old", "1_held"].map(str::to_owned).into());
    device.volumes.retain(|it| it.name != "1_old");
    assert_eq!(overrides.drop_fulfilled(&device), StoppedRecord::Same);
    assert!(overrides.removes_any_volume(&all));
    assert!(overrides.keep_volume("1_held") && !overrides.keep_volume("1_held"));
    assert!(!overrides.removes_any_volume(&all));
}

#[test]
fn a_rejected_request_leaves_nothing_of_its_app_requested() {
    let device = parse_device("web web:1 running");
    let mut overrides = none();
    let _ = (overrides.stop(&key("web")), overrides.stop(&key("db")));
    overrides.purge(APP);
    overrides.purge(AppId(2));
    overrides.requested.recreate.extend([id("web-0"), id("of app 2")]);
    overrides.withdraw(APP, Some(&key("web")), &device);
    let left = Overrides {
        stopped: [key("db")].into(),
        purge: [AppId(2)].into(),
        recreate: [id("of app 2")].into(),
        ..Overrides::default()
    };
    assert_eq!(*overrides.requested(), left);
}

#[test]
fn a_service_that_was_stopped_when_the_agent_ended_is_started_once() {
    let exited = parse_device("web web:1 exited rests");
    let mut overrides = web_was_stopped();
    assert_eq!(overrides.drop_fulfilled(&exited), StoppedRecord::Same);
    assert_eq!(overrides.requested().start, [id("web-0")].into());
    // Until it is started, it stays recorded: the agent may end before.
    assert_eq!(overrides.stopped_record(), [key("web")].into());
    assert_eq!(overrides.on_started(&id("web-0"), &key("web")), StoppedRecord::Changed);
    // It exits at once: it is not started again.
    assert_eq!(overrides.drop_fulfilled(&exited), StoppedRecord::Same);
    assert!(overrides.requested().start.is_empty() && overrides.stopped_record().is_empty());
}

#[test]
fn a_service_that_was_stopped_when_the_agent_ended_is_forgotten_once_it_runs_or_is_gone() {
    for device in ["web web:1 running", "web web:1 restarting", "web web:1 paused", "db db:1 exited", ""] {
        let mut overrides = web_was_stopped();
        assert_eq!(overrides.drop_fulfilled(&parse_device(device)), StoppedRecord::Changed, "{device}");
        assert!(overrides.requested().start.is_empty() && overrides.stopped_record().is_empty(), "{device}");
    }
}

#[test]
fn a_service_that_was_stopped_when_the_agent_ended_is_remembered_until_its_container_can_be_started() {
    for device in ["web web:1 created", "web web:1 dead"] {
        let mut overrides = web_was_stopped();
        assert_eq!(overrides.drop_fulfilled(&parse_device(device)), StoppedRecord::Same, "{device}");
        assert!(overrides.requested().start.is_empty(), "{device}");
        assert_eq!(overrides.stopped_record(), [key("web")].into(), "{device}");
    }
}

#[test]
fn a_stop_takes_the_place_of_the_restart_that_is_still_due() {
    let mut overrides = web_was_stopped();
    assert_eq!(overrides.stop(&key("web")), StoppedRecord::Changed);
    assert_eq!(overrides.drop_fulfilled(&parse_device("web web:1 exited")), StoppedRecord::Same);
    assert!(overrides.requested().start.is_empty() && overrides.has_stopped(&key("web")));
}

#[test]
fn what_is_done_is_no_longer_requested() {
    let mut overrides = none();
    let _ = overrides.start(&key("web"), &parse_device("web web:1 exited"));
    overrides.requested.recreate.extend([id("web-0")]);
    overrides.purge(APP);
    let _ = overrides.drop_fulfilled(&parse_device("web web:1 exited"));
    assert!(overrides.is_start_requested(&id("web-0")));
    let _ = overrides.drop_fulfilled(&parse_device("web web:1 running"));
    assert!(!overrides.is_start_requested(&id("web-0")));
    assert_eq!(overrides.requested().recreate, [id("web-0")].into());
    let _ = overrides.drop_fulfilled(&parse_device("volume data"));
    assert!(overrides.requested().recreate.is_empty());
    // The volume is still to be purged.
    assert_eq!(overrides.requested().purge, [APP].into());
    let _ = overrides.drop_fulfilled(&parse_device(""));
    assert!(overrides.requested().purge.is_empty());
}

#[test]
fn a_restart_is_requested_until_its_containers_are_gone_or_restarted() {
    let device = parse_device("web web:1 running\ndb db:1 running");
    let mut overrides = none();
    assert!(!overrides.is_restart_requested(APP, &device));
    overrides.restart(APP, &device);
    assert!(overrides.is_restart_requested(APP, &device) && !overrides.is_restart_requested(AppId(2), &device));
    overrides.on_restarted(&id("web-0"));
    assert!(overrides.is_restart_requested(APP, &device));
    assert!(!overrides.is_restart_requested(APP, &parse_device("web web:1 running")));
    overrides.purge(APP);
    assert!(overrides.is_restart_requested(APP, &parse_device("")));
}

#[test]
fn a_restart_of_a_service_is_none_of_its_app() {
    let device = parse_device("web web:1 running\ndb db:1 running");
    let mut overrides = none();
    let _ = (overrides.stop(&key("web")), overrides.stop(&key("db")));
    overrides.restart_service(&key("web"), &device);
    assert_eq!(overrides.requested().recreate, [id("web-0")].into());
    assert!(overrides.is_restart_requested(APP, &device) && !overrides.is_app_restart_requested(APP, &device));
    assert!(overrides.is_recreate_requested(&key("web"), &device) && !overrides.is_recreate_requested(&key("db"), &device));
    assert_eq!(overrides.clear_stop(&key("web")), StoppedRecord::Changed);
    assert_eq!(overrides.clear_stop(&key("web")), StoppedRecord::Same);
    assert!(!overrides.has_stopped(&key("web")) && overrides.has_stopped(&key("db")));
    // A restart of the app is requested although one of its services is being restarted.
    overrides.restart(APP, &device);
    assert!(overrides.is_app_restart_requested(APP, &device) && overrides.is_recreate_requested(&key("db"), &device));
    // It is done once none of its containers is left. A later restart of a service is none of the app.
    let _ = overrides.drop_fulfilled(&parse_device(""));
    overrides.restart_service(&key("web"), &device);
    assert!(overrides.is_restart_requested(APP, &device) && !overrides.is_app_restart_requested(APP, &device));
    overrides.purge(APP);
    assert!(overrides.is_app_restart_requested(APP, &device) && overrides.is_recreate_requested(&key("db"), &device));
}

#[test]
fn a_new_target_keeps_only_what_it_knows() {
    let mut overrides = none();
    let _ = (overrides.stop(&key("web")), overrides.stop(&key("db")));
    overrides.purge(APP);
    overrides.keep_only(&parse_target("web web:2"));
    assert_eq!(overrides.requested().stopped, [key("web")].into());
    assert_eq!(overrides.requested().purge, [APP].into());
    overrides.keep_only(&parse_target(""));
    assert!(overrides.requested().stopped.is_empty() && overrides.requested().purge.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_forced_update_lasts_ten_seconds_at_the_least_and_until_the_app_has_settled() {
    let mut overrides = none();
    overrides.force_update([APP].into());
    tokio::time::advance(Duration::from_millis(9_999)).await;
    overrides.expire_forced_update(|_| false);
    assert!(is_forced(&overrides));
    tokio::time::advance(Duration::from_millis(1)).await;
    overrides.expire_forced_update(|app| app == APP);
    assert!(is_forced(&overrides));
    overrides.expire_forced_update(|_| false);
    assert!(!is_forced(&overrides));
}

#[test]
fn a_forced_request_lasts_until_it_is_answered_and_done() {
    let device = parse_device("web web:1 running");
    let mut overrides = none();
    overrides.force_once(APP);
    overrides.requested.recreate.extend([id("web-0")]);
    assert!(is_forced(&overrides) && overrides.requested().force.is_empty());
    overrides.expire_forced_requests(&device, |_| true);
    assert!(is_forced(&overrides));
    // The requester hung up; the restart is still carried out.
    overrides.expire_forced_requests(&device, |_| false);
    assert!(is_forced(&overrides));
    overrides.on_restarted(&id("web-0"));
    overrides.expire_forced_requests(&device, |_| true);
    assert!(is_forced(&overrides));
    overrides.expire_forced_requests(&device, |_| false);
    assert!(!is_forced(&overrides));
}

#[test]
fn the_configuration_overrides_locks_beside_the_requests() {
    let mut overrides = none();
    overrides.force_update([APP].into());
    overrides.force_once(AppId(2));
    assert_eq!(overrides.effective([AppId(3)].into()).force, [APP, AppId(2), AppId(3)].into());
}
