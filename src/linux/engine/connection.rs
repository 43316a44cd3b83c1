//! Finding an engine, and the facts about it.

use std::path::Path;
use std::rc::Rc;

use bollard::Docker;
use bollard::errors::Error;
use hyper::Method;
use serde_json::Value;
use tracing::info;

use crate::linux::engine::errors::unreachable;
use crate::linux::engine::json::EngineJson;
use crate::linux::engine::registry::{EngineMachine, Registries};
use crate::linux::engine::{Engine, EngineStream, OBSERVE, transport};
use crate::port::EngineError;
use crate::state::EngineTime;
use crate::state::utc::days_since_1970;

/// Where engines listen, the most likely first.
const SOCKETS: [&str; 3] = ["var/run/docker.sock", "var/run/balena-engine.sock", "run/podman/podman.sock"];

/// The state of the connection.
#[derive(Debug, Default)]
pub(super) struct ConnectionState {
    /// The engine, if the last call reached it.
    live: Option<EngineConnection>,
    /// The host of the first engine found. No other is tried afterwards: another engine would hold other containers.
    settled: Option<String>,
}

/// An engine that responds.
#[derive(Debug, Clone)]
pub(super) struct EngineConnection {
    /// The client that makes the calls.
    pub docker: Docker,
    /// The facts about it.
    pub facts: Rc<EngineFacts>,
}

/// The facts about an engine that are requested once, when it is found.
#[derive(Debug, Default)]
pub(super) struct EngineFacts {
    version: EngineVersion,
    /// Where it keeps images, as the host sees it.
    pub data_root: Option<String>,
    /// The host's name, which containers on the host's network have too.
    pub host_name: Option<String>,
    /// The runtime of containers that name none.
    pub runtime: Option<String>,
    /// The engine's time when it was found: events since then are requested, so that none is missed.
    pub since: Option<String>,
    /// How it reaches registries.
    pub registries: Registries,
    /// The machine's architecture, as its kernel names it.
    machine: String,
}

impl EngineFacts {
    /// Where the engine listens.
    pub(super) fn host(&self) -> &str {
        &self.version.host
    }

    /// The machine that images must be built for.
    pub(super) fn machine(&self) -> EngineMachine {
        EngineMachine { arch: self.version.arch.clone(), kernel: self.machine.clone() }
    }
}

/// Seconds since 1970 with nanoseconds, as the event API takes them, from an engine's `2026-11-23T15:34:12.123456789+01:00`.
pub(super) fn instant(text: &str) -> Option<String> {
    let (date, rest) = text.split_once('T')?;
    // No part of a time has more digits than a year, so no product of them overflows.
    let number = |it: &str| it.parse::<i64>().ok().filter(|it| (0..10_000).contains(it));
    let mut parts = date.splitn(3, '-').map(number);
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    let zone = rest.find(['Z', '+', '-'])?;
    let clock = |text: &str| {
        let mut parts = text.splitn(3, ':').map(number);
        let (hours, minutes) = (parts.next()??, parts.next()??);
        Some(hours * 3600 + minutes * 60 + parts.next().flatten().unwrap_or(0))
    };
    let (time, fraction) = rest[..zone].split_once('.').unwrap_or((&rest[..zone], "0"));
    let ahead = match &rest[zone..] {
        "Z" => 0,
        east if east.starts_with('+') => clock(&east[1..])?,
        west => -clock(&west[1..])?,
    };
    let days = days_since_1970(year, month, day);
    Some(format!("{}.{fraction:0<9}", days * 86_400 + clock(time)? - ahead))
}

/// The same as one number. `None`: the text is no time, or one before 1970, which engines give for what never happened.
pub(super) fn moment(text: &str) -> Option<EngineTime> {
    const BILLION: i64 = 1_000_000_000;
    let text = instant(text)?;
    let (secs, fraction) = text.split_once('.')?;
    let (secs, nanos) = (secs.parse::<i64>().ok()?, fraction.get(..9)?.parse::<i64>().ok()?);
    (secs >= 0).then(|| secs.checked_mul(BILLION)?.checked_add(nanos)).flatten().map(EngineTime)
}

/// An engine's version, for the user.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EngineVersion {
    /// The host it listens at.
    pub host: String,
    /// Its release, `20.10.24`.
    pub engine: String,
    /// The newest API it speaks, `1.41`.
    pub api: String,
    /// The architecture it runs on, `arm64`.
    pub arch: String,
    /// The kernel it runs on.
    pub kernel: String,
}

/// Where to look for an engine: only what `DOCKER_HOST` says, or else where engines listen below the host's root.
#[must_use]
pub fn hosts(docker_host: Option<&str>, root: &Path) -> Vec<String> {
    match docker_host.map(str::trim).filter(|it| !it.is_empty()) {
        Some(host) => vec![host.to_owned()],
        None => SOCKETS.iter().map(|socket| format!("unix://{}", root.join(socket).display())).collect(),
    }
}

impl Engine {
    /// Requests one document from the engine. `path` begins with a slash.
    pub(super) async fn get(&self, connection: &EngineConnection, path: &str) -> Result<EngineJson, Error> {
        transport::get(connection.facts.host(), &format!("{}{path}", connection.version_path())).await.map(EngineJson)
    }

    /// Sends a document to the engine, and returns the one that it answers with, if any.
    pub(super) async fn post(&self, connection: &EngineConnection, path: &str, body: &Value) -> Result<EngineJson, Error> {
        self.request(connection, Method::POST, path, Some(body)).await
    }

    /// Sends a request to the engine, and returns the document that it answers with, if any.
    pub(super) async fn request(
        &self,
        connection: &EngineConnection,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<EngineJson, Error> {
        let path = format!("{}{path}", connection.version_path());
        transport::call(connection.facts.host(), method, &path, body).await.map(EngineJson)
    }

    /// The connection to the engine. Connects and requests its facts if there is none.
    pub(super) async fn connection(&self) -> Result<EngineConnection, EngineError> {
        if let Some(connection) = &self.connection.borrow().live {
            return Ok(connection.clone());
        }
        let connection = self.find().await?;
        if let Some(connection) = &self.connection.borrow().live {
            // A concurrent call found it meanwhile.
            return Ok(connection.clone());
        }
        let EngineVersion { host, engine, api, .. } = &connection.facts.version;
        info!(%host, %engine, %api, "engine found");
        let mut state = self.connection.borrow_mut();
        state.settled = Some(host.clone());
        state.live = Some(connection.clone());
        Ok(connection)
    }

    /// Has the next call connect anew: the engine may come back as another release.
    pub(super) fn forget_connection(&self) {
        self.connection.borrow_mut().live = None;
    }

    /// A connection to the engine in use, for a client that speaks to it directly. The error says what to do.
    pub(in crate::linux) async fn dial(&self) -> Result<EngineStream, String> {
        let host = self.host().map_err(|why| why.to_string())?;
        transport::dial(&host).await.map_err(|why| format!("the engine at {host} cannot be reached: {why}; is it started?"))
    }

    /// Where the engine listens, as far as that can be told without asking it.
    fn host(&self) -> Result<String, EngineError> {
        let settled = self.connection.borrow().settled.clone();
        let hosts = settled.as_ref().map_or(self.settings.hosts.as_slice(), std::slice::from_ref);
        // The first socket that exists decides. Were the next one tried because an engine is slow to start, its containers
        // would be created a second time on another engine.
        hosts
            .iter()
            .find(|it| is_there(it))
            .cloned()
            .ok_or_else(|| EngineError::Unreachable(format!("no socket at {}; is it installed and started?", hosts.join(", "))))
    }

    async fn find(&self) -> Result<EngineConnection, EngineError> {
        let host = self.host()?;
        let found = tokio::time::timeout(OBSERVE, ask(&host)).await;
        found
            .unwrap_or_else(|_| Err(EngineError::Unreachable(format!("{host} gives no answer within {} s", OBSERVE.as_secs()))))
    }
}

impl EngineConnection {
    /// The engine's version.
    pub(super) fn version(&self) -> EngineVersion {
        self.facts.version.clone()
    }

    /// The prefix of a request's path: the API version that was negotiated.
    pub(super) fn version_path(&self) -> String {
        path_of(&self.docker)
    }

    /// The newest API it speaks.
    pub(super) fn api(&self) -> (u32, u32) {
        let (major, minor) = self.facts.version.api.split_once('.').unwrap_or_default();
        (major.parse().unwrap_or(1), minor.parse().unwrap_or(0))
    }
}

fn path_of(docker: &Docker) -> String {
    let version = docker.client_version();
    format!("/v{}.{}", version.major_version, version.minor_version)
}

fn is_there(host: &str) -> bool {
    // A socket in an unreadable directory counts as existing, so that the connection can report what is forbidden.
    host.strip_prefix("unix://").is_none_or(|path| Path::new(path).try_exists().unwrap_or(true))
}

async fn ask(host: &str) -> Result<EngineConnection, EngineError> {
    let fail = |error| unreachable(host, &error);
    // Without a version in its path every engine answers; the paths after it name the newest that both sides speak.
    let version = EngineJson(transport::get(host, "/version").await.map_err(fail)?);
    let docker = transport::client(host, version.text("/ApiVersion")).map_err(fail)?;
    // The facts only help: an engine that gives none still runs containers.
    let info = EngineJson(transport::get(host, &format!("{}/info", path_of(&docker))).await.unwrap_or_default());
    let facts = EngineFacts {
        version: EngineVersion {
            host: host.to_owned(),
            engine: version.text("/Version").to_owned(),
            api: version.text("/ApiVersion").to_owned(),
            arch: version.text("/Arch").to_owned(),
            kernel: version.text("/KernelVersion").to_owned(),
        },
        registries: Registries::new(&info),
        machine: info.text("/Architecture").to_owned(),
        data_root: info.some_text("/DockerRootDir"),
        host_name: info.some_text("/Name"),
        runtime: info.some_text("/DefaultRuntime"),
        since: instant(info.text("/SystemTime")),
    };
    Ok(EngineConnection { docker, facts: Rc::new(facts) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engines_time_becomes_seconds() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", "0.000000000"),
            ("2000-02-29T12:00:00.5Z", "951825600.500000000"),
            ("2026-11-23T15:34:12.123456789+01:00", "1795444452.123456789"),
            // 32 bits of seconds end in January 2038.
            ("2040-01-01T00:00:00Z", "2208988800.000000000"),
        ] {
            assert_eq!(instant(text).as_deref(), Some(seconds));
        }
        assert_eq!(instant("yesterday"), None);
        for absurd in
            ["9223372036854775807-01-01T00:00:00Z", "2026-11-23T9223372036854775807:00:00Z", "2026-11-23T00:00:00+-1:99999"]
        {
            assert_eq!(instant(absurd), None);
        }
        assert_eq!(instant("2026-11-23T1"), None);
        assert_eq!(moment("1970-01-01T00:00:01.5Z"), Some(EngineTime(1_500_000_000)));
        // Docker's time for a container that was never started.
        assert_eq!((moment("0001-01-01T00:00:00Z"), moment("9999-12-31T00:00:00Z")), (None, None));
    }

    #[test]
    fn a_named_host_is_the_only_one() {
        assert_eq!(hosts(Some("tcp://127.0.0.1:2375"), Path::new("/")), ["tcp://127.0.0.1:2375"]);
        assert_eq!(hosts(None, Path::new("/"))[0], "unix:///var/run/docker.sock");
        assert_eq!(hosts(Some(" "), Path::new("/mnt"))[2], "unix:///mnt/run/podman/podman.sock");
    }
}
