//! A client that guesses keys, one after the other, on every connection that one address may have.

use std::io::Write;
use std::time::Duration;

use tokio::time::Instant;

use crate::agent::{Agent, rest};

/// Connections of one address.
const ALL: usize = 64;
const GUESSER: [u8; 4] = [127, 0, 0, 1];

/// Without being held back, 64 connections tried some 12,000 keys a second.
#[test]
fn an_address_that_tries_keys_is_slowed_down_and_keeps_no_other_client_out() {
    let agent = Agent::start();
    let wrong = "GET /ping HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer wrong\r\n\r\n";
    let mut guessers: Vec<_> = (0..ALL).map(|_| agent.connect(GUESSER)).collect();
    // More on each than is answered in the time that this takes.
    for stream in &mut guessers {
        stream.write_all(wrong.repeat(20).as_bytes()).unwrap();
    }
    std::thread::sleep(Duration::from_millis(500));
    // The client with the right key comes from the same address, although all its connections are taken:
    // some of those that are held back make room.
    let longest = (0..20).map(|_| agent.ping(GUESSER)).max().unwrap();
    assert!(longest < Duration::from_secs(1), "an owner waited {longest:?}");
    assert!(agent.ping([127, 0, 0, 2]) < Duration::from_secs(1));
    std::thread::sleep(Duration::from_secs(2));
    let answers: usize = guessers.iter_mut().map(answered).sum();
    eprintln!("figure: {answers} wrong keys in 3 s on {ALL} connections; the owner waited {longest:?} at most");
    assert!((8..ALL).contains(&answers), "{answers} wrong keys were answered");
    // A guesser who then says the right key has it answered as others have.
    assert!(agent.ping(GUESSER) < Duration::from_secs(1));
}

/// How many answers are here already.
fn answered(stream: &mut std::net::TcpStream) -> usize {
    stream.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
    rest(stream).matches("HTTP/1.1 401 ").count()
}

#[test]
fn two_hosts_are_one_too_many_on_a_connection() {
    let agent = Agent::start();
    for (hosts, status) in [("", "400"), ("Host: a\r\nHost: a\r\n", "400"), ("Host: a\r\n", "200")] {
        let began = Instant::now();
        let (answer, _) = agent.answer(format!("GET /v1/healthy HTTP/1.1\r\n{hosts}Connection: close\r\n\r\n").as_bytes());
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{hosts:?}: {answer}");
        assert!(answer.contains("\r\nx-content-type-options: nosniff\r\n"), "{answer}");
        assert!(began.elapsed() < Duration::from_secs(5));
    }
}
