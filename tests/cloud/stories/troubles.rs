//! A cloud that refuses, vanishes, or is another one.

use serde_json::Value;

use crate::board::{Board, PATIENCE};
use crate::fake::{Call, FakeCloud, Fault};
use crate::lab::{Lab, pause, until};

/// Whether the container of a service has this in its environment.
fn has(lab: &Lab, name: &str, value: &str) -> bool {
    lab.containers().iter().any(|it| lab.env(&it.id).get(name).is_some_and(|it| it == value))
}

/// The board follows its cloud again.
fn recovers(board: &Board<'_>, mark: &str) {
    board.cloud.sets_variable(&board.uuid(), "RECOVERED", mark);
    until(PATIENCE, "the board follows its cloud again", || has(board.lab, "RECOVERED", mark));
}

#[test]
#[ignore = "needs `make cloud`"]
fn a_cloud_that_refuses_the_key_is_not_hammered_and_apps_run_on() {
    let (lab, cloud) = (Lab::enter(), FakeCloud::start());
    let board = Board::running(&lab, &cloud, &[("main", "")]);
    let main = lab.the("main");
    cloud.brakes_for(std::time::Duration::from_secs(1));
    cloud.fails(Call::Any, Fault::RefusesKeys);
    let before = cloud.exchanges().len();
    until(PATIENCE, "it is refused", || cloud.exchanges().len() > before + 1);
    pause(30_000);
    let asked = cloud.exchanges().len() - before;
    assert!(asked < 30, "{asked} requests");
    assert!(board.state().to_string().contains("401"), "{}", board.state());
    assert_eq!(lab.the("main"), main);
    cloud.is_well();
    recovers(&board, "keys");
}

#[test]
#[ignore = "needs `make cloud`"]
fn a_device_that_is_deleted_runs_on_and_says_so() {
    let (lab, cloud) = (Lab::enter(), FakeCloud::start());
    let mut board = Board::running(&lab, &cloud, &[("main", "")]);
    let main = lab.the("main");
    cloud.brakes_for(std::time::Duration::from_secs(2));
    cloud.deletes(&board.uuid());
    // The cloud answers 304 to all polls with an ETag. It is a refused report that makes the agent ask without one.
    assert_eq!(board.post(&format!("/v1/apps/{}/stop", board.fleet)), 200);
    until(PATIENCE, "the state says that the cloud has no such device", || {
        board.state()["cloud"]["polling"]["last"]["answer"] == "gone"
    });
    let without_etag = |it: &crate::fake::Exchange| it.request.header("if-none-match").is_none() && it.status == 304;
    assert!(cloud.calls(Call::Target).iter().any(without_etag), "one unconditional poll tells");
    assert_eq!(board.post(&format!("/v1/apps/{}/start", board.fleet)), 200);
    pause(12_000);
    let now = lab.the("main");
    assert_eq!((&now.id, now.state.as_str()), (&main.id, "running"));
    assert_eq!(cloud.devices(), Vec::<String>::new(), "it does not register anew by itself");
    assert!(board.lives());
}

#[test]
#[ignore = "needs `make cloud`"]
fn a_captive_portal_and_endless_bodies_change_nothing() {
    let (lab, cloud) = (Lab::enter(), FakeCloud::start());
    let board = Board::running(&lab, &cloud, &[("main", "")]);
    let main = lab.the("main");
    for fault in [Fault::Portal, Fault::EndlessBody, Fault::DiesMidBody] {
        let before = cloud.exchanges().len();
        cloud.fails(Call::Any, fault.clone());
        // So that there is something new.
        cloud.sets_variable(&board.uuid(), "UNSEEN", "1");
        until(PATIENCE, &format!("{fault:?} was met"), || cloud.exchanges().len() > before);
        pause(5000);
        if fault != Fault::DiesMidBody {
            assert_eq!(lab.the("main"), main, "{fault:?}");
        }
    }
    cloud.is_well();
    recovers(&board, "portal");
}

#[test]
#[ignore = "needs `make cloud`"]
fn the_key_does_not_follow_to_another_host() {
    let (lab, cloud, elsewhere) = (Lab::enter(), FakeCloud::start(), FakeCloud::start());
    let board = Board::running(&lab, &cloud, &[("main", "")]);
    let before = cloud.exchanges().len();
    cloud.fails(Call::Any, Fault::Moved(format!("{}/device/v3/x/state", elsewhere.endpoint())));
    until(PATIENCE, "it is sent elsewhere", || cloud.exchanges().iter().skip(before).any(|it| it.status == 301));
    pause(10_000);
    assert_eq!(elsewhere.exchanges().len(), 0);
    cloud.is_well();
    recovers(&board, "moved");
}

#[test]
#[ignore = "needs `make cloud`"]
fn a_wait_that_the_cloud_asks_for_is_kept_by_all_requests() {
    let (lab, cloud) = (Lab::enter(), FakeCloud::start());
    let board = Board::running(&lab, &cloud, &[("main", "")]);
    pause(1000);
    cloud.fails_times(1, Call::Target, Fault::Unavailable(Some(25)));
    cloud.sets_variable(&board.uuid(), "A", "1");
    let refused = || cloud.calls(Call::Target).into_iter().find(|it| it.status == 503);
    until(PATIENCE, "a poll is refused", || refused().is_some());
    let refused = refused().unwrap();
    until(PATIENCE, "the variable arrives", || has(&lab, "A", "1"));
    let next = cloud.exchanges().into_iter().find(|it| it.number > refused.number && it.call != Call::Logs).unwrap();
    let waited = (next.at - refused.at).as_secs_f32();
    assert!((25.0..40.0).contains(&waited), "{waited} s, then {:?}", next.call);
}

#[test]
#[ignore = "needs `make cloud`"]
fn a_device_that_is_moved_runs_its_new_fleet() {
    let (lab, cloud) = (Lab::enter(), FakeCloud::start());
    let board = Board::running(&lab, &cloud, &[("main", "")]);
    let uuid = board.uuid();
    let other = cloud.fleet("other");
    cloud.configures_fleet(other, "RESIN_SUPERVISOR_POLL_INTERVAL", "10000");
    cloud.release(other, &[crate::images::service(&lab, "newcomer", "")], &[]);
    cloud.moves(&uuid, other);
    board.runs(&["newcomer"]);
    until(PATIENCE, "the new fleet's app is reported", || cloud.reported_app(&uuid, &cloud.fleet_uuid(other)) != Value::Null);
    assert!(cloud.calls(Call::Report).iter().all(|it| it.status == 200));
}

#[test]
#[ignore = "needs `make cloud`"]
fn an_outage_ends_and_a_kept_connection_that_was_closed_costs_nothing() {
    let (lab, cloud) = (Lab::enter(), FakeCloud::start());
    let board = Board::running(&lab, &cloud, &[("main", "")]);
    cloud.fails(Call::Any, Fault::ClosesKept);
    pause(12_000);
    recovers(&board, "kept");
    cloud.is_well();
    cloud.goes_down();
    pause(12_000);
    cloud.comes_up();
    recovers(&board, "outage");
    cloud.fails_times(1, Call::Target, Fault::Stalls);
    cloud.sets_variable(&board.uuid(), "STALLED", "1");
    // A request may take a minute.
    until(120, "a stalled poll is tried again", || has(&lab, "STALLED", "1"));
}
