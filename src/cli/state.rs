//! `boardkeeper state`: the state of a running agent, from its API.
//!
//! ```text
//! cloud      what became of the requests to the cloud      state/cloud.rs
//! downloads  pulls of images                               state/downloads.rs
//! watch      the state as it changes                       state/watch.rs
//! ```

use std::fmt::Write;

use clap::Args;
use serde::Deserialize;

use crate::cli::run::StateDirArgs;
use crate::cli::table::{plain, table};
use crate::cli::{CommandError, client, key, print};
use crate::sorted::SortedMap;

mod cloud;
mod downloads;
mod watch;

/// Which agent, and how it is printed.
#[derive(Debug, Clone, Default, Args)]
pub struct StateArgs {
    #[command(flatten)]
    place: StateDirArgs,

    /// Print the whole state as JSON; with --watch each event as a line of JSON
    #[arg(long)]
    json: bool,

    /// Show the state as it changes, until Ctrl-C; without a terminal print it whenever it changed
    #[arg(short, long)]
    watch: bool,
}

impl StateArgs {
    /// Requests the state, and prints it.
    pub fn show(self) -> Result<(), CommandError> {
        let config = self.place.config()?;
        let key = key::read(&config)?;
        if self.watch {
            return watch::watch(&config, &key, self.json);
        }
        let text = client::get(&config, &key, "/agent/v1/state").map_err(CommandError::Failed)?;
        if self.json {
            return print(&format!("{}\n", text.trim_end()));
        }
        let state: AgentState = client::read(&text).map_err(|why| {
            CommandError::Failed(format!("the agent's answer cannot be read ({why}); print it as it is with --json"))
        })?;
        print(&state.for_people())
    }
}

/// The fields of the response that are printed. Fields that an older or newer agent does not send are left out.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct AgentState {
    looked_seconds_ago: Option<u64>,
    engine: Engine,
    activity: String,
    shutdown: Shutdown,
    apps: Option<Vec<App>>,
    containers: Vec<Container>,
    doing: Vec<Doing>,
    downloads: Vec<downloads::Download>,
    waiting: Option<Vec<String>>,
    locks: Vec<Lock>,
    troubles: Option<Vec<Trouble>>,
    complaints: Option<Vec<String>>,
    rejected: Option<String>,
    cloud: Option<cloud::CloudSummary>,
    local_engine: Option<LocalEngine>,
    local_mode: LocalMode,
    target_trial: Option<TargetTrial>,
    device: Device,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct LocalMode {
    on: bool,
    until: Option<String>,
    leaving: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct TargetTrial {
    seconds_left: Option<u64>,
    newer: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Engine {
    state: String,
    why: Option<String>,
    seconds: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Shutdown {
    state: String,
    ending: Option<String>,
    why: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct App {
    #[serde(rename = "app_id")]
    id: u32,
    name: String,
    commit: Option<String>,
    release: Option<Release>,
    services: Vec<Service>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Release {
    why: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Service {
    name: String,
    image: String,
    running: bool,
    stopped_by_hand: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Container {
    app_id: u32,
    service: String,
    phase: String,
    exit_code: Option<i32>,
    health: Option<String>,
    image: String,
    error: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Doing {
    what: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Lock {
    held_by: String,
    app_id: u32,
    owner: String,
    reason: String,
    ends: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Trouble {
    what: String,
    why: String,
    failures: u32,
    again_in_seconds: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct LocalEngine {
    listens: Vec<String>,
    networks: Vec<String>,
    trouble: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Device {
    uuid: String,
    name: String,
    #[serde(rename = "device_type")]
    kind: String,
    arch: String,
    os_version: String,
    supervisor_version: String,
}

impl AgentState {
    fn for_people(&self) -> String {
        let looked = self.looked_seconds_ago.map_or_else(|| "not looked yet".to_owned(), |it| format!("looked {it} s ago"));
        self.text(Some(&looked), self.downloads.iter().map(downloads::Download::line).collect())
    }

    /// With these lines about the downloads, and when the agent looked at the engine, if that is to be said.
    fn text(&self, looked: Option<&str>, downloads: Vec<String>) -> String {
        let mut text = self.head(looked);
        match self.services() {
            rows if rows.is_empty() => text.push_str("no services\n"),
            rows => {
                let rows = rows.iter().map(|row| row.iter().map(|cell| plain(cell)).collect()).collect();
                text.push_str(&table(&["APP", "SERVICE", "WANTED", "IS", "IMAGE"], rows));
            }
        }
        let details = self.details(downloads);
        if !details.is_empty() {
            text.push('\n');
            for (what, line) in details {
                line_of(&mut text, what, &line);
            }
        }
        text
    }

    fn head(&self, looked: Option<&str>) -> String {
        let device = &self.device;
        let parts = [&device.kind, &device.arch, &device.os_version, &device.uuid];
        let known: Vec<_> = parts.into_iter().filter(|it| !it.is_empty()).map(String::as_str).collect();
        let name = if device.name.is_empty() { "device" } else { &device.name };
        let engine = match (self.engine.state.as_str(), &self.engine.why) {
            ("down", why) => {
                let since = self.engine.seconds.unwrap_or_default();
                format!("engine down for {since} s: {}", why.as_deref().unwrap_or("reason unknown"))
            }
            (state, _) => format!("engine {state}"),
        };
        let looked = looked.map(|it| format!("; {it}")).unwrap_or_default();
        let ends = self.shutdown.state == "under_way";
        let activity = if self.apps.is_none() && !ends { "no target yet" } else { &self.activity };
        format!("{name}: {}\nboardkeeper {}: {activity}; {engine}{looked}\n\n", known.join(", "), device.supervisor_version)
    }

    /// A row for each service in the target, and for each container that is in no target.
    fn services(&self) -> Vec<Vec<String>> {
        let mut left: SortedMap<(u32, &str), Vec<&Container>> = SortedMap::new();
        for container in &self.containers {
            left.entry((container.app_id, &container.service)).or_default().push(container);
        }
        let mut rows = Vec::new();
        for app in self.apps.iter().flatten() {
            let commit = app.commit.as_deref().map_or_else(String::new, |it| format!(" {it:.7}"));
            let label = format!("{} {}{commit}", app.id, app.name);
            for service in &app.services {
                let containers = left.remove(&(app.id, &service.name)).unwrap_or_default();
                let is = containers.iter().map(|it| it.is()).collect::<Vec<_>>().join(", ");
                let is = if is.is_empty() { "-".to_owned() } else { is };
                rows.push(vec![label.clone(), service.name.clone(), service.wanted().to_owned(), is, service.image.clone()]);
            }
        }
        for ((app, service), containers) in left {
            for it in containers {
                rows.push(vec![app.to_string(), service.to_owned(), "gone".to_owned(), it.is(), it.image.clone()]);
            }
        }
        rows
    }

    /// What is in progress, waiting or failed, the most current first.
    fn details(&self, downloads: Vec<String>) -> Vec<(&'static str, String)> {
        let mut lines: Vec<(&str, String)> = self.shutdown.failure().into_iter().map(|it| ("trouble", it)).collect();
        lines.extend(self.complaints.iter().flatten().map(|it| ("warning", it.clone())));
        lines.extend(self.local_mode.line().map(|it| ("local", it)));
        lines.extend(self.target_trial.iter().map(|it| ("trial", it.line())));
        lines.extend(self.doing.iter().map(|it| ("doing", it.what.clone())));
        lines.extend(downloads.into_iter().map(|it| ("pulled", it)));
        lines.extend(self.waiting.iter().flatten().map(|it| ("waiting", it.clone())));
        lines.extend(self.locks.iter().filter_map(Lock::lease).map(|it| ("leased", it)));
        lines.extend(self.troubles.iter().flatten().map(|it| {
            let times = if it.failures == 1 { "once".to_owned() } else { format!("{} times", it.failures) };
            let tried = it.again_in_seconds.map(|again| format!(" (failed {times}, again in {again} s)")).unwrap_or_default();
            ("trouble", format!("{}: {}{tried}", it.what, it.why))
        }));
        let errors = self.containers.iter().filter_map(|it| Some((it, it.error.as_ref()?)));
        lines.extend(errors.map(|(it, error)| ("error", format!("{}/{}: {error}", it.app_id, it.service))));
        let releases = self.apps.iter().flatten().filter_map(|it| it.release.as_ref()?.why.clone());
        lines.extend(releases.map(|it| ("release", it)));
        lines.extend(self.rejected.iter().map(|it| ("rejected", format!("the last target: {it}"))));
        lines.extend(self.cloud.iter().flat_map(cloud::CloudSummary::lines).map(|it| ("cloud", it)));
        lines.extend(self.local_engine.iter().flat_map(LocalEngine::lines).map(|it| ("engine", it)));
        lines
    }
}

fn line_of(text: &mut String, what: &str, line: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{what:<9} {}", plain(line));
}

impl Shutdown {
    /// Reports the last shutdown, if it did not happen.
    fn failure(&self) -> Option<String> {
        let why = self.why.as_deref().filter(|_| self.state == "came_to_nothing")?;
        Some(format!("the {} did not happen: {why}", self.ending.as_deref().unwrap_or("shutdown")))
    }
}

impl LocalMode {
    fn line(&self) -> Option<String> {
        if self.leaving {
            return Some("local mode was left; what was pushed is being removed".to_owned());
        }
        let until = self.until.as_ref().map(|it| format!(" until {it}")).unwrap_or_default();
        let opens = "programs near the device need no key, and the owner's apps are kept stopped";
        self.on.then(|| format!("local mode is on{until}: {opens}"))
    }
}

impl TargetTrial {
    fn line(&self) -> String {
        let newer = if self.newer { "; the device was given another target meanwhile, which it applies then" } else { "" };
        match self.seconds_left {
            Some(left) => {
                let ways = "`boardkeeper target keep` keeps it, and `target back` returns now";
                format!("this target is on trial for {left} s more, then the device returns to the one before; {ways}{newer}")
            }
            None => "this target was kept after its trial, until the device is given another; `boardkeeper target back` \
                     returns to the one it was given"
                .to_owned(),
        }
    }
}

impl LocalEngine {
    /// Who reaches the engine over the network, and why others do not although local mode is on.
    fn lines(&self) -> Vec<String> {
        let open = || {
            let (at, networks) = (self.listens.join(", "), self.networks.join(", "));
            format!("open at {at}: every computer in {networks} can become root on this board")
        };
        (!self.listens.is_empty()).then(open).into_iter().chain(self.trouble.clone()).collect()
    }
}

impl Lock {
    /// The lease, if it is one.
    fn lease(&self) -> Option<String> {
        let Self { app_id, owner, reason, ends, .. } = self;
        let why = if reason.is_empty() { String::new() } else { format!(": {reason}") };
        (self.held_by == "lease").then(|| format!("app {app_id} by {owner} until {ends}{why}"))
    }
}

impl Service {
    fn wanted(&self) -> &'static str {
        match (self.stopped_by_hand, self.running) {
            (true, _) => "stopped by hand",
            (false, true) => "running",
            (false, false) => "stopped",
        }
    }
}

impl Container {
    fn is(&self) -> String {
        let more = self.exit_code.map(|code| code.to_string()).or_else(|| self.health.clone());
        more.map_or_else(|| self.phase.clone(), |more| format!("{} ({more})", self.phase))
    }
}

#[cfg(test)]
mod tests;
