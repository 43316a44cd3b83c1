//! `depends_on` of a service: its short form, a list, and its long form with conditions.

use crate::sorted::SortedMap;
use crate::state::{Condition, Dependency, Service};

use super::at::{Cursor, quoted};
use super::fields::ObjectFields;
use super::release_names::ReleaseNames;

/// Reads the services of the app that this one waits for before it is started, with their conditions.
pub(super) fn read(at: &Cursor<'_>, known: &ReleaseNames, service: &str) -> SortedMap<String, Dependency> {
    let mut all = SortedMap::new();
    let mut add = |item: &Cursor<'_>, name: &str, dependency: Dependency| {
        if name == service {
            return item.wrong("a service cannot wait for itself");
        }
        if !known.services.contains(name) {
            let why = format!("the app has no service {}", quoted(name));
            if !dependency.required {
                return item.warn(&format!("{why}; it is not required, so it is not waited for"));
            }
            item.wrong(&why);
        }
        all.insert(name.to_owned(), dependency);
    };
    if at.is_list() {
        for item in at.items() {
            if let Some(name) = item.text() {
                add(&item, name, Dependency::default());
            }
        }
    } else {
        for (name, item) in at.entries() {
            let dependency = if item.is_null() { Dependency::default() } else { long(&item) };
            add(&item, name, dependency);
        }
    }
    all
}

fn long(at: &Cursor<'_>) -> Dependency {
    let mut fields = ObjectFields::of(at);
    let plain = Dependency::default();
    let dependency = Dependency {
        condition: fields.take("condition").and_then(|it| condition(&it)).unwrap_or(plain.condition),
        required: fields.flag("required").unwrap_or(plain.required),
        restart: fields.flag("restart").unwrap_or(plain.restart),
    };
    fields.rest();
    dependency
}

fn condition(at: &Cursor<'_>) -> Option<Condition> {
    let condition = Condition::named(at.text()?);
    if condition.is_none() {
        at.expected("service_started, service_healthy or service_completed_successfully");
    }
    condition
}

/// Warns of every dependency of a service that cannot complete, because the engine restarts it whenever it exits. That is the
/// default policy here, unlike in `docker compose`.
pub(super) fn warn_of_endless(at: &Cursor<'_>, service: &Service, all: &SortedMap<String, Service>) {
    for (name, dependency) in &service.depends_on {
        let other =
            all.get(name).filter(|it| dependency.condition == Condition::Completed && it.config.restart.restarts_always());
        if let Some(other) = other {
            at.warn(&format!(
                "waits for {} to complete, whose restart policy `{}` starts it again whenever it exits; \
                 give it `restart: \"no\"` or `on-failure`",
                quoted(name),
                other.config.restart
            ));
        }
    }
}
