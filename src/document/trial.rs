//! The labels that say what proves a release good. They are taken out: no container is recreated because one changes.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::state::TrialRules;
use crate::state::release::{DEADLINE_LABEL, ROLLBACK_LABEL, SETTLE_LABEL};

use super::at::{Cursor, quoted};
use super::values;

/// The longest time that a release may be on trial.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// Takes the rules out of a service's labels.
pub(super) fn take_rules(at: &Cursor<'_>, labels: &mut BTreeMap<String, String>) -> TrialRules {
    let rollback = labels.remove(ROLLBACK_LABEL).and_then(|text| match text.trim() {
        "true" | "1" | "on" => Some(true),
        "false" | "0" | "off" => Some(false),
        _ => {
            at.wrong(&format!("the label {ROLLBACK_LABEL} must be `true` or `false`, and is {}", quoted(&text)));
            None
        }
    });
    let mut time = |label: &str, default: Duration| {
        let Some(text) = labels.remove(label) else { return default };
        let given = values::duration(&text).filter(|it| *it <= LONGEST);
        given.unwrap_or_else(|| {
            at.wrong(&format!("the label {label} must be a time such as `90s` or `5m`, at most 24h, and is {}", quoted(&text)));
            default
        })
    };
    let TrialRules { settle, deadline, .. } = TrialRules::default();
    let (settle, deadline) = (time(SETTLE_LABEL, settle), time(DEADLINE_LABEL, deadline));
    if settle >= deadline {
        at.wrong(&format!(
            "the label {SETTLE_LABEL} must be shorter than {DEADLINE_LABEL}: no release would ever be proven good"
        ));
    }
    TrialRules { rollback, settle, deadline }
}
