//! What differs between two configurations of a service, field by field, for people. Values of variables that may be secrets
//! are masked.

use crate::sorted::{SortedMap, SortedSet};
use crate::state::Service;
use crate::state::history::FieldChange;

/// In place of a value that may be a secret.
const MASKED: &str = "••••";
/// The most characters of a value that are shown.
const VALUE_CHARS: usize = 120;
/// Parts of the names of variables that hold secrets.
const SECRET_NAMES: [&str; 11] =
    ["KEY", "TOKEN", "SECRET", "PASS", "PWD", "CREDENTIAL", "AUTH", "PRIVATE", "CERT", "COOKIE", "SALT"];

/// What differs between a service and what it is to be.
#[must_use]
pub fn field_changes(before: &Service, now: &Service) -> Vec<FieldChange> {
    let mut changes = Vec::new();
    if before.image != now.image {
        changes.push(FieldChange {
            field: "image".to_owned(),
            old: Some(shown(before.image.as_str())),
            new: Some(shown(now.image.as_str())),
        });
    }
    changes.extend(variable_changes("env", &before.config.env, &now.config.env));
    changes.extend(variable_changes("labels", &before.config.labels, &now.config.labels));
    let others = before.config.shown_differences(&now.config).into_iter();
    changes.extend(others.filter(|it| !matches!(it.0, "env" | "labels")).map(|(field, [old, new])| {
        let value = |it: String| (!it.is_empty()).then(|| argument(&it));
        FieldChange { field: field.to_owned(), old: value(old), new: value(new) }
    }));
    changes
}

/// The variables that differ.
fn variable_changes<'a>(
    kind: &'a str,
    before: &'a SortedMap<String, String>,
    now: &'a SortedMap<String, String>,
) -> impl Iterator<Item = FieldChange> + 'a {
    let names: SortedSet<&String> = before.keys().chain(now.keys()).collect();
    names.into_iter().filter(|name| before.get(*name) != now.get(*name)).map(move |name| FieldChange {
        field: format!("{kind} {name}"),
        old: before.get(name).map(|it| variable(name, it)),
        new: now.get(name).map(|it| variable(name, it)),
    })
}

/// The value of a variable, as it may be shown.
fn variable(name: &str, value: &str) -> String {
    let name = name.to_ascii_uppercase();
    if SECRET_NAMES.iter().any(|it| name.contains(it)) { MASKED.to_owned() } else { shown(value) }
}

/// The value of a field that may have a password among other words, such as a command.
fn argument(value: &str) -> String {
    let upper = value.to_ascii_uppercase();
    if ["PASS", "SECRET", "TOKEN"].iter().any(|it| upper.contains(it)) { MASKED.to_owned() } else { shown(value) }
}

/// A value, shortened, and masked where it is a URL with a password or a key in a file's text.
fn shown(value: &str) -> String {
    let has_password = value.split_once("://").is_some_and(|(_, rest)| {
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        authority.contains('@')
    });
    if has_password || value.contains("-----BEGIN") {
        return MASKED.to_owned();
    }
    match value.char_indices().nth(VALUE_CHARS) {
        Some((at, _)) => format!("{}…", &value[..at]),
        None => value.to_owned(),
    }
}

#[cfg(test)]
mod tests;
