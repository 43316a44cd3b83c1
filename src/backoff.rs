//! Exponential backoff: how long to wait before the next attempt.

use std::time::Duration;

/// Doubles from `least` to `most`, and starts over on success.
#[derive(Debug, Clone)]
pub struct Backoff {
    least: Duration,
    most: Duration,
    failures: u32,
}

impl Backoff {
    /// A backoff without failures.
    #[must_use]
    pub const fn new(least: Duration, most: Duration) -> Self {
        Self { least, most, failures: 0 }
    }

    /// The delay after one more failure.
    #[must_use]
    pub fn fail(&mut self) -> Duration {
        let factor = 2_u32.saturating_pow(self.failures);
        self.failures = self.failures.saturating_add(1);
        self.least.saturating_mul(factor).min(self.most)
    }

    /// Resets the failure count.
    pub const fn succeed(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn never_shrinks_and_stays_between(least in 1..1000_u64, most in 1000..100_000_u64) {
            let (least, most) = (Duration::from_millis(least), Duration::from_millis(most));
            let mut backoff = Backoff::new(least, most);
            let mut last = Duration::ZERO;
            for _ in 0..100 {
                let next = backoff.fail();
                prop_assert!(last <= next && least <= next && next <= most);
                last = next;
            }
            backoff.succeed();
            prop_assert_eq!(backoff.fail(), least);
        }
    }
}
