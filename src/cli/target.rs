//! `boardkeeper target`: a target checked, and what it would change on this device, without changing anything; or tried.
//!
//! ```text
//! trial   a target that the agent tries, and keeps or returns from
//! ```

use std::fmt::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde::Serialize;

use crate::cli::run::{RunArgs, StateDirArgs, device};
use crate::cli::table::{plain, table};
use crate::cli::{CommandError, print};
use crate::config::Config;
use crate::linux::clock::Clock;
use crate::linux::engine::{self, Engine, EngineSettings};
use crate::linux::locks::Locks;
use crate::linux::{store, target_file};
use crate::reconcile::preview::{Preview, PreviewInput, preview};
use crate::state::config::{Mount, MountMode, NetworkMode};
use crate::state::{App, Service, Target, TargetError};

/// What to do with a target.
#[derive(Debug, Clone, Args)]
pub struct TargetArgs {
    #[command(subcommand)]
    command: TargetCommand,
}

/// What to do with a target.
#[derive(Debug, Clone, Subcommand)]
pub enum TargetCommand {
    /// Check a target, and print what would run and every warning with its place.
    Check(CheckArgs),
    /// Print what would be done to this device for a target, and why. Nothing is done.
    Plan(Box<PlanArgs>),
    /// Run a target on trial: the agent returns to the present one after a time, unless the new one is kept.
    Try(trial::TryArgs),
    /// Keep the target on trial.
    Keep(trial::AgentArgs),
    /// Return from the target on trial, or from the one that was kept, now.
    Back(trial::AgentArgs),
}

/// Which target.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Exit codes: 0 the target is good; 2 it is wrong; 1 anything else.")]
pub struct CheckArgs {
    #[command(flatten)]
    place: StateDirArgs,

    #[command(flatten)]
    what: WhatArgs,
}

/// Which target, on which device.
#[derive(Debug, Clone, Args)]
pub struct PlanArgs {
    #[command(flatten)]
    run: RunArgs,

    #[command(flatten)]
    what: WhatArgs,
}

/// What is read, and how it is printed.
#[derive(Debug, Clone, Args)]
pub struct WhatArgs {
    /// A target-state document, a compose file (.yml, .yaml), or a folder with one
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

impl TargetArgs {
    /// Checks, plans or has the agent try, and prints the result.
    pub fn show(self) -> Result<(), CommandError> {
        match self.command {
            TargetCommand::Check(check) => check.show(),
            TargetCommand::Plan(plan) => plan.show(),
            TargetCommand::Try(args) => args.begin(),
            TargetCommand::Keep(args) => args.keep(),
            TargetCommand::Back(args) => args.back(),
        }
    }
}

impl CheckArgs {
    fn show(self) -> Result<(), CommandError> {
        let config = self.place.paths()?;
        let target = read(&self.what, &config)?;
        print(&if self.what.json { json(&CheckOutput::of(&target)) } else { for_people(&target) })
    }
}

impl PlanArgs {
    fn show(self) -> Result<(), CommandError> {
        let config = self.run.config()?;
        let target = read(&self.what, &config)?;
        let warnings = target.warnings.clone();
        let preview = planned(&config, target)?;
        print(&if self.what.json { json(&PlanOutput::of(&preview, &warnings)) } else { steps(&preview, &warnings) })
    }
}

/// The target. One that is wrong is printed as JSON too, where that is asked for.
fn read(what: &WhatArgs, config: &Config) -> Result<Target, CommandError> {
    if !what.file.exists() {
        return Err(CommandError::Failed(format!("{}: no such file", what.file.display())));
    }
    let uuid = store::uuid(&config.state_dir).or_else(|| config.provisioning.uuid.clone());
    let TargetError(why) = match target_file::read_once(&what.file, uuid.as_deref()) {
        Ok(target) => return Ok(target),
        Err(why) => why,
    };
    if what.json {
        print(&json(&WrongOutput { error: &why }))?;
    }
    Err(CommandError::Wrong(why))
}

fn planned(config: &Config, target: Target) -> Result<Preview, CommandError> {
    let hosts = engine::hosts(config.docker_host.as_deref(), &config.root);
    let device = device(config, &hosts);
    let engine = Engine::connect(EngineSettings {
        hosts,
        root: config.root.clone(),
        logins: None,
        floor_bytes: config.disk_floor_bytes,
        registries: None,
        arch: device.arch.clone(),
    });
    let stored = store::stored(&config.state_dir, device.uuid.as_str());
    let input = PreviewInput { device, stored, target, force: config.force, rollback: config.rollback };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|why| CommandError::Failed(format!("cannot begin: {why}")))?;
    let (locks, clock) = (Locks::new(&config.root), Clock::new(&config.root));
    let planned = runtime.block_on(preview(&engine, &locks, &clock, input));
    runtime.shutdown_background();
    planned.map_err(CommandError::Failed)
}

#[derive(Serialize)]
struct WrongOutput<'a> {
    error: &'a str,
}

#[derive(Serialize)]
struct CheckOutput<'a> {
    apps: Vec<AppOutput<'a>>,
    warnings: &'a [String],
}

#[derive(Serialize)]
struct AppOutput<'a> {
    id: u32,
    uuid: &'a str,
    name: &'a str,
    commit: Option<&'a str>,
    services: Vec<ServiceOutput<'a>>,
}

#[derive(Serialize)]
struct ServiceOutput<'a> {
    name: &'a str,
    image: &'a str,
    running: bool,
    restart: String,
    ports: Vec<String>,
    volumes: Vec<String>,
    network: Vec<String>,
    depends_on: Vec<&'a str>,
}

#[derive(Serialize)]
struct PlanOutput<'a> {
    steps: Vec<StepOutput<'a>>,
    waiting: &'a [String],
    left_out: &'a [String],
    warnings: &'a [String],
}

#[derive(Serialize)]
struct StepOutput<'a> {
    wave: usize,
    what: &'a str,
    why: &'a str,
}

impl<'a> CheckOutput<'a> {
    fn of(target: &'a Target) -> Self {
        Self { apps: target.apps.values().map(AppOutput::of).collect(), warnings: &target.warnings }
    }
}

impl<'a> AppOutput<'a> {
    fn of(app: &'a App) -> Self {
        let services = app.services.iter().map(|(name, service)| ServiceOutput::of(name, service)).collect();
        Self { id: app.id.0, uuid: &app.uuid, name: &app.name, commit: app.commit.as_deref(), services }
    }
}

impl<'a> ServiceOutput<'a> {
    fn of(name: &'a str, service: &'a Service) -> Self {
        let config = &service.config;
        let ports = config.ports.iter().map(|it| {
            let text = it.to_string();
            text.strip_prefix(':').unwrap_or(&text).trim_end_matches("/tcp").to_owned()
        });
        let network = match &config.network_mode {
            NetworkMode::App => config.networks.keys().cloned().collect(),
            mode => vec![mode.to_string()],
        };
        Self {
            name,
            image: service.image.as_str(),
            running: service.running,
            restart: config.restart.to_string(),
            ports: ports.collect(),
            volumes: config.mounts.iter().map(mounted).chain(config.tmpfs.keys().map(|it| format!("tmpfs:{it}"))).collect(),
            network,
            depends_on: service.depends_on.keys().map(String::as_str).collect(),
        }
    }

    fn cells(&self, app: &str) -> Vec<String> {
        let joined = |list: &[String]| if list.is_empty() { "-".to_owned() } else { list.join(" ") };
        let restart = if self.running { self.restart.clone() } else { "stopped".to_owned() };
        let cells =
            [app, self.name, self.image, &joined(&self.ports), &joined(&self.network), &restart, &joined(&self.volumes)];
        cells.map(plain).into()
    }
}

fn mounted(mount: &Mount) -> String {
    let (from, path, access) = match mount {
        Mount::Volume { name, path, access } => (name.as_str(), path, *access),
        Mount::Bind { host, path, access, .. } => (host.as_str(), path, *access),
        Mount::Anonymous { path } => return path.clone(),
    };
    let access = if access == MountMode::ReadOnly { ":ro" } else { "" };
    format!("{from}:{path}{access}")
}

impl<'a> PlanOutput<'a> {
    fn of(preview: &'a Preview, warnings: &'a [String]) -> Self {
        let steps = preview.steps.iter().map(|it| StepOutput { wave: it.wave, what: &it.what, why: &it.why });
        Self { steps: steps.collect(), waiting: &preview.waiting, left_out: &preview.left_out, warnings }
    }
}

fn json(output: &impl Serialize) -> String {
    let text = serde_json::to_string(output).expect("texts and numbers are JSON");
    format!("{text}\n")
}

fn for_people(target: &Target) -> String {
    let mut text = String::new();
    let mut rows = Vec::new();
    for app in AppOutput::of_all(target) {
        let label = format!("{} {}", app.id, app.name);
        rows.extend(app.services.iter().map(|it| it.cells(&label)));
    }
    if rows.is_empty() {
        text.push_str("no services\n");
    } else {
        text.push_str(&table(&["APP", "SERVICE", "IMAGE", "PORTS", "NETWORK", "RESTART", "VOLUMES"], rows));
    }
    add(&mut text, "warning", &target.warnings);
    text
}

impl<'a> AppOutput<'a> {
    fn of_all(target: &'a Target) -> impl Iterator<Item = Self> {
        target.apps.values().map(Self::of)
    }
}

fn steps(preview: &Preview, warnings: &[String]) -> String {
    let mut text = String::new();
    if preview.steps.is_empty() {
        text.push_str("nothing is to be done\n");
    } else {
        let rows = preview.steps.iter().map(|it| vec![it.wave.to_string(), plain(&it.what), plain(&it.why)]).collect();
        text.push_str(&table(&["WAVE", "STEP", "WHY"], rows));
    }
    add(&mut text, "waiting", &preview.waiting);
    add(&mut text, "left out", &preview.left_out);
    add(&mut text, "warning", warnings);
    text
}

fn add(text: &mut String, what: &str, lines: &[String]) {
    for line in lines {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{what:<9} {}", plain(line));
    }
}

mod trial;

#[cfg(test)]
mod tests;
