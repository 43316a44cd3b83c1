//! Links to the page that log in by themselves. Each has a token in place of the device's key, which counts once.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::state::Secret;

/// How long a link can be opened: long enough to find the phone, short enough for what a camera may see in passing.
pub const PAGE_LINK_FOR: Duration = Duration::from_secs(600);
/// The number of links that can be opened at a time, the latest ones.
const MAX_LINKS: usize = 8;

/// The links that were not opened yet. They are not stored: a restart of the agent ends them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PageLinks {
    /// The tokens, and until when each counts, oldest first.
    tokens: VecDeque<(Secret, Instant)>,
}

impl PageLinks {
    /// Adds a link with this token.
    pub fn add(&mut self, token: Secret, now: Instant) {
        self.tokens.retain(|(_, until)| *until > now);
        if self.tokens.len() >= MAX_LINKS {
            self.tokens.pop_front();
        }
        self.tokens.push_back((token, now + PAGE_LINK_FOR));
    }

    /// Whether a link with this token can be opened. Compares with every token, in constant time.
    #[must_use]
    pub fn has(&self, token: &Secret, now: Instant) -> bool {
        let mut found = false;
        for (it, until) in &self.tokens {
            if it == token && *until > now {
                found = true;
            }
        }
        found
    }

    /// Opens the link with this token. Returns whether there was one; it counts no more.
    pub fn open(&mut self, token: &Secret, now: Instant) -> bool {
        let found = self.has(token, now);
        self.tokens.retain(|(it, until)| it != token && *until > now);
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    #[tokio::test(start_paused = true)]
    async fn a_link_opens_once() {
        let (mut links, now) = (PageLinks::default(), Instant::now());
        links.add(token("a"), now);
        links.add(token("b"), now);
        assert!(!links.open(&token("c"), now) && !links.open(&token(""), now));
        assert!(links.has(&token("a"), now));
        assert!(links.open(&token("a"), now));
        assert!(!links.has(&token("a"), now) && !links.open(&token("a"), now));
        assert!(links.open(&token("b"), now));
    }

    #[tokio::test(start_paused = true)]
    async fn a_link_ends_after_ten_minutes() {
        let (mut links, now) = (PageLinks::default(), Instant::now());
        links.add(token("a"), now);
        assert!(links.has(&token("a"), now + PAGE_LINK_FOR - Duration::from_millis(1)));
        assert!(!links.has(&token("a"), now + PAGE_LINK_FOR));
        assert!(!links.open(&token("a"), now + PAGE_LINK_FOR));
    }

    #[tokio::test(start_paused = true)]
    async fn the_latest_links_are_kept() {
        let (mut links, now) = (PageLinks::default(), Instant::now());
        for n in 0..20 {
            links.add(token(&n.to_string()), now);
        }
        let kept = (0..20).filter(|n| links.has(&token(&n.to_string()), now));
        assert_eq!(kept.collect::<Vec<_>>(), (12..20).collect::<Vec<_>>());
    }
}
