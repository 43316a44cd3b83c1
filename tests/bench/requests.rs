//! A load of requests over keep-alive connections.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
use tokio::time::Instant;

use crate::agent::KEY;

/// The results of a load.
pub(crate) struct Load {
    /// The time until the last response.
    pub(crate) took: Duration,
    /// The median response time.
    pub(crate) p50: Duration,
    /// The response time of the 99th percentile.
    pub(crate) p99: Duration,
    /// The longest response time.
    pub(crate) slowest: Duration,
}

/// Sends `each` requests over each of `connections`.
pub(crate) fn load(port: u16, path: &str, connections: usize, each: usize) -> Load {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEY}\r\n\r\n");
    let begun = Instant::now();
    let mut times: Vec<Duration> = thread::scope(|scope| {
        let request = &request;
        let asked: Vec<_> = (0..connections).map(|n| scope.spawn(move || ask(&connection(port, n), request, each))).collect();
        asked.into_iter().flat_map(|it| it.join().unwrap()).collect()
    });
    let took = begun.elapsed();
    times.sort();
    Load { took, p50: times[times.len() / 2], p99: times[times.len() * 99 / 100], slowest: times[times.len() - 1] }
}

/// The body of a response.
pub(crate) fn text(port: u16, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEY}\r\n\r\n");
    let mut stream = connection(port, 0);
    stream.write_all(request.as_bytes()).unwrap();
    String::from_utf8(answer(&mut BufReader::new(stream))).unwrap()
}

/// The connections that the agent accepts from one address.
const OF_ONE_ADDRESS: usize = 64;

/// Opens this many connections, and sends `each` requests over each, to all before any response is read. Returns them open and
/// idle.
pub(crate) fn burst(port: u16, path: &str, connections: usize, each: usize) -> Vec<TcpStream> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEY}\r\n\r\n");
    let open: Vec<_> = (0..connections).map(|n| connection(port, n)).collect();
    for _ in 0..each {
        for mut it in &open {
            it.write_all(request.as_bytes()).unwrap();
        }
        for it in &open {
            answer(&mut BufReader::new(it.try_clone().unwrap()));
        }
    }
    open
}

/// Whether `/ping` is answered. One that has just begun to listen may not know its keys yet.
pub(crate) fn is_answered(port: u16) -> bool {
    let request = format!("GET /ping HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEY}\r\nConnection: close\r\n\r\n");
    let mut said = String::new();
    let asked =
        connect_to(port, 0).and_then(|mut it| it.write_all(request.as_bytes()).and_then(|()| it.read_to_string(&mut said)));
    asked.is_ok() && said.starts_with("HTTP/1.1 200")
}

/// Opens a connection: the n-th, from an address that has not too many yet.
fn connection(port: u16, n: usize) -> TcpStream {
    connect_to(port, n).unwrap()
}

/// The same, of an agent that may not listen yet. The client has another address than the agent: a socket that gets the
/// agent's port as its own would be connected with itself.
fn connect_to(port: u16, n: usize) -> io::Result<TcpStream> {
    let from = [127, 0, 0, u8::try_from(2 + n / OF_ONE_ADDRESS).unwrap()];
    let fd = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    bind(&fd, &SocketAddr::from((from, 0)))?;
    connect(&fd, &SocketAddr::from(([127, 0, 0, 1], port)))?;
    Ok(TcpStream::from(fd))
}

fn ask(mut stream: &TcpStream, request: &str, times: usize) -> Vec<Duration> {
    stream.set_nodelay(true).unwrap();
    let mut answers = BufReader::new(stream.try_clone().unwrap());
    let one = |_| {
        let begun = Instant::now();
        stream.write_all(request.as_bytes()).unwrap();
        answer(&mut answers);
        begun.elapsed()
    };
    (0..times).map(one).collect()
}

fn answer(from: &mut BufReader<TcpStream>) -> Vec<u8> {
    let mut length = 0;
    let mut line = String::new();
    from.read_line(&mut line).unwrap();
    assert!(line.starts_with("HTTP/1.1 200"), "{line}");
    while line != "\r\n" {
        line.clear();
        from.read_line(&mut line).unwrap();
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body).unwrap();
    body
}
