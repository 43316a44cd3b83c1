//! One board is one device, whatever is lost or cut.

use std::time::Duration;

use serde_json::{Value, json};

use crate::board::{Board, PATIENCE, figure};
use crate::fake::{Call, FakeCloud, Fault};
use crate::lab::{Lab, pause, until};

/// Waits until the cloud has seen a poll with the device's own key.
fn polls(board: &Board<'_>) -> String {
    let uuid = board.registers();
    until(PATIENCE, "the board polls with its own key", || !board.cloud.polled(&uuid).is_empty());
    uuid
}

#[test]
#[ignore = "needs `make cloud`"]
fn a_board_registers_and_writes_down_who_it_is() {
    let (lab, cloud) = (Lab::enter(), FakeCloud::start());
    let mut board = Board::new(&lab, &cloud);
    let before = board.config();
    board.start();
    let took = until(PATIENCE, "the board is registered", || !cloud.devices().is_empty());
    figure("exec to registered", &format!("{:.1} s", took.as_secs_f32()));
    let uuid = polls(&board);
    until(PATIENCE, "config.json is written back", || board.config().get("apiKey").is_none());
    let config = board.config();
    assert_eq!(config["uuid"], *uuid);
    assert_eq!(config["deviceApiKey"], *cloud.device_key(&uuid));
    assert_eq!(config["deviceId"], cloud.device_id(&uuid));
    assert!(config["registered_at"].as_u64() > Some(1_700_000_000), "{config:#}");
    // What is not ours is kept.
    for (name, value) in before.as_object().unwrap().iter().filter(|it| it.0 != "apiKey") {
        assert_eq!(config[name], *value, "{name}");
    }
    assert_eq!(board.state()["cloud"]["registration"]["device_id"], cloud.device_id(&uuid), "{}", board.state());
    let form = &cloud.calls(Call::Register)[0].request.json();
    assert_eq!((&form["uuid"], &form["device_type"]), (&json!(uuid), &json!("raspberrypi3")));
    assert!(form["supervisor_version"].as_str().unwrap().len() <= 20, "{form}");
    let log = board.log();
    for key in [before["apiKey"].as_str().unwrap(), &cloud.device_key(&uuid)] {
        assert!(!log.contains(key), "a key is in the log");
    }

    board.kill();
    board.start();
    let polled = cloud.polled(&uuid).len();
    until(PATIENCE, "it polls again", || cloud.polled(&uuid).len() > polled);
    assert_eq!(cloud.calls(Call::Register).len(), 1);
}

#[test]
#[ignore = "needs `make cloud`"]
fn a_lost_answer_ends_in_one_device() {
    let (lab, cloud) = (Lab::enter(), FakeCloud::start());
    let mut board = Board::new(&lab, &cloud);
    cloud.fails_times(1, Call::Register, Fault::LosesAnswer);
    board.start();
    let uuid = polls(&board);
    until(PATIENCE, "config.json is written back", || board.config()["deviceId"] == cloud.device_id(&uuid));
    assert_eq!(board.config()["deviceApiKey"], *cloud.device_key(&uuid));
    assert!(cloud.calls(Call::Register).len() >= 2);
}

#[test]
#[ignore = "needs `make cloud`"]
fn power_cuts_while_it_registers_end_in_one_device() {
    let (lab, cloud) = (Lab::enter(), FakeCloud::start());
    let mut board = Board::new(&lab, &cloud);
    cloud.fails(Call::Register, Fault::Slow(Duration::from_millis(150)));
    // The times are no multiples of each other, so that they meet other moments on other machines.
    for number in 0..20 {
        board.start();
        pause(17 + number * 29 % 400);
        board.kill();
    }
    board.start();
    let uuid = polls(&board);
    until(PATIENCE, "config.json is written back", || board.config()["deviceId"] == cloud.device_id(&uuid));
    assert_eq!(board.config()["uuid"], *uuid);
}

#[test]
#[ignore = "needs `make cloud`"]
fn two_starts_at_once_end_in_one_device() {
    let (lab, cloud) = (Lab::enter(), FakeCloud::start());
    let mut board = Board::new(&lab, &cloud);
    cloud.fails_times(1, Call::Register, Fault::Slow(Duration::from_millis(500)));
    let mut second = board.command().stderr(std::process::Stdio::null()).stdout(std::process::Stdio::null()).spawn().unwrap();
    board.start();
    until(PATIENCE, "one of them ends", || !board.lives() || second.try_wait().unwrap().is_some());
    polls(&board);
    second.kill().unwrap();
    second.wait().unwrap();
    assert_eq!(cloud.calls(Call::Register).len(), 1);
}

#[test]
#[ignore = "needs `make cloud`"]
fn an_expired_provisioning_key_is_said_and_tried_again() {
    let (lab, cloud) = (Lab::enter(), FakeCloud::start());
    let mut board = Board::new(&lab, &cloud);
    let mut config = board.config();
    let good = config["apiKey"].clone();
    config["apiKey"] = json!(cloud.provisioning_key(board.fleet, Some(Duration::ZERO)));
    board.write_config(&config);
    board.start();
    until(PATIENCE, "it is refused", || cloud.calls(Call::Register).iter().any(|it| it.status == 401));
    until(PATIENCE, "the state says so", || board.state().to_string().contains("401"));
    assert_eq!(cloud.devices(), Vec::<String>::new());
    board.kill();
    config = board.config();
    config["apiKey"] = good;
    board.write_config(&config);
    board.start();
    assert_ne!(Value::from(polls(&board)), Value::Null);
}
