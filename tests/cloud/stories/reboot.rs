//! The last report before the machine goes down.

use hyper::Method;
use serde_json::json;

use crate::board::{Board, PATIENCE};
use crate::bus::{self, Daemon};
use crate::fake::{Call, FakeCloud};
use crate::lab::{Lab, until};
use crate::logind::Logind;

#[test]
#[ignore = "needs `make cloud`"]
fn the_cloud_knows_of_a_reboot_before_the_machine_goes_down() {
    let (lab, cloud) = (Lab::enter(), FakeCloud::start());
    let machine = tempfile::tempdir_in(lab.dir()).unwrap();
    let _daemon = Daemon::start(machine.path());
    let logind = Logind::begin(machine.path());
    let mut board = Board::new(&lab, &cloud);
    board.system_bus = Some(bus::address(machine.path()));
    board.release(&[("main", "")]);
    board.start();
    board.arrives(&["main"]);
    let (uuid, main) = (board.uuid(), lab.the("main"));
    assert_ne!(cloud.reported(&uuid)["status"], "Stopping");
    let reports = cloud.calls(Call::Report).len();

    let asked = board.asked(&Method::POST, "/v1/reboot", Some(&json!({"force": false})));
    assert_eq!((asked.status, &asked.body), (202, &json!({"Data": "OK", "Error": ""})));
    until(PATIENCE, "logind is asked to reboot", || logind.script.lock().unwrap().accepted == ["Reboot"]);
    // What systemd does next.
    logind.announce(true);
    board.stop();
    assert_eq!(cloud.reported(&uuid)["status"], "Stopping");
    let last = cloud.calls(Call::Report).split_off(reports);
    assert!(last.iter().all(|it| it.status == 200), "{last:#?}");
    assert_eq!(lab.the("main"), main, "containers end with the machine, not with the agent");

    logind.announce(false);
    board.start();
    until(PATIENCE, "the next start reports that the device is idle", || cloud.reported(&uuid)["status"] == "Idle");
}
