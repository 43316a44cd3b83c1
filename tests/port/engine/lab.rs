//! A real engine of the test's own, from `tests/lab/engine.sh`.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use boardkeeper::linux::engine::{Engine, EngineSettings};
use boardkeeper::sorted::SortedSet;
use boardkeeper::state::{ContainerId, ImageRef, OutputStream};

use super::{Lab, Thing};

/// An engine, and perhaps a registry, in a directory of their own.
pub(crate) struct Real {
    dir: tempfile::TempDir,
    engine: Engine,
    host: String,
    registries: Mutex<Vec<PathBuf>>,
    pub remote: Option<ImageRef>,
}

impl Real {
    /// An engine that runs, with one image. `None` only where the environment says that there is none.
    pub(crate) fn up() -> Option<Self> {
        Self::prepared(|_| {})
    }

    /// As [`Real::up`], on a data directory that was prepared.
    pub(crate) fn prepared(prepare: impl FnOnce(&Path)) -> Option<Self> {
        if std::env::var_os("BOARDKEEPER_NO_ENGINE").is_some_and(|it| it == "1") {
            eprintln!("BOARDKEEPER_NO_ENGINE=1: nothing was asked of a real engine");
            return None;
        }
        let installed = Command::new("dockerd").arg("--version").output().is_ok();
        assert!(
            installed,
            "no dockerd: as root, `apt-get install docker.io iptables busybox-static docker-registry apache2-utils curl`, \
             or set BOARDKEEPER_NO_ENGINE=1 to go without"
        );
        let dir = tempfile::Builder::new().prefix("boardkeeper-engine-").tempdir().unwrap();
        prepare(dir.path());
        let host = format!("unix://{}/docker.sock", dir.path().display());
        let engine = Engine::connect(settings(&host));
        let lab = Self { dir, engine, host, registries: Mutex::default(), remote: None };
        lab.script("engine.sh", &["up"]);
        lab.script("engine.sh", &["image"]);
        Some(lab)
    }

    /// Another adapter for the same engine.
    pub(crate) fn another(&self, change: impl FnOnce(&mut EngineSettings)) -> Engine {
        let mut settings = settings(&self.host);
        change(&mut settings);
        Engine::connect(settings)
    }

    /// A directory for the test's files.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// What the command-line client prints.
    pub(crate) fn docker(&self, words: &[&str]) -> String {
        run(Command::new("docker").arg("-H").arg(&self.host).env("HOME", self.dir.path()).args(words))
    }

    /// Where the engine keeps what a volume has.
    pub(crate) fn mountpoint(&self, volume: &str) -> PathBuf {
        PathBuf::from(self.docker(&["volume", "inspect", "--format", "{{.Mountpoint}}", volume]).trim())
    }

    /// A registry on a port of its own, open or for one user.
    pub(crate) fn registry(&self, user: Option<(&str, &str)>) -> String {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
        let dir = self.dir.path().join(format!("registry-{port}"));
        self.registries.lock().unwrap().push(dir.clone());
        let mut command = self.inside(script("registry.sh"));
        command.arg("up").arg(dir).arg(port);
        if let Some((name, password)) = user {
            command.args([name, password]);
        }
        run(&mut command).trim().to_owned()
    }

    /// Has a registry answer at the same address of our own network, where an adapter that asks it looks for it.
    pub(crate) fn reachable(&self, registry: &str) {
        let port = registry.rsplit_once(':').unwrap().1;
        let (inside, dir) = (format!("registry-{port}"), self.dir.path().join(format!("reachable-{port}")));
        fs::create_dir(&dir).unwrap();
        std::os::unix::fs::symlink(self.dir.path().join(inside).join("data"), dir.join("data")).unwrap();
        self.registries.lock().unwrap().push(dir.clone());
        run(Command::new(script("registry.sh")).arg("up").arg(dir).arg(port));
    }

    /// Lets no more through the engine's network than so many megabits a second.
    pub(crate) fn throttle(&self, megabits: u32) {
        let rate = format!("{megabits}mbit");
        run(self
            .inside("tc")
            .args(["qdisc", "add", "dev", "lo", "root", "tbf", "rate", &rate, "burst", "512kb", "latency", "1s"]));
    }

    /// A command on the engine's own network, where its 127.0.0.1 is.
    fn inside(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let pid = fs::read_to_string(self.dir.path().join("pid")).unwrap();
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", pid.trim())).arg(program);
        command
    }

    /// Stops every registry.
    pub(crate) fn registries_down(&self) {
        for dir in std::mem::take(&mut *self.registries.lock().unwrap()) {
            run(Command::new(script("registry.sh")).arg("down").arg(dir));
        }
    }

    /// Pushes an image with a layer of so many random bytes besides the common one, and forgets it.
    pub(crate) fn publish(&self, registry: &str, mebibytes: usize) -> ImageRef {
        self.publish_above("tests/busybox:1", registry, mebibytes)
    }

    /// The same, with the layers of another image below.
    pub(crate) fn publish_above(&self, base: &str, registry: &str, mebibytes: usize) -> ImageRef {
        let name = format!("{registry}/app:{mebibytes}");
        let fill = format!("dd if=/dev/urandom of=/tmp/fill-{mebibytes} bs=1048576 count={mebibytes}");
        self.docker(&["run", "--name", "fill", "--network", "none", base, "sh", "-c", &fill]);
        self.docker(&["commit", "fill", &name]);
        self.docker(&["push", &name]);
        self.docker(&["rm", "fill"]);
        self.docker(&["rmi", &name]);
        ImageRef::new(&name)
    }

    fn script(&self, name: &str, words: &[&str]) {
        run(Command::new(script(name)).env("ENGINE_NET", "own").arg(words[0]).arg(self.dir.path()).args(&words[1..]));
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
            let last: Vec<_> = log.lines().rev().take(8).collect();
            eprintln!("the engine's last words, the newest first:\n{}", last.join("\n"));
        }
        let registries = std::mem::take(self.registries.get_mut().unwrap_or_else(PoisonError::into_inner));
        for dir in registries {
            let _ = Command::new(script("registry.sh")).arg("down").arg(dir).status(); // The next line stops the engine, come what may.
        }
        let down = Command::new(script("engine.sh")).env("ENGINE_NET", "own").arg("down").arg(self.dir.path()).status();
        assert!(down.is_ok() || std::thread::panicking(), "{down:?}");
    }
}

/// An adapter's settings for an engine.
pub(crate) fn settings(host: &str) -> EngineSettings {
    EngineSettings {
        hosts: vec![host.into()],
        root: "/".into(),
        logins: None,
        floor_bytes: 0,
        registries: None,
        arch: "armv7l".into(),
    }
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab").join(name)
}

fn run(command: &mut Command) -> String {
    // A script's own children keep what it was given open, so that its output goes to a file.
    let mut out = tempfile::tempfile().unwrap();
    let status = command.stdout(out.try_clone().unwrap()).stderr(out.try_clone().unwrap()).status().unwrap();
    let mut text = String::new();
    std::io::Seek::rewind(&mut out).unwrap();
    std::io::Read::read_to_string(&mut out, &mut text).unwrap();
    assert!(status.success(), "{command:?}: {text}");
    text
}

impl Lab for Real {
    type Engine = Engine;

    fn engine(&self) -> &Engine {
        &self.engine
    }

    fn image(&self) -> ImageRef {
        ImageRef::new("tests/busybox:1")
    }

    fn remote_image(&self) -> ImageRef {
        self.remote.clone().expect("the case was given one")
    }

    fn create_foreign(&self, thing: Thing<'_>) {
        match thing {
            Thing::Container(name) => self.docker(&["create", "--name", name, "tests/busybox:1", "sleep", "1000"]),
            Thing::Network(name) => self.docker(&["network", "create", name]),
            Thing::Volume(name) => self.docker(&["volume", "create", name]),
        };
    }

    fn everything(&self) -> SortedSet<String> {
        let list = |words: &[&str], format: &str| {
            let text = self.docker(&[words, &["--format", format]].concat());
            text.lines().map(|it| format!("{} {it}", words[0])).collect::<Vec<_>>()
        };
        let lists = [
            list(&["ps", "-a"], "{{.ID}} {{.Names}} {{.State}}"),
            list(&["network", "ls"], "{{.ID}} {{.Name}}"),
            list(&["volume", "ls"], "{{.Name}}"),
        ];
        lists.into_iter().flatten().collect()
    }

    fn print(&self, container: &ContainerId, stream: OutputStream, lines: &[&str]) {
        let descriptor = if stream == OutputStream::Stdout { 1 } else { 2 };
        let print = format!("printf '%s\\n' \"$@\" > /proc/1/fd/{descriptor}");
        self.docker(&[&["exec", container.0.as_str(), "sh", "-c", &print, "sh"], lines].concat());
    }

    fn write(&self, volume: &str, text: &str) {
        fs::write(self.mountpoint(volume).join("text"), text).unwrap();
    }

    fn read(&self, volume: &str) -> String {
        fs::read_to_string(self.mountpoint(volume).join("text")).unwrap()
    }

    fn crash(&self) {
        self.script("engine.sh", &["crash"]);
    }

    fn revive(&self) {
        self.script("engine.sh", &["up"]);
    }
}
