//! `boardkeeper take-over`: the keys and the target of a balena supervisor, from its database.

use std::fmt::Write;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::cli::run::StateDirArgs;
use crate::cli::{CommandError, print};
use crate::linux::take_over::{self, Heir, Inheritance, TargetChoice};

/// What is taken over.
#[derive(Debug, Clone, Default, Args)]
#[command(
    after_help = "Stop the old supervisor first, and the agent. The database is only read, and no key is printed. On balenaOS it is \
database.sqlite in the directory that the supervisor's container has as /data."
)]
pub struct TakeOverArgs {
    /// The old supervisor's database.sqlite
    #[arg(value_name = "DATABASE")]
    database: PathBuf,

    /// Replace the keys and the target that the agent has
    #[arg(long)]
    force: bool,

    /// Take over the keys only
    #[arg(long)]
    without_target: bool,

    #[command(flatten)]
    report: ReportArgs,

    #[command(flatten)]
    place: StateDirArgs,
}

/// What becomes of the report.
#[derive(Debug, Clone, Default, Args)]
struct ReportArgs {
    /// Print what would be taken over, and store nothing
    #[arg(long)]
    dry_run: bool,

    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

/// The report. It names no key.
#[derive(Serialize)]
struct Report {
    device_key: bool,
    service_keys: Vec<ServiceReport>,
    apps: Option<Vec<AppReport>>,
    notes: Vec<String>,
    stored: bool,
}

#[derive(Serialize)]
struct ServiceReport {
    app: u32,
    service: String,
}

#[derive(Serialize)]
struct AppReport {
    app: u32,
    name: String,
    commit: Option<String>,
    /// The release that ran last, if it is another.
    ran: Option<String>,
    services: Vec<String>,
}

impl TakeOverArgs {
    /// Reads the database, stores what is in it, and reports it.
    pub fn take_over(self) -> Result<(), CommandError> {
        let config = self.place.config()?;
        let choice = if self.without_target { TargetChoice::Leave } else { TargetChoice::Take };
        let cloud = config.provisioning.api_endpoint.as_deref();
        let inheritance = take_over::read(&self.database, cloud, choice)
            .map_err(|why| CommandError::Failed(format!("cannot take over from `{}`: {why}", self.database.display())))?;
        if !self.report.dry_run {
            let heir = Heir {
                state_dir: config.state_dir.clone(),
                uuid: config.provisioning.uuid.clone(),
                device_key: config.device_key.clone(),
                replaces: self.force,
            };
            heir.keep(&inheritance).map_err(|why| CommandError::Failed(why.to_string()))?;
        }
        let report = Report::of(&inheritance, !self.report.dry_run);
        let text =
            if self.report.json { serde_json::to_string_pretty(&report).map(|it| it + "\n") } else { Ok(report.words()) };
        print(&text.map_err(|why| CommandError::Failed(why.to_string()))?)
    }
}

impl Report {
    fn of(inheritance: &Inheritance, stored: bool) -> Self {
        let keys = inheritance.service_keys.keys();
        Self {
            device_key: inheritance.device_key.is_some(),
            service_keys: keys.map(|it| ServiceReport { app: it.app.0, service: it.service.clone() }).collect(),
            apps: inheritance.target.as_ref().map(|target| {
                let apps = target.apps.values();
                apps.map(|app| AppReport {
                    app: app.id.0,
                    name: app.name.clone(),
                    commit: app.commit.clone(),
                    ran: inheritance.other_releases.get(&app.id).cloned(),
                    services: app.services.keys().cloned().collect(),
                })
                .collect()
            }),
            notes: inheritance.notes.clone(),
            stored,
        }
    }

    fn words(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = writeln!(text, "device key: {}", if self.device_key { "taken over" } else { "none" });
        let services: Vec<_> = self.service_keys.iter().map(|it| format!("{} of app {}", it.service, it.app)).collect();
        let _ = writeln!(text, "service keys: {}", if services.is_empty() { "none".to_owned() } else { services.join(", ") });
        for app in self.apps.iter().flatten() {
            let commit = app.commit.as_deref().unwrap_or("none");
            let _ = write!(text, "target: app {} \"{}\", release {commit}", app.app, app.name.escape_debug());
            let _ = write!(
                text,
                ", services {}",
                if app.services.is_empty() { "none".to_owned() } else { app.services.join(", ") }
            );
            let ran = app.ran.as_deref().map(|it| format!("; release {it} ran last")).unwrap_or_default();
            let _ = writeln!(text, "{ran}");
        }
        for note in &self.notes {
            let _ = writeln!(text, "note: {note}");
        }
        text + if self.stored { "stored; start the agent\n" } else { "nothing was stored\n" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::path::Path;

    use clap::Parser;

    use crate::cli::{Cli, Command};

    const DATABASE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/take-over/supervisor-19.sqlite");

    fn taken() -> Inheritance {
        take_over::read(Path::new(DATABASE), None, TargetChoice::Take).unwrap()
    }

    fn run(state: &Path, more: &[&str]) -> Result<(), CommandError> {
        let config = state.with_file_name("config.json");
        std::fs::write(&config, "{}").unwrap();
        let [config, state] = [config.as_path(), state].map(|it| it.to_str().unwrap());
        let all = ["boardkeeper", "take-over", DATABASE, "--boot-config", config, "--state-dir", state];
        let cli = Cli::try_parse_from(all.iter().chain(more)).unwrap();
        let Command::TakeOver(args) = cli.command else { panic!("it is another command") };
        args.take_over()
    }

    #[test]
    fn a_report_says_what_is_taken_over_and_no_key() {
        let report = Report::of(&taken(), true);
        let words = report.words();
        let said = "device key: taken over\nservice keys: worker of app 300\n\
            target: app 300 \"app\", release c1, services web, worker; release c0 ran last\n";
        assert!(words.starts_with(said) && words.ends_with("stored; start the agent\n"), "{words}");
        let json = serde_json::to_string(&report).unwrap();
        for key in ["0f1e2d3c4b5a69788796a5b4c3d2e1f0", "a0b1c2d3e4f5061728394a5b6c7d8e9f"] {
            assert!(!words.contains(key) && !json.contains(key));
        }
    }

    #[test]
    fn a_dry_run_stores_nothing_and_a_second_run_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        run(&state, &["--dry-run"]).unwrap();
        assert!(!state.exists());
        run(&state, &["--without-target"]).unwrap();
        assert!(state.join("keys.json").exists() && !state.join("targets.json").exists());
        let CommandError::Failed(why) = run(&state, &[]).unwrap_err() else { panic!("the command line is right") };
        assert!(why.contains("--force"), "{why}");
        run(&state, &["--force"]).unwrap();
        assert!(state.join("targets.json").exists());
    }
}
