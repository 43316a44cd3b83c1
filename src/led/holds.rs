//! What is held, by whom and since when. The history gets an entry when it has ended.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::port::ToolLock;
use crate::request::Request;
use crate::sorted::SortedMap;
use crate::state::history::Requester;
use crate::state::{EndedHold, HoldEnd, HoldSubject, LedRef, Pattern};

/// The patterns that are held, and the bring-up tool.
#[derive(Debug)]
pub(super) struct HoldTracker {
    /// By the own name of the LED or line.
    holds: SortedMap<LedRef, Hold>,
    /// Since when the bring-up tool has the LEDs.
    tool_since: Option<Instant>,
    requests: mpsc::Sender<Request>,
}

/// A pattern that is held.
#[derive(Debug)]
struct Hold {
    by: Option<Requester>,
    pattern: Pattern,
    length: Duration,
    /// How often the caller requested one since it began.
    times: u32,
    since: Instant,
}

impl HoldTracker {
    /// Nothing is held.
    pub(super) const fn none(requests: mpsc::Sender<Request>) -> Self {
        Self { holds: SortedMap::new(), tool_since: None, requests }
    }

    /// A pattern is requested. A caller that requests one again, or another one, goes on with its hold: a program that
    /// animates an LED would leave no other entry in the history.
    pub(super) fn begin(&mut self, which: &LedRef, pattern: Pattern, length: Duration, by: Option<Requester>) {
        if let Some(hold) = self.holds.get_mut(which)
            && hold.by == by
        {
            hold.times = hold.times.saturating_add(1);
            (hold.pattern, hold.length) = (pattern, length);
            return;
        }
        self.end(which, HoldEnd::Replaced(by.clone()));
        self.holds.insert(which.clone(), Hold { by, pattern, length, times: 1, since: Instant::now() });
    }

    /// What is held on this LED or line, if anything, has ended.
    pub(super) fn end(&mut self, which: &LedRef, end: HoldEnd) {
        let Some(Hold { by, pattern, length, times, since }) = self.holds.remove(which) else { return };
        let subject = HoldSubject::Pattern { which: which.clone(), pattern, length, times };
        self.report(by, EndedHold { subject, held: since.elapsed(), end });
    }

    /// The time of every other one is over.
    pub(super) fn keep_only(&mut self, is_held: impl Fn(&LedRef) -> bool) {
        let over: Vec<LedRef> = self.holds.keys().filter(|it| !is_held(it)).cloned().collect();
        for which in over {
            self.end(&which, HoldEnd::TimeOver);
        }
    }

    /// The bring-up tool took the LEDs, or released them.
    pub(super) fn set_tool_lock(&mut self, tool_lock: ToolLock) {
        match (tool_lock, self.tool_since) {
            (ToolLock::Taken, None) => self.tool_since = Some(Instant::now()),
            (ToolLock::Free, Some(since)) => {
                self.tool_since = None;
                let held = since.elapsed();
                self.report(None, EndedHold { subject: HoldSubject::BringUp, held, end: HoldEnd::Released(None) });
            }
            (ToolLock::Taken, Some(_)) | (ToolLock::Free, None) => {}
        }
    }

    fn report(&self, by: Option<Requester>, ended: EndedHold) {
        let request = Request::Held(Box::new(ended));
        let request = match by {
            Some(by) => Request::By(by, Box::new(request)),
            None => request,
        };
        // No LED waits for the history: if the reconciler has too much to do, the history lacks it.
        let _ = self.requests.try_send(request);
    }
}
