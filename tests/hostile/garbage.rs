//! Bytes that are not HTTP, or nearly.

use std::fmt::Write as _;

use crate::agent::{Agent, KEY};

/// The first line of what is answered.
fn first(answer: &str) -> &str {
    answer.lines().next().unwrap_or_default()
}

#[test]
fn every_limit_of_a_request_has_its_answer() {
    let agent = Agent::start();
    let get = |path: &str, headers: &str| {
        format!("GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n{headers}Connection: close\r\n\r\n")
    };
    let many = |count: usize| {
        (0..count).fold(String::new(), |mut all, n| {
            write!(all, "X-{n}: y\r\n").unwrap();
            all
        })
    };
    let post = |length: usize, body: usize| {
        format!(
            "POST /v1/restart HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nContent-Type: application/json\r\nConnection: close\r\n\
         Content-Length: {length}\r\n\r\n{}",
            " ".repeat(body)
        )
    };
    for (what, bytes, status) in [
        ("61 headers and 3", get("/ping", &many(61)), "200 OK"),
        ("65 headers", get("/ping", &many(62)), "431 Request Header Fields Too Large"),
        ("a head of 15 kB", get("/ping", &format!("X: {}\r\n", "y".repeat(15_000))), "200 OK"),
        ("a head of 17 kB", get("/ping", &format!("X: {}\r\n", "y".repeat(17_000))), "431 Request Header Fields Too Large"),
        ("a URL of 4 kB", get(&format!("/ping?{}", "y".repeat(4090)), ""), "200 OK"),
        ("a longer URL", get(&format!("/ping?{}", "y".repeat(4091)), ""), "414 URI Too Long"),
        ("a URL of 70 kB", get(&format!("/ping?{}", "y".repeat(70_000)), ""), "431 Request Header Fields Too Large"),
        ("a body of 100 kB", post(102_400, 102_400), "400 Bad Request"),
        ("a longer body", post(102_401, 0), "413 Payload Too Large"),
    ] {
        let (answer, _) = agent.answer(bytes.as_bytes());
        assert!(first(&answer).starts_with(&format!("HTTP/1.1 {status}")), "{what}: {answer}");
        assert_eq!(answer.matches("x-content-type-options: nosniff\r\n").count(), 1, "{what}: {answer}");
    }
    agent.ping([127, 0, 0, 1]);
}

#[test]
fn an_answer_to_what_cannot_be_parsed_has_the_headers_of_all_answers() {
    let agent = Agent::start();
    let ping = format!("GET /ping?apikey={KEY} HTTP/1.1\r\nHost: x\r\n\r\n");
    for (before, answered) in [("", 0), (ping.as_str(), 1)] {
        let (answer, _) = agent.answer(format!("{before}GET /ping HTTP/9.9\r\n\r\n").as_bytes());
        assert_eq!(answer.matches("HTTP/1.1 200 OK\r\n").count(), answered, "{answer}");
        let (_, refusal) = answer.split_once("HTTP/1.1 400 Bad Request\r\n").unwrap();
        assert!(refusal.starts_with("x-content-type-options: nosniff\r\n") && refusal.ends_with("\r\n\r\n"), "{answer}");
        assert!(refusal.contains("content-length: 0\r\n"), "{answer}");
    }
}

#[test]
fn chunks_that_are_none_are_refused() {
    let agent = Agent::start();
    let head = format!(
        "POST /v1/restart HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nContent-Type: application/json\r\nConnection: close\r\n\
         Transfer-Encoding: chunked\r\n\r\n"
    );
    let big = format!("{:x}\r\n{}\r\n0\r\n\r\n", 102_401, " ".repeat(102_401));
    for (chunks, status) in [
        ("ffffffffffffffffff\r\nx", "400"),
        ("-1\r\n", "400"),
        ("xyz\r\n", "400"),
        ("2\r\n{}garbage", "400"),
        ("2;a=b\r\n{}\r\n0\r\n\r\n", "400"),
        (&format!("1;{}\r\n{{", "x".repeat(40_000)), "400"),
        (&big, "413"),
    ] {
        let (answer, _) = agent.answer([head.as_bytes(), chunks.as_bytes()].concat().as_slice());
        assert!(first(&answer).starts_with(&format!("HTTP/1.1 {status}")), "{chunks:.40}: {answer}");
    }
    agent.ping([127, 0, 0, 1]);
}

#[test]
fn other_protocols_are_turned_away() {
    let agent = Agent::start();
    let hello = b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03".to_vec();
    let noise: Vec<u8> = (0..60_000_u32).map(|it| u8::try_from(it.wrapping_mul(2_654_435_761) >> 24).unwrap()).collect();
    for (what, bytes) in [
        ("TLS", hello),
        ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec()),
        ("HTTP/9", b"GET / HTTP/9.9\r\n\r\n".to_vec()),
        ("HTTP/0.9", b"GET /ping\r\n".to_vec()),
        ("nothing", b"\r\n\r\n\r\n\0".to_vec()),
        ("noise", noise),
        ("both lengths", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n".to_vec()),
    ] {
        let (answer, took) = agent.answer(&bytes);
        assert!(answer.is_empty() || first(&answer).starts_with("HTTP/1.1 400 "), "{what}: {answer}");
        eprintln!("{what}: {} after {took:?}", first(&answer));
    }
    agent.ping([127, 0, 0, 1]);
}

#[test]
fn old_clients_and_impatient_ones_are_answered() {
    let agent = Agent::start();
    let (old, _) = agent.answer(format!("GET /ping?apikey={KEY} HTTP/1.0\r\n\r\n").as_bytes());
    assert!(old.starts_with("HTTP/1.0 200 OK\r\n") && old.ends_with("OK"), "{old}");
    let one = format!("GET /ping?apikey={KEY} HTTP/1.1\r\nHost: x\r\n\r\n");
    let (all, _) = agent.answer((one.repeat(99) + &one.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n")).as_bytes());
    assert_eq!(all.matches("HTTP/1.1 200 OK").count(), 100);
    let (expecting, _) = agent.answer(
        format!("POST /v1/update HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nExpect: 100-continue\r\nConnection: close\r\n\
                 Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}").as_bytes(),
    );
    assert!(expecting.contains("HTTP/1.1 204 No Content"), "{expecting}");
}
