//! Targets: fetched, followed, and kept over restarts.

use hyper::Method;
use serde_json::json;

use crate::board::{Board, PATIENCE, figure};
use crate::fake::{Call, FakeCloud, Fault};
use crate::lab::{Lab, pause, until};

#[test]
#[ignore = "needs `make cloud`"]
fn a_release_runs_and_a_variable_makes_its_containers_anew() {
    let (lab, cloud) = (Lab::enter(), FakeCloud::start());
    let mut board = Board::new(&lab, &cloud);
    board.release(&[("main", ""), ("side", "")]);
    board.start();
    let uuid = board.registers();
    board.runs(&["main", "side"]);
    let before = lab.containers();
    // The cloud pushes it, so that it does not wait for a poll.
    cloud.sets_variable(&uuid, "MODE", "night");
    let has_it = |id: &str| lab.env(id).get("MODE").is_some_and(|it| it == "night");
    let took = until(PATIENCE, "the variable is in new containers", || {
        let now = lab.containers();
        now.len() == 2 && now.iter().all(|it| has_it(&it.id) && it.state == "running")
    });
    assert!(lab.containers().iter().all(|it| before.iter().all(|old| old.id != it.id)));
    figure("variable to new containers", &format!("{:.1} s", took.as_secs_f32()));
}

#[test]
#[ignore = "needs `make cloud`"]
fn the_first_poll_after_a_restart_is_answered_304() {
    let (lab, cloud) = (Lab::enter(), FakeCloud::start());
    let mut board = Board::new(&lab, &cloud);
    board.release(&[("main", "")]);
    board.start();
    board.registers();
    board.runs(&["main"]);
    let main = lab.the("main");
    for how in ["stop", "kill"] {
        if how == "stop" {
            board.stop();
        } else {
            board.kill();
        }
        let polls = cloud.calls(Call::Target).len();
        board.start();
        until(PATIENCE, "it polls again", || cloud.calls(Call::Target).get(polls).is_some_and(|it| it.status != 0));
        let poll = &cloud.calls(Call::Target)[polls];
        assert_eq!(poll.status, 304, "after {how}: {:?}", poll.request);
        assert!(poll.request.header("if-none-match").is_some());
    }
    pause(2000);
    assert_eq!(lab.the("main"), main);
}

#[test]
#[ignore = "needs `make cloud`"]
fn an_update_is_asked_for_at_once_and_polls_keep_their_interval() {
    let (lab, cloud) = (Lab::enter(), FakeCloud::start());
    let mut board = Board::new(&lab, &cloud);
    board.start();
    let uuid = board.registers();
    until(PATIENCE, "it polled five times", || cloud.polled(&uuid).len() >= 5);
    let polled = cloud.polled(&uuid);
    let gaps: Vec<_> = polled.windows(2).map(|it| (it[1] - it[0]).as_secs_f32()).skip(1).collect();
    // The cloud shows a device as offline after one and a half intervals.
    assert!(gaps.iter().all(|it| (5.0..15.5).contains(it)), "{gaps:?}");
    cloud.configures(&uuid, "RESIN_SUPERVISOR_POLL_INTERVAL", "600000");
    let before = cloud.polled(&uuid).len();
    until(PATIENCE, "the interval arrives", || cloud.polled(&uuid).len() > before);
    pause(2000);
    let before = cloud.polled(&uuid).len();
    pause(18_000);
    assert_eq!(cloud.polled(&uuid).len(), before, "the new interval counts at once");
    assert_eq!(board.asked(&Method::POST, "/v1/update", Some(&json!({"force": false}))).status, 204);
    until(5, "it polls at once", || cloud.polled(&uuid).len() > before);
}

#[test]
#[ignore = "needs `make cloud`"]
fn an_old_target_comes_and_goes_and_the_newest_stays() {
    let (lab, cloud) = (Lab::enter(), FakeCloud::start());
    let mut board = Board::new(&lab, &cloud);
    board.release(&[("main", "")]);
    board.start();
    let uuid = board.registers();
    board.runs(&["main"]);
    let mode = || lab.containers().iter().find_map(|it| lab.env(&it.id).get("MODE").cloned()).unwrap_or_default();
    cloud.sets_variable(&uuid, "MODE", "1");
    until(PATIENCE, "the variable is there", || mode() == "1");
    cloud.fails_times(1, Call::Target, Fault::OldTarget);
    cloud.fails_times(1, Call::Target, Fault::StaleEtag);
    cloud.sets_variable(&uuid, "MODE", "2");
    until(PATIENCE, "the variable is there", || mode() == "2");
    pause(15_000);
    board.runs(&["main"]);
    assert_eq!(mode(), "2");
}
