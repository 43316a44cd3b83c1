//! One suite per port, for every world: what it promises is what its trait says.

#![expect(clippy::unwrap_used, reason = "a test may fall over")]

mod locks;
mod real;
mod store;
