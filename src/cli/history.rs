//! `boardkeeper history`: what a running agent did and saw, and why.

use std::ops::ControlFlow;

use clap::Args;
use serde::Deserialize;
use serde_json::Value;
use url::form_urlencoded;

use crate::cli::events::{Events, Update};
use crate::cli::run::StateDirArgs;
use crate::cli::since::Since;
use crate::cli::sse::SseEvent;
use crate::cli::table::plain;
use crate::cli::terminal::print_on;
use crate::cli::tool::complain;
use crate::cli::{CommandError, client, key, stream};
use crate::state::utc::from_rfc3339;

/// How many entries are printed where `--since` says nothing.
const ENTRIES: u32 = 100;
/// How many entries the agent keeps at most: all of them.
const ALL_ENTRIES: u32 = 1000;

/// Which entries, of which agent.
#[derive(Debug, Clone, Default, Args)]
pub struct HistoryArgs {
    #[command(flatten)]
    place: StateDirArgs,

    /// Go on with entries as they are made, until Ctrl-C
    #[arg(short, long)]
    follow: bool,

    /// Only entries about this service
    #[arg(long, value_name = "SERVICE")]
    service: Option<String>,

    /// Only entries after the one with this number, or from so long ago on (30s, 10m, 2h, 3d), or from a time on
    #[arg(long, value_name = "NUMBER|TIME", value_parser = after)]
    since: Option<After>,

    /// Print each entry as JSON
    #[arg(long)]
    json: bool,
}

/// From where on.
#[derive(Debug, Clone, PartialEq, Eq)]
enum After {
    Entry(u64),
    Time(Since),
}

impl HistoryArgs {
    /// Requests the entries, and prints them.
    pub fn show(self) -> Result<(), CommandError> {
        let config = self.place.clone().config()?;
        let key = key::read(&config)?;
        let text = client::get(&config, &key, &self.path()).map_err(CommandError::Failed)?;
        let page: HistoryPage =
            client::read(&text).map_err(|why| CommandError::Failed(format!("the agent's answer cannot be read ({why})")))?;
        for entry in &page.entries {
            if print_on(&self.shown(entry))?.is_break() {
                return Ok(());
            }
        }
        if !self.follow {
            return Ok(());
        }
        stream::run(async {
            let mut events = Events::open(&config, &key, Some(page.newest)).await?;
            loop {
                let text = match events.next().await? {
                    Update::Event(event) => self.shown_event(&event),
                    Update::Lost(why) => {
                        complain(&format!("not connected to the agent: {why}; connecting again"));
                        continue;
                    }
                };
                if print_on(&text)? == ControlFlow::Break(()) {
                    return Ok(());
                }
            }
        })
    }

    fn path(&self) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        if let Some(service) = &self.service {
            query.append_pair("service", service);
        }
        match &self.since {
            Some(After::Entry(id)) => query.append_pair("since", &id.to_string()),
            Some(After::Time(_)) | None => &mut query,
        };
        let limit = if self.since.is_some() { ALL_ENTRIES } else { ENTRIES };
        query.append_pair("limit", &limit.to_string());
        format!("/agent/v1/history?{}", query.finish())
    }

    /// The text of an entry; empty if it is not asked for.
    fn shown(&self, entry: &Value) -> String {
        let row = HistoryRow::deserialize(entry.clone()).unwrap_or_default();
        let is_of_service = self.service.is_none() || self.service == row.service;
        let is_older = match &self.since {
            Some(After::Time(since)) => from_rfc3339(&row.at).is_some_and(|at| at < since.time()),
            Some(After::Entry(id)) => row.id <= *id,
            None => false,
        };
        match (is_of_service && !is_older, self.json) {
            (false, _) => String::new(),
            (true, true) => format!("{entry}\n"),
            (true, false) => row.for_people(),
        }
    }

    fn shown_event(&self, event: &SseEvent) -> String {
        // What cannot be read is no entry.
        let data: Value = serde_json::from_slice(event.data.as_bytes()).unwrap_or_default();
        match event.kind.as_str() {
            "history" => self.shown(&data),
            "lost" => {
                complain(&format!("entries {} to {} are not kept any more", data["from"], data["to"]));
                String::new()
            }
            _ => String::new(),
        }
    }
}

fn after(text: &str) -> Result<After, String> {
    match text.parse() {
        Ok(id) => Ok(After::Entry(id)),
        Err(_) => text.parse().map(After::Time).map_err(|why: String| format!("{why}, or the number of an entry")),
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct HistoryPage {
    newest: u64,
    entries: Vec<Value>,
}

/// The fields of an entry that are printed. Fields that an older or newer agent does not send are left out.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct HistoryRow {
    id: u64,
    at: String,
    action: String,
    object: String,
    name: String,
    service: Option<String>,
    why: Option<String>,
    outcome: String,
    error: Option<String>,
    sentence: Option<String>,
}

impl HistoryRow {
    fn for_people(&self) -> String {
        let Self { id, at, action, object, name, why, outcome, error, sentence, .. } = self;
        let sentence = sentence.clone().unwrap_or_else(|| {
            let why = why.as_deref().filter(|it| !it.is_empty()).map(|it| format!(", because {it}")).unwrap_or_default();
            let error = error.as_deref().map(|it| format!(": {it}")).unwrap_or_default();
            format!("{action} {object} {name}{why} ({outcome}{error})")
        });
        format!("{id:>5}  {}  {}\n", plain(at), plain(&sentence))
    }
}

#[cfg(test)]
mod tests;
