//! The harness, as a library for the targets that libFuzzer is linked into.

mod harness;

pub use harness::*;
