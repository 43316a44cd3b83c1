//! A target on trial: a person has the device run a target for a while, and it returns to the present one unless it is kept.
//!
//! What is tried or kept lies over the target that the sources give, which goes on being received and saved. So the end of a
//! trial is the removal of one record, and a power cut at any moment ends in the one target or the other.

use tokio::time::Instant;

use crate::state::Target;

/// The shortest and the longest trial, and the one of a person who does not say, in seconds.
pub const SHORTEST_TRIAL_SECS: u32 = 10;
/// Seven days.
pub const LONGEST_TRIAL_SECS: u32 = 7 * 24 * 60 * 60;
/// Ten minutes.
pub const DEFAULT_TRIAL_SECS: u32 = 10 * 60;

/// How much of its length a trial loses at most when the agent does not know how long it ran before a reboot: one part of this
/// many. So often, at most, a reboot can keep a trial from ending.
const PARTS: i64 = 10;

/// What is remembered of trials.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TargetTrialRecord {
    /// The target on trial.
    pub tried: Option<TriedTarget>,
    /// The target that was kept after its trial.
    pub kept: Option<KeptTarget>,
}

/// A target on trial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TriedTarget {
    /// The target.
    pub target: Target,
    /// How long it is still on trial.
    pub time: TrialTime,
    /// The fingerprint of the sources' target when the trial began.
    pub over: String,
}

/// A target that was kept after its trial. It counts for as long as the sources give the target that they gave then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptTarget {
    /// The target.
    pub target: Target,
    /// The fingerprint of the sources' target.
    pub over: String,
}

/// How long a trial still takes. It counts the time for which the board is up, and never the wall clock, which is wrong on a
/// board without a battery and may be set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrialTime {
    /// The boot in which the time left was noted.
    pub boot_id: String,
    /// Seconds since that boot, then.
    pub noted_up_secs: i64,
    /// The time that was left then, in seconds.
    pub left_secs: i64,
    /// The whole length, in seconds.
    pub length_secs: i64,
}

/// A boot, and the time since then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootTime {
    /// The boot id. Empty: it is not known.
    pub boot_id: String,
    /// Seconds since the boot. Setting the clock does not change it.
    pub up_secs: i64,
}

/// What the agent publishes of trials. `None` in its place: the device runs what its sources give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetTrialStatus {
    /// When the trial ends by itself. `None`: the target was kept.
    pub ends: Option<Instant>,
    /// The fingerprint of the target that the sources gave last.
    pub beneath: String,
    /// Since the trial began, the sources gave another target, which is applied when it ends.
    pub has_newer: bool,
    /// What the document of the trial has that is ignored or doubtful.
    pub warnings: Vec<String>,
}

impl TargetTrialRecord {
    /// The target in force. `None`: that of the sources.
    #[must_use]
    pub fn in_force(&self) -> Option<&Target> {
        self.tried.as_ref().map(|it| &it.target).or_else(|| self.kept.as_ref().map(|it| &it.target))
    }
}

impl TrialTime {
    /// A trial that begins now.
    #[must_use]
    pub fn begin(length_secs: u32, now: &BootTime) -> Self {
        let length_secs = i64::from(length_secs);
        Self { boot_id: now.boot_id.clone(), noted_up_secs: now.up_secs, left_secs: length_secs, length_secs }
    }

    /// The time left, in seconds; 0 or less: it is over. A reboot takes one tenth of the length, because so much may have
    /// passed before it since the time was noted.
    #[must_use]
    pub fn left_secs(&self, now: &BootTime) -> i64 {
        if self.is_of(now) {
            // The time since a boot never runs backwards; a damaged record must not make a trial longer.
            let passed = now.up_secs.saturating_sub(self.noted_up_secs).max(0);
            return self.left_secs.min(self.length_secs).saturating_sub(passed);
        }
        self.left_secs.min(self.length_secs).saturating_sub(self.part_secs()).saturating_sub(now.up_secs.max(0))
    }

    /// Notes the time left, if that is due: after a reboot, and whenever a tenth of the length has passed. Returns whether it
    /// was, so that it has to be saved.
    pub fn note(&mut self, now: &BootTime) -> bool {
        let left_secs = self.left_secs(now);
        let is_due = !self.is_of(now) || self.left_secs.saturating_sub(left_secs) >= self.part_secs();
        if is_due {
            *self = Self { boot_id: now.boot_id.clone(), noted_up_secs: now.up_secs, left_secs, length_secs: self.length_secs };
        }
        is_due
    }

    /// How long until there is something to be noted, or the trial is over, in seconds.
    #[must_use]
    pub fn next_secs(&self, now: &BootTime) -> u64 {
        let left_secs = self.left_secs(now);
        let due_secs = self.part_secs().saturating_sub(self.left_secs.saturating_sub(left_secs));
        u64::try_from(left_secs.min(due_secs)).unwrap_or_default()
    }

    fn is_of(&self, now: &BootTime) -> bool {
        self.boot_id == now.boot_id && !now.boot_id.is_empty()
    }

    fn part_secs(&self) -> i64 {
        (self.length_secs / PARTS).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(boot: &str, up_secs: i64) -> BootTime {
        BootTime { boot_id: boot.to_owned(), up_secs }
    }

    #[test]
    fn within_a_boot_the_time_since_it_counts() {
        let time = TrialTime::begin(600, &at("a", 100));
        for (up, left) in [(100, 600), (101, 599), (700, 0), (800, -100), (50, 600)] {
            assert_eq!(time.left_secs(&at("a", up)), left, "{up}");
        }
    }

    #[test]
    fn a_reboot_takes_a_tenth_and_not_the_rest() {
        let mut time = TrialTime::begin(600, &at("a", 100));
        assert!(!time.note(&at("a", 150)));
        assert_eq!(time.left_secs(&at("b", 20)), 600 - 60 - 20);
        assert!(time.note(&at("b", 20)));
        assert!(!time.note(&at("b", 21)));
        assert_eq!(time.left_secs(&at("b", 30)), 510);
    }

    #[test]
    fn reboots_again_and_again_do_not_make_it_endless() {
        let mut time = TrialTime::begin(600, &at("a", 100));
        let mut boots = 0;
        while time.left_secs(&at(&format!("b{boots}"), 1)) > 0 {
            time.note(&at(&format!("b{boots}"), 1));
            boots += 1;
        }
        assert!((9..=10).contains(&boots), "{boots}");
    }

    #[test]
    fn what_was_over_before_a_reboot_is_over_after_it() {
        let mut time = TrialTime::begin(600, &at("a", 0));
        for up in 0..600 {
            time.note(&at("a", up));
        }
        assert!(time.left_secs(&at("b", 0)) <= 0, "{time:?}");
    }

    #[test]
    fn a_boot_that_is_not_known_counts_as_another() {
        let time = TrialTime::begin(600, &at("", 100));
        assert_eq!(time.left_secs(&at("", 100)), 440);
    }

    #[test]
    fn it_is_looked_at_whenever_a_tenth_has_passed_and_at_its_end() {
        let mut time = TrialTime::begin(600, &at("a", 0));
        assert_eq!(time.next_secs(&at("a", 10)), 50);
        assert!(time.note(&at("a", 60)));
        assert_eq!((time.left_secs, time.next_secs(&at("a", 60))), (540, 60));
        time.left_secs = 30;
        assert_eq!(time.next_secs(&at("a", 70)), 20);
        assert_eq!(time.next_secs(&at("a", 900)), 0);
    }

    #[test]
    fn a_record_that_says_more_than_its_length_does_not_get_more() {
        let time = TrialTime { left_secs: i64::MAX, ..TrialTime::begin(600, &at("a", 0)) };
        assert_eq!(time.left_secs(&at("a", 0)), 600);
    }
}
