//! Parses target-state documents. Pure: it touches nothing of the machine.
//!
//! A document has one of three shapes, which is detected: v3 (`{"<device>": {"apps": …}}`), v2 and that of 2017 (both
//! `{"local": {"apps": …}}`), or `{"apps": …}` of any of them alone; or it is the list of apps on a card of 2016 (`apps.json`).
//! A [compose file](compose_file) has a reader of its own above the readers of services, networks and volumes.
//! [`parse`] turns each into one [`Target`]. All mistakes are reported together, each with its path. What is ignored is named
//! in [`Target::warnings`].
//!
//! Where other agents guess, this one rejects: a document without `apps` would otherwise be one that removes everything.

mod app;
mod apps;
mod at;
mod compose;
pub mod compose_file;
mod contract;
mod depends;
mod fields;
mod labels;
mod mounts;
mod networks;
mod ports;
mod release_names;
mod rules;
mod service;
mod single;
mod trial;
mod values;

use crate::json;
use crate::sorted::SortedMap;
use crate::state::cloud::ReleasePin;
use crate::state::variable::ConfigVariable;
use crate::state::window::{UPDATE_WINDOW_SETTING, UpdateWindow};
use crate::state::{App, AppId, Target, TargetError};

use at::{Cursor, Diagnostics, listed};
use fields::ObjectFields;

/// Parses a document. `device_uuid`, if known, selects this device's part of a v3 document.
pub fn parse(text: &str, device_uuid: Option<&str>) -> Result<Target, TargetError> {
    // Editors of other systems begin a file with a byte order mark.
    let text = text.trim_start_matches('\u{feff}');
    let value = json::read(text.as_bytes()).map_err(|error| TargetError(error.to_string()))?;
    let notes = Diagnostics::default();
    let target = document(&Cursor::root(&value, &notes), device_uuid);
    let warnings = notes.verdict().map_err(TargetError)?;
    Ok(Target { document: minified(text), warnings, ..target })
}

/// Parses a document that the agent kept: one that [`parse`] takes, or a compose file's target.
pub fn parse_kept(text: &str, device_uuid: Option<&str>) -> Result<Target, TargetError> {
    let kept = json::read(text.as_bytes()).ok().and_then(|value| compose_file::kept(&value, text));
    kept.unwrap_or_else(|| parse(text, device_uuid))
}

/// The releases that a v3 document names, as far as it can be read: the commit, by the app's uuid. For one that is rejected.
#[must_use]
pub fn named_releases(text: &str, device_uuid: Option<&str>) -> SortedMap<String, String> {
    let Ok(value) = json::read(text.trim_start_matches('\u{feff}').as_bytes()) else { return SortedMap::new() };
    let mistakes = Diagnostics::default();
    let apps = ours(&Cursor::root(&value, &mistakes), device_uuid).and_then(|it| it.key("apps"));
    apps.map(|it| apps::releases(&it)).unwrap_or_default()
}

fn document(at: &Cursor<'_>, device_uuid: Option<&str>) -> Target {
    // An empty list would be one that removes everything.
    if at.is_list() && !at.is_empty() {
        let mut target = Target::default();
        target.apps = apps::preloaded(at, &mut target.config);
        return target;
    }
    if let Some(local) = at.key("local") {
        let mut fields = ObjectFields::of(at);
        fields.skip(&["local"]);
        if let Some(dependent) = fields.take("dependent") {
            let empty = dependent.entries().iter().all(|(_, it)| it.is_null() || it.is_empty());
            if !empty {
                dependent.not_supported();
            }
        }
        fields.rest();
        return device(&local);
    }
    if at.key("apps").is_some() {
        return device(at);
    }
    ours(at, device_uuid).map(|it| device(&it)).unwrap_or_default()
}

/// This device's part of a v3 document: the one under its uuid, else the only one.
fn ours<'a>(at: &Cursor<'a>, device_uuid: Option<&str>) -> Option<Cursor<'a>> {
    let mut parts = at.entries();
    let own = parts.iter().position(|(key, _)| Some(*key) == device_uuid);
    let found = match (own, parts.len()) {
        (Some(own), _) => parts.swap_remove(own).1,
        (None, 1) => {
            let (_, only) = parts.remove(0);
            if let Some(uuid) = device_uuid {
                only.warn(&format!("is not this device's uuid ({uuid}), taken because it is the only one"));
            }
            only
        }
        (None, _) => {
            if at.is_object() {
                let keys = listed(parts.iter().map(|it| it.0));
                let uuid = device_uuid.unwrap_or("not known yet");
                at.wrong(&format!("expected `local`, `apps` or this device's uuid ({uuid}), found the keys [{keys}]"));
            }
            return None;
        }
    };
    for (_, other) in parts {
        other.warn("is another device's, ignored");
    }
    Some(found)
}

fn device(at: &Cursor<'_>) -> Target {
    at.has_no_nul();
    let mut fields = ObjectFields::of(at);
    let mut target = Target::default();
    if let Some(name) = fields.take("name") {
        let text = name.text().unwrap_or_default();
        if let Some(expected) = rules::device(text) {
            name.expected(expected);
        }
        target.name = Some(text.to_owned());
    }
    let config = fields.take("config").as_ref().map(settings).unwrap_or_default();
    match fields.take("apps") {
        Some(apps) => target.apps = apps::read(&apps, &mut target.config),
        None => at.missing("apps", "an object, empty if nothing is to run"),
    }
    target.config.extend(config);
    // Of a preloaded document.
    if let Some(pin) = fields.take("pin_device").filter(|it| it.flag() == Some(true)) {
        target.pin = only_release(&target.apps);
        if target.pin.is_none() {
            pin.warn(
                "ignored: a device is pinned on the release of one app, and there is not exactly one; pin it in the cloud",
            );
        }
    }
    fields.rest();
    target
}

/// The release that a device can be pinned on: that of the only app.
fn only_release(apps: &SortedMap<AppId, App>) -> Option<ReleasePin> {
    let mut apps = apps.values();
    let (Some(App { id, commit: Some(commit), .. }), None) = (apps.next(), apps.next()) else { return None };
    Some(ReleasePin { fleet: id.0, commit: commit.clone() })
}

/// Settings, by name without the prefix; if both prefixes are there, `BALENA_` wins.
fn settings(at: &Cursor<'_>) -> SortedMap<String, String> {
    let all = fields::pairs(at, rules::setting);
    for (name, value) in &all {
        if let (Some(why), Some(field)) = (ConfigVariable::ignored(&bare_setting(name), value), at.key(name)) {
            field.warn(&format!("ignored: {why}"));
        }
        if bare_setting(name) == UPDATE_WINDOW_SETTING
            && let (Err(why), Some(field)) = (value.parse::<UpdateWindow>(), at.key(name))
        {
            field.wrong(&why.to_string());
        }
    }
    let (newer, older): (Vec<_>, Vec<_>) = all.into_iter().partition(|(name, _)| name.starts_with("BALENA_"));
    older.into_iter().chain(newer).map(|(name, value)| (bare_setting(&name), value)).collect()
}

fn bare_setting(name: &str) -> String {
    let bare = name.strip_prefix("RESIN_").or_else(|| name.strip_prefix("BALENA_"));
    bare.filter(|it| !it.is_empty()).unwrap_or(name).to_owned()
}

/// JSON without white space between its tokens. Numbers keep their spelling, so that parsing it again gives the same.
fn minified(text: &str) -> String {
    let mut short = String::with_capacity(text.len());
    let (mut quoted, mut escaped) = (false, false);
    for it in text.chars() {
        if !quoted && it.is_ascii_whitespace() {
            continue;
        }
        quoted ^= it == '"' && !escaped;
        escaped = quoted && it == '\\' && !escaped;
        short.push(it);
    }
    short
}

#[cfg(test)]
mod tests;
