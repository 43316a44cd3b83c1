//! A machine that systemd-nspawn boots, and how tests reach it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

/// What a boot may take until the agent answers. A quiet machine needs two seconds.
const BOOT: Duration = Duration::from_secs(60);
/// What an end may take.
const END: Duration = Duration::from_secs(60);

/// Its exit code when it rebooted.
pub(crate) const REBOOTED: i32 = 133;
/// Its exit code when it powered itself off.
pub(crate) const OFF: i32 = 0;

/// A machine, on or off.
pub(crate) struct Machine {
    dir: PathBuf,
    on: Option<Child>,
    /// Its first process.
    leader: String,
    has_engine: bool,
    /// What is furnished: a verb of `nspawn.sh`.
    furnished: &'static str,
    suite: Suite,
}

/// Which Debian a machine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Suite {
    /// Debian 12, systemd 252.
    Bookworm,
    /// Debian 13, systemd 257.
    Trixie,
}

impl Suite {
    pub(crate) const ALL: [Self; 2] = [Self::Trixie, Self::Bookworm];

    /// Debian's own name of it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bookworm => "bookworm",
            Self::Trixie => "trixie",
        }
    }
}

impl Machine {
    /// A new one, with an agent that has no engine and no client.
    pub(crate) fn boots(name: &str) -> Self {
        let mut machine = Self::off(name, "boot", Suite::Bookworm);
        machine.boot();
        machine
    }

    /// A new one on which the package is unpacked and then set up, as a package manager does it.
    pub(crate) fn with_package(name: &str, suite: Suite) -> Self {
        let mut machine = Self::off(name, "bare", suite);
        machine.switch_on();
        until("systemd has started", BOOT, || {
            machine.finds_leader() && machine.shell("systemctl is-active -q dbus systemd-logind").status().unwrap().success()
        });
        machine.run("DPKG_MAINTSCRIPT_PACKAGE=boardkeeper DPKG_MAINTSCRIPT_NAME=postinst /root/postinst configure");
        until("the agent answers", BOOT, || machine.answers());
        machine
    }

    fn off(name: &str, furnished: &'static str, suite: Suite) -> Self {
        let lab = PathBuf::from(std::env::var_os("BOARDKEEPER_LAB").expect("these tests run through `make power`"));
        let dir = lab.join(name);
        fs::create_dir_all(dir.join("engine")).unwrap();
        Self { dir, on: None, leader: String::new(), has_engine: false, furnished, suite }
    }

    /// Switches it on, and waits until the agent answers.
    pub(crate) fn boot(&mut self) {
        self.switch_on();
        until("the agent answers", BOOT, || self.finds_leader() && self.answers());
    }

    fn switch_on(&mut self) {
        let log = fs::File::options().create(true).append(true).open(self.dir.join("console")).unwrap();
        let mut boot = script("nspawn.sh");
        boot.env("SUITE", self.suite.name());
        boot.arg(self.furnished).arg(&self.dir).arg(env!("CARGO_BIN_EXE_boardkeeper")).stdin(Stdio::null());
        self.on = Some(boot.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap());
    }

    fn finds_leader(&mut self) -> bool {
        let parent = self.on.as_ref().expect("it is on").id().to_string();
        let found = Command::new("pgrep").args(["-P", &parent, "-x", "systemd"]).output().unwrap();
        String::from_utf8(found.stdout).unwrap().trim().clone_into(&mut self.leader);
        !self.leader.is_empty()
    }

    fn answers(&self) -> bool {
        self.ask("GET", "/v1/healthy", "").0 == 200
    }

    /// Waits until it has ended by itself.
    pub(crate) fn ends(&mut self) -> i32 {
        let mut child = self.on.take().expect("it is on");
        let mut code = None;
        until("it ends", END, || {
            code = child.try_wait().unwrap();
            code.is_some()
        });
        code.unwrap().code().unwrap()
    }

    /// Starts an engine for it, which does not end with it, and gives it the test image.
    pub(crate) fn with_engine(&mut self) {
        let engine = self.dir.join("engine");
        assert!(script("engine.sh").arg("up").arg(&engine).stdout(Stdio::null()).status().unwrap().success());
        self.has_engine = true;
        let load = format!("{} tests/busybox:1 | docker -H {} load", lab("image.sh").display(), self.docker_host());
        assert!(Command::new("sh").args(["-c", &load]).stdout(Stdio::null()).status().unwrap().success());
    }

    /// When each container that runs was started, and how often its engine restarted it.
    pub(crate) fn starts(&self) -> String {
        let format = "--format={{.Id}} {{.State.StartedAt}} {{.RestartCount}}";
        let out = Command::new("docker").args(["-H", &self.docker_host(), "inspect", format]).args(self.containers()).output();
        String::from_utf8(out.unwrap().stdout).unwrap()
    }

    fn docker_host(&self) -> String {
        format!("unix://{}", self.dir.join("engine/docker.sock").display())
    }

    /// Makes a package with this program as the agent. Its path in the machine.
    pub(crate) fn makes_package(&self, version: &str, program: &Path) -> String {
        let name = format!("boardkeeper-{version}.deb");
        let made = script("nspawn.sh").arg("deb").arg(program).arg(version).arg(self.dir.join("engine").join(&name)).status();
        assert!(made.unwrap().success());
        format!("/run/engine/{name}")
    }

    /// Has apt install such a package in place of any other version.
    pub(crate) fn installs(&self, version: &str, program: &Path) {
        let apt = "DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --allow-downgrades -o Dpkg::Use-Pty=0";
        self.run(&format!("{apt} {} 2>&1", self.makes_package(version, program)));
        assert_eq!(self.run("dpkg-query -W -f '${Version} ${db:Status-Status}' boardkeeper"), format!("{version} installed"));
    }

    /// Ids of the containers that run.
    pub(crate) fn containers(&self) -> Vec<String> {
        let out = Command::new("docker").args(["-H", &self.docker_host(), "ps", "-q", "--no-trunc"]).output().unwrap();
        String::from_utf8(out.stdout).unwrap().lines().map(str::to_owned).collect()
    }

    /// The target: one service that stays, with these labels.
    pub(crate) fn wants(&self, labels: &Value) {
        self.wants_target(&target(&[("web", "tests/busybox:1")], labels, &json!({})));
    }

    /// The target. It must have no single quote.
    pub(crate) fn wants_target(&self, target: &Value) {
        self.run(&format!("echo '{target}' > /etc/boardkeeper-target.json"));
    }

    /// Ends its engine as a power cut does, with everything that runs on it, and starts it again.
    pub(crate) fn cuts_engine(&self) {
        for verb in ["crash", "up"] {
            let mut engine = script("engine.sh");
            assert!(engine.arg(verb).arg(self.dir.join("engine")).stdout(Stdio::null()).status().unwrap().success(), "{verb}");
        }
    }

    /// Names of the containers that its engine has, those that do not run too.
    pub(crate) fn names(&self) -> Vec<String> {
        let out = Command::new("docker").args(["-H", &self.docker_host(), "ps", "-a", "--format", "{{.Names}}"]).output();
        String::from_utf8(out.unwrap().stdout).unwrap().lines().map(str::to_owned).collect()
    }

    /// A file in a volume of its engine, if it is there.
    pub(crate) fn in_volume(&self, volume: &str, file: &str) -> Option<String> {
        fs::read_to_string(self.dir.join("engine/data/volumes").join(volume).join("_data").join(file)).ok()
    }

    /// The target of an agent that was installed as a package: services that stay, each with its image.
    pub(crate) fn set_target(&self, services: &[(&str, &str)], config: &Value) {
        let target = target(services, &json!({}), config);
        self.run(&format!("echo '{target}' > /etc/boardkeeper/new && mv /etc/boardkeeper/new /etc/boardkeeper/target.json"));
    }

    /// What a shell in it prints.
    pub(crate) fn run(&self, command: &str) -> String {
        let Output { stdout, stderr, status } = self.shell(command).output().unwrap();
        assert!(status.success(), "{command}: {}", String::from_utf8_lossy(&stderr));
        String::from_utf8(stdout).unwrap().trim().to_owned()
    }

    /// A shell in it.
    pub(crate) fn shell(&self, command: &str) -> Command {
        let mut shell = Command::new("nsenter");
        shell.args(["-t", &self.leader, "-a", "sh", "-c", command]);
        shell
    }

    /// Stops the agent's service; how long that took systemd, whatever else keeps the processors busy meanwhile.
    pub(crate) fn stops_agent(&self) -> Duration {
        self.run("systemctl stop boardkeeper");
        let at = |what: &str| -> u64 {
            self.run(&format!("systemctl show boardkeeper -p {what} --value")).parse().expect("microseconds")
        };
        Duration::from_micros(at("InactiveEnterTimestampMonotonic") - at("ActiveExitTimestampMonotonic"))
    }

    /// With the device's key.
    pub(crate) fn post(&self, path: &str, body: &str) -> (u16, Value) {
        let key = self.run("boardkeeper key");
        let (status, body) = self.ask("POST", &format!("{path}?apikey={key}"), body);
        (status, serde_json::from_str(&body).unwrap_or(Value::String(body)))
    }

    pub(crate) fn state(&self) -> Value {
        let key = self.run("boardkeeper key");
        serde_json::from_str(&self.ask("GET", &format!("/agent/v1/state?apikey={key}"), "").1).unwrap()
    }

    /// Whether the API takes connections.
    pub(crate) fn connects(&self) -> bool {
        let mut curl = Command::new("nsenter");
        curl.args(["-t", &self.leader, "-n", "curl", "-s", "-m", "5", "-o", "/dev/null", "http://127.0.0.1:48484/ping"]);
        // 7: nothing listens.
        curl.status().unwrap().code() != Some(7)
    }

    /// The machine has no curl; its network is entered with ours.
    pub(crate) fn ask(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let mut curl = Command::new("nsenter");
        curl.args(["-t", &self.leader, "-n", "curl", "-s", "-m", "20", "-w", "\n%{http_code}", "-X", method, "-d", body]);
        curl.args(["-H", "Content-Type: application/json", &format!("http://127.0.0.1:48484{path}")]);
        let out = String::from_utf8(curl.output().unwrap().stdout).unwrap();
        let (body, status) = out.rsplit_once('\n').unwrap_or_default();
        (status.parse().unwrap_or_default(), body.to_owned())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Some(mut child) = self.on.take() {
            // SIGKILL to nspawn takes the machine with it. It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
        if self.has_engine {
            // The lab goes anyway; whatever stays of the engine goes with it.
            let _ = script("engine.sh").arg("down").arg(self.dir.join("engine")).status();
        }
    }
}

fn target(services: &[(&str, &str)], labels: &Value, config: &Value) -> Value {
    let service = |(number, (name, image)): (usize, &(&str, &str))| {
        let service = json!({"imageId": 1, "serviceName": name, "image": image, "running": true,
            "command": ["stay"], "environment": {}, "labels": labels, "network_mode": "host"});
        ((number + 1).to_string(), service)
    };
    let services: serde_json::Map<_, _> = services.iter().enumerate().map(service).collect();
    let app = json!({"name": "app", "commit": "abc", "releaseId": 1, "services": services, "networks": {}, "volumes": {}});
    json!({"local": {"name": "d", "config": config, "apps": {"1": app}}, "dependent": {"apps": {}, "devices": {}}})
}

/// Waits until something is so.
pub(crate) fn until(what: &str, most: Duration, mut is: impl FnMut() -> bool) {
    let end = Instant::now() + most;
    while !is() {
        assert!(Instant::now() < end, "in {most:?} it did not come to pass that {what}");
        sleep(Duration::from_millis(100));
    }
}

pub(crate) fn lab(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab").join(name)
}

fn script(name: &str) -> Command {
    Command::new(lab(name))
}
