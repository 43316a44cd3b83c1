//! Labels in documents: those of older generations under their names of today, without those of supervisors, and those of a
//! release that hold for each of its services.

use crate::sorted::SortedMap;
use crate::state::hook;
use crate::state::is_supervisor_label;
use crate::state::labels::OUR_PREFIX;
use crate::state::labels::{BEFORE_UPDATE_LABEL, BEFORE_UPDATE_TIMEOUT_LABEL};
use crate::state::release::{DEADLINE_LABEL, ROLLBACK_LABEL, SETTLE_LABEL};
use crate::state::snapshot::SNAPSHOT_LABEL;
use crate::state::window::{UPDATE_WINDOW_LABEL, UpdateWindow};

use super::at::{Cursor, quoted};
use super::values;

/// Why a value is wrong for its label.
type Check = fn(&str) -> Result<(), String>;

/// Labels `io.boardkeeper.*` that an owner sets, of a service or of a release. The agent acts on them; no container has them,
/// but for those of hooks.
const OWNERS_LABELS: [(&str, Check); 6] = [
    (UPDATE_WINDOW_LABEL, |it| it.parse::<UpdateWindow>().map(drop).map_err(|why| why.to_string())),
    (ROLLBACK_LABEL, |it| values::yes_or_no(it).map(drop)),
    (SETTLE_LABEL, |it| values::time_on_trial(it).map(drop)),
    (DEADLINE_LABEL, |it| values::time_on_trial(it).map(drop)),
    (BEFORE_UPDATE_LABEL, |it| hook::words(it).map(drop)),
    (BEFORE_UPDATE_TIMEOUT_LABEL, |it| hook::hook_timeout(it).map(drop)),
];

/// Labels of a release: what holds for each of its services that has no such label of its own.
#[derive(Debug, Default)]
pub(super) struct ReleaseLabels {
    values: SortedMap<String, String>,
}

impl ReleaseLabels {
    /// Reads an object, or a list of `name=value`. A label that does not count there is warned of, whatever its value is.
    pub(super) fn read(at: &Cursor<'_>) -> Self {
        let mut values = SortedMap::new();
        for (name, value, at) in entries(at) {
            if !name.starts_with(OUR_PREFIX) {
                at.warn(&format!("only labels {OUR_PREFIX}* count for every service, {} is ignored", quoted(name)));
            } else if !OWNERS_LABELS.iter().any(|(it, _)| *it == name) {
                warn_of_supervisors(&at, name);
            } else if let Some(value) = value.map(str::to_owned).or_else(|| at.scalar()) {
                check(&at, name, &value);
                values.insert(name.to_owned(), value);
            }
        }
        Self { values }
    }

    /// The value of a label that counts for a service: its own, which is taken out of `own`, or else the release's.
    pub(super) fn effective(&self, name: &str, at: &Cursor<'_>, own: &mut SortedMap<String, String>) -> Option<String> {
        let Some(value) = own.remove(name) else { return self.values.get(name).cloned() };
        check(at, name, &value);
        Some(value)
    }
}

/// The labels of a service's hook, of its own and of its release's. Its container has them.
pub(super) fn hook_labels(
    release: &ReleaseLabels,
    at: &Cursor<'_>,
    own: &mut SortedMap<String, String>,
) -> SortedMap<String, String> {
    let label = |name: &str| Some((name.to_owned(), release.effective(name, at, own)?));
    [BEFORE_UPDATE_LABEL, BEFORE_UPDATE_TIMEOUT_LABEL].into_iter().filter_map(label).collect()
}

/// Names with their values, where the name holds the value too, and their places.
fn entries<'a>(at: &Cursor<'a>) -> Vec<(&'a str, Option<&'a str>, Cursor<'a>)> {
    if !at.is_list() {
        return at.entries().into_iter().map(|(name, at)| (name, None, at)).collect();
    }
    let texts = at.items().into_iter().filter_map(|at| Some((at.text()?, at)));
    let pair = |text: &'a str| text.split_once('=').unwrap_or((text, ""));
    texts.map(|(text, at)| (pair(text).0, Some(pair(text).1), at)).collect()
}

/// Notes the mistake that a value is wrong for its label.
fn check(at: &Cursor<'_>, name: &str, value: &str) {
    let check = OWNERS_LABELS.iter().find(|(it, _)| *it == name);
    if let Some(Err(why)) = check.map(|(_, check)| check(value)) {
        at.wrong(&format!("the label {name}: {why}"));
    }
}

/// Whether a volume asks that a rollback puts its data back. The label is taken out.
pub(super) fn snapshot(at: &Cursor<'_>, labels: &mut SortedMap<String, String>) -> bool {
    let wanted = labels.remove(SNAPSHOT_LABEL).map(|it| values::yes_or_no(&it)).transpose();
    wanted.unwrap_or_else(|why| {
        at.wrong(&format!("the label {SNAPSHOT_LABEL}: {why}"));
        None
    }) == Some(true)
}

/// Labels of a service, a network or a volume, without those that only a supervisor sets.
pub(super) fn owners_labels(at: &Cursor<'_>, labels: SortedMap<String, String>) -> SortedMap<String, String> {
    let mut all = modern_labels(labels);
    all.retain(|name, _| {
        let given = is_supervisor_label(name);
        if given {
            warn_of_supervisors(at, name);
        }
        !given
    });
    all
}

fn warn_of_supervisors(at: &Cursor<'_>, name: &str) {
    at.warn(&format!("the label {} is the supervisor's to give, ignored", quoted(name)));
}

/// Labels with `io.resin.` names under their names of today; a label that already has such a name wins.
fn modern_labels(labels: SortedMap<String, String>) -> SortedMap<String, String> {
    let (old, mut all): (SortedMap<_, _>, SortedMap<_, _>) =
        labels.into_iter().partition(|(name, _)| name.starts_with("io.resin."));
    for (name, value) in old {
        // Replaces every occurrence: `io.resin.features.resin-api` too.
        all.entry(name.replace("resin", "balena")).or_insert(value);
    }
    all
}
