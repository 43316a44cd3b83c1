//! Clients that begin a request and do not end it, and clients that vanish without closing.

use std::io::Write;
use std::net::Shutdown;
use std::thread::{scope, sleep};
use std::time::Duration;

use tokio::time::Instant;

use crate::agent::{Agent, KEY, rest};

const HOME: [u8; 4] = [127, 0, 0, 1];
const GREEDY: [u8; 4] = [127, 0, 0, 2];
/// A client that takes no bytes of a response is dropped by then; the agent waits 10 s. The kernel gives up after 60.
const TAKES: Duration = Duration::from_secs(45);

/// The head of a request with a body of so many bytes.
fn post(path: &str, length: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nContent-Type: application/json\r\n{length}\r\n\r\n"
    )
}

/// Says it a byte each half second. How long until the connection was closed, and what was answered.
fn drip(agent: &Agent, first: &str, slowly: &str) -> (Duration, String) {
    let began = Instant::now();
    let mut stream = agent.connect(HOME);
    stream.write_all(first.as_bytes()).unwrap();
    for byte in slowly.bytes() {
        if stream.write_all(&[byte]).is_err() {
            break;
        }
        sleep(Duration::from_millis(500));
    }
    let answer = rest(&mut stream);
    (began.elapsed(), answer)
}

#[test]
fn a_slow_client_is_dropped_and_holds_up_no_other() {
    let agent = Agent::start();
    let long = "x".repeat(200);
    scope(|scope| {
        let head = scope.spawn(|| drip(&agent, "GET /ping HTTP/1.1\r\nX: ", &long));
        let first_line = scope.spawn(|| drip(&agent, "", &long));
        let silent = scope.spawn(|| drip(&agent, "", ""));
        let body = scope.spawn(|| drip(&agent, &post("/v1/restart", "Content-Length: 1000"), &long));
        let chunks =
            scope.spawn(|| drip(&agent, &post("/v1/restart", "Transfer-Encoding: chunked"), &long.replace('x', "1\r\n \r\n")));
        let idle = scope.spawn(|| drip(&agent, &format!("GET /ping?apikey={KEY} HTTP/1.1\r\nHost: x\r\n\r\n"), ""));
        for _ in 0..40 {
            assert!(agent.ping(HOME) < Duration::from_secs(2));
            sleep(Duration::from_millis(100));
        }
        for (what, slow, least, most, status) in [
            ("a head", head, 9, 20, ""),
            ("a first line", first_line, 9, 20, ""),
            ("nothing", silent, 9, 20, ""),
            ("an idle connection", idle, 9, 20, "HTTP/1.1 200 OK"),
            ("a body", body, 29, 60, "HTTP/1.1 408 Request Timeout"),
            ("chunks", chunks, 29, 60, "HTTP/1.1 408 Request Timeout"),
        ] {
            let (took, answer) = slow.join().unwrap();
            eprintln!("figure: {what} that does not end: dropped after {:.0} s", took.as_secs_f32());
            assert!((least..most).contains(&took.as_secs()), "{what}: {took:?}");
            assert!(answer.starts_with(status), "{what}: {answer}");
        }
    });
}

#[test]
fn a_client_that_half_closes_is_answered_still() {
    let agent = Agent::start();
    let mut stream = agent.connect(HOME);
    write!(stream, "GET /ping?apikey={KEY} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert!(rest(&mut stream).ends_with("OK"));
}

#[test]
fn half_a_request_is_none_and_the_connection_is_closed_at_once() {
    let agent = Agent::start();
    for said in ["GET /ping HT".to_owned(), post("/v1/restart", "Content-Length: 10") + "{\"appId\""] {
        let began = Instant::now();
        let mut stream = agent.connect(HOME);
        stream.write_all(said.as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let answer = rest(&mut stream);
        assert!(!answer.contains("200 OK") && began.elapsed() < Duration::from_secs(5), "{answer}");
    }
}

#[test]
fn a_client_that_reads_no_responses_loses_its_connections() {
    let agent = Agent::start();
    let ask = format!("GET /agent/v1/openapi.json?apikey={KEY} HTTP/1.1\r\nHost: x\r\n\r\n").repeat(200);
    let greedy: Vec<_> = (0..100)
        .map(|_| {
            let mut stream = agent.connect(GREEDY);
            stream.set_write_timeout(Some(Duration::from_millis(20))).unwrap();
            // As much as fits; none of it is read.
            let _ = stream.write_all(ask.as_bytes());
            stream
        })
        .collect();
    let waited = agent.ping(HOME);
    assert!(waited < Duration::from_secs(10), "{waited:?}");
    let began = Instant::now();
    let mut most = 0;
    loop {
        let held = agent.connections(GREEDY);
        most = most.max(held);
        assert!(agent.memory_kib() < 64 * 1024, "{} KiB", agent.memory_kib());
        if held == 0 {
            break;
        }
        assert!(began.elapsed() < TAKES, "{held} of {most} connections are still open");
        sleep(Duration::from_millis(200));
    }
    eprintln!(
        "figure: of {} clients that read no responses {most} were connected at once, none after {:?}",
        greedy.len(),
        began.elapsed()
    );
    assert!(most > 0, "none of them was connected");
}
