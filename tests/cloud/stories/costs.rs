//! What the cloud costs a device: data, memory and time. `make bench` takes these figures of the release build.

use std::fs;
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::board::{Board, PATIENCE, figure};
use crate::budget::hold;
use crate::fake::{Call, FakeCloud};
use crate::lab::{Lab, Seen, pause, until};
use crate::proc;

/// Cycles that are measured.
const CYCLES: usize = 4;

/// Writes ten numbered lines of 10 kB, ten times a second: 1 MB/s.
const MEGABYTE_A_SECOND: &str = "line=$(head -c 9992 /dev/zero | tr '\\0' x); trap 'exit 0' TERM; n=1000000; \
    while :; do for i in 0 1 2 3 4 5 6 7 8 9; do echo $n $line; n=$((n+1)); done; sleep 0.1; done";
/// More memory than this, in KiB, a flood of logs may not take.
const FLOOD_KIB: u64 = 8 * 1024;
/// How often each duration is measured; the median counts.
const ROUNDS: usize = 5;

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
    // Polls are 15 minutes apart.
    let shown: Vec<_> = calls.iter().map(|it| (it.call, it.status, cloud.bytes_of(it))).collect();
    let an_hour = a_cycle * 4;
    eprintln!("{shown:#?}");
    hold("cloud_bytes_of_an_idle_hour", an_hour);
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
    figure("bytes at rest", &format!("{an_hour} an hour, in both directions"));
}

#[test]
#[ignore = "needs `make cloud`"]
fn ten_services_that_log_a_megabyte_a_second_cost_little_memory() {
    let (lab, cloud) = (Lab::enter(), FakeCloud::start());
    let names: Vec<_> = (0..10).map(|it| format!("s{it}")).collect();
    let quiet: Vec<_> = names.iter().map(|it| (it.as_str(), "")).collect();
    let board = Board::running(&lab, &cloud, &quiet);
    pause(5000);
    let before = proc::memory(board.pid());
    board.release(&names.iter().map(|it| (it.as_str(), MEGABYTE_A_SECOND)).collect::<Vec<_>>());
    until(PATIENCE, "lines arrive", || cloud.calls(Call::Logs).len() > 20);
    let lines = || {
        let last = lab.containers().into_iter().map(|it| lab.docker(&["logs", "--tail", "1", &it.id]));
        // One that has only just begun has written nothing.
        last.map(|it| it.split(' ').next().unwrap().parse::<u128>().map_or(0, |number| number - 1_000_000)).sum::<u128>()
    };
    let (begun, lines_before) = (Instant::now(), lines());
    pause(20_000);
    let memory = proc::memory(board.pid());
    let kilobytes_a_second = (lines() - lines_before) * 10_000 / begun.elapsed().as_millis();
    let more = memory.rss.saturating_sub(before.rss);
    assert!(more < FLOOD_KIB, "{} KiB before, {} KiB in a flood of logs", before.rss, memory.rss);
    assert_eq!(board.get("/ping").unwrap().status, 200);
    figure(
        "memory with 10 services that log",
        &format!(
            "{} KiB RSS, {} KiB at most; {} KiB before; {kilobytes_a_second} kB/s in all",
            memory.rss, memory.peak, before.rss
        ),
    );
}

#[test]
#[ignore = "needs `make cloud`"]
fn an_update_by_the_cloud_and_one_by_file_end_alike() {
    let (lab, cloud) = (Lab::enter(), FakeCloud::start());
    let mut board = Board::new(&lab, &cloud);
    cloud.configures_fleet(board.fleet, "RESIN_SUPERVISOR_POLL_INTERVAL", "900000");
    board.release(&[("main", "")]);
    board.start();
    board.arrives(&["main"]);
    let uuid = board.uuid();
    // The cloud sends `POST /v1/update`, as it does when a person changes a variable.
    let by_cloud = median_update(&board, "cloud", |value| cloud.sets_variable(&uuid, "ROUND", value));

    board.stop();
    let (file, draft) = (board.path("target.json"), board.path("target.json.new"));
    fs::write(&file, cloud.target(&uuid).to_string()).unwrap();
    board.target_file = Some(file.clone());
    board.start();
    // Apps of a file are not reported; what the cloud has of them may be from the middle of the last update.
    until(PATIENCE, "it is settled", || board.is_settled());
    // What is not in the VPN is not asked to update.
    cloud.connects(&uuid, None);
    let by_file = median_update(&board, "file", |value| {
        cloud.sets_variable(&uuid, "ROUND", value);
        fs::write(&draft, cloud.target(&uuid).to_string()).unwrap();
        fs::rename(&draft, &file).unwrap();
    });
    // That a container which gave way has no log any more is no trouble.
    assert!(!board.log().contains("its output is not uploaded"), "{}", board.log());
    let ratio = by_cloud.as_secs_f32() / by_file.as_secs_f32();
    figure(
        "update by the cloud to running",
        &format!("{} ms; by file {} ms; {ratio:.2} times as long", by_cloud.as_millis(), by_file.as_millis()),
    );
}

/// The median time from a change to a container that has it.
fn median_update(board: &Board<'_>, name: &str, change: impl Fn(&str)) -> Duration {
    let mut times: Vec<_> = (0..ROUNDS)
        .map(|round| {
            let value = format!("{name} {round}");
            let has_it = |it: &Seen| it.state == "running" && board.lab.env(&it.id).get("ROUND") == Some(&value);
            // The cloud is asked at most once a second.
            pause(1500);
            let begun = Instant::now();
            change(&value);
            while !board.lab.containers().iter().any(has_it) {
                assert!(begun.elapsed() < Duration::from_secs(PATIENCE), "`{value}` does not run: {}", board.state());
                sleep(Duration::from_millis(5));
            }
            let took = begun.elapsed();
            until(PATIENCE, "it is settled", || board.lab.containers().len() == 1 && board.is_settled());
            took
        })
        .collect();
    times.sort();
    times[ROUNDS / 2]
}
