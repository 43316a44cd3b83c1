//! A board that is to join a fleet: the real binary, with a config.json, a state directory and a port of its own.

use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::panicking;

use hyper::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::fake::{FakeCloud, Relayed};
use crate::http::{self, Reply};
use crate::images::service;
use crate::lab::{Lab, Seen, run, until};

/// The key of the board's own API.
pub(crate) const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
/// How long anything may take on a busy machine before a test gives up, in seconds.
pub(crate) const PATIENCE: u64 = 90;

/// An agent with a cloud, or what is left of it between two lives.
pub(crate) struct Board<'a> {
    pub(crate) lab: &'a Lab,
    pub(crate) cloud: &'a FakeCloud,
    pub(crate) fleet: u64,
    /// The address of the machine's system bus. `None`: there is none.
    pub(crate) system_bus: Option<String>,
    /// The target file that it follows, not its cloud.
    pub(crate) target_file: Option<PathBuf>,
    dir: TempDir,
    port: u16,
    child: Option<Child>,
}

impl<'a> Board<'a> {
    /// A board with the config.json of a new fleet, whose devices poll every ten seconds. It has not been started.
    pub(crate) fn new(lab: &'a Lab, cloud: &'a FakeCloud) -> Self {
        let fleet = cloud.fleet("boards");
        cloud.configures_fleet(fleet, "RESIN_SUPERVISOR_POLL_INTERVAL", "10000");
        let dir = tempfile::Builder::new().prefix("board").tempdir_in(lab.dir()).unwrap();
        // Released at once; the tests have a network namespace of their own, so no other process takes it.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let this = Self { lab, cloud, fleet, system_bus: None, target_file: None, dir, port, child: None };
        fs::create_dir(this.path("boot")).unwrap();
        let mut config = cloud.config_json(fleet, &cloud.provisioning_key(fleet, None));
        config["appUpdatePollInterval"] = json!(10_000);
        config["listenPort"] = json!(port);
        this.write_config(&config);
        this
    }

    /// A board that runs a release of its fleet, and is in the VPN. Its services are named with their programs.
    pub(crate) fn running(lab: &'a Lab, cloud: &'a FakeCloud, services: &[(&str, &str)]) -> Self {
        let mut board = Self::new(lab, cloud);
        board.release(services);
        board.start();
        board.arrives(&services.iter().map(|it| it.0).collect::<Vec<_>>());
        board
    }

    /// Releases services, each a name and its program; the commit.
    pub(crate) fn release(&self, services: &[(&str, &str)]) -> String {
        let services: Vec<_> = services.iter().map(|(name, program)| service(self.lab, name, program)).collect();
        self.cloud.release(self.fleet, &services, &[])
    }

    /// A path in its directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Its config.json.
    pub(crate) fn config(&self) -> Value {
        serde_json::from_slice(&fs::read(self.path("boot/config.json")).unwrap()).unwrap()
    }

    pub(crate) fn write_config(&self, config: &Value) {
        fs::write(self.path("boot/config.json"), config.to_string()).unwrap();
    }

    /// Starts it.
    pub(crate) fn start(&mut self) {
        assert!(self.child.is_none(), "it runs already");
        let log = fs::File::options().create(true).append(true).open(self.path("log")).unwrap();
        let mut command = self.command();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.child = Some(command.spawn().unwrap());
    }

    /// How it is started.
    pub(crate) fn command(&self) -> Command {
        // `AGENT` is another build of it, as it is given away.
        let binary = std::env::var_os("AGENT").unwrap_or_else(|| env!("CARGO_BIN_EXE_boardkeeper").into());
        let mut command = Command::new(binary);
        command.arg("run");
        for (flag, value) in [("--state-dir", "state"), ("--runtime-dir", "runtime"), ("--boot-config", "boot/config.json")] {
            command.arg(flag).arg(self.path(value));
        }
        command.args(["--listen", &format!("127.0.0.1:{}", self.port), "--board", "simulated", "--log", "debug"]);
        command.env("DOCKER_HOST", self.lab.docker_host()).env("BOARDKEEPER_API_KEY", KEY);
        command.envs(self.system_bus.iter().map(|it| ("DBUS_SYSTEM_BUS_ADDRESS", it)));
        command.envs(self.target_file.iter().map(|it| ("BOARDKEEPER_TARGET", it)));
        command
    }

    /// Ends it as a power cut would.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Asks it to stop.
    pub(crate) fn stop(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("it runs");
        run(Command::new("kill").args(["-TERM", &child.id().to_string()]));
        let ended = child.wait().unwrap();
        assert!(ended.success(), "{ended}");
        ended
    }

    /// Its process. It must run.
    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Whether its process is alive.
    pub(crate) fn lives(&mut self) -> bool {
        self.child.as_mut().is_some_and(|it| it.try_wait().unwrap().is_none())
    }

    /// The uuid under which the cloud has it. There must be no other device.
    pub(crate) fn uuid(&self) -> String {
        let devices = self.cloud.devices();
        assert_eq!(devices.len(), 1, "{devices:?}");
        devices[0].clone()
    }

    /// Waits until it is registered, and puts it into the VPN; its uuid.
    pub(crate) fn registers(&self) -> String {
        until(PATIENCE, "the board is registered", || !self.cloud.devices().is_empty());
        let uuid = self.uuid();
        self.cloud.connects(&uuid, Some(([127, 0, 0, 1], self.port).into()));
        uuid
    }

    /// Waits until it is registered, runs these services and nothing else, and has reported so.
    pub(crate) fn arrives(&self, services: &[&str]) {
        let uuid = self.registers();
        self.runs(services);
        until(PATIENCE, &format!("{services:?} are reported as running"), || self.has_reported(&uuid, services));
    }

    /// Waits until it runs these services, and nothing else.
    pub(crate) fn runs(&self, services: &[&str]) {
        let mut services = services.to_vec();
        services.sort_unstable();
        until(PATIENCE, &format!("{services:?} run"), || {
            let seen = self.lab.containers();
            seen.iter().map(|it| it.service.as_str()).eq(services.iter().copied()) && seen.iter().all(is_running)
        });
    }

    /// Waits until of its containers these run, and the others are stopped.
    pub(crate) fn runs_only(&self, services: &[&str]) {
        until(PATIENCE, &format!("only {services:?} run"), || {
            let seen = self.lab.containers();
            seen.iter().all(|it| is_running(it) == services.contains(&it.service.as_str()))
        });
    }

    /// Whether the cloud has it that these services run.
    pub(crate) fn has_reported(&self, uuid: &str, services: &[&str]) -> bool {
        let app = self.cloud.reported_app(uuid, &self.cloud.fleet_uuid(self.fleet));
        let Some(commit) = app["release_uuid"].as_str() else { return false };
        let reported = &app["releases"][commit]["services"];
        services.iter().all(|it| reported[it]["status"] == "Running")
    }

    /// A user's verb.
    pub(crate) fn asked(&self, method: &Method, path: &str, data: Option<&Value>) -> Relayed {
        self.cloud.relay(&self.uuid(), method, path, data)
    }

    /// One request with its own key, from the machine itself.
    pub(crate) fn get(&self, path: &str) -> std::io::Result<Reply> {
        let key = format!("Bearer {KEY}");
        http::tcp(self.port, "GET", path, &[("Authorization", key.as_str())], "")
    }

    /// A verb of the machine's own user; its status.
    pub(crate) fn post(&self, path: &str) -> u16 {
        let key = format!("Bearer {KEY}");
        http::tcp(self.port, "POST", path, &[("Authorization", key.as_str())], "").unwrap().status
    }

    /// What it says of itself.
    pub(crate) fn state(&self) -> Value {
        self.get("/agent/v1/state").map_or(Value::Null, |it| serde_json::from_str(&it.body).unwrap_or_default())
    }

    /// Whether nothing is left to do.
    pub(crate) fn is_settled(&self) -> bool {
        self.state()["activity"] == "settled"
    }

    /// All it ever logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }
}

/// Prints a figure, also of a test that passes.
pub(crate) fn figure(name: &str, value: &str) {
    // Not `eprintln!`, which the harness keeps to itself. A figure that cannot be printed fails no test.
    let _ = writeln!(std::io::stderr(), "\nfigure: {name:<40} {value}");
}

fn is_running(seen: &Seen) -> bool {
    seen.state == "running"
}

impl Drop for Board<'_> {
    fn drop(&mut self) {
        if panicking() {
            let log = self.log();
            // The tests' own looks at its state are most of it.
            let lines: Vec<_> = log.lines().filter(|it| !it.contains("/agent/v1/state")).collect();
            eprintln!(
                "--- the agent's log\n{}\n--- its state\n{:#}",
                lines[lines.len().saturating_sub(80)..].join("\n"),
                self.state()
            );
            let calls = self.cloud.exchanges();
            for it in calls.iter().skip(calls.len().saturating_sub(40)) {
                eprintln!(
                    "{} {} {} {}",
                    it.status,
                    it.request.method,
                    it.request.path,
                    String::from_utf8_lossy(&it.request.body)
                );
            }
            if self.lab.answers() {
                eprintln!("{:#?}", self.lab.containers());
            }
        }
        if self.child.is_some() {
            self.kill();
        }
    }
}
