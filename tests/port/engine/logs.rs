//! The output of containers: each line once, from any cursor on.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use boardkeeper::port::{Engine, EngineError};
use boardkeeper::state::config::RestartPolicy;
use boardkeeper::state::logging::Logging;
use boardkeeper::state::{
    ContainerId, ContainerRef, ContainerSpec, EngineAction, EngineLogLine, EngineTime, LogCursor, OutputStream,
};
use futures_util::{Stream, StreamExt};

use super::lab::Real;
use super::{Lab, spec, take, wait, which};

const OUT: OutputStream = OutputStream::Stdout;
const ERR: OutputStream = OutputStream::Stderr;

/// A terminal has one stream.
fn without_terminal(mut spec: ContainerSpec) -> ContainerSpec {
    spec.config.tty = false;
    spec.hash = spec.config.hash(spec.image.as_str());
    spec
}

/// A container of a service that runs.
async fn running(lab: &impl Lab, service: &str) -> ContainerRef {
    let spec = without_terminal(spec(lab, service));
    take(lab, EngineAction::Create(Arc::new(spec))).await.unwrap();
    let which = which(lab, service).await;
    take(lab, EngineAction::Start(which.clone())).await.unwrap();
    which
}

/// The next lines of a log.
async fn next(log: &mut (impl Stream<Item = Result<EngineLogLine, EngineError>> + Unpin), count: usize) -> Vec<EngineLogLine> {
    let mut lines = Vec::new();
    while lines.len() < count {
        lines.push(wait(log.next()).await.expect("there is one more line").unwrap());
    }
    lines
}

fn texts(lines: &[EngineLogLine]) -> Vec<&str> {
    lines.iter().map(|it| it.text.as_str()).collect()
}

/// Nothing more is written for now.
async fn rests(log: &mut (impl Stream<Item = Result<EngineLogLine, EngineError>> + Unpin)) {
    let more = tokio::time::timeout(Duration::from_millis(300), log.next()).await;
    assert!(more.is_err(), "{more:?}");
}

pub(crate) async fn lines_arrive_once_from_any_cursor_on(lab: &impl Lab) {
    let main = running(lab, "main").await;
    lab.print(&main.id, OUT, &["1", "2", "3"]);
    lab.print(&main.id, ERR, &["4"]);
    lab.print(&main.id, OUT, &["5"]);
    let mut log = pin!(lab.engine().logs(main.id.clone(), LogCursor::default()));
    let lines = next(&mut log, 5).await;
    assert_eq!(texts(&lines), ["1", "2", "3", "4", "5"]);
    assert_eq!(lines.iter().map(|it| it.stream).collect::<Vec<_>>(), [OUT, OUT, OUT, ERR, OUT]);
    assert!(lines.iter().all(|it| it.at.0 > 0 && !it.after_gap));
    rests(&mut log).await;
    lab.print(&main.id, ERR, &["6"]);
    assert_eq!(texts(&next(&mut log, 1).await), ["6"]);
    for (read, line) in lines.iter().enumerate() {
        let mut rest = pin!(lab.engine().logs(main.id.clone(), line.next));
        assert_eq!(texts(&next(&mut rest, 5 - read).await), ["2", "3", "4", "5", "6"][read..]);
        rests(&mut rest).await;
    }
    let later = LogCursor::starting_at(EngineTime(lines[4].at.0 + 60_000_000_000));
    rests(&mut pin!(lab.engine().logs(main.id.clone(), later))).await;
}

pub(crate) async fn a_log_ends_with_its_container_and_goes_on_with_its_next_start(lab: &impl Lab) {
    let main = running(lab, "main").await;
    lab.print(&main.id, OUT, &["1"]);
    let mut log = pin!(lab.engine().logs(main.id.clone(), LogCursor::default()));
    let first = next(&mut log, 1).await;
    take(lab, EngineAction::Stop(main.clone())).await.unwrap();
    assert_eq!(wait(log.next()).await, None);
    // One that has ended has a log all the same.
    let lines: Vec<_> = wait(lab.engine().logs(main.id.clone(), LogCursor::default()).collect::<Vec<_>>()).await;
    assert_eq!(lines, [Ok(first[0].clone())]);
    take(lab, EngineAction::Start(main.clone())).await.unwrap();
    lab.print(&main.id, OUT, &["2"]);
    let mut log = pin!(lab.engine().logs(main.id.clone(), first[0].next));
    assert_eq!(texts(&next(&mut log, 1).await), ["2"]);
    let mut none = pin!(lab.engine().logs(ContainerId("0".repeat(64)), LogCursor::default()));
    assert_eq!(wait(none.next()).await, None, "one that was removed has none");
}

pub(crate) async fn a_log_goes_on_after_the_engine_died(lab: &impl Lab) {
    let main = running(lab, "main").await;
    lab.print(&main.id, OUT, &["1", "2"]);
    let mut log = pin!(lab.engine().logs(main.id.clone(), LogCursor::default()));
    let before = next(&mut log, 2).await;
    let broken = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        lab.crash();
    };
    let (item, ()) = tokio::join!(wait(log.next()), broken);
    assert!(matches!(item, Some(Err(EngineError::Unreachable(_)))), "{item:?}");
    assert_eq!(wait(log.next()).await, None);
    let mut down = pin!(lab.engine().logs(main.id.clone(), before[1].next));
    assert!(matches!(wait(down.next()).await, Some(Err(EngineError::Unreachable(_)))));
    lab.revive();
    take(lab, EngineAction::Start(main.clone())).await.unwrap();
    lab.print(&main.id, OUT, &["3"]);
    let mut log = pin!(lab.engine().logs(main.id.clone(), before[1].next));
    assert_eq!(texts(&next(&mut log, 1).await), ["3"]);
    rests(&mut log).await;
}

pub(crate) async fn what_is_written_already_ends_and_is_gone_on_from(lab: &impl Lab) {
    let main = running(lab, "main").await;
    lab.print(&main.id, OUT, &["1", "2"]);
    lab.print(&main.id, ERR, &["3"]);
    next(&mut pin!(lab.engine().logs(main.id.clone(), LogCursor::default())), 3).await;
    let past = async |from, tail| {
        let lines: Vec<_> = wait(lab.engine().past_logs(main.id.clone(), from, tail).collect::<Vec<_>>()).await;
        lines.into_iter().collect::<Result<Vec<_>, _>>().unwrap()
    };
    let lines = past(LogCursor::default(), None).await;
    assert_eq!(texts(&lines), ["1", "2", "3"]);
    assert_eq!(texts(&past(LogCursor::default(), Some(2)).await), ["2", "3"]);
    assert_eq!(texts(&past(LogCursor::default(), Some(9)).await), ["1", "2", "3"]);
    assert_eq!(texts(&past(lines[1].next, None).await), ["3"]);
    assert_eq!(past(lines[2].next, None).await, []);
    lab.print(&main.id, OUT, &["4"]);
    let mut log = pin!(lab.engine().logs(main.id.clone(), lines[2].next));
    assert_eq!(texts(&next(&mut log, 1).await), ["4"]);
    rests(&mut log).await;
    take(lab, EngineAction::Stop(main.clone())).await.unwrap();
    assert_eq!(texts(&past(LogCursor::default(), None).await), ["1", "2", "3", "4"]);
    let gone: Vec<_> = wait(lab.engine().past_logs(ContainerId("0".repeat(64)), LogCursor::default(), None).collect()).await;
    assert_eq!(gone, []);
}

/// The log of a container that runs a script once.
async fn printed(lab: &Real, service: &str, script: &str, driver: &str, tty: bool) -> Vec<Result<EngineLogLine, EngineError>> {
    let mut spec = spec(lab, service);
    spec.config.command = Some(vec!["sh".into(), "-c".into(), script.into()]);
    spec.config.restart = RestartPolicy::No;
    spec.config.tty = tty;
    spec.config.logging = Some(Logging { driver: driver.into(), options: [].into_iter().collect() });
    spec.hash = spec.config.hash(spec.image.as_str());
    take(lab, EngineAction::Create(Arc::new(spec))).await.unwrap();
    let id = which(lab, service).await;
    take(lab, EngineAction::Start(id.clone())).await.unwrap();
    tokio::time::timeout(Duration::from_secs(30), lab.engine().logs(id.id, LogCursor::default()).collect()).await.unwrap()
}

#[tokio::test]
async fn output_of_any_form_becomes_harmless_lines() {
    let Some(lab) = Real::up() else { return };
    let script = r"
        printf 'plain\n\n\033[31mred\033[0m\n'; printf '10 %%\r100 %%\n'; printf 'nul \000 bell \007 bad \377\n'
        head -c SIZE /dev/zero | tr '\0' x; echo; head -c LESS /dev/zero | tr '\0' y; echo ' end'; printf 'no end'";
    for (service, driver, tty, size) in [
        ("json", "json-file", false, "1000000"),
        // After a line of more than 16 kB an engine of 2020 gives back nothing of what this driver kept.
        ("local", "local", false, "12000"),
        ("tty", "json-file", true, "1000000"),
    ] {
        let lines = printed(
            &lab,
            service,
            &script.replace("SIZE", size).replace("LESS", if driver == "local" { "12000" } else { "20000" }),
            driver,
            tty,
        )
        .await;
        let texts: Vec<_> = lines.into_iter().map(|it| it.unwrap().text).collect();
        let (short, long) = texts.split_at(5);
        assert_eq!(short, ["plain", "", "\u{1b}[31mred\u{1b}[0m", "100 %", "nul  bell  bad \u{fffd}"], "{service}");
        let lengths: Vec<_> = long.iter().map(String::len).collect();
        assert_eq!(lengths, [10_000, 10_000, 6], "{service}");
        assert!(long[..2].iter().all(|it| it.ends_with("[...]")) && long[2] == "no end", "{service}");
    }
    let none = printed(&lab, "none", "echo x", "none", false).await;
    assert!(matches!(&none[..], [Err(EngineError::Refused(why))] if why.contains("does not support reading")), "{none:?}");
}

#[tokio::test]
async fn many_lines_of_two_streams_arrive_once_though_the_reader_stops_at_random() {
    let Some(lab) = Real::up() else { return };
    let mut spec = without_terminal(spec(&lab, "main"));
    let script = "for i in $(seq 3000); do echo $i; echo $i >&2; done";
    spec.config.command = Some(vec!["sh".into(), "-c".into(), script.into()]);
    spec.config.restart = RestartPolicy::No;
    spec.hash = spec.config.hash(spec.image.as_str());
    take(&lab, EngineAction::Create(Arc::new(spec))).await.unwrap();
    let id = which(&lab, "main").await;
    take(&lab, EngineAction::Start(id.clone())).await.unwrap();
    let (mut cursor, mut lines, mut round) = (LogCursor::default(), Vec::new(), 0_usize);
    while lines.len() < 6000 {
        round += 1;
        let mut log = pin!(lab.engine().logs(id.id.clone(), cursor));
        for _ in 0..=round * 7919 % 400 {
            let Some(line) = wait(log.next()).await else { break };
            let line = line.unwrap();
            cursor = line.next;
            lines.push(line);
        }
    }
    for stream in [OUT, ERR] {
        let numbers: Vec<usize> = lines.iter().filter(|it| it.stream == stream).map(|it| it.text.parse().unwrap()).collect();
        assert!(numbers.iter().copied().eq(1..=3000), "{stream:?}: {} lines", numbers.len());
    }
    assert!(lines.iter().all(|it| !it.after_gap) && round > 15, "{round}");
}
