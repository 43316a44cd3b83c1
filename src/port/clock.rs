//! The ports of wall time and of randomness.

/// Wall time. Durations are measured with [`tokio::time`].
pub trait Clock {
    /// Seconds since 1970, on the same clock as the engine's timestamps.
    fn now_secs(&self) -> i64;
    /// When the machine booted, in the same seconds.
    fn booted_secs(&self) -> i64;
    /// The boot id: no other boot has the same. Empty if unknown.
    fn boot_id(&self) -> String;
}

/// Randomness, good enough for keys.
pub trait Random {
    /// Random bytes.
    fn bytes(&self) -> [u8; 32];
}
