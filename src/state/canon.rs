//! Values as text, for hashes that must not change from one release of the agent to the next.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::state::config::{Health, Mount, NetworkMode, Port};
use crate::state::network::Attachment;
use crate::state::service::Restart;

/// One text per value, and one value per text. Not `Debug`, which a new compiler may change.
pub(super) trait Canon {
    /// The text.
    fn canon(&self) -> String;
}

macro_rules! canon_by_display {
    ($($type:ty),+) => {$(
        impl Canon for $type {
            fn canon(&self) -> String {
                self.to_string()
            }
        }
    )+};
}
canon_by_display!(bool, i32, i64, u16, u32, Restart, NetworkMode, Port, Mount);

impl Canon for str {
    /// Its length before it, so that no text can imitate another's end.
    fn canon(&self) -> String {
        format!("{}:{self}", self.len())
    }
}

impl Canon for String {
    fn canon(&self) -> String {
        self.as_str().canon()
    }
}

impl Canon for Duration {
    fn canon(&self) -> String {
        format!("{}ns", self.as_nanos())
    }
}

impl<T: Canon> Canon for Option<T> {
    fn canon(&self) -> String {
        self.as_ref().map_or_else(|| "-".to_owned(), |it| format!("+{}", it.canon()))
    }
}

impl<T: Canon> Canon for Vec<T> {
    fn canon(&self) -> String {
        list(self.iter().map(Canon::canon))
    }
}

impl<T: Canon> Canon for BTreeSet<T> {
    fn canon(&self) -> String {
        list(self.iter().map(Canon::canon))
    }
}

impl<T: Canon> Canon for BTreeMap<String, T> {
    fn canon(&self) -> String {
        list(self.iter().map(|(key, value)| format!("{}={}", key.canon(), value.canon())))
    }
}

impl Canon for (i64, i64) {
    fn canon(&self) -> String {
        format!("{}/{}", self.0, self.1)
    }
}

impl Canon for Health {
    fn canon(&self) -> String {
        let Self { test, interval, timeout, start_period, retries } = self;
        list([test.canon(), interval.canon(), timeout.canon(), start_period.canon(), retries.canon()].into_iter())
    }
}

impl Canon for Attachment {
    fn canon(&self) -> String {
        let Self { aliases, ipv4, ipv6, link_local } = self;
        list([aliases.canon(), ipv4.canon(), ipv6.canon(), link_local.canon()].into_iter())
    }
}

fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(","))
}
