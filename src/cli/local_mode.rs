//! `boardkeeper local-mode`: a person on the device switches local mode on or off.

use std::fmt::Write;

use clap::{Args, Subcommand};
use serde::Deserialize;

use crate::cli::run::StateDirArgs;
use crate::cli::{CommandError, client, key, print};
use crate::config::Config;
use crate::state::length::whole_seconds;
use crate::state::local_mode::LONGEST_LOCAL_MODE_SECS;

const PATH: &str = "/agent/v1/local-mode";

/// How local mode is switched.
#[derive(Debug, Clone, Args)]
pub struct LocalModeArgs {
    #[command(subcommand)]
    switch: Switch,
}

#[derive(Debug, Clone, Subcommand)]
enum Switch {
    /// Stop the owner's apps and keep them, and run what is pushed. Programs near the device need no key meanwhile.
    On(OnArgs),
    /// Remove what was pushed and built, and bring the owner's apps back.
    Off(OffArgs),
}

#[derive(Debug, Clone, Args)]
struct OnArgs {
    #[command(flatten)]
    place: StateDirArgs,

    /// End it by itself after this time: 45s, 30m, 2h or 1d. Default: it stays on until switched off
    #[arg(long = "for", value_parser = seconds, value_name = "TIME")]
    length: Option<u64>,
}

#[derive(Debug, Clone, Args)]
struct OffArgs {
    #[command(flatten)]
    place: StateDirArgs,
}

#[derive(Deserialize)]
struct Switched {
    on: bool,
    until: Option<String>,
    addresses: Vec<String>,
    #[serde(default)]
    engine_networks: Vec<String>,
}

impl LocalModeArgs {
    /// Asks the running agent, and prints what results.
    pub fn switch(self) -> Result<(), CommandError> {
        match self.switch {
            Switch::On(OnArgs { place, length }) => {
                let body = length.map_or_else(|| "{}".to_owned(), |it| format!("{{\"seconds\":{it}}}"));
                let (config, switched) = ask(place, "POST", &body)?;
                print(&opened(&config, &switched))
            }
            Switch::Off(OffArgs { place }) => {
                let (_, switched) = ask(place, "DELETE", "{}")?;
                if switched.on {
                    return Err(CommandError::Failed("local mode is still on; ask the agent's log why".to_owned()));
                }
                print(
                    "Local mode is off: every program needs a key again. What was pushed and built is being removed, and the \
                     owner's apps come back; `boardkeeper state` shows when they run.\n",
                )
            }
        }
    }
}

fn ask(place: StateDirArgs, method: &str, body: &str) -> Result<(Config, Switched), CommandError> {
    let config = place.config()?;
    let key = key::read(&config)?;
    let text = client::ask(&config, &key, method, PATH, body).map_err(CommandError::Failed)?;
    let switched = client::read(&text).map_err(|why| {
        CommandError::Failed(format!("the agent's answer cannot be read ({why}); is it of the same version?"))
    })?;
    Ok((config, switched))
}

/// What local mode opens, and to which programs.
fn opened(config: &Config, switched: &Switched) -> String {
    let mut text = String::from("Local mode is on");
    // Writing to a string cannot fail.
    let _ = match &switched.until {
        Some(until) => writeln!(text, " until {until}, or until `boardkeeper local-mode off`."),
        None => writeln!(text, ". `boardkeeper local-mode off` ends it."),
    };
    text.push_str("The owner's apps are stopped and kept. No key is needed for the API by\n- programs on this device, and in its containers\n");
    let is_private = |it: &&std::net::SocketAddr| !it.ip().is_loopback() && !it.ip().is_unspecified();
    let named: Vec<_> = config.listen.iter().filter(is_private).map(ToString::to_string).collect();
    if named.is_empty() {
        let example = switched.addresses.iter().find(|it| it.contains('.')).map_or("ADDRESS", String::as_str);
        let port = config.api_port();
        let _ =
            writeln!(text, "- no other computer: start the agent with --listen {example}:{port} for `balena push {example}`");
    } else {
        let _ = writeln!(text, "- computers in the private networks of {}", named.join(", "));
    }
    if switched.engine_networks.is_empty() {
        text.push_str(
            "The engine is not forwarded. `balena push` needs it at port 2375: start the agent with --local-engine and your network, \
             such as 192.168.1.0/24, unless the engine listens there itself.\n",
        );
    } else {
        let networks = switched.engine_networks.join(", ");
        let _ = writeln!(
            text,
            "The engine is open at port 2375 to {networks}: every computer there can become root on this board. \
             `boardkeeper state` shows the addresses."
        );
    }
    text
}

/// Reads how long local mode stays on.
fn seconds(text: &str) -> Result<u64, String> {
    whole_seconds(text, 1..=LONGEST_LOCAL_MODE_SECS.into())
        .ok_or_else(|| format!("`{text}` is not a time like 45s, 30m, 2h or 1d, of at most 30 days"))
}

#[cfg(test)]
mod tests;
