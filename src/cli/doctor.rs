//! `boardkeeper doctor`: checks all that the agent needs, and prints a line for each.

use std::fmt::Write;

use clap::Args;
use serde::Serialize;

use crate::board::BoardHints;
use crate::cli::run::RunArgs;
use crate::cli::{CommandError, print};
use crate::config::{BoardChoice, Config};
use crate::linux::doctor::{CheckResult, Checks, Finding, run_checks};
use crate::linux::engine;

/// The agent's own flags, so that what is checked is what it would use.
#[derive(Debug, Clone, Default, Args)]
#[command(after_help = "Exit codes: 0 every check passed; 1 a check failed; 2 the command line or the configuration is wrong.")]
pub struct DoctorArgs {
    #[command(flatten)]
    run: RunArgs,

    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

impl DoctorArgs {
    /// Runs the checks, and prints their results.
    pub fn show(self) -> Result<(), CommandError> {
        let checks = checks(&self.run.config()?);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|why| CommandError::Failed(format!("cannot begin: {why}")))?;
        let findings = runtime.block_on(run_checks(&checks));
        // A name lookup may still hang on its thread; the process does not wait for it.
        runtime.shutdown_background();
        print(&if self.json { json(&findings) } else { lines(&findings) })?;
        match findings.iter().filter(|it| it.verdict == CheckResult::Wrong).count() {
            0 => Ok(()),
            1 => Err(CommandError::Failed("one check failed".to_owned())),
            many => Err(CommandError::Failed(format!("{many} checks failed"))),
        }
    }
}

fn checks(config: &Config) -> Checks {
    let board = match &config.board {
        BoardChoice::Simulated => None,
        BoardChoice::Auto => Some(None),
        BoardChoice::Slug(slug) => Some(Some(slug.clone())),
    };
    Checks {
        root: config.root.clone(),
        writes: vec![config.state_dir.clone(), config.runtime_dir.clone(), config.root.join("tmp/balena-supervisor/services")],
        listen: config.listen.clone(),
        engines: engine::hosts(config.docker_host.as_deref(), &config.root),
        bus: config.bus.clone(),
        registry_auth: config.registry_auth.clone(),
        keys: config.state_dir.join("keys.json"),
        cloud: config.provisioning.cloud().map(str::to_owned),
        root_ca: config.provisioning.root_ca.clone(),
        proxies: config.proxies.clone(),
        board: board.map(|board| BoardHints { board, device_type: config.device_type.clone() }),
        led_file: config.led_file.as_ref().map(|it| it.display().to_string()),
        troubles: config.troubles.clone(),
    }
}

#[derive(Serialize)]
struct Line<'a> {
    what: &'a str,
    verdict: &'a str,
    words: &'a str,
}

fn word(verdict: CheckResult) -> &'static str {
    match verdict {
        CheckResult::Fine => "fine",
        CheckResult::Skipped => "none",
        CheckResult::Wrong => "wrong",
    }
}

fn json(findings: &[Finding]) -> String {
    let lines: Vec<_> = findings.iter().map(|it| Line { what: it.what, verdict: word(it.verdict), words: &it.words }).collect();
    let text = serde_json::to_string(&lines).expect("texts are JSON");
    format!("{text}\n")
}

fn lines(findings: &[Finding]) -> String {
    let mut text = String::new();
    for it in findings {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{:<6} {:<14} {}", word(it.verdict), it.what, it.words);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_a_line() {
        let findings = [
            Finding { what: "clock", verdict: CheckResult::Fine, words: "it has been set".to_owned() },
            Finding { what: "engine", verdict: CheckResult::Wrong, words: "no \"socket\"; start it".to_owned() },
        ];
        assert_eq!(lines(&findings), "fine   clock          it has been set\nwrong  engine         no \"socket\"; start it\n");
        let expected = r#"[{"what":"clock","verdict":"fine","words":"it has been set"},{"what":"engine","verdict":"wrong","words":"no \"socket\"; start it"}]"#;
        assert_eq!(json(&findings), format!("{expected}\n"));
    }
}
