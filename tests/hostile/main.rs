//! Hostile clients against the real binary, over real sockets: all other clients are still answered.
//!
//! `HELD=10000` sets how many connections one client holds open at once; a plain test run holds fewer, because opening them
//! takes the machine's time, not ours.

#![expect(clippy::unwrap_used, reason = "a test may fall over")]

mod agent;
mod connections;
mod events;
mod files;
mod format;
mod garbage;
mod join;
mod key_guessing;
mod slow;
