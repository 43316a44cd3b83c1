//! The bytes of a device at rest.

use serde_json::Value;

use crate::board::{Board, PATIENCE, figure};
use crate::fake::FakeCloud;
use crate::lab::{Lab, pause, until};

/// Bytes an hour, payload of TCP in both directions, with polls every 15 minutes.
const BUDGET: u64 = 9_000;
/// Cycles that are measured.
const CYCLES: usize = 4;

#[test]
#[ignore = "needs `make cloud`"]
fn a_device_at_rest_keeps_its_data_budget() {
    let (lab, cloud) = (Lab::enter(), FakeCloud::start());
    let board = Board::running(&lab, &cloud, &[("main", ""), ("side", "")]);
    let uuid = board.uuid();
    let polls = |count: usize| {
        let begun = cloud.polled(&uuid).len();
        until(PATIENCE, "it polls", || cloud.polled(&uuid).len() >= begun + count);
        // What follows a poll belongs to its cycle.
        pause(3000);
        let (_, received, sent) = cloud.traffic();
        received + sent
    };
    // What changed with the release is reported in these.
    let begun = polls(3);
    let first = cloud.exchanges().len();
    let a_cycle = (polls(CYCLES) - begun) / CYCLES as u64;
    let calls: Vec<_> = cloud.exchanges().into_iter().skip(first).collect();
    let shown: Vec<_> = calls.iter().map(|it| (it.call, it.status, cloud.bytes_of(it))).collect();
    let an_hour = a_cycle * 4;
    assert!(an_hour <= BUDGET, "{an_hour} bytes an hour: {shown:#?}");
    assert!(calls.len() >= CYCLES, "{shown:?}");

    // What the agent counts is what was on the wire, but for what is just under way; the registry is another server.
    let (_, received, sent) = cloud.traffic();
    let counted = board.state()["cloud"]["traffic"].clone();
    let to_cloud = |it: &(&String, &Value)| it.0 != "registry";
    let counted =
        |of: &str| counted.as_object().unwrap().iter().filter(to_cloud).map(|it| it.1[of].as_u64().unwrap()).sum::<u64>();
    for (counted, on_wire) in [(counted("sent"), received), (counted("received"), sent)] {
        assert!(counted.abs_diff(on_wire) < on_wire / 10, "{counted} bytes are counted of {on_wire}: {}", board.state());
    }
    figure(&format!("budget: {an_hour} bytes an hour"));
}
