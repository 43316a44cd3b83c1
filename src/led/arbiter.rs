//! Which purposes request each LED, and which of them owns it.

use std::time::Duration;

use tokio::time::Instant;

use crate::led::pattern::{self, IDENTIFY_FOR};
use crate::port::ToolLock;
use crate::request::CloudReachability;
use crate::sorted::SortedMap;
use crate::state::{LedOwner, LedPurpose, LedRef, Pattern};

/// All requests for LEDs.
#[derive(Debug)]
pub(super) struct LedArbiter {
    /// Whether the bring-up tool has taken all LEDs.
    pub(super) tool_lock: ToolLock,
    /// Whether the cloud can be reached.
    pub(super) reach: CloudReachability,
    identify: Option<TimedRequest>,
    /// Requested patterns, each by the own name of its LED or line.
    held: SortedMap<LedRef, (Pattern, TimedRequest)>,
    last_nth: u64,
}

/// A request that expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct TimedRequest {
    until: Instant,
    /// Serial number of the request, so that a repeated request restarts the pattern.
    nth: u64,
}

/// What one owner requests of a LED.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DesiredPattern {
    pub(super) owner: LedOwner,
    /// `None`: the owner drives the LED itself.
    pub(super) pattern: Option<Pattern>,
    /// Serial number of the request. 0: it does not expire.
    pub(super) nth: u64,
}

impl LedArbiter {
    /// No requests.
    pub(super) const fn none() -> Self {
        Self { tool_lock: ToolLock::Free, reach: CloudReachability::Up, identify: None, held: SortedMap::new(), last_nth: 0 }
    }

    /// Requests identification of the device, from now on.
    pub(super) fn identify(&mut self, now: Instant) {
        self.identify = Some(self.timed_request(now, IDENTIFY_FOR));
    }

    /// Cancels identification.
    pub(super) const fn cancel_identify(&mut self) {
        self.identify = None;
    }

    /// Requests this pattern, from now on.
    pub(super) fn hold(&mut self, led: LedRef, pattern: Pattern, length: Duration, now: Instant) {
        let request = self.timed_request(now, length);
        self.held.insert(led, (pattern, request));
    }

    /// Cancels the pattern of this LED.
    pub(super) fn release(&mut self, led: &LedRef) {
        self.held.remove(led);
    }

    fn timed_request(&mut self, now: Instant, length: Duration) -> TimedRequest {
        self.last_nth += 1;
        TimedRequest { until: now + length, nth: self.last_nth }
    }

    /// Removes expired requests.
    pub(super) fn expire(&mut self, now: Instant) {
        self.held.retain(|_, (_, request)| request.until > now);
        self.identify = self.identify.filter(|request| request.until > now);
    }

    /// The LEDs and lines for which a pattern is requested.
    pub(super) fn held(&self) -> impl Iterator<Item = &LedRef> {
        self.held.keys()
    }

    /// Every current request for this LED, its owner first. `identify_name`: the name of the LED to identify the device by.
    pub(super) fn requests(&self, which: &LedRef, identify_name: Option<&str>, now: Instant) -> Vec<DesiredPattern> {
        let held = match which {
            LedRef::Identify => identify_name.and_then(|name| self.held.get(&LedRef::Named(name.to_owned()))),
            // The identify LED is handled as `LedRef::Identify` only, so that it has one owner.
            LedRef::Named(name) if identify_name == Some(name) => None,
            LedRef::Named(_) | LedRef::Line(_) => self.held.get(which),
        };
        let held = held.filter(|(_, request)| request.until > now);
        let held = held.map(|(pattern, request)| (LedPurpose::Pattern, Some(*request), Some(pattern.clone())));
        let tool = (self.tool_lock == ToolLock::Taken).then_some((LedPurpose::BringUp, None, None));
        let (identify, offline) = match which {
            LedRef::Named(_) | LedRef::Line(_) => (None, None),
            LedRef::Identify => {
                let identify = self.identify.filter(|request| request.until > now);
                let offline = (self.reach == CloudReachability::Down)
                    .then(|| (LedPurpose::Offline, None, pattern::of(LedPurpose::Offline)));
                (identify.map(|request| (LedPurpose::Identify, Some(request), pattern::of(LedPurpose::Identify))), offline)
            }
        };
        let desired = |(purpose, request, pattern): (LedPurpose, Option<TimedRequest>, Option<Pattern>)| DesiredPattern {
            owner: LedOwner { purpose, until: request.map(|request| request.until) },
            pattern,
            nth: request.map_or(0, |request| request.nth),
        };
        [tool, identify, held, offline].into_iter().flatten().map(desired).collect()
    }

    /// When the next request expires, if any does.
    pub(super) fn changes_at(&self, now: Instant) -> Option<Instant> {
        let requests = self.held.values().map(|(_, request)| *request).chain(self.identify);
        requests.map(|request| request.until).filter(|until| *until > now).min()
    }
}
