//! Who wants which LED, and who has it.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::led::pattern::{self, IDENTIFY_FOR};
use crate::port::ToolLock;
use crate::request::CloudReachability;
use crate::state::{LedOwner, LedPurpose, LedRef, Pattern};

/// Everybody who wants a LED.
#[derive(Debug)]
pub(super) struct LedArbiter {
    /// Whether the bring-up tool has them all.
    pub(super) bench: ToolLock,
    /// Whether the cloud can be reached.
    pub(super) reach: CloudReachability,
    identify: Option<TimedRequest>,
    /// Patterns that were asked for, by the LED's name.
    held: BTreeMap<String, (Pattern, TimedRequest)>,
    turns: u64,
}

/// A request that lasts for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct TimedRequest {
    until: Instant,
    /// Which request it was, so that one asked for again begins anew.
    nth: u64,
}

/// What somebody wants of a LED.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DesiredPattern {
    pub(super) owner: LedOwner,
    /// `None`: they show what they like, by themselves.
    pub(super) pattern: Option<Pattern>,
    /// Which request it is.
    pub(super) nth: u64,
}

impl LedArbiter {
    /// Nobody wants any.
    pub(super) const fn none() -> Self {
        Self { bench: ToolLock::Free, reach: CloudReachability::Up, identify: None, held: BTreeMap::new(), turns: 0 }
    }

    /// Somebody wants to see the device, from now on.
    pub(super) fn identify(&mut self, now: Instant) {
        self.identify = Some(self.turn(now, IDENTIFY_FOR));
    }

    /// Nobody wants to see the device any more.
    pub(super) const fn forget_identify(&mut self) {
        self.identify = None;
    }

    /// Somebody wants this pattern, from now on.
    pub(super) fn hold(&mut self, led: String, pattern: Pattern, length: Duration, now: Instant) {
        let turn = self.turn(now, length);
        self.held.insert(led, (pattern, turn));
    }

    /// Nobody wants a pattern of this LED any more.
    pub(super) fn let_go(&mut self, led: &str) {
        self.held.remove(led);
    }

    fn turn(&mut self, now: Instant, length: Duration) -> TimedRequest {
        self.turns += 1;
        TimedRequest { until: now + length, nth: self.turns }
    }

    /// Forgets what is over.
    pub(super) fn expire(&mut self, now: Instant) {
        self.held.retain(|_, (_, turn)| turn.until > now);
        self.identify = self.identify.filter(|turn| turn.until > now);
    }

    /// The LEDs of which somebody wants a pattern.
    pub(super) fn held(&self) -> impl Iterator<Item = &String> {
        self.held.keys()
    }

    /// Everybody who wants this LED now, who has it first. `main`: what the one to find the device by is called.
    pub(super) fn wants(&self, which: &LedRef, main: Option<&str>, now: Instant) -> Vec<DesiredPattern> {
        let name = match which {
            LedRef::Identify => main,
            // By that name it is the other one, and has one owner.
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

    /// When somebody stops wanting one, if that is known.
    pub(super) fn changes_at(&self, now: Instant) -> Option<Instant> {
        let turns = self.held.values().map(|(_, turn)| *turn).chain(self.identify);
        turns.map(|turn| turn.until).filter(|until| *until > now).min()
    }
}
