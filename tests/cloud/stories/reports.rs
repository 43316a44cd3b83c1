//! Reports: what the cloud has of a board, and what happens to reports that it refuses.

use serde_json::{Value, json};

use crate::board::{Board, KEY, PATIENCE};
use crate::fake::{Call, FakeCloud, Fault};
use crate::lab::{Lab, pause, until};

#[test]
#[ignore = "needs `make cloud`"]
fn what_runs_is_reported_and_nothing_is_refused() {
    let (lab, cloud) = (Lab::enter(), FakeCloud::start());
    let board = Board::running(&lab, &cloud, &[("main", ""), ("side", "")]);
    let uuid = board.uuid();
    let reported = cloud.reported(&uuid);
    assert_eq!((&reported["api_port"], &reported["api_secret"]), (&board.config()["listenPort"], &json!(KEY)));
    for name in ["os_version", "supervisor_version", "mac_address", "status", "memory_total", "storage_total"] {
        assert!(reported.contains_key(name), "{name}: {reported:?}");
    }
    let app = cloud.reported_app(&uuid, &cloud.fleet_uuid(board.fleet));
    let commit = app["release_uuid"].as_str().unwrap();
    until(PATIENCE, "the update is done", || {
        cloud.reported_app(&uuid, &cloud.fleet_uuid(board.fleet))["releases"][commit]["update_status"] == "done"
    });
    let refused: Vec<_> = cloud.calls(Call::Report).into_iter().filter(|it| it.status != 200).collect();
    assert!(refused.is_empty(), "{refused:#?}");

    let next = board.release(&[("main", ""), ("side", "")]);
    until(PATIENCE, "the next release is reported", || {
        cloud.reported_app(&uuid, &cloud.fleet_uuid(board.fleet))["release_uuid"] == *next
    });
}

#[test]
#[ignore = "needs `make cloud`"]
fn a_refused_app_does_not_refuse_the_rest() {
    let (lab, cloud) = (Lab::enter(), FakeCloud::start());
    let mut board = Board::new(&lab, &cloud);
    board.release(&[("main", "")]);
    let app = cloud.fleet_uuid(board.fleet);
    cloud.fails(Call::Report, Fault::RefusesApp(app.clone()));
    board.start();
    let uuid = board.registers();
    board.runs(&["main"]);
    until(PATIENCE, "the device's own fields arrive", || cloud.reported(&uuid).contains_key("api_secret"));
    until(PATIENCE, "the refused part is named", || board.state().to_string().contains(&app));
    assert_eq!(cloud.reported_app(&uuid, &app), Value::Null);
    cloud.is_well();
    cloud.sets_variable(&uuid, "A", "1");
    until(PATIENCE, "the app arrives when it is changed", || board.has_reported(&uuid, &["main"]));
}

#[test]
#[ignore = "needs `make cloud`"]
fn a_report_that_is_always_refused_is_not_sent_for_ever() {
    let (lab, cloud) = (Lab::enter(), FakeCloud::start());
    let board = Board::running(&lab, &cloud, &[("main", "")]);
    let uuid = board.uuid();
    cloud.fails(Call::Report, Fault::RefusesKeys);
    let before = cloud.calls(Call::Report).len();
    // A variable would change nothing that is reported for longer than a second.
    board.release(&[("main", "")]);
    until(PATIENCE, "a report is refused", || cloud.calls(Call::Report).len() > before);
    pause(40_000);
    let refused = cloud.calls(Call::Report).len() - before;
    assert!(refused <= 16, "{refused} reports in 40 s");
    // It is a report that is refused, and no poll: the target is still followed.
    cloud.sets_variable(&uuid, "A", "2");
    let has_it = |id: &str| lab.env(id).get("A").is_some_and(|it| it == "2");
    until(PATIENCE, "the target is followed", || lab.containers().iter().any(|it| has_it(&it.id)));
    cloud.is_well();
    until(PATIENCE, "a report is taken", || cloud.calls(Call::Report).last().is_some_and(|it| it.status == 200));
}
