//! The labels that say what proves a release good. No container is recreated because one changes.

use crate::sorted::SortedMap;
use crate::state::TrialRules;
use crate::state::release::{DEADLINE_LABEL, ROLLBACK_LABEL, SETTLE_LABEL};

use super::at::Cursor;
use super::labels::ReleaseLabels;
use super::values;

/// The rules of a service: of its own labels, which are taken out of `own`, and of its release's.
pub(super) fn rules(release: &ReleaseLabels, at: &Cursor<'_>, own: &mut SortedMap<String, String>) -> TrialRules {
    let mut label = |name: &str| release.effective(name, at, own);
    let usual = TrialRules::default();
    let rollback = label(ROLLBACK_LABEL).and_then(|it| values::yes_or_no(&it).ok());
    let settle = label(SETTLE_LABEL).and_then(|it| values::time_on_trial(&it).ok()).unwrap_or(usual.settle);
    let deadline = label(DEADLINE_LABEL).and_then(|it| values::time_on_trial(&it).ok()).unwrap_or(usual.deadline);
    if settle >= deadline {
        at.wrong(&format!(
            "the label {SETTLE_LABEL} must be shorter than {DEADLINE_LABEL}: no release would ever be proven good"
        ));
    }
    TrialRules { rollback, settle, deadline }
}
