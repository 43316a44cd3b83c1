//! The history: what the agent did, what it saw happen, and why.
//!
//! An entry is made when an action has ended, or when something was seen, and does not change afterwards. What is under way
//! stands in the status. A power cut in the middle of an action leaves no entry of it: the first observation afterwards shows
//! how far it came.
//!
//! ```text
//! action   what an entry is about, and its words
//! ```

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use crate::state::{AppId, ServiceKey};

mod action;

pub use action::{HistoryAction, HistoryObject};

/// How many entries are kept, also over a restart of the agent.
pub const KEPT: usize = 1000;
/// How many entries are kept over a reboot. A hundred take some 30 kB.
pub const KEPT_OVER_BOOTS: usize = 100;
/// The most characters of a reason, an error or a name.
const TEXT_CHARS: usize = 500;

/// Something that was done, or that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryEntry {
    /// Its number: one more than that of the entry before, also over restarts of the agent. After a power cut, numbers of lost
    /// entries are used again.
    pub id: u64,
    /// When it began, in milliseconds of the wall clock since 1970.
    pub at_ms: i64,
    /// What was done, or happened.
    pub action: HistoryAction,
    /// With what.
    pub object: HistoryObject,
    /// Its name: that of the container, image, network, volume, LED or line, or the words of a request.
    pub name: String,
    /// The app it belongs to.
    pub app: Option<AppId>,
    /// The service it belongs to.
    pub service: Option<String>,
    /// Why, as part of a sentence that begins with "because". Empty: it needs no reason.
    pub why: String,
    /// What differed.
    pub changes: Vec<FieldChange>,
    /// Who asked for it. `None`: the agent did it by itself, or it was only seen.
    pub asked_by: Option<Requester>,
    /// How it ended.
    pub outcome: HistoryOutcome,
    /// How long it took, in milliseconds. `None`: it was only seen.
    pub millis: Option<u64>,
}

/// What an entry is made from: all but its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryNote {
    /// See [`HistoryEntry::at_ms`].
    pub at_ms: i64,
    /// See [`HistoryEntry::action`].
    pub action: HistoryAction,
    /// See [`HistoryEntry::object`].
    pub object: HistoryObject,
    /// See [`HistoryEntry::name`].
    pub name: String,
    /// See [`HistoryEntry::app`].
    pub app: Option<AppId>,
    /// See [`HistoryEntry::service`].
    pub service: Option<String>,
    /// Why, what differed, and who asked.
    pub cause: Cause,
    /// See [`HistoryEntry::outcome`].
    pub outcome: HistoryOutcome,
    /// See [`HistoryEntry::millis`].
    pub millis: Option<u64>,
}

/// Why something is done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cause {
    /// As part of a sentence that begins with "because". Empty: it needs no reason.
    pub why: String,
    /// What differed.
    pub changes: Vec<FieldChange>,
    /// Who asked for it.
    pub asked_by: Option<Requester>,
}

/// A field that differed. Secrets are masked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldChange {
    /// The field, as target documents name it; for a variable `env NAME`.
    pub field: String,
    /// What it was. `None`: it was not set.
    pub old: Option<String>,
    /// What it is to be. `None`: it is not set any more.
    pub new: Option<String>,
}

/// Who asked for something, in words: a key and the address it came from, the cloud, the target file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requester(Arc<str>);

/// How an action ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HistoryOutcome {
    /// It succeeded.
    Done,
    /// It failed, for this reason. If the agent wants it still, it is retried.
    Failed(String),
    /// It was cancelled: the target no longer needed it.
    Cancelled,
    /// The agent did nothing; it saw that something happened.
    Seen,
}

/// The entries that are kept, oldest first.
#[derive(Debug, Clone, Default)]
pub struct History {
    entries: VecDeque<Arc<HistoryEntry>>,
    newest: u64,
    /// The newest entry that was kept when the agent started.
    loaded: Option<u64>,
}

impl History {
    /// A history of entries that were kept, in ascending order of their numbers.
    #[must_use]
    pub fn from_kept(entries: impl IntoIterator<Item = HistoryEntry>) -> Self {
        let mut history = Self::default();
        for entry in entries {
            history.newest = entry.id;
            history.entries.push_back(Arc::new(entry));
        }
        history.loaded = Some(history.newest);
        history.trim();
        history
    }

    /// Adds an entry; its number.
    pub fn add(&mut self, note: HistoryNote) -> u64 {
        self.newest += 1;
        let HistoryNote { at_ms, action, object, name, app, service, cause, outcome, millis } = note;
        let outcome = match outcome {
            HistoryOutcome::Failed(why) => HistoryOutcome::Failed(short(why, TEXT_CHARS)),
            HistoryOutcome::Done | HistoryOutcome::Cancelled | HistoryOutcome::Seen => outcome,
        };
        self.entries.push_back(Arc::new(HistoryEntry {
            id: self.newest,
            at_ms,
            action,
            object,
            name: short(name, TEXT_CHARS),
            app,
            service,
            why: short(cause.why, TEXT_CHARS),
            changes: cause.changes,
            asked_by: cause.asked_by,
            outcome,
            millis,
        }));
        self.trim();
        self.newest
    }

    fn trim(&mut self) {
        while self.entries.len() > KEPT {
            self.entries.pop_front();
        }
    }

    /// The number of the newest entry that ever was. 0: there was none.
    #[must_use]
    pub const fn newest(&self) -> u64 {
        self.newest
    }

    /// The number of the newest entry that was kept when the agent started. `None`: what was kept is not loaded yet.
    #[must_use]
    pub const fn loaded(&self) -> Option<u64> {
        self.loaded
    }

    /// The number of the oldest entry that is kept. `None`: there is none.
    #[must_use]
    pub fn oldest(&self) -> Option<u64> {
        self.entries.front().map(|it| it.id)
    }

    /// The entries after the one with this number, oldest first.
    pub fn after(&self, id: u64) -> impl DoubleEndedIterator<Item = &Arc<HistoryEntry>> {
        let from = self.entries.partition_point(|it| it.id <= id);
        self.entries.range(from..)
    }

    /// All entries, oldest first.
    pub fn entries(&self) -> impl DoubleEndedIterator<Item = &Arc<HistoryEntry>> {
        self.entries.iter()
    }

    /// The newest entry that says why a service's container is as it is.
    #[must_use]
    pub fn reason_of(&self, service: &ServiceKey) -> Option<&Arc<HistoryEntry>> {
        let tells = |it: &&Arc<HistoryEntry>| {
            it.app == Some(service.app)
                && it.service.as_ref() == Some(&service.service)
                && it.object == HistoryObject::Container
                && !matches!(it.outcome, HistoryOutcome::Cancelled)
                && !matches!(it.action, HistoryAction::Rename | HistoryAction::Connect | HistoryAction::RunHook)
        };
        self.entries.iter().rev().find(tells)
    }
}

impl HistoryEntry {
    /// The entry as a sentence, without its time.
    #[must_use]
    pub fn sentence(&self) -> String {
        let mut text = match (&self.outcome, self.action.phrase()) {
            (HistoryOutcome::Failed(why), (_, tried)) => format!("{} could not be {tried}: {why}", self.subject()),
            (HistoryOutcome::Cancelled, (_, tried)) => format!("{} was not {tried} after all", self.subject()),
            (HistoryOutcome::Done | HistoryOutcome::Seen, (done, _)) => format!("{} {done}", self.subject()),
        };
        let why = with_changes(&self.why, &self.changes);
        if !why.is_empty() {
            text.push_str(if self.action.is_seen() { ": " } else { " because " });
            text.push_str(&why);
        }
        if let Some(by) = &self.asked_by {
            text = format!("{text}; asked for by {by}");
        }
        text
    }

    fn subject(&self) -> String {
        match (&self.service, self.object) {
            (Some(service), HistoryObject::Container) => service.clone(),
            (_, HistoryObject::Machine) => "the board".to_owned(),
            (_, HistoryObject::Engine) => "the container engine".to_owned(),
            (_, HistoryObject::Agent) => "the agent".to_owned(),
            (_, HistoryObject::Target) => "a new target".to_owned(),
            (_, HistoryObject::TargetTrial) => "the trial of a target".to_owned(),
            (_, HistoryObject::Lock) => match self.app {
                Some(app) => format!("app {app}"),
                None => "an app".to_owned(),
            },
            (_, HistoryObject::Container) => self.name.clone(),
            (_, HistoryObject::Request) => format!("`{}`", self.name),
            (_, object) => format!("{} {}", object.word(), self.name),
        }
    }
}

impl HistoryOutcome {
    /// Its name in the API and in files.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed(_) => "failed",
            Self::Cancelled => "cancelled",
            Self::Seen => "seen",
        }
    }
}

impl Cause {
    /// A reason alone.
    #[must_use]
    pub fn from_why(why: impl Into<String>) -> Self {
        Self { why: why.into(), ..Self::default() }
    }

    /// The reason and what differed, in words.
    #[must_use]
    pub fn text(&self) -> String {
        with_changes(&self.why, &self.changes)
    }
}

impl Requester {
    /// Who asked, in words that follow "asked for by".
    #[must_use]
    pub fn new(words: &str) -> Self {
        Self(short(words.to_owned(), TEXT_CHARS).into())
    }

    /// The words.
    #[must_use]
    pub fn words(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Requester {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for FieldChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { field, old, new } = self;
        match (old, new) {
            (Some(old), Some(new)) => write!(f, "{field}: `{old}` became `{new}`"),
            (None, Some(new)) => write!(f, "{field}: `{new}` is new"),
            (Some(old), None) => write!(f, "{field}: `{old}` is gone"),
            (None, None) => write!(f, "{field}"),
        }
    }
}

fn with_changes(why: &str, changes: &[FieldChange]) -> String {
    let shown: Vec<String> = changes.iter().map(ToString::to_string).collect();
    if shown.is_empty() { why.to_owned() } else { format!("{why} ({})", shown.join("; ")) }
}

/// A text of at most `most` characters: a longer one ends with `…`.
#[must_use]
pub fn short(text: String, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

#[cfg(test)]
mod tests;
