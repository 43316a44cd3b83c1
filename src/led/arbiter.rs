//! Which purposes request each LED, and which of them owns it.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::led::pattern::{self, IDENTIFY_FOR};
use crate::port::ToolLock;
use crate::request::CloudReachability;
use crate::state::{LedOwner, LedPurpose, LedRef, Pattern};

/// All requests for LEDs.
#[derive(Debug)]
pub(super) struct LedArbiter {
    /// Whether the bring-up tool has taken all LEDs.
    pub(super) bench: ToolLock,
    /// Whether the cloud can be reached.
    pub(super) reach: CloudReachability,
    identify: Option<TimedRequest>,
    /// Requested patterns, by the LED's name.
    held: BTreeMap<String, (Pattern, TimedRequest)>,
    turns: u64,
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
        Self { bench: ToolLock::Free, reach: CloudReachability::Up, identify: None, held: BTreeMap::new(), turns: 0 }
    }

    /// Requests identification of the device, from now on.
    pub(super) fn identify(&mut self, now: Instant) {
        self.identify = Some(self.turn(now, IDENTIFY_FOR));
    }

    /// Cancels identification.
    pub(super) const fn forget_identify(&mut self) {
        self.identify = None;
    }

    /// Requests this pattern, from now on.
    pub(super) fn hold(&mut self, led: String, pattern: Pattern, length: Duration, now: Instant) {
        let turn = self.turn(now, length);
        self.held.insert(led, (pattern, turn));
    }

    /// Cancels the pattern of this LED.
    pub(super) fn let_go(&mut self, led: &str) {
        self.held.remove(led);
    }

    fn turn(&mut self, now: Instant, length: Duration) -> TimedRequest {
        self.turns += 1;
        TimedRequest { until: now + length, nth: self.turns }
    }

    /// Removes expired requests.
    pub(super) fn expire(&mut self, now: Instant) {
        self.held.retain(|_, (_, turn)| turn.until > now);
        self.identify = self.identify.filter(|turn| turn.until > now);
    }

    /// The LEDs for which a pattern is requested.
    pub(super) fn held(&self) -> impl Iterator<Item = &String> {
        self.held.keys()
    }

    /// Every current request for this LED, its owner first. `main`: the name of the LED to identify the device by.
    pub(super) fn wants(&self, which: &LedRef, main: Option<&str>, now: Instant) -> Vec<DesiredPattern> {
        let name = match which {
            LedRef::Identify => main,
            // The identify LED is handled as `LedRef::Identify` only, so that it has one owner.
            LedRef::Named(name) => Some(name.as_str()).filter(|name| main != Some(name)),
        };
        let held = name.and_then(|name| self.held.get(name)).filter(|(_, turn)| turn.until > now);
        let held = held.map(|(pattern, turn)| (LedPurpose::Pattern, Some(*turn), Some(pattern.clone())));
        let bench = (self.bench == ToolLock::Taken).then_some((LedPurpose::BringUp, None, None));
        let (identify, offline) = match which {
            LedRef::Named(_) => (None, None),
            LedRef::Identify => {
                let identify = self.identify.filter(|turn| turn.until > now);
                let offline = (self.reach == CloudReachability::Down)
                    .then(|| (LedPurpose::Offline, None, pattern::of(LedPurpose::Offline)));
                (identify.map(|turn| (LedPurpose::Identify, Some(turn), pattern::of(LedPurpose::Identify))), offline)
            }
        };
        let want = |(purpose, turn, pattern): (LedPurpose, Option<TimedRequest>, Option<Pattern>)| DesiredPattern {
            owner: LedOwner { purpose, until: turn.map(|turn| turn.until) },
            pattern,
            nth: turn.map_or(0, |turn| turn.nth),
        };
        [bench, identify, held, offline].into_iter().flatten().map(want).collect()
    }

    /// When the next request expires, if any does.
    pub(super) fn changes_at(&self, now: Instant) -> Option<Instant> {
        let turns = self.held.values().map(|(_, turn)| *turn).chain(self.identify);
        turns.map(|turn| turn.until).filter(|until| *until > now).min()
    }
}
