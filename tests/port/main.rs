//! One suite per port: what its contract says, asked of the real adapter and of the simulated one alike.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may fall over")]

mod engine;
