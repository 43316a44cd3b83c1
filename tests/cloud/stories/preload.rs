//! Devices whose image was made with a release.

use std::fs;

use hyper::Method;

use crate::board::{Board, PATIENCE, figure};
use crate::fake::{Call, Exchange, FakeCloud, Fault};
use crate::images::service;
use crate::lab::{Lab, pause, until};

/// The requests to pin a device.
fn pins(cloud: &FakeCloud) -> Vec<Exchange> {
    cloud.calls(Call::Odata).into_iter().filter(|it| it.request.method == Method::PATCH).collect()
}

#[test]
#[ignore = "needs `make cloud`"]
fn a_preloaded_board_stays_at_its_release_though_its_fleet_has_another() {
    let (lab, cloud) = (Lab::enter(), FakeCloud::start());
    let mut board = Board::new(&lab, &cloud);
    let preloaded = board.release(&[("main", "")]);
    fs::write(board.path("boot/apps.json"), cloud.apps_json(board.fleet).to_string()).unwrap();
    board.release(&[("main", ""), ("side", "")]);
    cloud.fails(Call::ReleaseId, Fault::Unavailable(Some(2)));
    board.start();
    let uuid = board.registers();
    board.runs(&["main"]);
    assert_eq!(board.state()["cloud"]["pin"]["state"], "pending");
    assert_eq!(cloud.polled(&uuid).len(), 0, "it would hear of the newest release");
    board.kill();
    cloud.is_well();
    cloud.fails_times(1, Call::Odata, Fault::LosesAnswer);
    board.start();
    let took = until(PATIENCE, "it polls", || !cloud.polled(&uuid).is_empty());
    figure("restart to pinned and polled, with one lost answer", &format!("{:.1} s", took.as_secs_f32()));
    assert_eq!(cloud.pinned(&uuid), Some(preloaded));
    let asked = pins(&cloud);
    let first_poll = cloud.calls(Call::Target).remove(0).number;
    assert!(asked.iter().all(|it| it.number < first_poll), "{asked:?}");
    until(PATIENCE, "the state says so", || board.state()["cloud"]["pin"]["state"] == "pinned");
    board.arrives(&["main"]);
    pause(15_000);
    board.runs(&["main"]);

    board.kill();
    board.start();
    let polled = cloud.polled(&uuid).len();
    until(PATIENCE, "it polls again", || cloud.polled(&uuid).len() > polled);
    assert_eq!(pins(&cloud).len(), asked.len(), "it is asked for until it succeeded, and not again");
    assert!(board.path("boot/apps.json.preloaded").exists());
}

#[test]
#[ignore = "needs `make cloud`"]
fn a_preloaded_board_of_another_fleet_says_so_and_follows_its_own() {
    let (lab, cloud) = (Lab::enter(), FakeCloud::start());
    let mut board = Board::new(&lab, &cloud);
    let other = cloud.fleet("others");
    cloud.release(other, &[service(&lab, "main", "")], &[]);
    fs::write(board.path("boot/apps.json"), cloud.apps_json(other).to_string()).unwrap();
    board.release(&[("side", "")]);
    board.start();
    let uuid = board.registers();
    board.runs(&["side"]);
    let state = board.state();
    let why = state["cloud"]["pin"]["why"].as_str().unwrap();
    assert!(state["cloud"]["pin"]["state"] == "refused" && why.contains(&format!("of fleet {other}")), "{state}");
    assert!(board.log().contains("the device is not pinned on its preloaded release"), "{}", board.log());
    assert!(pins(&cloud).is_empty() && cloud.pinned(&uuid).is_none());
}
