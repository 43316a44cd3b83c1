//! Rate limit for wrong keys, by address: the response to each is delayed longer than the one before.
//!
//! A valid key is never delayed, not even one from an address that tries wrong ones: on a device many programs share one
//! address. A request without a key is no guess. The server counts a connection whose response is delayed as idle, so that any
//! other connection may displace it.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// Wrong keys of an address that are answered at once: a user's typing errors, a client that uses its old key.
const FREE_GUESSES: u32 = 8;
/// The delay of the first response after these. Each that follows is delayed twice as long.
const FIRST_DELAY: Duration = Duration::from_millis(125);
/// Doublings up to 4 s: clients do not time out before that. The 64 connections of an address then try 16 keys a second.
const DOUBLINGS: u32 = 5;
/// After so long without a wrong key an address starts over.
const FORGET_AFTER: Duration = Duration::from_secs(10 * 60);
/// The number of addresses that are remembered, the latest ones. They take 2 kB.
const MAX_ADDRESSES: usize = 128;

/// The addresses that sent wrong keys.
#[derive(Debug)]
pub(super) struct KeyGuessLimiter {
    created_at: Instant,
    slots: Vec<GuessCounter>,
}

/// One address. Atomics, so that no lock is needed; if two threads race, a guess is not counted.
#[derive(Debug, Default)]
struct GuessCounter {
    prefix: AtomicU64,
    /// The second of the last wrong key in the upper half, the count in the lower one. 0: the slot is free.
    seen: AtomicU64,
}

impl KeyGuessLimiter {
    pub(super) fn new() -> Self {
        Self { created_at: Instant::now(), slots: (0..MAX_ADDRESSES).map(|_| GuessCounter::default()).collect() }
    }

    /// Counts one more wrong key. Returns the delay of its response.
    pub(super) fn count(&self, from: Option<IpAddr>) -> Duration {
        let prefix = from.map_or(0, prefix_of);
        // Offset by one second, so that the first is not 0.
        let now = self.created_at.elapsed().as_secs().saturating_add(1) & u64::from(u32::MAX);
        let is_it = |it: &&GuessCounter| it.seen.load(Ordering::Relaxed) != 0 && it.prefix.load(Ordering::Relaxed) == prefix;
        let known = self.slots.iter().find(is_it);
        let Some(slot) = known.or_else(|| self.slots.iter().min_by_key(|it| it.seen.load(Ordering::Relaxed))) else {
            return Duration::ZERO;
        };
        let before = slot.seen.load(Ordering::Relaxed);
        let recent = known.is_some() && now.saturating_sub(before >> 32) < FORGET_AFTER.as_secs();
        let count = if recent { u32::try_from(before & u64::from(u32::MAX)).unwrap_or(u32::MAX).saturating_add(1) } else { 1 };
        slot.prefix.store(prefix, Ordering::Relaxed);
        slot.seen.store(now << 32 | u64::from(count), Ordering::Relaxed);
        match count.checked_sub(FREE_GUESSES + 1) {
            None => Duration::ZERO,
            Some(doublings) => FIRST_DELAY * 2_u32.pow(doublings.min(DOUBLINGS)),
        }
    }
}

/// An IPv4 address, or the /64 prefix of an IPv6 address: a host chooses the other half freely.
fn prefix_of(address: IpAddr) -> u64 {
    let whole = match address.to_canonical() {
        IpAddr::V4(it) => it.to_ipv6_mapped().to_bits() << 64,
        IpAddr::V6(it) => it.to_bits(),
    };
    u64::try_from(whole >> 64).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(guesses: &KeyGuessLimiter, from: &str, count: usize) -> Vec<u128> {
        (0..count).map(|_| guesses.count(from.parse().ok()).as_millis()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn each_wrong_key_is_held_back_longer_up_to_an_end() {
        let guesses = KeyGuessLimiter::new();
        let expected = [0, 0, 0, 0, 0, 0, 0, 0, 125, 250, 500, 1000, 2000, 4000, 4000, 4000];
        assert_eq!(waits(&guesses, "192.0.2.1", 16), expected);
        assert_eq!(waits(&guesses, "::ffff:192.0.2.1", 1), [4000], "the same address in its other spelling");
        assert_eq!(waits(&guesses, "192.0.2.2", 9), expected[..9], "another address");
        tokio::time::advance(FORGET_AFTER).await;
        assert_eq!(waits(&guesses, "192.0.2.1", 9), expected[..9], "after a while");
    }

    #[tokio::test(start_paused = true)]
    async fn an_ipv6_network_is_one_address() {
        let guesses = KeyGuessLimiter::new();
        for last in 0..FREE_GUESSES {
            assert_eq!(waits(&guesses, &format!("2001:db8::9:9:9:{last}"), 1), [0]);
        }
        assert_eq!(waits(&guesses, "2001:db8::1", 1), [125]);
        assert_eq!(waits(&guesses, "2001:db8:0:1::1", 1), [0]);
    }

    #[tokio::test(start_paused = true)]
    async fn ever_new_addresses_take_no_more_memory() {
        let guesses = KeyGuessLimiter::new();
        for n in 0..100_000_u32 {
            guesses.count(Some(IpAddr::V4(n.into())));
        }
        assert_eq!(guesses.slots.len(), MAX_ADDRESSES);
        // The latest address is remembered, however many came before.
        assert_eq!(waits(&guesses, "192.0.2.1", 9).last(), Some(&125));
    }
}
