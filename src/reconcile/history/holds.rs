//! LEDs and lines that were held, each with how long and how that ended.

use crate::port::World;
use crate::reconcile::Reconciler;
use crate::reconcile::history::REPEATED;
use crate::state::history::{Cause, HistoryAction, HistoryEntry, HistoryNote, HistoryObject, HistoryOutcome, Requester};
use crate::state::{EndedHold, HoldEnd, HoldSubject, LedRef};

/// The name in place of a single LED's.
const ALL_LEDS: &str = "(all)";

impl<W: World> Reconciler<'_, W> {
    /// An LED or line was held until now, or could not be: enters it, unless the last entries have the same already.
    pub(in crate::reconcile) fn note_held(&self, by: Option<Requester>, EndedHold { subject, held, end }: EndedHold) {
        let millis = u64::try_from(held.as_millis()).unwrap_or(u64::MAX);
        let (object, name, request) = words(subject);
        let why = format!("{request}{}", how_it_ended(&end, &name, held.as_secs()));
        let outcome = match end {
            HoldEnd::Failed(why) => HistoryOutcome::Failed(why),
            HoldEnd::TimeOver | HoldEnd::Released(_) | HoldEnd::Replaced(_) => HistoryOutcome::Done,
        };
        let is_same = |it: &HistoryEntry| {
            let is_hold = it.action == HistoryAction::Hold && it.outcome == outcome;
            is_hold && it.object == object && it.name == name && it.asked_by == by && it.why.starts_with(&request)
        };
        if self.context.history.borrow().entries().rev().take(REPEATED).any(|it| is_same(it)) {
            return;
        }
        self.note(HistoryNote {
            at_ms: self.now_ms().saturating_sub(i64::try_from(millis).unwrap_or(i64::MAX)),
            action: HistoryAction::Hold,
            object,
            name,
            app: None,
            service: None,
            cause: Cause { why, asked_by: by, ..Cause::default() },
            outcome,
            millis: Some(millis),
        });
    }
}

/// What was held, and the words of the request.
fn words(subject: HoldSubject) -> (HistoryObject, String, String) {
    let (which, pattern, length, times) = match subject {
        HoldSubject::BringUp => {
            return (HistoryObject::Led, ALL_LEDS.to_owned(), "a program had them to try them out".to_owned());
        }
        HoldSubject::Pattern { which, pattern, length, times } => (which, pattern, length, times),
    };
    let (object, name) = match which {
        LedRef::Line(name) => (HistoryObject::Line, name),
        LedRef::Named(name) => (HistoryObject::Led, name),
        LedRef::Identify => (HistoryObject::Led, which.to_string()),
    };
    let mut request = format!("the pattern {pattern} was requested for {} s", length.as_secs());
    if times > 1 {
        request = format!("{request}, the last of {times} requests");
    }
    (object, name, request)
}

/// How it ended, as the end of a sentence.
fn how_it_ended(end: &HoldEnd, name: &str, secs: u64) -> String {
    match end {
        HoldEnd::Failed(_) => String::new(),
        HoldEnd::Released(_) if name == ALL_LEDS => format!(", for {secs} s"),
        HoldEnd::TimeOver => format!(", and its time was over after {secs} s"),
        HoldEnd::Released(by) => format!(", and {} released it after {secs} s", who(by.as_ref())),
        HoldEnd::Replaced(by) => format!(", and {} requested another one after {secs} s", who(by.as_ref())),
    }
}

fn who(by: Option<&Requester>) -> &str {
    by.map_or("a program", Requester::words)
}
