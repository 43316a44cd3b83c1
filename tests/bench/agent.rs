//! The release build of the agent, an engine for it, and target documents to measure it with.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tokio::time::Instant;

use crate::bare::Starts;

/// Its API port; in the lab no other program uses it.
pub(crate) const PORT: u16 = 48484;
/// Its API key.
pub(crate) const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
/// The image of every service.
pub(crate) const IMAGE: &str = "tests/app:bench";

/// The engine's filter for the agent's containers.
const OURS: &str = "label=io.balena.supervised";
/// The name of the containers of other programs.
pub(crate) const CROWD: &str = "crowd";

/// A build of the agent.
#[derive(Clone)]
pub(crate) struct Build {
    /// What its rows are marked with. Empty: the build of this commit.
    pub(crate) name: String,
    pub(crate) path: PathBuf,
}

/// A running agent.
pub(crate) struct Agent {
    lab: PathBuf,
    /// Its target, and what it keeps.
    home: PathBuf,
    /// The same, if it goes with the agent.
    own_dir: Option<TempDir>,
    child: Child,
    /// The time from exec to its first response.
    pub(crate) answered: Duration,
}

impl Agent {
    pub(crate) fn start(build: &Build, lab: &Path, document: &Value) -> Self {
        let dir = tempfile::tempdir_in(lab).unwrap();
        let mut agent = Self::start_by(Command::new(&build.path), dir.path(), &socket(lab), document);
        (agent.lab, agent.own_dir) = (lab.to_owned(), Some(dir));
        agent
    }

    /// Starts it by a command that takes the agent's arguments, in a directory that may have what an earlier one kept, with the
    /// engine at a socket.
    pub(crate) fn start_by(mut command: Command, home: &Path, engine: &Path, document: &Value) -> Self {
        let target = home.join("target.json");
        fs::write(&target, document.to_string()).unwrap();
        command.args(["run", "--board", "simulated", "--log", "warn", "--listen"]).arg(format!("127.0.0.1:{PORT}"));
        command.arg("--state-dir").arg(home.join("state")).arg("--runtime-dir").arg(home.join("runtime"));
        command.arg("--target").arg(target);
        command.env("DOCKER_HOST", format!("unix://{}", engine.display())).env("BOARDKEEPER_API_KEY", KEY);
        let begun = Instant::now();
        let child = command.stdin(Stdio::null()).spawn().unwrap();
        while !crate::requests::is_answered(PORT) {
            assert!(begun.elapsed() < Duration::from_secs(20), "it does not answer");
            sleep(Duration::from_micros(200));
        }
        Self { lab: PathBuf::new(), home: home.to_owned(), own_dir: None, child, answered: begun.elapsed() }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until this many services run.
    pub(crate) fn runs(&self, services: u32) {
        wait_until("all services run", || crate::bare::running(&socket(&self.lab)) == services);
    }

    /// Waits until it has no step left to take: it releases the locks of an update, and observes once more.
    pub(crate) fn has_settled() {
        let begun = Instant::now();
        while !crate::requests::text(PORT, "/v1/device").contains(r#""status":"Idle""#) {
            assert!(begun.elapsed() < Duration::from_secs(20), "it does not settle");
            sleep(Duration::from_millis(20));
        }
        rest();
    }

    /// Gives it a target, and returns the time until the engine had started this many containers.
    pub(crate) fn brings_up(&self, document: &Value, services: u32) -> Duration {
        let starts = Starts::from_now_on(&socket(&self.lab));
        let begun = self.wants(document);
        starts.nth(services).duration_since(begun)
    }

    /// Gives it a target; when it did.
    pub(crate) fn wants(&self, document: &Value) -> Instant {
        let new = self.home.join("target.new");
        fs::write(&new, document.to_string()).unwrap();
        let begun = Instant::now();
        fs::rename(new, self.home.join("target.json")).unwrap();
        begun
    }

    /// Has it stop, as systemd does, and waits until it has.
    pub(crate) fn stops(mut self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        assert!(self.child.wait().unwrap().success(), "it stops without an error");
    }

    /// Every file in its state directory, with its size and when it was written.
    pub(crate) fn state_files(&self) -> Vec<(PathBuf, u64, std::time::SystemTime)> {
        let files = fs::read_dir(self.home.join("state")).unwrap().flatten();
        let mut files: Vec<_> = files.map(|it| (it.path(), it.metadata().unwrap())).collect();
        files.sort_by(|a, b| a.0.cmp(&b.0));
        files.into_iter().map(|(path, it)| (path, it.len(), it.modified().unwrap())).collect()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // One that has stopped is gone.
        let _ = self.child.kill();
        self.child.wait().unwrap();
    }
}

/// A document with one app of this many services, or with none. The first service has this text in its environment. None is
/// given access to the API: the network for that would be one that the bare client does not create.
pub(crate) fn document(app: u32, services: u32, text: &str) -> Value {
    let labels = json!({"io.balena.features.supervisor-api": "0"});
    let service = |it| {
        let environment = if it == 0 { json!({"TEXT": text}) } else { json!({}) };
        let service = json!({"id": it + 1, "image_id": it + 1, "image": IMAGE, "environment": environment, "labels": labels});
        (format!("s{it}"), service)
    };
    let services: Map<_, _> = (0..services).map(service).collect();
    let release = json!({"id": 1, "services": services, "volumes": {}, "networks": {}});
    let app_of = json!({"id": app, "name": "bench", "class": "fleet", "is_host": false, "releases": {"c1": release}});
    let apps = if app == 0 { json!({}) } else { json!({format!("{app:032x}"): app_of}) };
    json!({"device": {"name": "bench", "config": {}, "apps": apps}})
}

/// The engine's socket.
pub(crate) fn socket(lab: &Path) -> PathBuf {
    lab.join("engine/docker.sock")
}

pub(crate) fn start_engine(lab: &Path) {
    script("engine.sh", &["up", lab.join("engine").to_str().unwrap()]);
    let archive = lab.join("image.tar");
    let image = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab/image.sh");
    assert!(Command::new(image).arg(IMAGE).stdout(fs::File::create(&archive).unwrap()).status().unwrap().success(), "image.sh");
    docker(lab, &["load", "-q", "-i", archive.to_str().unwrap()]);
}

pub(crate) fn stop_engine(lab: &Path) {
    script("engine.sh", &["down", lab.join("engine").to_str().unwrap()]);
}

/// The engine's name and version.
pub(crate) fn engine_version(lab: &Path) -> String {
    docker(lab, &["version", "--format", "{{.Server.Platform.Name}} {{.Server.Version}}"]).trim().to_owned()
}

/// Removes the containers of the agent and of the bare client, and every network.
pub(crate) fn wipe(lab: &Path) {
    for filter in [OURS, "name=^bare_"] {
        remove(lab, &docker(lab, &["ps", "-aq", "--filter", filter]));
    }
    docker(lab, &["network", "prune", "-f"]);
}

/// Removes the containers of other programs.
pub(crate) fn wipe_crowd(lab: &Path) {
    remove(lab, &docker(lab, &["ps", "-aq", "--filter", &format!("name=^{CROWD}_")]));
}

fn remove(lab: &Path, ids: &str) {
    let ids: Vec<_> = ids.split_whitespace().collect();
    for ids in ids.chunks(50) {
        docker(lab, &[vec!["rm", "-f"], ids.to_vec()].concat());
    }
}

/// Leaves the engine alone for a second. One that has rested takes longer for what comes next.
pub(crate) fn rest() {
    sleep(Duration::from_secs(1));
}

/// Asks every few milliseconds.
pub(crate) fn wait_until(what: &str, is: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is() {
        assert!(begun.elapsed() < Duration::from_secs(120), "it is not so that {what}");
        sleep(Duration::from_millis(5));
    }
}

fn docker(lab: &Path, args: &[&str]) -> String {
    let host = format!("unix://{}", socket(lab).display());
    let output = Command::new("docker").args(["-H", &host]).args(args).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn script(name: &str, args: &[&str]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab").join(name);
    // No pipe: the engine would inherit it and keep it open.
    assert!(Command::new(path).args(args).stdout(Stdio::null()).status().unwrap().success(), "{name} {args:?}");
}
