use super::*;
use crate::sorted::SortedMap;
use crate::state::App;
use crate::state::app::Generation;

fn clock(boot: &str, uptime_secs: i64, now_secs: i64) -> ClockReading {
    ClockReading { boot_id: boot.to_owned(), uptime_secs, now_secs }
}

fn switch(is_on: bool, target_says: bool, ends: Option<SwitchEnd>) -> LocalModeRecord {
    LocalModeRecord { switch: Some(LocalModeSwitch { is_on, target_says, ends }), session: None }
}

fn pushed(apps: &[u32]) -> Target {
    let app = |id: &u32| App {
        id: AppId(*id),
        uuid: id.to_string(),
        name: "localapp".to_owned(),
        commit: Some("10ca12e1ea5e".to_owned()),
        release_id: 1,
        services: SortedMap::new(),
        networks: SortedMap::new(),
        volumes: SortedMap::new(),
        snapshots: crate::sorted::SortedSet::new(),
        contracts: Vec::new(),
        shape: Generation::Services,
    };
    Target { apps: apps.iter().map(|id| (AppId(*id), app(id))).collect(), ..Target::default() }
}

fn ids(apps: impl IntoIterator<Item = u32>) -> SortedSet<AppId> {
    apps.into_iter().map(AppId).collect()
}

#[test]
fn a_switch_counts_until_the_target_says_something_else() {
    let nothing = LocalModeRecord::default();
    assert!(nothing.is_on(true) && !nothing.is_on(false));
    let on = switch(true, false, None);
    assert!(on.is_on(false));
    // The owner switched it on as well, so that it is the owner's to switch off.
    assert!(on.is_on(true));
    let off = switch(false, true, None);
    assert!(!off.is_on(true) && !off.is_on(false));
    let over = off.switch.unwrap();
    assert!(over.is_over(false, &clock("a", 0, 0)) && !over.is_over(true, &clock("a", 0, 0)));
}

#[test]
fn its_time_passes_whatever_the_clock_is_set_to() {
    let end = SwitchEnd::after(7200, &clock("a", 100, 1_000_000));
    assert_eq!(end.left_secs(&clock("a", 3700, 5)), 3600);
    assert_eq!(end.left_secs(&clock("a", 3700, 9_000_000)), 3600);
    assert!(end.left_secs(&clock("a", 7300, 5)) <= 0);
    // After a reboot the wall clock decides,
    assert_eq!(end.left_secs(&clock("b", 10, 1_003_600)), 3600);
    // and where it is wrong, no more than the whole length from that boot on.
    assert_eq!(end.left_secs(&clock("b", 10, 0)), 7190);
    assert!(end.left_secs(&clock("b", 7200, 0)) <= 0);
    // Without a boot id every start counts as another boot.
    let unknown = SwitchEnd::after(60, &clock("", 100, 1000));
    assert_eq!(unknown.left_secs(&clock("", 30, 1010)), 30);
}

#[test]
fn a_pushed_app_gets_a_number_that_no_owners_app_has() {
    let target = numbered(pushed(&[1, 2_345_678_901])).unwrap();
    let numbers: Vec<_> = target.apps.values().map(|it| (it.id, it.uuid.as_str())).collect();
    assert_eq!(numbers, [(AppId(4_000_000_001), "4000000001"), (AppId(4_045_678_901), "4045678901")]);
    let why = numbered(pushed(&[1, 100_000_001])).unwrap_err().0;
    assert!(why.contains("last eight digits"), "{why}");
    // What was pushed before is remembered, to be removed.
    let mut session = LocalSession::default();
    session.push(numbered(pushed(&[1])).unwrap());
    session.push(numbered(pushed(&[2])).unwrap());
    assert_eq!(session.pushed, ids([4_000_000_001, 4_000_000_002]));
    assert_eq!(session.target.unwrap().apps.len(), 1);
}

#[test]
fn only_pushed_apps_are_touched() {
    let apps = |is_on, has_owner| LocalApps { is_on, has_owner, pushed: ids([1]) };
    assert!(apps(true, true).keeps(AppId(2)) && !apps(true, true).keeps(AppId(1)));
    assert!(!apps(false, true).keeps(AppId(2)));
    // A device without a target removes nothing but what was pushed.
    assert!(apps(false, false).keeps(AppId(2)) && !apps(false, false).keeps(AppId(1)));
}
