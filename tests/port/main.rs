//! One suite per port, for every world: what it promises is what its trait says.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may fall over")]

mod engine;
mod listen;
mod locks;
mod power;
mod real;
mod store;
mod units;
