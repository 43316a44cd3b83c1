//! A user's verbs, through the relay, at the real agent.

use std::fs;

use hyper::Method;
use serde_json::{Value, json};

use crate::board::{Board, PATIENCE};
use crate::fake::{FakeCloud, Relayed};
use crate::lab::{Lab, locks, until};

const GET: Method = Method::GET;
const POST: Method = Method::POST;

/// Every call of the SDK, in the form in which it arrives.
#[test]
#[ignore = "needs `make cloud`"]
fn every_verb_of_the_sdk_is_done_and_its_answer_passed_on() {
    let (lab, cloud) = (Lab::enter(), FakeCloud::start());
    let board = Board::running(&lab, &cloud, &[("main", ""), ("side", "")]);
    let app = board.fleet;
    let ok = Relayed { status: 200, body: json!("OK") };
    let done = Relayed { status: 200, body: json!({"Data": "OK", "Error": ""}) };
    assert_eq!(board.asked(&GET, "/ping", None), ok);
    let device = board.asked(&GET, "/v1/device", None);
    assert_eq!((device.status, &device.body["status"]), (200, &json!("Idle")));
    for data in [Some(json!({"force": false})), Some(json!({"force": true})), None] {
        assert_eq!(board.asked(&POST, "/v1/update", data.as_ref()), Relayed { status: 204, body: Value::Null });
    }
    let restarted = |what: &str, verb: &dyn Fn() -> Relayed, expected: &Relayed| {
        let before = lab.the("main");
        let started = |id: &str| lab.inspect(id)["State"]["StartedAt"].clone();
        let at = started(&before.id);
        assert_eq!(verb(), *expected, "{what}");
        until(PATIENCE, &format!("{what}: main runs again"), || {
            let now = lab.containers().into_iter().find(|it| it.service == "main");
            now.is_some_and(|it| it.state == "running" && (it.id != before.id || started(&it.id) != at))
        });
        board.runs(&["main", "side"]);
    };
    restarted("restart", &|| board.asked(&POST, "/v1/restart", Some(&json!({ "appId": app }))), &ok);
    restarted("purge", &|| board.asked(&POST, "/v1/purge", Some(&json!({ "appId": app }))), &done);
    restarted("purge by text", &|| board.asked(&POST, "/v1/purge", Some(&json!({"appId": app.to_string()}))), &done);
    let service = json!({"appId": app, "imageId": cloud.image_id(app, "main")});
    let of_service = |verb: &str| board.asked(&POST, &format!("/v2/applications/{app}/{verb}-service"), Some(&service));
    restarted("restart a service", &|| of_service("restart"), &ok);
    assert_eq!(of_service("stop"), ok);
    board.runs_only(&["side"]);
    assert_eq!(of_service("start"), ok);
    board.runs(&["main", "side"]);
    // There is no logind to ask; whatever is said of that must get through the relay.
    for (path, data) in [("/v1/reboot", json!({"force": false})), ("/v1/shutdown", json!({"force": true}))] {
        let refused = board.asked(&POST, path, Some(&data));
        assert!(refused.body["Error"].as_str().is_some_and(|it| it.contains("system bus")), "{refused:?}");
    }
    let host = json!({"network": {"hostname": "x"}});
    let answer = board.asked(&Method::PATCH, "/v1/device/host-config", Some(&host));
    // There is no bus to ask for that either, and the answer says so.
    assert!(![404, 502].contains(&answer.status) && answer.body != Value::Null, "{answer:?}");
}

#[test]
#[ignore = "needs `make cloud`"]
fn identify_blinks_the_board() {
    let (lab, cloud) = (Lab::enter(), FakeCloud::start());
    let mut board = Board::new(&lab, &cloud);
    board.start();
    let uuid = board.registers();
    until(PATIENCE, "the board can be reached", || cloud.reported(&uuid).contains_key("api_secret"));
    let trigger = || fs::read_to_string(board.path("runtime/simulated-board/sys/class/leds/ACT/trigger")).unwrap();
    let before = trigger();
    assert_eq!(board.asked(&POST, "/v1/blink", None).status, 200);
    until(5, "the LED blinks", || trigger() != before);
    until(30, "the LED is as it was", || trigger() == before);
}

#[test]
#[ignore = "needs `make cloud`"]
fn a_lock_is_answered_423() {
    let (lab, cloud) = (Lab::enter(), FakeCloud::start());
    let board = Board::running(&lab, &cloud, &[("main", "")]);
    let lock = locks(u32::try_from(board.fleet).unwrap(), "main");
    fs::create_dir_all(&lock).unwrap();
    fs::write(lock.join("updates.lock"), "").unwrap();
    let before = lab.the("main");
    let asked = board.asked(&POST, "/v1/restart", Some(&json!({ "appId": board.fleet })));
    assert_eq!(asked.status, 423, "{asked:?}");
    assert!(!asked.body.is_null());
    assert_eq!(lab.the("main"), before);
    fs::remove_file(lock.join("updates.lock")).unwrap();
    let asked = board.asked(&POST, "/v1/restart", Some(&json!({ "appId": board.fleet })));
    assert_eq!(asked.status, 200, "{asked:?}");
}
