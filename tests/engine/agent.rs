//! The real binary, with a state directory, a target file and a port of its own.

use std::ffi::OsString;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::panicking;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::http::{self, Reply};
use crate::lab::{Lab, Seen, run, until};
use crate::target::App;

/// The device's key in every test.
pub(crate) const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
/// How long anything may take on a busy machine before a test gives up, in seconds.
pub(crate) const PATIENCE: u64 = 60;

/// An agent, or what is left of it between two lives.
pub(crate) struct Agent<'lab> {
    lab: &'lab Lab,
    dir: TempDir,
    port: u16,
    /// Where it listens; `None`: the default.
    listen: Option<String>,
    extra: Vec<String>,
    /// The device's key.
    key: &'static str,
    /// The target file, from its directory on.
    target: PathBuf,
    child: Option<Child>,
}

impl<'lab> Agent<'lab> {
    /// An agent that has not been started, and has no target yet.
    pub(crate) fn new(lab: &'lab Lab) -> Self {
        let dir = tempfile::Builder::new().prefix("agent").tempdir_in(lab.dir()).unwrap();
        // Released at once; the tests have a network namespace of their own, so no other process takes it.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Self {
            lab,
            dir,
            port,
            listen: Some(format!("127.0.0.1:{port}")),
            extra: Vec::new(),
            key: KEY,
            target: "target.json".into(),
            child: None,
        }
    }

    /// The same where containers reach it, too, at the default port.
    pub(crate) fn on_bridges(mut self) -> Self {
        self.port = 48484;
        self.listen = None;
        self
    }

    /// The same at every address of the host.
    pub(crate) fn everywhere(mut self) -> Self {
        self.port = 48484;
        self.listen = Some("0.0.0.0:48484".to_owned());
        self
    }

    /// An agent that has brought an app up.
    pub(crate) fn with(lab: &'lab Lab, app: &App) -> Self {
        let mut agent = Self::new(lab);
        agent.want(&app.v3());
        agent.start();
        agent.arrives(app);
        agent
    }

    /// The same with more arguments.
    pub(crate) fn arguments(mut self, more: &[&str]) -> Self {
        self.extra = more.iter().map(|it| (*it).to_owned()).collect();
        self
    }

    /// The same with a key that it has from elsewhere.
    pub(crate) fn known_by(mut self, key: &'static str) -> Self {
        self.key = key;
        self
    }

    /// The same with another target file, or a folder.
    pub(crate) fn aimed_at(mut self, target: &Path) -> Self {
        target.clone_into(&mut self.target);
        self
    }

    /// Where it answers.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// A path in its directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Puts a document in its target file, whole, as an editor would.
    pub(crate) fn want(&self, document: &Value) {
        self.want_text(&document.to_string());
    }

    /// The same for what may not be a document at all.
    pub(crate) fn want_text(&self, text: &str) {
        fs::write(self.path("target.new"), text).unwrap();
        fs::rename(self.path("target.new"), self.path("target.json")).unwrap();
    }

    /// Starts it.
    pub(crate) fn start(&mut self) {
        assert!(self.child.is_none(), "it runs already");
        let log = fs::File::options().create(true).append(true).open(self.path("log")).unwrap();
        let mut command = self.command();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.child = Some(command.spawn().unwrap());
    }

    /// A subcommand of the same program, for this agent.
    pub(crate) fn tool(&self, args: &[&str]) -> Command {
        let mut command = Command::new(program());
        command.args(args).arg("--state-dir").arg(self.path("state")).args(["--listen", &format!("127.0.0.1:{}", self.port)]);
        command
    }

    /// How it is started, for tests that want to see it fail.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(program());
        command.arg("run");
        for (flag, value) in [("--state-dir", "state"), ("--runtime-dir", "runtime")] {
            command.arg(flag).arg(self.path(value));
        }
        command.arg("--target").arg(self.dir.path().join(&self.target));
        command.args(self.listen.iter().flat_map(|at| ["--listen", at])).args(["--board", "simulated"]).args(&self.extra);
        if !self.extra.iter().any(|it| it == "--log") {
            command.args(["--log", "debug"]);
        }
        command.env("DOCKER_HOST", self.lab.docker_host()).env("BOARDKEEPER_API_KEY", KEY);
        command
    }

    /// Ends it as a power cut would.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Asks it to stop, with SIGTERM or SIGINT; how it ended.
    pub(crate) fn stop(&mut self, signal: &str) -> ExitStatus {
        let mut child = self.child.take().expect("it runs");
        run(Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]));
        until(5, "the agent stops when asked", || !Path::new(&format!("/proc/{}/exe", child.id())).exists());
        child.wait().unwrap()
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// Whether its process is alive.
    pub(crate) fn lives(&mut self) -> bool {
        self.child.as_mut().is_some_and(|it| it.try_wait().unwrap().is_none())
    }

    /// One request with the device's key.
    pub(crate) fn ask(&self, method: &str, path: &str, body: &Value) -> Reply {
        self.ask_with(self.key, method, path, body).unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// One request with another key.
    pub(crate) fn ask_with(&self, key: &str, method: &str, path: &str, body: &Value) -> std::io::Result<Reply> {
        let key = format!("Bearer {key}");
        let headers = [("Authorization", key.as_str()), ("Content-Type", "application/json")];
        http::tcp(self.port, method, path, &headers, &body.to_string())
    }

    /// One request without a body.
    pub(crate) fn get(&self, path: &str) -> Reply {
        self.ask("GET", path, &json!({}))
    }

    /// Whether the API answers.
    pub(crate) fn answers(&self) -> bool {
        self.ask_with(self.key, "GET", "/ping", &json!({})).is_ok_and(|it| it.status == 200)
    }

    /// The whole picture.
    pub(crate) fn state(&self) -> Value {
        self.get("/agent/v1/state").json()
    }

    /// What it says is wrong, or waited for: not what it was asked to do.
    pub(crate) fn words(&self) -> String {
        let Ok(reply) = self.ask_with(self.key, "GET", "/agent/v1/state", &json!({})) else { return String::new() };
        let Ok(picture) = serde_json::from_str::<Value>(&reply.body) else { return String::new() };
        ["engine", "waiting", "troubles", "rejected", "locks"].map(|part| picture[part].to_string()).join("\n")
    }

    /// Waits until it says some words, about anything that is wrong or waited for.
    pub(crate) fn says(&self, words: &str) {
        let wanted = words.to_lowercase();
        until(PATIENCE, &format!("the agent says `{words}`"), || self.words().to_lowercase().contains(&wanted));
    }

    /// Whether what is, is what is wanted, and nothing is being done.
    pub(crate) fn is_settled(&self) -> bool {
        let reply = self.ask_with(self.key, "GET", "/agent/v1/state", &json!({}));
        reply.is_ok_and(|it| it.status == 200 && it.json()["activity"] == "settled")
    }

    /// Waits until the app runs, every service once and of the right release, and nothing else.
    pub(crate) fn arrives(&self, app: &App) -> Duration {
        let names = app.names();
        let arrived = |seen: &[Seen]| {
            let services: Vec<_> = seen.iter().map(|it| it.service.clone()).collect();
            services == names && seen.iter().all(|it| it.state == "running" && it.name.ends_with(&format!("_{}", app.commit)))
        };
        let what = format!("{names:?} run at {}", app.commit);
        until(PATIENCE, &what, || arrived(&self.lab.containers()) && self.is_settled())
    }

    /// Waits until it has nothing more to do.
    pub(crate) fn settles(&self) {
        until(PATIENCE, "the agent has settled", || self.is_settled());
    }

    /// All it ever said.
    pub(crate) fn whole_log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// The last lines of its log.
    pub(crate) fn log(&self) -> String {
        let text = self.whole_log();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }
}

/// The program. `AGENT` is another build of it, as it is given away.
pub(crate) fn program() -> OsString {
    std::env::var_os("AGENT").unwrap_or_else(|| env!("CARGO_BIN_EXE_boardkeeper").into())
}

impl Drop for Agent<'_> {
    fn drop(&mut self) {
        if panicking() {
            let state = self.ask_with(self.key, "GET", "/agent/v1/state", &json!({})).map(|it| it.body);
            eprintln!("--- the agent's log\n{}\n--- its picture\n{state:?}\n--- containers\n", self.log());
            if self.lab.answers() {
                eprintln!("{:#?}", self.lab.containers());
            }
        }
        if self.child.is_some() {
            self.kill();
        }
    }
}
