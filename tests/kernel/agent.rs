//! The real agent and the real tool.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::{secs, until};

const BINARY: &str = "/bin/boardkeeper";
const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

static NEXT_PORT: AtomicU16 = AtomicU16::new(48484);

/// An agent, or what is left of it between two lives.
pub(crate) struct Agent {
    arguments: Vec<String>,
    pub(crate) dir: TempDir,
    port: u16,
    child: Option<Child>,
}

/// What came back.
pub(crate) struct Reply {
    pub(crate) status: u16,
    head: String,
    body: String,
}

impl Agent {
    /// One that answers.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(|it| (*it).to_owned()).collect();
        let port = NEXT_PORT.fetch_add(1, Ordering::Relaxed);
        let mut agent = Self { arguments, dir: tempfile::tempdir().unwrap(), port, child: None };
        agent.live();
        agent
    }

    /// One whose LED is this one.
    pub(crate) fn of(led: &str) -> Self {
        Self::start(&["--led-file", led])
    }

    /// A new life, after the last one ended.
    pub(crate) fn live(&mut self) {
        let mut command = Command::new(BINARY);
        command.args(["run", "--log", "error", "--listen"]).arg(format!("127.0.0.1:{}", self.port));
        command.arg("--state-dir").arg(self.dir.path().join("state")).arg("--runtime-dir").arg(self.runtime());
        command.args(&self.arguments).env("BOARDKEEPER_API_KEY", KEY).env("DOCKER_HOST", "unix:///nowhere.sock");
        self.child = Some(command.stdin(Stdio::null()).spawn().unwrap());
        until("the agent answers", secs(30), || {
            TcpStream::connect(("127.0.0.1", self.port)).is_ok()
                && self.ask("GET", "/agent/v1/leds", "").json()["why_none"] != "not looked for yet"
        });
    }

    pub(crate) fn runtime(&self) -> std::path::PathBuf {
        self.dir.path().join("runtime")
    }

    /// Whether it has yet to put something back, as its records say.
    pub(crate) fn owes(&self) -> bool {
        let records = std::fs::read_dir(self.runtime().join("leds")).unwrap();
        records.flatten().any(|it| it.path().extension().is_some_and(|it| it == "json"))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    pub(crate) fn stop(&mut self) {
        let mut child = self.child.take().unwrap();
        kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0), "an agent that is asked to stop ends well");
    }

    pub(crate) fn ask(&self, method: &str, path: &str, body: &str) -> Reply {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let request = format!(
            "{method} {path} HTTP/1.0\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Reply { status, head: head.to_owned(), body: body.to_owned() }
    }

    /// Presses the button; which LED blinks, or why none.
    pub(crate) fn identify(&self) -> String {
        let Reply { status, head, body } = self.ask("POST", "/v1/blink", "");
        assert_eq!((status, body.as_str()), (200, ""));
        let line = head.lines().find_map(|line| line.strip_prefix("identify-led: ")).unwrap();
        line.to_owned()
    }

    pub(crate) fn leds(&self) -> Value {
        self.ask("GET", "/agent/v1/leds", "").json()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

/// The bring-up tool, which keeps its records there. Its words are separated by spaces.
pub(crate) fn tool(runtime: &Path, words: &str) -> Command {
    let mut command = Command::new(BINARY);
    command.args(words.split(' ')).env("BOARDKEEPER_RUNTIME_DIR", runtime).stdin(Stdio::null());
    command
}

/// The same by a user without any privilege.
pub(crate) fn without_privileges(mut command: Command) -> Command {
    command.uid(65534).gid(65534);
    command
}

/// How it ended, and what it said.
pub(crate) fn ended(mut command: Command) -> (i32, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let said = [stdout, stderr].concat();
    (status.code().unwrap_or(-1), String::from_utf8(said).unwrap())
}

pub(crate) fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}
