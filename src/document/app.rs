//! What a document of any shape says of an app: its number, its name and its commit.

use crate::sorted::{SortedMap, SortedSet};
use crate::state::app::Generation;
use crate::state::{App, AppId};

use super::at::Cursor;
use super::fields::ObjectFields;
use super::rules;

/// An empty app of which only the number is known.
pub(super) fn empty(id: AppId) -> App {
    App {
        id,
        uuid: id.to_string(),
        name: id.to_string(),
        commit: None,
        release_id: 0,
        services: SortedMap::new(),
        networks: SortedMap::new(),
        volumes: SortedMap::new(),
        snapshots: SortedSet::new(),
        contracts: Vec::new(),
        shape: Generation::Services,
    }
}

/// The app's number, parsed from its key.
pub(super) fn app_id(key: &str, at: &Cursor<'_>) -> Option<AppId> {
    let id = digits(key);
    if id.is_none() {
        at.wrong("the app's key must be its number, 0 to 4294967295");
    }
    id.map(AppId)
}

pub(super) fn digits(text: &str) -> Option<u32> {
    if text.bytes().all(|it| it.is_ascii_digit()) { text.parse().ok() } else { None }
}

/// The app's human-readable name, else its key.
pub(super) fn title(fields: &mut ObjectFields<'_>, key: &str) -> String {
    let Some(name) = fields.take("name") else { return key.to_owned() };
    let text = name.text().unwrap_or_default();
    if let Some(expected) = rules::title(text) {
        name.expected(expected);
    }
    text.to_owned()
}

/// Checks a commit, which becomes a part of container names.
pub(super) fn checked_commit(commit: &str, at: &Cursor<'_>) -> String {
    if let Some(expected) = rules::docker_name(commit) {
        at.wrong(&format!("the commit must be {expected}"));
    }
    commit.to_owned()
}
