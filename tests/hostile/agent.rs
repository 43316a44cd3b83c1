//! The agent's binary, with no engine, and a well-behaved client of it.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
use tempfile::TempDir;
use tokio::time::Instant;

/// Its key.
pub(crate) const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
/// No response takes longer than this here.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running agent.
pub(crate) struct Agent {
    /// Where it answers.
    pub(crate) at: SocketAddr,
    child: Child,
    home: TempDir,
    said: Arc<Mutex<String>>,
}

impl Agent {
    pub(crate) fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), &[])
    }

    /// An agent whose directories are in `home`.
    pub(crate) fn start_in(home: TempDir, more: &[&str]) -> Self {
        let mut command = command(home.path(), more);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap());
        let (mut line, log) = (String::new(), Arc::new(Mutex::new(String::new())));
        let at = loop {
            line.clear();
            assert_ne!(said.read_line(&mut line).unwrap(), 0, "it ended: {}", log.lock().unwrap());
            log.lock().unwrap().push_str(&line);
            if let Some((_, rest)) = line.split_once("the API answers at ") {
                break rest.split([';', ',', ' ']).next().unwrap().parse().unwrap();
            }
        };
        // The test reads what the process logs, or its pipe would fill up.
        let rest = Arc::clone(&log);
        std::thread::spawn(move || said.lines().map_while(Result::ok).for_each(|it| rest.lock().unwrap().push_str(&it)));
        Self { at, child, home, said: log }
    }

    /// What it said so far.
    pub(crate) fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    /// Has it read its settings again, as `systemctl reload` does.
    pub(crate) fn reload(&self) {
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, rustix::process::Signal::HUP).unwrap();
    }

    /// Its directories, after it was killed as by a power cut.
    pub(crate) fn killed(mut self) -> TempDir {
        assert!(self.child.try_wait().unwrap().is_none(), "it lives to the end");
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        std::mem::replace(&mut self.home, tempfile::tempdir().unwrap())
    }

    /// The response to the right key: the status line and the rest.
    pub(crate) fn get(&self, path: &str) -> String {
        let head =
            format!("GET {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {KEY}\r\nConnection: close\r\n\r\n", self.at);
        self.answer(head.as_bytes()).0
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

    /// Its connections with clients of this address. Those that it has closed have no inode any more.
    pub(crate) fn connections(&self, client: [u8; 4]) -> usize {
        let (client, port) = (format!("{:08X}:", u32::from_ne_bytes(client)), format!(":{:04X}", self.at.port()));
        let table = fs::read_to_string("/proc/net/tcp").unwrap();
        let is_its = |line: &&str| {
            let fields: Vec<_> = line.split_whitespace().collect();
            fields[1].ends_with(&port) && fields[2].starts_with(&client) && fields[9] != "0"
        };
        table.lines().skip(1).filter(is_its).count()
    }

    /// Its open descriptors.
    pub(crate) fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if self.child.try_wait().unwrap().is_some_and(|it| it.signal().is_some()) {
            return;
        }
        assert!(self.child.try_wait().unwrap().is_none(), "it lives to the end");
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// The agent's command, in an address space of 300 MB.
pub(crate) fn command(home: &Path, more: &[&str]) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "ulimit -v 300000; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_boardkeeper")]);
    command.args(["run", "--board", "simulated", "--log", "info", "--listen", "127.0.0.1:0"]);
    command.arg("--state-dir").arg(home.join("state")).arg("--runtime-dir").arg(home.join("runtime")).args(more);
    command.env("DOCKER_HOST", "unix:///nowhere.sock").env("BOARDKEEPER_API_KEY", KEY);
    command
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
