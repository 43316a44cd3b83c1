//! A cursor in a document: a value that knows its path, so that every mistake says where it is.

use std::cell::RefCell;

use serde_json::Value;

use crate::sorted::{SortedMap, SortedSet};

/// Mistakes that are reported; further ones are only counted.
const MAX_MISTAKES: usize = 10;

/// Warnings that are reported; further ones are only counted.
const MAX_WARNINGS: usize = 100;

/// Characters of a value, or of a step in a path, that a message shows.
const QUOTED_CHARS: usize = 60;

/// Mistakes and warnings found while a document is read.
#[derive(Debug, Default)]
pub(super) struct Diagnostics {
    mistakes: RefCell<Messages>,
    warnings: RefCell<Messages>,
    /// Where the value of each path is in the file that the document was made of, such as `compose.yaml:3:5`.
    places: RefCell<SortedMap<String, String>>,
}

#[derive(Debug, Default)]
struct Messages {
    lines: Vec<String>,
    more: usize,
}

/// A value of a document, and its path.
#[derive(Debug, Clone)]
pub(super) struct Cursor<'a> {
    path: String,
    value: &'a Value,
    notes: &'a Diagnostics,
    /// Its value may be secret: messages show only its type.
    redacts: bool,
}

impl Diagnostics {
    /// Names the places of paths in messages from now on.
    pub(super) fn set_places(&self, places: SortedMap<String, String>) {
        self.places.replace(places);
    }

    /// Notes a mistake at a place in a file.
    pub(super) fn wrong_at(&self, place: &str, why: &str) {
        self.mistakes.borrow_mut().add(MAX_MISTAKES, format!("{place}: {why}"));
    }

    /// Notes a warning at a place in a file.
    pub(super) fn warn_at(&self, place: &str, why: &str) {
        self.warnings.borrow_mut().add(MAX_WARNINGS, format!("{place}: {why}"));
    }

    /// Whether a mistake was noted.
    pub(super) fn has_mistakes(&self) -> bool {
        !self.mistakes.borrow().lines.is_empty()
    }

    /// The place of a path, or of the nearest value around it.
    fn place(&self, path: &str) -> Option<String> {
        let places = self.places.borrow();
        let mut path = path;
        loop {
            if let Some(place) = places.get(path) {
                return Some(place.clone());
            }
            path = path.rsplit_once('.')?.0;
        }
    }

    /// The warnings. Error: every mistake, in one line.
    pub(super) fn verdict(self) -> Result<Vec<String>, String> {
        let Messages { lines, more } = self.mistakes.into_inner();
        let count = lines.len() + more;
        let text = Messages { lines, more }.into_lines().join("; ");
        match count {
            0 => Ok(self.warnings.into_inner().into_lines()),
            1 => Err(text),
            _ => Err(format!("{count} mistakes: {text}")),
        }
    }
}

impl Messages {
    fn add(&mut self, limit: usize, text: String) {
        if self.lines.len() < limit {
            self.lines.push(text);
        } else {
            self.more += 1;
        }
    }

    fn into_lines(mut self) -> Vec<String> {
        if self.more > 0 {
            self.lines.push(format!("and {} more", self.more));
        }
        self.lines
    }
}

impl<'a> Cursor<'a> {
    /// The whole document.
    pub(super) fn root(value: &'a Value, notes: &'a Diagnostics) -> Self {
        Self { path: String::new(), value, notes, redacts: false }
    }

    /// The same place, with its values hidden in messages.
    pub(super) fn redacted(self) -> Self {
        Self { redacts: true, ..self }
    }

    fn child(&self, step: &str, value: &'a Value) -> Self {
        let path = path_of(&self.path, step);
        Self { path, value, notes: self.notes, redacts: self.redacts }
    }

    /// The value under a key of an object. `null` counts as absent.
    pub(super) fn key(&self, key: &str) -> Option<Self> {
        let value = self.value.as_object()?.get(key)?;
        (!value.is_null()).then(|| self.child(key, value))
    }

    /// Notes the mistake that a key is absent.
    pub(super) fn missing(&self, key: &str, expected: &str) {
        self.child(key, &Value::Null).expected(expected);
    }

    /// The entries of an object, with `null` values. Any other type is a mistake.
    pub(super) fn entries(&self) -> Vec<(&'a str, Self)> {
        let Some(object) = self.value.as_object() else {
            self.expected("an object");
            return Vec::new();
        };
        object.iter().map(|(key, value)| (key.as_str(), self.child(key, value))).collect()
    }

    /// The items of a list. Any other type is a mistake.
    pub(super) fn items(&self) -> Vec<Self> {
        let Some(list) = self.value.as_array() else {
            self.expected("a list");
            return Vec::new();
        };
        list.iter().enumerate().map(|(index, value)| self.child(&index.to_string(), value)).collect()
    }

    /// The items of a list; a string or a number counts as a list of one.
    pub(super) fn one_or_more(&self) -> Vec<Self> {
        if self.value.is_string() || self.value.is_number() { vec![self.clone()] } else { self.items() }
    }

    pub(super) fn is_null(&self) -> bool {
        self.value.is_null()
    }

    pub(super) fn is_object(&self) -> bool {
        self.value.is_object()
    }

    pub(super) fn is_list(&self) -> bool {
        self.value.is_array()
    }

    pub(super) fn is_text(&self) -> bool {
        self.value.is_string()
    }

    /// Whether it is an empty object or an empty list.
    pub(super) fn is_empty(&self) -> bool {
        self.value.as_object().is_some_and(serde_json::Map::is_empty) || self.value.as_array().is_some_and(Vec::is_empty)
    }

    /// A string.
    pub(super) fn text(&self) -> Option<&'a str> {
        let text = self.value.as_str();
        if text.is_none() {
            self.expected("a string");
        }
        text
    }

    /// A string, or a number or boolean as text.
    pub(super) fn scalar(&self) -> Option<String> {
        let text = match self.value {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(flag) => Some(flag.to_string()),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        };
        if text.is_none() {
            self.expected("a string");
        }
        text
    }

    /// A boolean, as JSON, YAML or users write it.
    pub(super) fn flag(&self) -> Option<bool> {
        let flag = match self.value {
            Value::Bool(flag) => Some(*flag),
            Value::String(text) => match text.to_ascii_lowercase().as_str() {
                "true" | "yes" | "on" | "1" => Some(true),
                "false" | "no" | "off" | "0" | "" => Some(false),
                _ => None,
            },
            Value::Number(number) => match number.as_i64() {
                Some(1) => Some(true),
                Some(0) => Some(false),
                _ => None,
            },
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        };
        if flag.is_none() {
            self.expected("true or false");
        }
        flag
    }

    /// A whole number, also as a string of digits.
    pub(super) fn int(&self) -> Option<i64> {
        let int = self.as_int();
        if int.is_none() {
            self.expected("a whole number");
        }
        int
    }

    fn as_int(&self) -> Option<i64> {
        match self.value {
            Value::Number(number) => number.as_i64().or_else(|| whole(number.as_f64()?)),
            Value::String(text) => text.trim().parse().ok(),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
        }
    }

    /// A number, also as a string of digits.
    pub(super) fn number(&self) -> Option<f64> {
        let number = match self.value {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => text.trim().parse().ok(),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
        };
        let number = number.filter(|it| it.is_finite());
        if number.is_none() {
            self.expected("a number");
        }
        number
    }

    /// An id that the cloud assigned.
    pub(super) fn id(&self) -> Option<u32> {
        let id = self.as_int().and_then(|it| u32::try_from(it).ok());
        if id.is_none() {
            self.expected("a whole number from 0 to 4294967295");
        }
        id
    }

    /// Notes the mistake that something else was expected here.
    pub(super) fn expected(&self, what: &str) {
        self.wrong(&format!("expected {what}, found {}", self.found()));
    }

    /// Notes a mistake.
    pub(super) fn wrong(&self, why: &str) {
        self.notes.mistakes.borrow_mut().add(MAX_MISTAKES, self.located(why));
    }

    /// Notes a warning for the owner.
    pub(super) fn warn(&self, why: &str) {
        self.notes.warnings.borrow_mut().add(MAX_WARNINGS, self.located(why));
    }

    /// Notes every name and text in it that contains a NUL: to the kernel it ends a string, so no engine can pass it on.
    pub(super) fn has_no_nul(&self) {
        match self.value {
            Value::String(text) if text.contains('\0') => self.wrong("holds the character NUL, which no program can be given"),
            Value::Array(list) => {
                for (index, value) in list.iter().enumerate().filter(|(_, it)| holds_nul(it)) {
                    self.child(&index.to_string(), value).has_no_nul();
                }
            }
            Value::Object(object) => {
                for (key, value) in object.iter().filter(|(key, it)| key.contains('\0') || holds_nul(it)) {
                    let child = self.child(key, value);
                    if key.contains('\0') {
                        child.wrong("its name holds the character NUL, which no program can be given");
                    }
                    child.has_no_nul();
                }
            }
            Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// Warns that it is not supported and is ignored.
    pub(super) fn not_supported(&self) {
        self.warn("not supported, ignored");
    }

    fn located(&self, why: &str) -> String {
        let path = if self.path.is_empty() { "the document" } else { &self.path };
        match self.notes.place(&self.path) {
            Some(place) => format!("{place}: {path}: {why}"),
            None => format!("{path}: {why}"),
        }
    }

    fn found(&self) -> String {
        match self.value {
            Value::Null => "nothing".to_owned(),
            Value::Array(_) => "a list".to_owned(),
            Value::Object(_) => "an object".to_owned(),
            Value::String(_) if self.redacts => "a string".to_owned(),
            Value::Number(_) if self.redacts => "a number".to_owned(),
            Value::Bool(_) if self.redacts => "a boolean".to_owned(),
            Value::Bool(flag) => flag.to_string(),
            Value::Number(number) => number.to_string(),
            Value::String(text) => quoted(text),
        }
    }
}

/// Whether a name or text in it contains a NUL.
fn holds_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(list) => list.iter().any(holds_nul),
        Value::Object(object) => object.iter().any(|(key, it)| key.contains('\0') || holds_nul(it)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Text in quotes, on one line, cut to [`QUOTED_CHARS`] characters.
pub(super) fn quoted(text: &str) -> String {
    match text.char_indices().nth(QUOTED_CHARS) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// Names in one line, the first five of them.
pub(super) fn listed<'n>(names: impl IntoIterator<Item = &'n str>) -> String {
    let names: SortedSet<_> = names.into_iter().collect();
    let first: Vec<_> = names.iter().take(5).map(|it| step_text(it)).collect();
    let more = names.len() - first.len();
    if more == 0 { first.join(", ") } else { format!("{} and {more} more", first.join(", ")) }
}

/// The path of a value below another path.
pub(super) fn path_of(above: &str, step: &str) -> String {
    let step = step_text(step);
    if above.is_empty() { step } else { format!("{above}.{step}") }
}

fn step_text(step: &str) -> String {
    let plain = step.chars().all(|it| it.is_ascii_alphanumeric() || "_-.:/".contains(it));
    if plain && !step.is_empty() && step.len() <= QUOTED_CHARS { step.to_owned() } else { quoted(step) }
}

/// A number without a fraction that a float holds exactly.
pub(super) fn whole(number: f64) -> Option<i64> {
    /// Above 2^53 a float skips whole numbers.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let whole = number.fract() == 0.0 && number.abs() <= EXACT;
    if whole { format!("{number:.0}").parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_mistake_says_where_what_was_expected_and_what_was_found() {
        let value = json!({"apps": {"7": {"ports": ["80", {}]}}});
        let notes = Diagnostics::default();
        let root = Cursor::root(&value, &notes);
        for port in root.key("apps").unwrap().key("7").unwrap().key("ports").unwrap().items() {
            port.text();
        }
        root.missing("name", "a string");
        let said = notes.verdict().unwrap_err();
        assert_eq!(
            said,
            "2 mistakes: apps.7.ports.1: expected a string, found an object; name: expected a string, found nothing",
        );
    }

    #[test]
    fn many_mistakes_are_counted_and_stay_on_one_line() {
        let value = json!({"a\nb": (0..25).collect::<Vec<_>>()});
        let notes = Diagnostics::default();
        for item in Cursor::root(&value, &notes).key("a\nb").unwrap().items() {
            item.text();
        }
        let said = notes.verdict().unwrap_err();
        assert!(said.starts_with("25 mistakes: \"a\\nb\".0: expected a string, found 0; "), "{said}");
        assert!(said.ends_with("; and 15 more") && !said.contains('\n'), "{said}");
    }

    #[test]
    fn what_is_hushed_is_not_told() {
        let value = json!("hunter2");
        let notes = Diagnostics::default();
        Cursor::root(&value, &notes).redacted().items();
        assert_eq!(notes.verdict().unwrap_err(), "the document: expected a list, found a string");
    }
}
