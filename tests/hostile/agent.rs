//! The agent's binary, with no engine, and an honest client of it.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
use tempfile::TempDir;
use tokio::time::Instant;

/// Its key.
pub(crate) const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
/// Nobody takes longer than this to answer anything here.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running agent.
pub(crate) struct Agent {
    /// Where it answers.
    pub(crate) at: SocketAddr,
    child: Child,
    _dir: TempDir,
}

impl Agent {
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_boardkeeper"));
        command.args(["run", "--board", "simulated", "--log", "info", "--listen", "127.0.0.1:0"]);
        command.arg("--state-dir").arg(dir.path().join("state")).arg("--runtime-dir").arg(dir.path().join("runtime"));
        command.env("DOCKER_HOST", "unix:///nowhere.sock").env("BOARDKEEPER_API_KEY", KEY);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        let at = loop {
            line.clear();
            assert_ne!(said.read_line(&mut line).unwrap(), 0, "it ended");
            if let Some((_, rest)) = line.split_once("the API answers at ") {
                break rest.split([';', ',', ' ']).next().unwrap().parse().unwrap();
            }
        };
        // Somebody has to take what it says.
        std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
        Self { at, child, _dir: dir }
    }

    /// A connection from one of loopback's addresses.
    pub(crate) fn connect(&self, from: [u8; 4]) -> TcpStream {
        let fd = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        bind(&fd, &SocketAddr::from((from, 0))).unwrap();
        connect(&fd, &self.at).unwrap();
        let stream = TcpStream::from(fd);
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// Everything that is answered to these bytes, and how long the connection lasted.
    pub(crate) fn answer(&self, bytes: &[u8]) -> (String, Duration) {
        let began = Instant::now();
        let mut stream = self.connect([127, 0, 0, 1]);
        // It may have been refused before it was all said.
        let _ = stream.write_all(bytes);
        (rest(&mut stream), began.elapsed())
    }

    /// How long an honest client waits for `/ping`.
    pub(crate) fn ping(&self, from: [u8; 4]) -> Duration {
        let began = Instant::now();
        let mut stream = self.connect(from);
        write!(stream, "GET /ping HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nConnection: close\r\n\r\n").unwrap();
        let answer = rest(&mut stream);
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        began.elapsed()
    }

    /// Its resident memory, in KiB.
    pub(crate) fn memory_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|it| it.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Its open descriptors.
    pub(crate) fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        assert!(self.child.try_wait().unwrap().is_none(), "it lives to the end");
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// What else comes, up to the end; a connection that is reset has ended too.
pub(crate) fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut part = [0; 4096];
    while let Ok(count) = stream.read(&mut part) {
        if count == 0 {
            break;
        }
        bytes.extend(&part[..count]);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The address itself, for messages.
pub(crate) fn shown(address: [u8; 4]) -> IpAddr {
    IpAddr::from(address)
}
