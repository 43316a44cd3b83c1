//! Who wants the LED, and who has it.

use tokio::time::Instant;

use crate::intent::Reach;
use crate::led::pattern::IDENTIFY_FOR;
use crate::port::Bench;
use crate::state::{Owner, Purpose};

/// Everybody who wants the LED.
#[derive(Debug, Clone, Copy)]
pub(super) struct Claims {
    /// Whether the bring-up tool has it.
    pub(super) bench: Bench,
    /// Whether the cloud can be reached.
    pub(super) reach: Reach,
    identify_until: Option<Instant>,
}

impl Claims {
    /// Nobody wants it.
    pub(super) const NONE: Self = Self { bench: Bench::Free, reach: Reach::Up, identify_until: None };

    /// Somebody wants to see the device, from now on.
    pub(super) fn identify(&mut self, now: Instant) {
        self.identify_until = Some(now + IDENTIFY_FOR);
    }

    /// Nobody wants to see the device any more.
    pub(super) const fn forget_identify(&mut self) {
        self.identify_until = None;
    }

    /// Everybody who wants the LED now, who has it first.
    pub(super) fn owners(&self, now: Instant) -> Vec<Owner> {
        let until = self.changes_at(now);
        let owner = |purpose, until| Owner { purpose, until };
        let bench = (self.bench == Bench::Taken).then(|| owner(Purpose::BringUp, None));
        let identify = until.map(|until| owner(Purpose::Identify, Some(until)));
        let offline = (self.reach == Reach::Down).then(|| owner(Purpose::Offline, None));
        [bench, identify, offline].into_iter().flatten().collect()
    }

    /// When somebody stops wanting it, if that is known.
    pub(super) fn changes_at(&self, now: Instant) -> Option<Instant> {
        self.identify_until.filter(|until| *until > now)
    }
}
