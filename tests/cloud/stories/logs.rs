//! Logs: every line of a container once, in its order, whatever the cloud and the power do meanwhile.

use std::time::Duration;

use crate::board::{Board, PATIENCE, figure};
use crate::fake::{Call, FakeCloud, Fault};
use crate::lab::{Lab, pause, until};

/// Counts, ten times a second.
const COUNTS: &str = "i=0; trap 'exit 0' TERM; while :; do echo line $i; i=$((i+1)); sleep 0.1; done";

/// The numbers of a service's lines, in the order in which the cloud has them.
fn numbers(board: &Board<'_>, service: &str) -> Vec<u32> {
    let id = board.cloud.service_id(board.fleet, service);
    let lines = board.cloud.logs(&board.uuid()).into_iter().filter(|it| it.service == Some(id) && !it.is_system);
    lines.filter_map(|it| it.message.trim().strip_prefix("line ")?.parse().ok()).collect()
}

/// Every number once, from the first, in order; how many there are.
fn unbroken(board: &Board<'_>, service: &str) -> u32 {
    let found = numbers(board, service);
    for (expected, number) in (0..).zip(&found) {
        assert_eq!(*number, expected, "{found:?}");
    }
    u32::try_from(found.len()).unwrap()
}

#[test]
#[ignore = "needs `make cloud`"]
fn lines_arrive_once_and_in_order_over_an_outage_and_a_power_cut() {
    let (lab, cloud) = (Lab::enter(), FakeCloud::start());
    let mut board = Board::running(&lab, &cloud, &[("main", COUNTS)]);
    let count = || u32::try_from(numbers(&board, "main").len()).unwrap();
    until(PATIENCE, "lines arrive", || count() > 20);
    cloud.goes_down();
    pause(20_000);
    let before = unbroken(&board, "main");
    cloud.comes_up();
    until(PATIENCE, "what was written meanwhile arrives", || count() > before + 200);
    unbroken(&board, "main");
    for wait in [0, 3000] {
        // The lines of a body would come twice if the power failed between its answer and the cursor's write, a moment later.
        let uploads = cloud.calls(Call::Logs).len();
        until(PATIENCE, "a body is acknowledged", || {
            let calls = cloud.calls(Call::Logs);
            calls.len() > uploads && calls.last().is_some_and(|it| it.status == 201)
        });
        pause(40);
        board.kill();
        pause(wait);
        board.start();
        let before = unbroken(&board, "main");
        until(PATIENCE, "lines arrive after a power cut", || {
            u32::try_from(numbers(&board, "main").len()).unwrap() > before + 30
        });
    }
    let all = unbroken(&board, "main");
    figure("log lines over an outage and power cuts", &format!("{all}, each once and in order"));
}

#[test]
#[ignore = "needs `make cloud`"]
fn lines_are_not_lost_while_connections_are_cut() {
    let (lab, cloud) = (Lab::enter(), FakeCloud::start());
    let board = Board::running(&lab, &cloud, &[("main", COUNTS)]);
    for _ in 0..6 {
        pause(2000);
        cloud.closes_connections();
    }
    cloud.fails_times(2, Call::Logs, Fault::Unavailable(Some(1)));
    cloud.fails_times(1, Call::Logs, Fault::Slow(Duration::from_secs(2)));
    let before = unbroken(&board, "main");
    until(PATIENCE, "lines arrive", || u32::try_from(numbers(&board, "main").len()).unwrap() > before + 50);
    unbroken(&board, "main");
    let bodies = cloud.calls(Call::Logs);
    assert!(bodies.iter().all(|it| it.request.header("content-type") == Some("application/x-ndjson")));
    assert!(!cloud.logs(&board.uuid()).iter().any(|it| it.message.contains("due to rate limiting")));
}

#[test]
#[ignore = "needs `make cloud`"]
fn lines_say_where_they_are_from() {
    let (lab, cloud) = (Lab::enter(), FakeCloud::start());
    let script = "echo said; echo shouted >&2; printf 'one\\rtwo\\n'; exec stay";
    let board = Board::running(&lab, &cloud, &[("main", script)]);
    let uuid = board.uuid();
    let line = |text: &str| cloud.logs(&uuid).into_iter().find(|it| it.message == text);
    until(PATIENCE, "both lines arrive", || line("said").is_some() && line("shouted").is_some());
    let (said, shouted) = (line("said").unwrap(), line("shouted").unwrap());
    assert_eq!(said.service, Some(cloud.service_id(board.fleet, "main")));
    assert!(!said.is_stderr && !said.is_system && !shouted.is_system);
    assert!(said.created_at.checked_sub(said.timestamp).is_some_and(|it| it < 60_000), "{said:?}");
    until(PATIENCE, "the agent's own lines arrive", || cloud.logs(&uuid).iter().any(|it| it.is_system));
}
