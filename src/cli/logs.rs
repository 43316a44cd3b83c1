//! `boardkeeper logs`: what services wrote, from a running agent's API.

use std::ops::ControlFlow;

use clap::Args;
use serde::Deserialize;
use url::form_urlencoded;

use crate::cli::run::StateDirArgs;
use crate::cli::since::Since;
use crate::cli::stream::{FollowRequest, LineSplitter};
use crate::cli::table::plain;
use crate::cli::terminal::{harmless, has_colours, print_on};
use crate::cli::{CommandError, client, key, stream};

/// How many lines are printed where neither a time nor a number is given.
const LINES: u32 = 100;
/// A line has at most 10,000 characters of text, each of which JSON may write as six bytes.
const LINE_BYTES: usize = 128 * 1024;
/// Colours of the names, which are told apart on a dark and on a light terminal.
const COLOURS: [u8; 6] = [36, 33, 32, 35, 34, 31];

/// Which lines, of which agent.
#[derive(Debug, Clone, Default, Args)]
pub struct LogsArgs {
    #[command(flatten)]
    place: StateDirArgs,

    /// Only lines of this service
    service: Option<String>,

    /// Print lines as they are written, and what the agent does, until Ctrl-C
    #[arg(short, long)]
    follow: bool,

    /// Only lines from so long ago on (30s, 10m, 2h, 3d), or from a time on (2026-11-29T02:00:00Z)
    #[arg(long, value_name = "TIME")]
    since: Option<Since>,

    /// The last lines of each container; without --since 100. `all` for all that the engine has kept
    #[arg(long, value_name = "N", value_parser = tail)]
    tail: Option<String>,

    /// Print each line as JSON
    #[arg(long)]
    json: bool,
}

impl LogsArgs {
    /// Requests the lines, and prints them.
    pub fn show(self) -> Result<(), CommandError> {
        let config = self.place.clone().config()?;
        let key = key::read(&config)?;
        let request = FollowRequest::get(&config, &key, &self.path());
        let colours = has_colours();
        stream::run(async {
            let mut body = request.open(None).await.map_err(|why| CommandError::Failed(why.to_string()))?;
            let mut lines = LineSplitter::new(LINE_BYTES);
            loop {
                let part = body.part().await;
                let part = part.map_err(|why| CommandError::Failed(format!("the agent's answer breaks off: {why}")))?;
                if part.is_empty() && self.follow {
                    return Err(CommandError::Failed("the agent ended the log: it is stopping".to_owned()));
                }
                let printed = lines.split(&part, |line| {
                    let text = if self.json { format!("{line}\n") } else { shown(line, colours) };
                    match print_on(&text) {
                        Ok(ControlFlow::Continue(())) => ControlFlow::Continue(()),
                        Ok(ControlFlow::Break(())) => ControlFlow::Break(Ok(())),
                        Err(why) => ControlFlow::Break(Err(why)),
                    }
                });
                match printed {
                    ControlFlow::Break(done) => return done,
                    ControlFlow::Continue(()) if part.is_empty() => return Ok(()),
                    ControlFlow::Continue(()) => {}
                }
            }
        })
    }

    fn path(&self) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("follow", if self.follow { "true" } else { "false" });
        if let Some(service) = &self.service {
            query.append_pair("service", service);
        }
        if let Some(since) = &self.since {
            query.append_pair("since", &since.of_query());
        }
        match (&self.tail, &self.since) {
            (Some(tail), _) => query.append_pair("tail", tail),
            (None, None) => query.append_pair("tail", &LINES.to_string()),
            (None, Some(_)) => &mut query,
        };
        format!("/agent/v1/logs?{}", query.finish())
    }
}

fn tail(text: &str) -> Result<String, String> {
    let is_valid = text == "all" || text.parse::<u32>().is_ok();
    if is_valid { Ok(text.to_owned()) } else { Err("use a number of lines, or all".to_owned()) }
}

/// A line of the response.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct LogLine {
    at: String,
    service: Option<String>,
    stream: Option<String>,
    text: String,
}

/// A line of the response, for people.
fn shown(line: &str, colours: bool) -> String {
    let Ok(LogLine { at, service, stream, text }) = client::read(line) else { return format!("{}\n", plain(line)) };
    let name = plain(service.as_deref().unwrap_or("boardkeeper"));
    let (at, text) = (plain(&at), harmless(&text, colours));
    if !colours {
        return format!("{at} {name}: {text}\n");
    }
    let mark = if stream.as_deref() == Some("stderr") { "\x1b[31m!\x1b[0m" } else { ":" };
    format!("\x1b[2m{at}\x1b[0m \x1b[{}m{name}\x1b[0m{mark} {text}\n", colour(service.as_deref()))
}

/// The colour of a service, always the same one; the agent's lines are bold.
fn colour(service: Option<&str>) -> u8 {
    let Some(service) = service else { return 1 };
    let sum = service.bytes().fold(0_usize, |sum, it| sum.wrapping_mul(31).wrapping_add(it.into()));
    COLOURS.get(sum % COLOURS.len()).copied().unwrap_or(36)
}

#[cfg(test)]
mod tests;
