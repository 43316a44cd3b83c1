//! Chance for waits, so that the devices of a fleet do not send their requests at the same moment.

use std::cell::Cell;
use std::time::Duration;

/// A generator of random waits, seeded once.
#[derive(Debug)]
pub(super) struct Jitter(Cell<u64>);

impl Jitter {
    /// Seeds it with random bytes.
    pub(super) fn new(seed: [u8; 32]) -> Self {
        let (head, _) = seed.split_first_chunk().expect("there are more than eight bytes");
        Self(Cell::new(u64::from_le_bytes(*head) | 1))
    }

    /// A wait from zero up to `most`, which is not included.
    pub(super) fn below(&self, most: Duration) -> Duration {
        // xorshift64*, as in Vigna, "An experimental exploration of Marsaglia's xorshift generators".
        let mut state = self.0.get();
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        self.0.set(state);
        let part = u32::try_from(state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32).unwrap_or_default();
        most.mul_f64(f64::from(part) / (f64::from(u32::MAX) + 1.0))
    }
}
