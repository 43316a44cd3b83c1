//! The engine and the registry that the tests share, and a view of them that is not the agent's own.
//!
//! An agent adopts every app on an engine, so tests take turns: [`Lab::enter`] waits for the one before, and removes all that
//! it left. Everything lives in the directory, the network and the process namespace of `tests/lab/inside.sh`, and ends with
//! them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::http;

/// Where the registry answers, in the tests' own network.
pub(crate) const REGISTRY: u16 = 5000;
/// Where the registry that asks for a password answers.
pub(crate) const CLOSED_REGISTRY: u16 = 5001;

/// What has been prepared and stays: images in the engine, images in the registry.
static PREPARED: LazyLock<Mutex<BTreeSet<String>>> = LazyLock::new(Mutex::default);

/// One test's turn with the engine.
pub(crate) struct Lab {
    dir: PathBuf,
    _turn: MutexGuard<'static, BTreeSet<String>>,
}

/// A container, as the engine tells.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Seen {
    /// The service it is labelled with.
    pub(crate) service: String,
    /// Its name.
    pub(crate) name: String,
    /// Its id.
    pub(crate) id: String,
    /// `running`, `exited`, `created`…
    pub(crate) state: String,
    /// The image it was made from, as its maker named it.
    pub(crate) image: String,
}

impl Lab {
    /// Waits for its turn; afterwards the engine answers and has no container, no network, no volume, and only prepared images.
    pub(crate) fn enter() -> Self {
        static TURN: LazyLock<Mutex<BTreeSet<String>>> = LazyLock::new(Mutex::default);
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let dir = std::env::var_os("BOARDKEEPER_LAB").expect("these tests run through `make engine`");
        let lab = Self { dir: dir.into(), _turn: turn };
        if !lab.answers() {
            lab.start_engine();
        }
        lab.wipe();
        lab
    }

    /// A directory for whatever a test keeps on disk.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The engine's socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.join("engine/docker.sock")
    }

    /// What `DOCKER_HOST` should be.
    pub(crate) fn docker_host(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// Starts the engine.
    pub(crate) fn start_engine(&self) {
        self.script("engine.sh", &["up", self.at("engine")]);
    }

    /// Kills the engine as a crash would: its containers live on, or not, as it finds them.
    pub(crate) fn kill_engine(&self) {
        let pid = fs::read_to_string(self.dir.join("engine/pid")).unwrap();
        run(Command::new("kill").args(["-9", pid.trim()]));
        until(10, "the engine is gone", || !Path::new("/proc").join(pid.trim()).join("exe").exists());
        // It would take its own pid file for a sign of life.
        fs::remove_file(self.dir.join("engine/pid")).unwrap();
    }

    /// Starts the registry, unless it runs.
    pub(crate) fn registry(&self) {
        if http::tcp(REGISTRY, "GET", "/v2/", &[], "").is_err() {
            self.script("registry.sh", &["up", self.at("registry"), &REGISTRY.to_string()]);
        }
    }

    /// Starts the registry that wants to know who asks, unless it runs.
    pub(crate) fn closed_registry(&self, user: &str, password: &str) {
        if http::tcp(CLOSED_REGISTRY, "GET", "/v2/", &[], "").is_err() {
            self.script("registry.sh", &["up", self.at("closed"), &CLOSED_REGISTRY.to_string(), user, password]);
        }
    }

    /// An image that the engine has: `tests/app:<tag>`.
    pub(crate) fn image(&self, tag: &str) -> String {
        let name = format!("tests/app:{tag}");
        once(&name, || self.load(&name, 0));
        name
    }

    /// An image that the registry has and the engine has not, with so many mebibytes to pull.
    pub(crate) fn remote(&self, tag: &str, mebibytes: u32) -> String {
        let name = format!("127.0.0.1:{REGISTRY}/tests/app:{tag}");
        self.registry();
        once(&name, || {
            self.load(&name, mebibytes);
            self.docker(&["push", "-q", &name]);
        });
        self.forget(&name);
        name
    }

    /// Deletes an image where it is there.
    pub(crate) fn forget(&self, name: &str) {
        let _ = self.call("DELETE", &format!("/images/{name}?force=true"), ""); // It may not be there; then all is well.
    }

    /// Whether the engine has an image.
    pub(crate) fn has(&self, image: &str) -> bool {
        self.call("GET", &format!("/images/{image}/json"), "").status == 200
    }

    /// Makes an image and gives it to the engine.
    pub(crate) fn load(&self, name: &str, mebibytes: u32) {
        self.load_for(name, mebibytes, "");
    }

    /// The same, for machines of another kind.
    pub(crate) fn load_for(&self, name: &str, mebibytes: u32, arch: &str) {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lab/image.sh");
        let size = mebibytes.to_string();
        let mut image = Command::new(script);
        image.args([name, &size]).args((!arch.is_empty()).then_some(arch)).stdout(Stdio::piped());
        let mut image = image.spawn().unwrap();
        let archive = image.stdout.take().unwrap();
        run(Command::new("docker").args(["-H", &self.docker_host(), "load", "-q"]).stdin(archive));
        assert!(image.wait().unwrap().success(), "image.sh");
    }

    /// The engine's own command line; what it printed.
    pub(crate) fn docker(&self, args: &[&str]) -> String {
        run(Command::new("docker").arg("-H").arg(self.docker_host()).args(args))
    }

    /// One call to the engine.
    pub(crate) fn call(&self, method: &str, path: &str, body: &str) -> http::Reply {
        http::unix(&self.socket(), method, path, body).unwrap()
    }

    /// Whether the engine answers.
    pub(crate) fn answers(&self) -> bool {
        http::unix(&self.socket(), "GET", "/_ping", "").is_ok_and(|it| it.status == 200)
    }

    /// Containers of supervised services, by service and name.
    pub(crate) fn containers(&self) -> Vec<Seen> {
        let found = self.call("GET", "/containers/json?all=true", "").json();
        let mut seen: Vec<_> = found.as_array().unwrap().iter().filter_map(seen).collect();
        seen.sort();
        seen
    }

    /// Those that were ever started: not what is created beside the one that it will replace.
    pub(crate) fn started(&self) -> Vec<Seen> {
        self.containers().into_iter().filter(|it| self.was_started(it)).collect()
    }

    fn was_started(&self, container: &Seen) -> bool {
        match container.state.as_str() {
            "created" => false,
            // The state of one that is being removed no longer says it; of one that is gone by now nothing does.
            "removing" | "dead" => {
                let started_at = &self.inspect(&container.id)["State"]["StartedAt"];
                started_at.as_str().is_some_and(|it| !it.starts_with("0001-"))
            }
            _ => true,
        }
    }

    /// The one container of a service. There must be one.
    pub(crate) fn the(&self, service: &str) -> Seen {
        let mut found: Vec<_> = self.containers().into_iter().filter(|it| it.service == service).collect();
        assert_eq!(found.len(), 1, "containers of {service}: {found:#?}");
        found.remove(0)
    }

    /// Everything the engine knows of a container.
    pub(crate) fn inspect(&self, id: &str) -> Value {
        self.call("GET", &format!("/containers/{id}/json"), "").json()
    }

    /// A container's environment. One that is gone has none.
    pub(crate) fn env(&self, id: &str) -> BTreeMap<String, String> {
        let inspected = self.inspect(id);
        let lines = inspected["Config"]["Env"].as_array().into_iter().flatten();
        lines.filter_map(|it| it.as_str()?.split_once('=')).map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
    }

    /// Runs a program in a container; what it printed.
    pub(crate) fn inside(&self, id: &str, program: &[&str]) -> String {
        self.docker(&[&["exec", id], program].concat())
    }

    /// What happened since [`now`] said so: `pull tests/app:1`, `start main`, `destroy main`…, in the engine's order.
    pub(crate) fn events(&self, since: &str) -> Vec<String> {
        let told = self.docker(&["events", "--since", since, "--until", &now(), "--format", "{{json .}}"]);
        told.lines().map(|line| event(&serde_json::from_str(line).unwrap())).collect()
    }

    fn at(&self, name: &str) -> &'static str {
        // Two names, once each: leaking them is cheaper than threading paths through.
        Box::leak(self.dir.join(name).display().to_string().into_boxed_str())
    }

    /// Runs a script of `tests/lab`.
    pub(crate) fn script(&self, name: &str, args: &[&str]) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab").join(name);
        let log = fs::File::create(self.dir.join(format!("{name}.log"))).unwrap();
        // Not a pipe: the engine inherits it and would keep it open.
        let status = Command::new(script).args(args).stdout(log.try_clone().unwrap()).stderr(log).status().unwrap();
        assert!(status.success(), "{name} {args:?}: {}", fs::read_to_string(self.dir.join(format!("{name}.log"))).unwrap());
    }

    fn wipe(&self) {
        if let Err(left) = self.wipe_within(Duration::from_secs(20)) {
            // An engine whose client was killed may count a container on a network for good. It counts anew when it starts.
            eprintln!("the engine is started anew, for it does not let go of {left:#?}");
            self.kill_engine();
            self.start_engine();
            self.wipe_within(Duration::from_secs(60)).expect("the engine lets go of all it has");
        }
        let _ = fs::remove_dir_all("/tmp/balena-supervisor/services"); // No test before this one may have made it.
    }

    /// Removes what there is on the engine until nothing is: what an agent that was killed had asked for may still come.
    /// Returns what is left after so long, and the engine's answers.
    fn wipe_within(&self, patience: Duration) -> Result<(), Vec<String>> {
        let begun = Instant::now();
        loop {
            match self.wipe_once() {
                left if left.is_empty() => return Ok(()),
                left if begun.elapsed() > patience => return Err(left),
                _ => sleep(Duration::from_millis(50)),
            }
        }
    }

    /// Removes what there is on the engine: what that was, and the engine's answers.
    fn wipe_once(&self) -> Vec<String> {
        let mut left = Vec::new();
        let mut remove = |path: String| {
            let reply = self.call("DELETE", &path, "");
            left.push(format!("{path}: {} {}", reply.status, reply.body.trim()));
        };
        for it in self.call("GET", "/containers/json?all=true", "").json().as_array().unwrap() {
            remove(format!("/containers/{}?force=true", it["Id"].as_str().unwrap()));
        }
        for it in self.call("GET", "/networks?filters=%7B%22type%22%3A%5B%22custom%22%5D%7D", "").json().as_array().unwrap() {
            let path = format!("/networks/{}", it["Id"].as_str().unwrap());
            // An engine of 2022 may count a container that was removed just as it was started.
            for (_, left) in self.call("GET", &path, "").json()["Containers"].as_object().into_iter().flatten() {
                let body = json!({"Container": left["Name"], "Force": true}).to_string();
                self.call("POST", &format!("{path}/disconnect"), &body);
            }
            remove(path);
        }
        for it in self.call("GET", "/volumes", "").json()["Volumes"].as_array().into_iter().flatten() {
            remove(format!("/volumes/{}?force=true", it["Name"].as_str().unwrap()));
        }
        left
    }
}

fn once(name: &str, make: impl FnOnce()) {
    let mut prepared = PREPARED.lock().unwrap_or_else(PoisonError::into_inner);
    if !prepared.contains(name) {
        make();
        prepared.insert(name.to_owned());
    }
}

fn seen(container: &Value) -> Option<Seen> {
    let labels = &container["Labels"];
    labels.get("io.balena.supervised")?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Some(Seen {
        service: text(&labels["io.balena.service-name"]),
        name: text(&container["Names"][0]).trim_start_matches('/').to_owned(),
        id: text(&container["Id"]),
        state: text(&container["State"]),
        image: text(&container["Image"]),
    })
}

fn event(told: &Value) -> String {
    let actor = &told["Actor"];
    let of = actor["Attributes"].get("io.balena.service-name").or_else(|| actor["Attributes"].get("name"));
    let id = &actor["ID"];
    let whom = if told["Type"] == "image" { id } else { of.unwrap_or(id) };
    format!("{} {}", told["Action"].as_str().unwrap_or_default(), whom.as_str().unwrap_or_default())
}

/// The wall clock as an engine reads it in `--since`.
pub(crate) fn now() -> String {
    run(Command::new("date").arg("+%s.%N")).trim().to_owned()
}

/// Runs a program that must succeed; what it printed.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

/// The directory of a service's update locks, on the host.
pub(crate) fn locks(app: u32, service: &str) -> PathBuf {
    PathBuf::from(format!("/tmp/balena-supervisor/services/{app}/{service}"))
}

/// Lets some time pass.
pub(crate) fn pause(milliseconds: u64) {
    sleep(Duration::from_millis(milliseconds));
}

/// Waits until something is so, and says how long it took. Fails after so many seconds.
pub(crate) fn until(seconds: u64, what: &str, mut so: impl FnMut() -> bool) -> Duration {
    let begun = Instant::now();
    while !so() {
        assert!(begun.elapsed() < Duration::from_secs(seconds), "after {seconds} s it is still not so that {what}");
        sleep(Duration::from_millis(50));
    }
    begun.elapsed()
}
