//! The agent on whole machines.

#![expect(clippy::unwrap_used, reason = "a test may fall over")]

mod machine;
mod nspawn;
mod package;
