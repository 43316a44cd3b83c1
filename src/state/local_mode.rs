//! Local mode: a person nearby develops an app on the device, and the owner's apps stand still meanwhile.
//!
//! Whether it is on follows from the owner's target (`SUPERVISOR_LOCAL_MODE`) and from a switch that a person on the
//! device may have set. What was pushed since it was entered is a session. Both are one record, so that a power cut at
//! any moment ends in one of two: local mode with the last target that was pushed, or the owner's target.

use crate::sorted::SortedSet;
use crate::state::{AppId, ImageId, ServiceKey, Target, TargetError};

/// The longest time for which a person can switch local mode on, in seconds: 30 days.
pub const LONGEST_LOCAL_MODE_SECS: u32 = 30 * 24 * 60 * 60;

/// The lowest number of a pushed app on this device, and how many there are. Clouds count from 1.
const PUSHED: u32 = 4_000_000_000;
const NUMBERS: u32 = 100_000_000;

/// What is remembered of local mode.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LocalModeRecord {
    /// The switch that a person on the device set.
    pub switch: Option<LocalModeSwitch>,
    /// What was done since local mode was entered. It stays until everything of it is removed.
    pub session: Option<LocalSession>,
}

/// A switch that a person on the device set. It counts over the owner's target for as long as that says what it said then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalModeSwitch {
    /// Whether local mode is on.
    pub is_on: bool,
    /// What the owner's target said when it was set.
    pub target_says: bool,
    /// When it ends by itself.
    pub ends: Option<SwitchEnd>,
}

/// When a switch ends. The wall clock may be wrong, or be set; the time since the boot is right until the next boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SwitchEnd {
    /// The boot in which it was set.
    pub boot_id: String,
    /// Seconds since that boot. In a later boot it ends this many seconds after the switch's length has passed there.
    pub uptime_secs: i64,
    /// For how many seconds it was set.
    pub length_secs: i64,
    /// The same moment in seconds since 1970, for later boots.
    pub at_secs: i64,
}

/// What the clocks say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClockReading {
    /// The boot id.
    pub boot_id: String,
    /// Seconds since the boot.
    pub uptime_secs: i64,
    /// Seconds since 1970.
    pub now_secs: i64,
}

/// What was done since local mode was entered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LocalSession {
    /// The images that were on the device when it was entered.
    pub images: SortedSet<ImageId>,
    /// Services that ran when it was entered. They are started again when it is left, whatever their restart policies say.
    pub interrupted: SortedSet<ServiceKey>,
    /// The target that was pushed last, [`numbered`] as on this device. `None`: none was pushed.
    pub target: Option<Target>,
    /// Every app that was pushed, by its number on this device.
    pub pushed: SortedSet<AppId>,
}

/// Local mode, as far as a plan depends on it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LocalApps {
    /// Whether local mode is on. If not, it was left, and the pushed apps are still to be removed.
    pub is_on: bool,
    /// Whether the owner has a target. Without one, nothing but pushed apps is ever touched.
    pub has_owner: bool,
    /// Every app that was pushed.
    pub pushed: SortedSet<AppId>,
}

/// What the agent publishes of local mode, besides whether it is on, which decides who needs a key
/// ([`Access::local_mode`](crate::state::Access)).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LocalModeStatus {
    /// Whether a person on the device switched it on or off; if not, the owner's target did.
    pub is_switched: bool,
    /// When the switch ends by itself, in seconds since 1970.
    pub until_secs: Option<i64>,
    /// The document that was pushed last, as it was pushed.
    pub document: Option<String>,
    /// Whether it was left, and pushed apps are still being removed.
    pub is_leaving: bool,
}

impl LocalModeRecord {
    /// Whether local mode is on, if the owner's target says this.
    #[must_use]
    pub fn is_on(&self, target_says: bool) -> bool {
        self.switch.as_ref().filter(|it| it.target_says == target_says).map_or(target_says, |it| it.is_on)
    }
}

impl LocalModeSwitch {
    /// Whether it does not count any more: its time is over, or the owner's target says something else by now.
    #[must_use]
    pub fn is_over(&self, target_says: bool, clock: &ClockReading) -> bool {
        self.target_says != target_says || self.ends.as_ref().is_some_and(|it| it.left_secs(clock) <= 0)
    }
}

impl SwitchEnd {
    /// The moment this many seconds from now.
    #[must_use]
    pub fn after(length_secs: i64, clock: &ClockReading) -> Self {
        Self {
            boot_id: clock.boot_id.clone(),
            uptime_secs: clock.uptime_secs.saturating_add(length_secs),
            length_secs,
            at_secs: clock.now_secs.saturating_add(length_secs),
        }
    }

    /// Seconds until then. After another boot the wall clock decides; if it was set back, the whole length from that
    /// boot on.
    #[must_use]
    pub fn left_secs(&self, clock: &ClockReading) -> i64 {
        if self.boot_id == clock.boot_id && !clock.boot_id.is_empty() {
            return self.uptime_secs.saturating_sub(clock.uptime_secs);
        }
        let by_wall = self.at_secs.saturating_sub(clock.now_secs);
        by_wall.min(self.length_secs.saturating_sub(clock.uptime_secs))
    }
}

impl LocalSession {
    /// Takes a target that was pushed.
    pub fn push(&mut self, target: Target) {
        self.pushed.extend(target.apps.keys().copied());
        self.target = Some(target);
    }
}

/// A target that was pushed, with the numbers and uuids that its apps have on this device: the last eight digits of
/// theirs, after 40. No app of an owner has such a number, so that what was pushed is known by its number for ever.
/// `Err`: two of its apps get the same one.
pub fn numbered(mut target: Target) -> Result<Target, TargetError> {
    for (id, mut app) in std::mem::take(&mut target.apps) {
        let number = AppId(PUSHED + id.0 % NUMBERS);
        // Networks are named by the uuid.
        if app.uuid == id.to_string() {
            app.uuid = number.to_string();
        }
        app.id = number;
        if let Some(other) = target.apps.insert(number, app) {
            return Err(TargetError(format!("the apps {} and {id} differ in more than their last eight digits", other.name)));
        }
    }
    Ok(target)
}

impl LocalApps {
    /// Whether local mode keeps an app: it is stopped, and nothing of it is removed, replaced or pulled.
    #[must_use]
    pub fn keeps(&self, app: AppId) -> bool {
        (self.is_on || !self.has_owner) && !self.pushed.contains(&app)
    }
}

#[cfg(test)]
mod tests;
