//! The only source of randomness in this world.

use std::time::Duration;

/// `SplitMix64`. Each concern has its own generator, so that one draw more here changes nothing there.
#[derive(Debug, Clone)]
pub(crate) struct Rng(u64);

/// Steps a generator's state so that neighbours have nothing in common.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

impl Rng {
    /// The generator of one concern of one life.
    pub(crate) fn of(seed: u64, concern: &str) -> Self {
        let mut rng = concern.bytes().fold(Self(seed), |rng, byte| Self(rng.0.wrapping_mul(31).wrapping_add(u64::from(byte))));
        Self(rng.draw())
    }

    /// Any number.
    pub(crate) fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below another, which is not 0.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.draw() % n
    }

    /// A number in an inclusive range.
    pub(crate) fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.below(most - least + 1)
    }

    /// True so many times in a thousand.
    pub(crate) fn happens(&mut self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }

    /// One of several. `None` where there is nothing to choose from.
    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        let len = u64::try_from(from.len()).unwrap();
        (len > 0).then(|| &from[usize::try_from(self.below(len)).unwrap()])
    }

    /// A time in an inclusive range of milliseconds.
    pub(crate) fn millis(&mut self, least: u64, most: u64) -> Duration {
        Duration::from_millis(self.between(least, most))
    }

    /// A time in an inclusive range of seconds.
    pub(crate) fn secs(&mut self, least: u64, most: u64) -> Duration {
        self.millis(least * 1000, most * 1000)
    }

    /// 32 bytes, for keys.
    pub(crate) fn bytes(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for part in bytes.chunks_exact_mut(8) {
            part.copy_from_slice(&self.draw().to_le_bytes());
        }
        bytes
    }

    /// 64 hex digits, for ids.
    pub(crate) fn id(&mut self) -> String {
        self.bytes().iter().fold(String::with_capacity(64), |text, byte| text + &format!("{byte:02x}"))
    }
}
