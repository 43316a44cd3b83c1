//! Values as text, for hashes that must not change from one release of the agent to the next.

use std::fmt::{self, Write as _};
use std::time::Duration;

use crate::sorted::{SortedMap, SortedSet};

/// One text per value, and one value per text. Not `Debug`, whose output a new compiler may change.
pub(super) trait CanonicalForm {
    /// Appends the text to another, so that a configuration of many values becomes one string instead of many.
    fn write(&self, text: &mut String);

    /// The text of this value alone.
    fn canonical_text(&self) -> String {
        let mut text = String::new();
        self.write(&mut text);
        text
    }

    /// The value for people, who need no marks that keep one value's text from being another's. Empty: nothing is set.
    fn readable(&self) -> String {
        self.canonical_text()
    }
}

/// Types whose text for people is also their canonical one.
macro_rules! canonical_by_display {
    ($($type:ty),+) => {$(
        impl $crate::state::canonical_form::CanonicalForm for $type {
            fn write(&self, text: &mut String) {
                $crate::state::canonical_form::add(text, format_args!("{self}"));
            }
        }
    )+};
}
pub(super) use canonical_by_display;

canonical_by_display!(bool, i32, i64, u16, u32);

impl CanonicalForm for str {
    /// Prefixed with its length, so that no text can imitate the end of another.
    fn write(&self, text: &mut String) {
        add(text, format_args!("{}:", self.len()));
        text.push_str(self);
    }

    fn readable(&self) -> String {
        self.to_owned()
    }
}

impl CanonicalForm for String {
    fn write(&self, text: &mut String) {
        self.as_str().write(text);
    }

    fn readable(&self) -> String {
        self.clone()
    }
}

impl CanonicalForm for Duration {
    fn write(&self, text: &mut String) {
        add(text, format_args!("{}ns", self.as_nanos()));
    }

    fn readable(&self) -> String {
        format!("{self:?}")
    }
}

impl<T: CanonicalForm> CanonicalForm for Option<T> {
    fn write(&self, text: &mut String) {
        text.push(if self.is_some() { '+' } else { '-' });
        if let Some(it) = self {
            it.write(text);
        }
    }

    fn readable(&self) -> String {
        self.as_ref().map(T::readable).unwrap_or_default()
    }
}

impl<T: CanonicalForm> CanonicalForm for Vec<T> {
    fn write(&self, text: &mut String) {
        list(text, self, T::write);
    }

    fn readable(&self) -> String {
        self.iter().map(T::readable).collect::<Vec<_>>().join(" ")
    }
}

impl<T: CanonicalForm> CanonicalForm for SortedSet<T> {
    fn write(&self, text: &mut String) {
        list(text, self, T::write);
    }

    fn readable(&self) -> String {
        self.iter().map(T::readable).collect::<Vec<_>>().join(", ")
    }
}

impl<T: CanonicalForm> CanonicalForm for SortedMap<String, T> {
    fn write(&self, text: &mut String) {
        list(text, self, |(key, value), text| {
            key.write(text);
            text.push('=');
            value.write(text);
        });
    }

    fn readable(&self) -> String {
        self.iter().map(|(key, value)| format!("{key}={}", value.readable())).collect::<Vec<_>>().join(", ")
    }
}

impl CanonicalForm for (i64, i64) {
    fn write(&self, text: &mut String) {
        add(text, format_args!("{}/{}", self.0, self.1));
    }
}

/// Appends items in brackets.
pub(super) fn list<T>(text: &mut String, items: impl IntoIterator<Item = T>, write: impl Fn(T, &mut String)) {
    text.push('[');
    for (at, item) in items.into_iter().enumerate() {
        if at > 0 {
            text.push(',');
        }
        write(item, text);
    }
    text.push(']');
}

/// Appends formatted text.
pub(super) fn add(text: &mut String, more: fmt::Arguments<'_>) {
    text.write_fmt(more).expect("a text takes everything");
}
