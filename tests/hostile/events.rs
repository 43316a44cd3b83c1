//! Clients that follow the events and do not read them.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::agent::{Agent, KEY};
use crate::files::soon;

/// As many as may follow the events at once.
const READERS: u8 = 64;
/// More memory than this for each of them, in KiB, the agent may not take: the state and what the kernel does not hold.
const READER_KIB: u64 = 64;

fn follow(agent: &Agent, from: [u8; 4]) -> TcpStream {
    let mut stream = agent.connect(from);
    write!(stream, "GET /agent/v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n\r\n").unwrap();
    stream
}

/// The status line of an answer.
fn status(stream: &mut TcpStream) -> String {
    let mut head = [0; 12];
    stream.read_exact(&mut head).unwrap();
    String::from_utf8_lossy(&head).into_owned()
}

#[test]
fn readers_of_the_events_that_do_not_read_cost_no_other_client_anything() {
    let agent = Agent::start();
    // Connections cost what they cost without events, too.
    let idle: Vec<_> = (0..READERS).map(|it| agent.connect([127, 0, 0, 2 + it % 4])).collect();
    agent.ping([127, 0, 0, 1]);
    let before = agent.memory_kib();
    drop(idle);
    // Of four addresses, because one has a limit of its own.
    let mut readers: Vec<_> = (0..READERS).map(|it| follow(&agent, [127, 0, 0, 2 + it % 4])).collect();
    for reader in &mut readers {
        assert_eq!(status(reader), "HTTP/1.1 200");
    }
    assert_eq!(status(&mut follow(&agent, [127, 0, 0, 9])), "HTTP/1.1 429", "one more has no place");
    // Each of these requests is another entry, and so an event for all of them.
    for round in 0..40 {
        let verb = if round % 2 == 0 { "POST" } else { "DELETE" };
        let head =
            format!("{verb} /v1/tcp-ping HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nConnection: close\r\n\r\n");
        assert!(agent.answer(head.as_bytes()).0.starts_with("HTTP/1.1 20"), "it is done");
        agent.ping([127, 0, 0, 1]);
    }
    let more = agent.memory_kib().saturating_sub(before);
    assert!(more <= u64::from(READERS) * READER_KIB, "{more} KiB more for {READERS} readers");
    drop(readers);
    soon("a place is free again", || status(&mut follow(&agent, [127, 0, 0, 9])) == "HTTP/1.1 200");
}
