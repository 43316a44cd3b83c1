//! The fields of an object: each is taken once, and a field that is not taken is warned of.

use super::at::{Cursor, quoted};
use super::rules::{PAIR_BYTES, Rule};
use crate::sorted::SortedMap;

/// The fields of an object that are not taken yet, by name in snake case.
#[derive(Debug)]
pub(super) struct ObjectFields<'a> {
    left: SortedMap<String, Cursor<'a>>,
}

impl<'a> ObjectFields<'a> {
    /// The fields of an object, in any spelling of their names: `cap_add`, `capAdd`, `cap-add`.
    pub(super) fn of(at: &Cursor<'a>) -> Self {
        let mut left = SortedMap::new();
        for (name, field) in at.entries().into_iter().filter(|(_, field)| !field.is_null()) {
            if let Some(twice) = left.insert(snake(name), field) {
                twice.wrong("is there twice, spelled differently");
            }
        }
        Self { left }
    }

    /// Takes a field, if it is there.
    pub(super) fn take(&mut self, name: &str) -> Option<Cursor<'a>> {
        self.left.remove(name)
    }

    /// Warns of every field that was not taken.
    pub(super) fn rest(self) {
        for field in self.left.values() {
            field.not_supported();
        }
    }

    /// Takes fields that mean nothing to the agent, without a warning.
    pub(super) fn skip(&mut self, names: &[&str]) {
        for name in names {
            self.left.remove(*name);
        }
    }

    /// Takes a text. `None`: absent or empty.
    pub(super) fn text(&mut self, name: &str) -> Option<String> {
        self.take(name)?.scalar().filter(|it| !it.is_empty())
    }

    /// Takes a boolean.
    pub(super) fn flag(&mut self, name: &str) -> Option<bool> {
        self.take(name)?.flag()
    }

    /// Takes a whole number, 0 if absent.
    pub(super) fn int(&mut self, name: &str) -> i64 {
        self.take(name).and_then(|it| it.int()).unwrap_or_default()
    }

    /// Takes an id that the cloud assigned, 0 if absent.
    pub(super) fn id(&mut self, name: &str) -> u32 {
        self.take(name).and_then(|it| it.id()).unwrap_or_default()
    }

    /// Takes a list of texts, in order; one text is a list of one.
    pub(super) fn list(&mut self, name: &str) -> Vec<String> {
        self.take(name).map(|it| texts(&it)).unwrap_or_default()
    }

    /// Takes names and values.
    pub(super) fn pairs(&mut self, name: &str, rule: Rule) -> SortedMap<String, String> {
        self.take(name).map(|it| pairs(&it, rule)).unwrap_or_default()
    }
}

/// Reads a list of texts, in order; one text is a list of one.
pub(super) fn texts(at: &Cursor<'_>) -> Vec<String> {
    at.one_or_more().iter().filter_map(Cursor::scalar).collect()
}

/// Reads names and values, as an object or as a list of `name=value`. A name without a value has an empty one.
pub(super) fn pairs(at: &Cursor<'_>, rule: Rule) -> SortedMap<String, String> {
    if at.is_list() { at.items().iter().filter_map(|it| pair(it, rule)).collect() } else { object_pairs(at, rule) }
}

fn object_pairs(at: &Cursor<'_>, rule: Rule) -> SortedMap<String, String> {
    let mut pairs = SortedMap::new();
    for (name, value) in at.entries() {
        if let Some(expected) = rule(name) {
            value.wrong(&format!("the name must be {expected}"));
        }
        let at = value;
        let value = if at.is_null() { Some(String::new()) } else { at.scalar() };
        within(&at, name.len() + value.as_ref().map_or(0, String::len));
        pairs.extend(value.map(|it| (name.to_owned(), it)));
    }
    pairs
}

fn pair(item: &Cursor<'_>, rule: Rule) -> Option<(String, String)> {
    let text = item.text()?;
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    within(item, text.len());
    if let Some(expected) = rule(name) {
        item.wrong(&format!("the name {} must be {expected}", quoted(name)));
    }
    Some((name.to_owned(), value.to_owned()))
}

/// Rejects a name and value that are longer than the kernel passes to a program.
fn within(at: &Cursor<'_>, bytes: usize) {
    if bytes > PAIR_BYTES {
        at.wrong(&format!("name and value have {bytes} bytes, at most {PAIR_BYTES} are possible"));
    }
}

/// `capAdd` and `cap-add` as `cap_add`.
fn snake(name: &str) -> String {
    let mut text = String::with_capacity(name.len() + 4);
    for it in name.chars() {
        match it {
            '-' => text.push('_'),
            'A'..='Z' => {
                text.push('_');
                text.push(it.to_ascii_lowercase());
            }
            _ => text.push(it),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::at::Diagnostics;
    use super::super::rules;
    use super::*;

    #[test]
    fn names_are_understood_in_every_spelling_and_what_is_left_is_told() {
        let value = json!({"capAdd": ["A"], "cap-drop": "B", "logging": {}, "build": null});
        let notes = Diagnostics::default();
        let mut fields = ObjectFields::of(&Cursor::root(&value, &notes));
        assert_eq!(fields.list("cap_add"), ["A"]);
        assert_eq!(fields.list("cap_drop"), ["B"]);
        fields.rest();
        assert_eq!(notes.verdict().unwrap(), ["logging: not supported, ignored"]);
    }

    #[test]
    fn pairs_are_the_same_as_an_object_and_as_a_list() {
        let notes = Diagnostics::default();
        let object = json!({"A": 1, "B": true, "C": null, "D": "x=y"});
        let list = json!(["D=x=y", "C", "B=true", "A=1"]);
        let object = pairs(&Cursor::root(&object, &notes), rules::variable);
        assert_eq!(object, pairs(&Cursor::root(&list, &notes), rules::variable));
        assert_eq!(object[&"D".to_owned()], "x=y");
        assert!(notes.verdict().unwrap().is_empty());
    }
}
