//! `boardkeeper why`: why services are as they are, from a running agent's history.

use std::fmt::Write;

use clap::Args;
use serde::Deserialize;
use url::form_urlencoded;

use crate::cli::run::StateDirArgs;
use crate::cli::table::plain;
use crate::cli::{CommandError, client, key, print};

/// How many of the last actions on a service are printed.
const ACTIONS: usize = 10;

/// Which service, and of which agent.
#[derive(Debug, Clone, Default, Args)]
pub struct WhyArgs {
    #[command(flatten)]
    place: StateDirArgs,

    /// A service, by its name. Without one: all, a line each
    service: Option<String>,
}

impl WhyArgs {
    /// Requests the state and the history, and prints the reasons.
    pub fn show(self) -> Result<(), CommandError> {
        let config = self.place.config()?;
        let key = key::read(&config)?;
        let ask = |path: &str| client::get(&config, &key, path).map_err(CommandError::Failed);
        let unreadable = |why: serde_json::Error| CommandError::Failed(format!("the agent's answer cannot be read ({why})"));
        let state: StateSummary = client::read(&ask("/agent/v1/state")?).map_err(unreadable)?;
        let Some(service) = self.service else { return print(&state.all()) };
        if !state.services().any(|(_, it)| it.name == service) {
            let names: Vec<_> = state.services().map(|it| it.1.name.as_str()).collect();
            return Err(CommandError::Wrong(format!(
                "the target has no service `{service}`; it has {}",
                if names.is_empty() { "none".to_owned() } else { names.join(", ") }
            )));
        }
        let history: HistoryPage = client::read(&ask(&history_path(&service))?).map_err(unreadable)?;
        print(&state.of(&service, &history))
    }
}

fn history_path(service: &str) -> String {
    let service: String = form_urlencoded::byte_serialize(service.as_bytes()).collect();
    format!("/agent/v1/history?service={service}&limit={ACTIONS}")
}

/// The fields of the state that tell why. Fields that another release of the agent does not send are left out.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct StateSummary {
    engine: EngineSummary,
    apps: Option<Vec<AppSummary>>,
    waiting: Option<Vec<String>>,
    troubles: Option<Vec<TroubleSummary>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct EngineSummary {
    state: String,
    why: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct AppSummary {
    #[serde(rename = "app_id")]
    id: u32,
    services: Vec<ServiceSummary>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ServiceSummary {
    name: String,
    waits_for: Option<String>,
    why: Option<String>,
    since: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct TroubleSummary {
    what: String,
    why: String,
    again_in_seconds: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct HistoryPage {
    entries: Vec<EntrySummary>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct EntrySummary {
    at: String,
    sentence: String,
}

impl StateSummary {
    fn services(&self) -> impl Iterator<Item = (u32, &ServiceSummary)> {
        self.apps.iter().flatten().flat_map(|app| app.services.iter().map(|it| (app.id, it)))
    }

    fn all(&self) -> String {
        let mut text = String::new();
        for (_, it) in self.services() {
            text.push_str(&it.line());
        }
        if text.is_empty() {
            text.push_str("there is no target yet, so there is no service\n");
        }
        self.add_engine(&mut text);
        text
    }

    fn of(&self, service: &str, history: &HistoryPage) -> String {
        let mut text = String::new();
        for (app, it) in self.services().filter(|it| it.1.name == service) {
            text.push_str(&it.line());
            if let Some(waits) = &it.waits_for {
                add(&mut text, format_args!("  it waits for {}", plain(waits)));
            }
            // The agent names a service with its app, and a new container by its service.
            let named = format!("{app}/{service}");
            for waiting in self.waiting.iter().flatten().filter(|it| it.contains(&named) || it.contains(&format!("app {app} ")))
            {
                add(&mut text, format_args!("  waiting: {}", plain(waiting)));
            }
            for trouble in self.troubles.iter().flatten().filter(|it| it.what.contains(&named)) {
                let again = trouble.again_in_seconds.map(|it| format!("; tried again in {it} s")).unwrap_or_default();
                add(&mut text, format_args!("  trouble: {}: {}{again}", plain(&trouble.what), plain(&trouble.why)));
            }
        }
        self.add_engine(&mut text);
        if !history.entries.is_empty() {
            text.push_str("last actions:\n");
        }
        for it in &history.entries {
            add(&mut text, format_args!("  {}  {}", it.at, plain(&it.sentence)));
        }
        text
    }

    fn add_engine(&self, text: &mut String) {
        if self.engine.state == "down" {
            let why = self.engine.why.as_deref().unwrap_or_default();
            add(text, format_args!("the container engine does not answer: {}", plain(why)));
        }
    }
}

impl ServiceSummary {
    fn line(&self) -> String {
        match (&self.why, &self.since) {
            (Some(why), Some(since)) => format!("{since}  {}\n", plain(why)),
            (Some(why), None) => format!("{}\n", plain(why)),
            (None, _) => format!("{}: nothing happened to it as far as the history goes\n", plain(&self.name)),
        }
    }
}

fn add(text: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(text, "{line}").expect("a text takes everything");
}

#[cfg(test)]
mod tests;
