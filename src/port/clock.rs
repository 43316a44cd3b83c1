//! The ports of wall time and of randomness.

use std::ops::Range;
use std::time::Duration;

use futures_util::Stream;

use crate::state::window::ZoneOffset;

/// Wall time. Durations are measured with [`tokio::time`].
pub trait Clock {
    /// Seconds since 1970, on the same clock as the engine's timestamps.
    fn now_secs(&self) -> i64;
    /// When the machine booted, in the same seconds.
    fn booted_secs(&self) -> i64;
    /// The time since the boot, including the time for which the machine was suspended. Setting the clock does not change it.
    fn up(&self) -> Duration;
    /// The boot id: no other boot has the same. Empty if unknown.
    fn boot_id(&self) -> String;
    /// How far local time is from UTC in this range of seconds since 1970: offsets that follow each other and cover it.
    /// `None`: in the device's own zone, or in UTC where it has none. Error: why the zone is not known, and what to do.
    async fn zone_offsets(&self, zone: Option<&str>, range: Range<i64>) -> Result<Vec<ZoneOffset>, String>;
    /// An item whenever the clock was set, by a user or a time service. Corrections that only make it run faster or slower for
    /// a while count as none. Several changes may give one item. Never ends.
    fn jumps(&self) -> impl Stream<Item = ()>;
}

/// Randomness, good enough for keys.
pub trait Random {
    /// Random bytes.
    fn bytes(&self) -> [u8; 32];
}
