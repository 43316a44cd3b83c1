//! The parser of logs, on made-up bytes; and the reader, on an engine whose responses the test writes.

use proptest::prelude::*;

use super::*;
use tokio::io::AsyncWriteExt;

use crate::linux::engine::tests::scripted::{HELLO, asked, engine, serve};
use crate::state::StreamCursor;

const TIME: &str = "2026-11-23T15:34:12.000000001Z";
const AT: EngineTime = EngineTime(1_795_448_052_000_000_001);

fn frame(stream: u8, text: &[u8]) -> Vec<u8> {
    let mut bytes = vec![stream, 0, 0, 0];
    bytes.extend_from_slice(&u32::try_from(text.len()).unwrap().to_be_bytes());
    bytes.extend_from_slice(text);
    bytes
}

fn entry(stream: u8, time: &str, text: &[u8]) -> Vec<u8> {
    frame(stream, &[time.as_bytes(), b" ", text].concat())
}

fn parsed<'a>(framing: Framing, parts: impl IntoIterator<Item = &'a [u8]>) -> (Vec<ParsedLine>, Result<(), String>) {
    let (mut parser, mut lines) = (LogParser::new(framing), Vec::new());
    for part in parts {
        if let Err(why) = parser.parse(part, &mut |line| lines.push(line)) {
            return (lines, Err(why));
        }
    }
    parser.finish(&mut |line| lines.push(line));
    (lines, Ok(()))
}

fn texts(framing: Framing, bytes: &[u8]) -> Vec<String> {
    let (lines, ended) = parsed(framing, [bytes]);
    assert_eq!(ended, Ok(()));
    lines.into_iter().map(|it| it.text).collect()
}

#[test]
fn streams_are_told_apart_and_entries_of_one_line_are_joined() {
    let later = "2026-11-23T15:34:13Z";
    let log = [
        entry(1, TIME, b"first half, "),
        entry(2, later, b"error\n"),
        entry(1, later, b"second half\n"),
        frame(1, b""),
        entry(1, later, b"no end"),
    ]
    .concat();
    let (lines, ended) = parsed(Framing::Multiplexed, [log.as_slice()]);
    assert_eq!(ended, Ok(()));
    let later = EngineTime(1_795_448_053_000_000_000);
    let line = |stream, at, text: &str| ParsedLine { stream, at, text: text.to_owned() };
    let expected = [
        line(OutputStream::Stderr, later, "error"),
        line(OutputStream::Stdout, AT, "first half, second half"),
        line(OutputStream::Stdout, later, "no end"),
    ];
    assert_eq!(lines, expected);
}

#[test]
fn texts_are_harmless() {
    for (raw, text) in [
        (&b"plain\n"[..], "plain"),
        (b"\n", ""),
        (b"windows\r\n", "windows"),
        (b"10 %\r50 %\r100 %\n", "100 %"),
        (b"10 %\r50 %\r\r\n", "50 %"),
        (b"\x1b[31mred\x1b[0m\ttab\n", "\u{1b}[31mred\u{1b}[0m\ttab"),
        (b"a\0b\x07c\x7fd\n", "abcd"),
        (b"\xff\xfe caf\xc3\xa9 \xc2\x85\n", "\u{fffd}\u{fffd} café "),
    ] {
        for (framing, bytes) in
            [(Framing::Multiplexed, entry(1, TIME, raw)), (Framing::Raw, [TIME.as_bytes(), b" ", raw].concat())]
        {
            assert_eq!(texts(framing, &bytes), [text], "{framing:?} {raw:?}");
        }
    }
}

#[test]
fn a_line_of_a_megabyte_is_cut_and_the_next_is_whole() {
    let mut log = Vec::new();
    for _ in 0..64 {
        log.extend(entry(1, TIME, &[b'x'; 16 * 1024]));
    }
    log.extend(entry(1, TIME, b"\n"));
    log.extend(entry(1, TIME, b"next\n"));
    let lines = texts(Framing::Multiplexed, &log);
    assert_eq!(lines[0].len(), 10_000);
    assert!(lines[0].ends_with("x[...]"));
    assert_eq!(lines[1..], ["next"]);
    let exact = "é".repeat(10_000);
    assert_eq!(texts(Framing::Multiplexed, &entry(1, TIME, exact.as_bytes())), std::slice::from_ref(&exact));
    let longer = texts(Framing::Multiplexed, &entry(1, TIME, (exact + "é").as_bytes()));
    assert_eq!((longer[0].chars().count(), &longer[0][longer[0].len() - 5..]), (10_000, "[...]"));
}

#[test]
fn the_times_within_a_terminals_long_line_are_no_text() {
    let entry = |text: &[u8]| [TIME.as_bytes(), b" ", text].concat();
    // A progress bar without a line end, and a line that fills its entry.
    let bar = [b"working\r".repeat(2048), b"half".to_vec()].concat();
    let log = [entry(&bar[..16 * 1024]), entry(b"half way\r\n"), entry(b"next\n")].concat();
    assert_eq!(texts(Framing::Raw, &log), ["half way", "next"]);
    let log = [entry(&[b'x'; 16 * 1024]), entry(b"\r\n"), entry(b"next\n")].concat();
    assert_eq!(texts(Framing::Raw, &log)[1], "next");
    // An entry that is longer, from another driver.
    let log = [entry(&[b"y\r".repeat(8192), b"long text goes on\n".to_vec()].concat()), entry(b"next\n")].concat();
    assert_eq!(texts(Framing::Raw, &log), ["long text goes on", "next"]);
}

#[test]
fn what_is_no_log_ends_it_and_so_does_the_engines_own_message() {
    let (lines, ended) = parsed(Framing::Multiplexed, [&[entry(1, TIME, b"a\n"), b"nonsense".to_vec()].concat()[..]]);
    assert_eq!((lines.len(), ended), (1, Err("it sends what is no log".to_owned())));
    let (_, ended) = parsed(Framing::Multiplexed, [&frame(3, b"error from daemon in stream: no such file\n")[..]]);
    assert_eq!(ended, Err("error from daemon in stream: no such file".to_owned()));
}

proptest! {
    #[test]
    fn arbitrary_cuts_give_the_same_lines(
        entries in prop::collection::vec((1_u8..3, 0..3_u8, "[ab\r\n 2T:Z.-]{0,60}"), 0..12),
        cuts in prop::collection::vec(1..50_usize, 1..20),
        raw in any::<bool>(),
    ) {
        let mut log = Vec::new();
        for (stream, time, text) in &entries {
            let time = ["", "2026-11-23T15:34:12.123456789Z ", "2026-11-23T15:34:12+01:00 "][usize::from(*time)];
            let bytes = [time, text].concat();
            log.extend(if raw { bytes.into_bytes() } else { frame(*stream, bytes.as_bytes()) });
        }
        let framing = if raw { Framing::Raw } else { Framing::Multiplexed };
        let whole = parsed(framing, [log.as_slice()]);
        let (mut parts, mut rest, mut cuts) = (Vec::new(), log.as_slice(), cuts.iter().cycle());
        while !rest.is_empty() {
            let (part, left) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
            parts.push(part);
            rest = left;
        }
        prop_assert_eq!(parsed(framing, parts), whole);
    }
}

#[test]
fn a_reader_goes_on_where_the_last_one_ended() {
    let line = |stream, at, text: &str| ParsedLine { stream, at: EngineTime(at), text: text.to_owned() };
    // As two streams are written: a line of standard error is stamped before and written after one of standard output.
    let (out, err) = (OutputStream::Stdout, OutputStream::Stderr);
    let log =
        [line(out, 5, "a"), line(out, 7, "b"), line(err, 6, "c"), line(out, 7, "d"), line(out, 7, "e"), line(err, 8, "f")];
    let mut cursors = vec![LogCursor::default()];
    let mut resume = Resume::new(LogCursor::default());
    cursors.extend(log.iter().cloned().map(|it| resume.take(it).unwrap().next));
    for (read, cursor) in cursors.into_iter().enumerate() {
        let mut resume = Resume::new(cursor);
        let since = log.iter().filter(|it| it.at >= resume.since).cloned().collect::<Vec<_>>();
        let rest: Vec<_> = since.into_iter().filter_map(|it| resume.take(it)).collect();
        let texts: Vec<_> = rest.iter().map(|it| it.text.as_str()).collect();
        assert_eq!(texts, ["a", "b", "c", "d", "e", "f"][read..], "after {read} lines");
        assert!(rest.iter().all(|it| !it.after_gap));
    }
}

#[test]
fn lines_that_were_rotated_away_are_noticed() {
    let cursor = StreamCursor { at: EngineTime(5), lines: 2 };
    let mut resume = Resume::new(LogCursor { stdout: cursor, stderr: StreamCursor::default() });
    let line = ParsedLine { stream: OutputStream::Stdout, at: EngineTime(9), text: String::new() };
    assert!(resume.take(line.clone()).unwrap().after_gap);
    assert!(!resume.take(line).unwrap().after_gap);
}

/// What is read from an engine that gives these responses to requests for a log, and says of each inspection whether the
/// container runs. The last ones count for all that follow.
async fn reads(logs: &[(&str, Vec<u8>)], running: &[bool]) -> Vec<Result<String, EngineError>> {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("s");
    let engine = engine(&socket);
    let counts = std::cell::Cell::new((0, 0));
    let answer = async |mut stream: tokio::net::UnixStream| {
        let asked = asked(&mut stream).await;
        let path = asked.split(' ').nth(1).unwrap();
        let (inspections, readings) = counts.get();
        let (status, body) = if path.contains("/logs?") {
            assert!(path.contains("since=1795448051.999999001"), "{path}");
            counts.set((inspections, readings + 1));
            logs[readings.min(logs.len() - 1)].clone()
        } else if path.contains("/containers/") {
            counts.set((inspections + 1, readings));
            let runs = running[inspections.min(running.len() - 1)];
            ("200 OK", format!(r#"{{"State":{{"Running":{runs}}},"Config":{{"Tty":false}}}}"#).into_bytes())
        } else {
            ("200 OK", HELLO.as_bytes().to_vec())
        };
        let _ = stream.write_all(format!("HTTP/1.1 {status}\r\nConnection: close\r\n\r\n").as_bytes()).await;
        let _ = stream.write_all(&body).await;
    };
    let asks = async {
        let lines = engine.output(ContainerId("c".repeat(64)), LogCursor::starting_at(AT), None);
        lines.map(|it| it.map(|it| it.text)).collect::<Vec<_>>().await
    };
    tokio::select! {
        biased;
        () = serve(&socket, answer) => unreachable!("it serves without end"),
        read = asks => read,
    }
}

#[tokio::test]
async fn a_log_ends_with_its_container_and_not_with_the_engine() {
    let whole = [("200 OK", [entry(1, TIME, b"a\n"), entry(2, TIME, b"no end")].concat())];
    assert_eq!(reads(&whole, &[false]).await, [Ok("a".to_owned()), Ok("no end".to_owned())]);
    let read = reads(&whole, &[true]).await;
    assert_eq!(read[0], Ok("a".to_owned()));
    assert!(matches!(&read[1], Err(EngineError::Unreachable(why)) if why.contains("which runs")), "{read:?}");
    assert_eq!(read.len(), 2);
}

#[tokio::test]
async fn the_last_lines_of_a_container_that_exits_are_requested_again() {
    let whole = [entry(1, TIME, b"a\n"), entry(1, TIME, b"b\n")].concat();
    let logs = [("200 OK", entry(1, TIME, b"a\n")), ("200 OK", whole)];
    assert_eq!(reads(&logs, &[true, false]).await, [Ok("a".to_owned()), Ok("b".to_owned())]);
}

#[tokio::test]
async fn a_driver_that_keeps_no_log_is_an_error_that_stays() {
    let said = br#"{"message":"configured logging driver does not support reading"}"#.to_vec();
    let read = reads(&[("501 Not Implemented", said)], &[true]).await;
    assert!(matches!(&read[..], [Err(EngineError::Refused(why))] if why.contains("does not support reading")), "{read:?}");
}
