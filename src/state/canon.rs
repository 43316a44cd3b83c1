//! Values as text, for hashes that must not change from one release of the agent to the next.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};
use std::time::Duration;

use crate::state::config::{Health, Mount, NetworkMode, Port};
use crate::state::logging::Logging;
use crate::state::network::Attachment;
use crate::state::service::Restart;

/// One text per value, and one value per text. Not `Debug`, which a new compiler may change.
pub(super) trait Canon {
    /// Adds the text to another, so that a configuration of many values becomes one text and not as many.
    fn write(&self, text: &mut String);

    /// The text.
    fn canon(&self) -> String {
        let mut text = String::new();
        self.write(&mut text);
        text
    }
}

macro_rules! canon_by_display {
    ($($type:ty),+) => {$(
        impl Canon for $type {
            fn write(&self, text: &mut String) {
                add(text, format_args!("{self}"));
            }
        }
    )+};
}
canon_by_display!(bool, i32, i64, u16, u32, Restart, NetworkMode, Port, Mount);

impl Canon for str {
    /// Its length before it, so that no text can imitate another's end.
    fn write(&self, text: &mut String) {
        add(text, format_args!("{}:", self.len()));
        text.push_str(self);
    }
}

impl Canon for String {
    fn write(&self, text: &mut String) {
        self.as_str().write(text);
    }
}

impl Canon for Duration {
    fn write(&self, text: &mut String) {
        add(text, format_args!("{}ns", self.as_nanos()));
    }
}

impl<T: Canon> Canon for Option<T> {
    fn write(&self, text: &mut String) {
        text.push(if self.is_some() { '+' } else { '-' });
        if let Some(it) = self {
            it.write(text);
        }
    }
}

impl<T: Canon> Canon for Vec<T> {
    fn write(&self, text: &mut String) {
        list(text, self, T::write);
    }
}

impl<T: Canon> Canon for BTreeSet<T> {
    fn write(&self, text: &mut String) {
        list(text, self, T::write);
    }
}

impl<T: Canon> Canon for BTreeMap<String, T> {
    fn write(&self, text: &mut String) {
        list(text, self, |(key, value), text| {
            key.write(text);
            text.push('=');
            value.write(text);
        });
    }
}

impl Canon for (i64, i64) {
    fn write(&self, text: &mut String) {
        add(text, format_args!("{}/{}", self.0, self.1));
    }
}

impl Canon for Health {
    fn write(&self, text: &mut String) {
        let Self { test, interval, timeout, start_period, retries } = self;
        list(text, [test as &dyn Canon, interval, timeout, start_period, retries], Canon::write);
    }
}

impl Canon for Logging {
    fn write(&self, text: &mut String) {
        let Self { driver, options } = self;
        list(text, [driver as &dyn Canon, options], Canon::write);
    }
}

impl Canon for Attachment {
    fn write(&self, text: &mut String) {
        let Self { aliases, ipv4, ipv6, link_local } = self;
        list(text, [aliases as &dyn Canon, ipv4, ipv6, link_local], Canon::write);
    }
}

fn list<T>(text: &mut String, items: impl IntoIterator<Item = T>, write: impl Fn(T, &mut String)) {
    text.push('[');
    for (at, item) in items.into_iter().enumerate() {
        if at > 0 {
            text.push(',');
        }
        write(item, text);
    }
    text.push(']');
}

fn add(text: &mut String, more: fmt::Arguments<'_>) {
    text.write_fmt(more).expect("a text takes everything");
}
