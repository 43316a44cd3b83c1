//! One request to the agent's API. HTTP/1.0, so that the response ends where the connection does.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::cli::table::plain;
use crate::config::Config;
use crate::state::Secret;

/// Connect timeout: an agent on this machine accepts at once, or is not running.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Read and write timeout: the agent answers from memory.
const IO_TIMEOUT: Duration = Duration::from_secs(10);
/// Size limit of a response; none is that long.
const MAX_BYTES: u64 = 16 * 1024 * 1024;

/// Requests `path` and returns the response's body.
pub(super) fn get(config: &Config, key: &Secret, path: &str) -> Result<String, String> {
    ask(config, key, "GET", path, "")
}

/// Sends a request with a JSON body, and returns the response's body. An empty body is not sent.
pub(super) fn ask(config: &Config, key: &Secret, method: &str, path: &str, body: &str) -> Result<String, String> {
    let at = address(config);
    let response = http(at, key, method, path, body).map_err(|why| unreachable(at, &why))?;
    let (head, body) = response.split_once("\r\n\r\n").ok_or_else(|| not_this_agent(at))?;
    if matches!(status(head), Some("200" | "204")) { Ok(body.to_owned()) } else { Err(refusal(config, at, head, body)) }
}

/// Reads a response's body. Every type is read from a [`Value`], as the state is while it is watched: code that reads it from
/// text too would be in the binary twice.
pub(super) fn read<T: DeserializeOwned>(body: &str) -> serde_json::Result<T> {
    serde_json::from_slice::<Value>(body.as_bytes()).and_then(T::deserialize)
}

/// Where the agent answers.
pub(super) fn address(config: &Config) -> SocketAddr {
    reachable(config.listen.first().copied().unwrap_or_else(|| SocketAddr::new(Ipv4Addr::LOCALHOST.into(), config.api_port())))
}

/// The status code in the head of a response.
pub(super) fn status(head: &str) -> Option<&str> {
    head.split_whitespace().nth(1)
}

/// What is said if no agent answers.
pub(super) fn unreachable(at: SocketAddr, why: &io::Error) -> String {
    format!("no agent answers at {at}: {why}; start it with `boardkeeper run`, or name its address with --listen")
}

/// What is said of a response that refuses the request.
pub(super) fn refusal(config: &Config, at: SocketAddr, head: &str, body: &str) -> String {
    match status(head) {
        Some("401") => {
            let dir = config.state_dir.display();
            format!("the agent at {at} does not know the key in `{dir}`; name that agent's directory with --state-dir")
        }
        Some("404") | None => not_this_agent(at),
        Some(code) => format!("the agent at {at} answers {code}: {}", plain(body.trim())),
    }
}

fn http(at: SocketAddr, key: &Secret, method: &str, path: &str, body: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&at, CONNECT_TIMEOUT)?;
    stream.set_read_timeout(Some(IO_TIMEOUT))?;
    stream.set_write_timeout(Some(IO_TIMEOUT))?;
    let content = if body.is_empty() {
        String::new()
    } else {
        format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len())
    };
    let request =
        format!("{method} {path} HTTP/1.0\r\nHost: {at}\r\nAuthorization: Bearer {}\r\n{content}\r\n{body}", key.reveal());
    stream.write_all(request.as_bytes())?;
    let mut response = String::new();
    stream.take(MAX_BYTES).read_to_string(&mut response)?;
    Ok(response)
}

fn not_this_agent(at: SocketAddr) -> String {
    format!("another program, or an older agent, answers at {at}; name the agent's address with --listen")
}

/// The address to connect to: loopback, if the agent listens on all addresses.
fn reachable(mut at: SocketAddr) -> SocketAddr {
    if at.ip().is_unspecified() {
        at.set_ip(match at.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    at
}
