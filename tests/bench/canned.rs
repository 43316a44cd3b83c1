//! An engine in memory, in place of the real one where the agent's own cost is counted: it answers at once, always in the same
//! order, and has as many containers as wanted. Its documents have about the fields and the size of those of Docker 20.10.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::agent::{CROWD, IMAGE};

/// Docker's time of what was never started.
const NEVER: &str = "0001-01-01T00:00:00Z";
const MADE: &str = "2026-11-20T10:00:00.123456789Z";
const STARTED: &str = "2026-11-20T10:00:01.123456789Z";

/// The engine.
pub(crate) struct Canned {
    /// Where it listens.
    pub(crate) socket: PathBuf,
    /// Where an agent that uses it keeps its state. It has the device's UUID, which is in each container's environment.
    pub(crate) home: TempDir,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    containers: Vec<Made>,
    networks: Vec<Value>,
    /// Numbers of ids.
    made: usize,
    /// How often its volumes were listed, which is how often its whole state was requested.
    looks: usize,
    /// The connections on which it sends events.
    listeners: Vec<UnixStream>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Created,
    Running,
    Exited,
}

/// A container.
struct Made {
    id: String,
    name: String,
    /// As it was requested.
    body: Value,
    phase: Phase,
}

impl Canned {
    /// An engine with this many containers of other programs.
    pub(crate) fn start(foreign: u32) -> Self {
        let home = tempfile::tempdir().unwrap();
        let socket = home.path().join("docker.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        for number in 0..foreign {
            state.lock().unwrap().create(&format!("{CROWD}_{number}"), json!({"Image": IMAGE, "Labels": {}}));
        }
        let shared = Arc::clone(&state);
        // It ends with the process.
        thread::spawn(move || {
            for stream in listener.incoming() {
                let state = Arc::clone(&shared);
                thread::spawn(move || serve(stream.unwrap(), &state));
            }
        });
        Self { socket, home, state }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// The agent's containers that run.
    pub(crate) fn running(&self) -> u32 {
        u32::try_from(self.state().containers.iter().filter(|it| it.phase == Phase::Running).count()).unwrap()
    }

    /// Whether a container runs that has this text in its environment.
    pub(crate) fn runs_with(&self, text: &str) -> bool {
        let has = |it: &Made| it.body["Env"].as_array().into_iter().flatten().any(|it| it == text);
        self.state().containers.iter().any(|it| it.phase == Phase::Running && has(it))
    }

    /// The objects that it has made.
    pub(crate) fn made(&self) -> usize {
        self.state().made
    }

    /// How often its whole state was requested.
    pub(crate) fn looks(&self) -> usize {
        self.state().looks
    }

    /// Has the agent request all four lists, as it does every three minutes: with an event of a kind that it does not know.
    pub(crate) fn is_changed(&self) {
        self.state().tell("daemon", "reload", "canned", &json!({}));
    }
}

/// Answers one request.
fn serve(mut stream: UnixStream, state: &Mutex<State>) {
    let mut from = BufReader::new(stream.try_clone().unwrap());
    let (mut line, mut length) = (String::new(), 0);
    if from.read_line(&mut line).unwrap_or_default() == 0 {
        return;
    }
    let mut words = line.split(' ').map(str::to_owned);
    let (method, url) = (words.next().unwrap(), words.next().unwrap());
    while line != "\r\n" {
        line.clear();
        from.read_line(&mut line).unwrap();
        length = line.to_lowercase().strip_prefix("content-length:").map_or(length, |it| it.trim().parse().unwrap());
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body).unwrap();
    let (path, query) = url.split_once('?').unwrap_or((&url, ""));
    let path = path.strip_prefix("/v1.41").unwrap_or(path);
    if path == "/events" {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
        state.lock().unwrap().listeners.push(stream);
        return;
    }
    let (status, body) = state.lock().unwrap().answer(&method, path, query, &body);
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let head = format!("HTTP/1.1 {status} Said\r\nContent-Type: application/json\r\nConnection: close\r\n");
    let length = if status == 204 { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    // An agent that was stopped has hung up.
    let _ = stream.write_all(format!("{head}{length}\r\n{body}").as_bytes());
    let _ = stream.shutdown(Shutdown::Both);
}

impl State {
    fn answer(&mut self, method: &str, path: &str, query: &str, body: &[u8]) -> (u16, Value) {
        let parts: Vec<_> = path.trim_start_matches('/').split('/').collect();
        match (method, parts.as_slice()) {
            ("GET", ["version"]) => {
                (200, json!({"Version": "20.10.24", "ApiVersion": "1.41", "Arch": "amd64", "KernelVersion": "6.1.0"}))
            }
            ("GET", ["info"]) => (
                200,
                json!({"Name": "bench", "Architecture": "x86_64", "DefaultRuntime": "runc", "DockerRootDir": "/var/lib/docker"}),
            ),
            ("GET", ["containers", "json"]) => (200, self.containers.iter().map(|it| it.listed(self)).collect()),
            ("GET", ["containers", id, "json"]) => {
                self.find(id).map_or_else(missing, |it| (200, self.containers[it].inspected(self)))
            }
            ("GET", ["images", "json"]) => (200, json!([image()])),
            ("GET", ["images", ..]) => (200, image()),
            ("GET", ["networks"]) => (200, self.networks.clone().into()),
            ("GET", ["volumes"]) => {
                self.looks += 1;
                (200, json!({"Volumes": [], "Warnings": null}))
            }
            ("POST", ["networks", "create"]) => {
                let id = self.id();
                let mut network: Value = serde_json::from_slice(body).unwrap();
                network["Id"] = json!(id);
                network["Created"] = json!(MADE);
                self.tell("network", "create", &id, &json!({"name": network["Name"]}));
                self.networks.push(network);
                (201, json!({"Id": id, "Warning": ""}))
            }
            ("POST", ["containers", "create"]) => {
                let id = self.create(&named(query), serde_json::from_slice(body).unwrap());
                (201, json!({"Id": id, "Warnings": []}))
            }
            ("POST", ["containers", id, "update"]) => self.find(id).map_or_else(missing, |_| (200, json!({"Warnings": []}))),
            ("POST", ["containers", id, "rename"]) => {
                let Some(at) = self.find(id) else { return missing() };
                named(query).clone_into(&mut self.containers[at].name);
                self.change(id, Some(self.containers[at].phase), &["rename"])
            }
            ("POST", ["containers", id, "start"]) => self.change(id, Some(Phase::Running), &["start"]),
            ("POST", ["containers", id, "stop" | "kill"]) => self.change(id, Some(Phase::Exited), &["kill", "die", "stop"]),
            ("DELETE", ["containers", id]) => self.change(id, None, &["destroy"]),
            ("GET", ["system", ..]) => (200, json!({})),
            _ => missing(),
        }
    }

    fn id(&mut self) -> String {
        self.made += 1;
        format!("{:064x}", 0xace0_0000 + self.made)
    }

    fn find(&self, id: &str) -> Option<usize> {
        self.containers.iter().position(|it| it.id == id || it.name == id)
    }

    fn create(&mut self, name: &str, body: Value) -> String {
        let id = self.id();
        let labels = body["Labels"].clone();
        self.containers.insert(0, Made { id: id.clone(), name: name.to_owned(), body, phase: Phase::Created });
        self.tell("container", "create", &id, &labels);
        id
    }

    /// Starts a container, stops it, or removes it.
    fn change(&mut self, id: &str, becomes: Option<Phase>, events: &[&str]) -> (u16, Value) {
        let Some(at) = self.find(id) else { return missing() };
        let (id, labels) = (self.containers[at].id.clone(), self.containers[at].body["Labels"].clone());
        match becomes {
            Some(phase) => self.containers[at].phase = phase,
            None => drop(self.containers.remove(at)),
        }
        for it in events {
            self.tell("container", it, &id, &labels);
        }
        (204, Value::Null)
    }

    fn tell(&mut self, kind: &str, action: &str, id: &str, attributes: &Value) {
        let event =
            json!({"Type": kind, "Action": action, "Actor": {"ID": id, "Attributes": attributes}, "scope": "local", "time": 1});
        let event = format!("{event}\n");
        let chunk = format!("{:x}\r\n{event}\r\n", event.len());
        self.listeners.retain(|mut it| it.write_all(chunk.as_bytes()).is_ok());
    }
}

/// The name that a query gives.
fn named(query: &str) -> String {
    query.split('&').find_map(|it| it.strip_prefix("name=")).unwrap().replace("%5F", "_")
}

fn missing() -> (u16, Value) {
    (404, json!({"message": "there is none"}))
}

fn image() -> Value {
    let id = format!("sha256:{:064x}", 1);
    let labels = json!({"org.opencontainers.image.title": "bench"});
    json!({"Id": id, "RepoTags": [IMAGE], "RepoDigests": [], "ParentId": "", "Created": 1_795_000_000, "Size": 2_000_000,
        "Architecture": "amd64", "Os": "linux", "Containers": -1, "Labels": labels,
        "Config": {"Cmd": ["sh", "-c", "stay"], "Env": ["PATH=/bin"], "Entrypoint": null, "WorkingDir": "", "User": "", "Labels": labels}})
}

impl Made {
    /// Its networks, as the engine describes them.
    fn networks(&self, state: &State) -> Value {
        let mode = self.body["HostConfig"]["NetworkMode"].as_str().unwrap_or("bridge");
        let wanted = self.body["NetworkingConfig"]["EndpointsConfig"].as_object().cloned().unwrap_or_default();
        let names: Vec<_> = if wanted.is_empty() { vec![mode.to_owned()] } else { wanted.keys().cloned().collect() };
        let endpoint = |name: &String| {
            let network = state.networks.iter().find(|it| it["Name"] == *name).map_or(json!(""), |it| it["Id"].clone());
            let on = if self.phase == Phase::Running { format!("{:0>64}", &self.id[56..]) } else { String::new() };
            let of = wanted.get(name).cloned().unwrap_or_default();
            json!({"IPAMConfig": of["IPAMConfig"], "Links": null, "Aliases": of["Aliases"], "NetworkID": network, "EndpointID": on,
                "Gateway": "172.18.0.1", "IPAddress": "172.18.0.2", "IPPrefixLen": 16, "IPv6Gateway": "", "GlobalIPv6Address": "",
                "GlobalIPv6PrefixLen": 0, "MacAddress": "02:42:ac:12:00:02", "DriverOpts": null})
        };
        json!({"Networks": names.iter().map(|it| (it.clone(), endpoint(it))).collect::<Map<_, _>>()})
    }

    fn word(&self) -> &'static str {
        match self.phase {
            Phase::Created => "created",
            Phase::Running => "running",
            Phase::Exited => "exited",
        }
    }

    fn listed(&self, state: &State) -> Value {
        let mode = self.body["HostConfig"]["NetworkMode"].as_str().unwrap_or("default");
        json!({"Id": self.id, "Names": [format!("/{}", self.name)], "Image": self.body["Image"], "ImageID": image()["Id"],
            "Command": "sh -c stay", "Created": 1_795_168_800, "Ports": [], "Labels": self.body["Labels"], "State": self.word(),
            "Status": match self.phase {
                Phase::Created => "Created",
                Phase::Running => "Up 2 hours",
                Phase::Exited => "Exited (0) 2 hours ago",
            }, "HostConfig": {"NetworkMode": mode},
            "NetworkSettings": self.networks(state), "Mounts": []})
    }

    fn inspected(&self, state: &State) -> Value {
        let mut config = self.body.clone();
        let host = config.as_object_mut().and_then(|it| it.remove("HostConfig")).unwrap_or_default();
        json!({"Id": self.id, "Created": MADE, "Path": "sh", "Args": ["-c", "stay"], "Name": format!("/{}", self.name),
            "State": {"Status": self.word(), "Running": self.phase == Phase::Running, "Paused": false, "Restarting": false, "OOMKilled": false,
                "Dead": false, "Pid": 4711, "ExitCode": 0, "Error": "", "FinishedAt": NEVER,
                "StartedAt": if self.phase == Phase::Created { NEVER } else { STARTED }},
            "Image": image()["Id"], "RestartCount": 0, "Driver": "overlay2", "Platform": "linux", "MountLabel": "", "ProcessLabel": "",
            "AppArmorProfile": "", "HostConfig": host, "Mounts": [], "Config": config, "NetworkSettings": self.networks(state),
            "GraphDriver": {"Name": "overlay2", "Data": {"LowerDir": format!("/var/lib/docker/overlay2/{}-init/diff", self.id),
                "MergedDir": format!("/var/lib/docker/overlay2/{}/merged", self.id)}}})
    }
}
