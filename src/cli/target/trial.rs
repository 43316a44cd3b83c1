//! `boardkeeper target try`, `keep` and `back`: the running agent tries a target, and returns to the present one by itself.

use std::path::PathBuf;

use clap::Args;
use serde::Deserialize;

use super::{WhatArgs, add};
use crate::cli::run::StateDirArgs;
use crate::cli::{CommandError, client, key, print};
use crate::config::Config;
use crate::state::length::whole_seconds;
use crate::state::target_trial::{DEFAULT_TRIAL_SECS, LONGEST_TRIAL_SECS, SHORTEST_TRIAL_SECS};

const PATH: &str = "/agent/v1/target-trial";
const KEEP: &str = "/agent/v1/target-trial/keep";

/// Which target is tried, and for how long.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "The trial counts the time for which the board is up, also over reboots, each of which takes a tenth of it.\nExit codes: 0 the trial began; 2 the target is wrong; 1 anything else."
)]
pub struct TryArgs {
    #[command(flatten)]
    place: StateDirArgs,

    /// A target-state document, a compose file (.yml, .yaml), or a folder with one
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Return to the present target after this time, unless the new one is kept: 45s, 30m, 2h or 1d; from 10s to 7d
    #[arg(long = "for", value_parser = trial_seconds, value_name = "TIME", default_value = "10m")]
    length: u64,
}

/// Which agent is asked.
#[derive(Debug, Clone, Args)]
pub struct AgentArgs {
    #[command(flatten)]
    place: StateDirArgs,
}

#[derive(Deserialize)]
struct Trial {
    seconds_left: Option<u64>,
    #[serde(default)]
    warnings: Vec<String>,
}

impl TryArgs {
    pub(super) fn begin(self) -> Result<(), CommandError> {
        let Self { place, file, length } = self;
        let config = place.config()?;
        let target = super::read(&WhatArgs { file, json: false }, &config)?;
        // A document is JSON as it was parsed.
        let body = format!("{{\"seconds\":{length},\"document\":{}}}", target.document);
        let trial = ask(&config, "POST", PATH, &body)?;
        print(&begun(&trial))
    }
}

impl AgentArgs {
    pub(super) fn keep(self) -> Result<(), CommandError> {
        ask(&self.place.config()?, "POST", KEEP, "{}")?;
        print(
            "The target is kept, also over reboots, until the source of the device's targets (the file or URL of --target, \
             removable media, or its cloud) gives another target than it gives now. Every change there counts, so put this \
             target there too. `boardkeeper target back` returns to what the source gives.\n",
        )
    }

    pub(super) fn back(self) -> Result<(), CommandError> {
        let config = self.place.config()?;
        let key = key::read(&config)?;
        client::ask(&config, &key, "DELETE", PATH, "").map_err(CommandError::Failed)?;
        print("The device returns to the target before; `boardkeeper state` shows when it runs.\n")
    }
}

fn ask(config: &Config, method: &str, path: &str, body: &str) -> Result<Trial, CommandError> {
    let key = key::read(config)?;
    let text = client::ask(config, &key, method, path, body).map_err(CommandError::Failed)?;
    client::read(&text)
        .map_err(|why| CommandError::Failed(format!("the agent's answer cannot be read ({why}); is it of the same version?")))
}

/// What begins.
fn begun(trial: &Trial) -> String {
    let left = trial.seconds_left.unwrap_or_else(|| DEFAULT_TRIAL_SECS.into());
    let mut text = format!(
        "The target is on trial. In {left} s the device returns to the present one, also over reboots, unless you say \
         `boardkeeper target keep`; `boardkeeper target back` returns now, `boardkeeper state` shows what runs.\n"
    );
    add(&mut text, "warning", &trial.warnings);
    text
}

fn trial_seconds(text: &str) -> Result<u64, String> {
    let length = whole_seconds(text, SHORTEST_TRIAL_SECS.into()..=LONGEST_TRIAL_SECS.into());
    length.ok_or_else(|| format!("`{text}` is not a time like 45s, 30m, 2h or 1d, from 10s to 7d"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_takes_from_ten_seconds_to_a_week() {
        for (written, expected) in [("10s", 10), ("45", 45), ("10m", 600), ("7d", 604_800)] {
            assert_eq!(trial_seconds(written), Ok(expected), "{written}");
        }
        for written in ["9s", "0", "8d", "168h1", "soon", "-1m", "99999999999h"] {
            assert!(trial_seconds(written).unwrap_err().ends_with("from 10s to 7d"), "{written}");
        }
    }

    #[test]
    fn what_begins_is_said_with_the_time_and_the_way_to_keep_it() {
        let text = begun(&Trial { seconds_left: Some(600), warnings: vec!["apps.1.x: ignored".to_owned()] });
        assert!(text.contains("In 600 s the device returns to the present one"), "{text}");
        assert!(text.contains("`boardkeeper target keep`") && text.ends_with("\nwarning   apps.1.x: ignored\n"), "{text}");
    }
}
