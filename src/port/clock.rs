//! The ports of wall time and of randomness.

use std::time::Duration;

use futures_util::Stream;

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
    /// An item whenever the clock was set, by a user or a time service. Corrections that only make it run faster or slower for
    /// a while count as none. Several changes may give one item. Never ends.
    fn jumps(&self) -> impl Stream<Item = ()>;
}

/// Randomness, good enough for keys.
pub trait Random {
    /// Random bytes.
    fn bytes(&self) -> [u8; 32];
}
