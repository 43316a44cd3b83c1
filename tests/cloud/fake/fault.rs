//! What may go wrong, and with which calls.

use std::time::Duration;

use super::route::Call;

/// What happens to a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is done, and the connection closes before the answer.
    LosesAnswer,
    /// It is done, and the connection closes in the middle of the answer's body.
    DiesMidBody,
    /// It is read, and never answered.
    Stalls,
    /// It is answered later.
    Slow(Duration),
    /// 503, with this `Retry-After` in seconds.
    Unavailable(Option<u64>),
    /// 429, with this `Retry-After` in seconds.
    TooMany(Option<u64>),
    /// 200 and a page, as a captive portal answers.
    Portal,
    /// 301 to this address.
    Moved(String),
    /// 401, whatever the key is.
    RefusesKeys,
    /// A body that never ends.
    EndlessBody,
    /// The target from before the last change, with its `ETag`.
    OldTarget,
    /// The target of now, with the `ETag` from before the last change.
    StaleEtag,
    /// 401 to a report that names this app.
    RefusesApp(String),
    /// It is answered, and the kept connection closes without a word.
    ClosesKept,
}

/// Faults in the order in which they were asked for.
#[derive(Debug, Default)]
pub(super) struct Faults(Vec<Rule>);

#[derive(Debug)]
struct Rule {
    call: Call,
    fault: Fault,
    left: u32,
}

impl Faults {
    pub(super) fn add(&mut self, call: Call, fault: Fault, times: u32) {
        self.0.push(Rule { call, fault, left: times });
    }

    /// What happens to a call that arrives now.
    pub(super) fn take(&mut self, call: Call) -> Option<Fault> {
        let rule = self.0.iter_mut().find(|it| it.left > 0 && (it.call == call || it.call == Call::Any))?;
        rule.left = rule.left.saturating_sub(u32::from(rule.left != u32::MAX));
        Some(rule.fault.clone())
    }
}
