//! `boardkeeper state --watch`: the state as it changes.

use std::ops::ControlFlow;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::downloads::Rates;
use super::{AgentState, downloads};
use crate::cli::events::{Events, StateMirror, Update};
use crate::cli::since::now_utc;
use crate::cli::sse::SseEvent;
use crate::cli::terminal::{Screen, is_terminal, print_on};
use crate::cli::tool::complain;
use crate::cli::{CommandError, stream};
use crate::config::Config;
use crate::state::Secret;

/// How often rates and times on a terminal are drawn anew.
const DRAW_EVERY: Duration = Duration::from_secs(1);

/// Follows the state until Ctrl-C, or until the reader of a pipe leaves.
pub(super) fn watch(config: &Config, key: &Secret, as_json: bool) -> Result<(), CommandError> {
    stream::run(async {
        let events = Events::open(config, key, None).await?;
        match (as_json, is_terminal()) {
            (true, _) => print_events(events).await,
            (false, true) => draw(events).await,
            (false, false) => print_changes(events).await,
        }
    })
}

async fn print_events(mut events: Events) -> Result<(), CommandError> {
    loop {
        let line = match events.next().await? {
            Update::Event(event) => json_line(&event),
            Update::Lost(why) => {
                complain(&format!("not connected to the agent: {why}; connecting again"));
                continue;
            }
        };
        if print_on(&line)? == ControlFlow::Break(()) {
            return Ok(());
        }
    }
}

fn json_line(event: &SseEvent) -> String {
    // What is no JSON is passed on as a text.
    let data = serde_json::from_slice(event.data.as_bytes()).unwrap_or_else(|_| Value::String(event.data.clone()));
    format!("{}\n", json!({"event": event.kind, "id": event.id.parse::<u64>().ok(), "data": data}))
}

async fn draw(mut events: Events) -> Result<(), CommandError> {
    let (mut watched, mut screen) = (Watched::default(), Screen::begin()?);
    let mut tick = interval(DRAW_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            update = events.next() => watched.take(update?, Instant::now())?,
            _ = tick.tick() => {}
        }
        if watched.has_state() && screen.draw(&watched.text(Instant::now(), true))? == ControlFlow::Break(()) {
            return Ok(());
        }
    }
}

async fn print_changes(mut events: Events) -> Result<(), CommandError> {
    let (mut watched, mut printed) = (Watched::default(), String::new());
    loop {
        watched.take(events.next().await?, Instant::now())?;
        let essence = watched.essence();
        if watched.has_state() && essence != printed {
            if print_on(&format!("{}\n", watched.text(Instant::now(), false)))? == ControlFlow::Break(()) {
                return Ok(());
            }
            printed = essence;
        }
    }
}

/// The state, and whether it still is so.
#[derive(Default)]
struct Watched {
    mirror: StateMirror,
    rates: Rates,
    /// When the last event of the state came.
    told_at: Option<Instant>,
    /// Since when there is no connection, by this machine's clock, and why.
    lost: Option<(String, String)>,
}

impl Watched {
    fn take(&mut self, update: Update, now: Instant) -> Result<(), CommandError> {
        match update {
            Update::Lost(why) => self.lost = Some((now_utc(), why)),
            Update::Event(event) => {
                self.lost = None;
                if self.mirror.take(&event).map_err(CommandError::Failed)? {
                    self.told_at = Some(now);
                    self.rates.note(&self.state(Duration::ZERO).downloads, now);
                }
            }
        }
        Ok(())
    }

    const fn has_state(&self) -> bool {
        self.told_at.is_some()
    }

    fn state(&self, passed: Duration) -> AgentState {
        // Another agent's state may have fields of other kinds; there is nothing to show then.
        AgentState::deserialize(self.mirror.after(passed)).unwrap_or_default()
    }

    /// What is shown, but for times that pass.
    fn essence(&self) -> String {
        let state = AgentState::deserialize(self.mirror.without_times()).unwrap_or_default();
        let connected = if self.lost.is_some() { "not connected\n" } else { "" };
        state.text(Some(connected), state.downloads.iter().map(downloads::Download::line).collect())
    }

    /// The table, with progress bars on a terminal.
    fn text(&self, now: Instant, is_live: bool) -> String {
        let passed = self.told_at.map_or(Duration::ZERO, |it| now.duration_since(it));
        let state = self.state(if is_live { passed } else { Duration::ZERO });
        let downloads = state.downloads.iter().map(|it| if is_live { it.bar(self.rates.of(it)) } else { it.line() }).collect();
        let text = state.text(None, downloads);
        match &self.lost {
            None => text,
            Some((since, why)) => format!("not connected to the agent since {since} ({why}); this was so:\n{text}"),
        }
    }
}

#[cfg(test)]
mod tests;
