//! Labels in documents: those of older generations under their names of today, and without those of supervisors.

use std::collections::BTreeMap;

use crate::state::is_supervisor_label;

use super::at::{Cursor, quoted};

/// Labels of a service, a network or a volume, without those that only a supervisor sets.
pub(super) fn owners_labels(at: &Cursor<'_>, labels: BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut all = modern_labels(labels);
    all.retain(|name, _| {
        let given = is_supervisor_label(name);
        if given {
            at.warn(&format!("the label {} is the supervisor's to give, ignored", quoted(name)));
        }
        !given
    });
    all
}

/// Labels with `io.resin.` names under their names of today; a label that already has such a name wins.
fn modern_labels(labels: BTreeMap<String, String>) -> BTreeMap<String, String> {
    let (old, mut all): (BTreeMap<_, _>, BTreeMap<_, _>) =
        labels.into_iter().partition(|(name, _)| name.starts_with("io.resin."));
    for (name, value) in old {
        // Replaces every occurrence: `io.resin.features.resin-api` too.
        all.entry(name.replace("resin", "balena")).or_insert(value);
    }
    all
}
