//! The agent and its cloud: a fake one of ours, with real TLS, made from recorded answers.
//!
//! `facts` holds the fake to what was recorded of a real one. The other tests run the real binary against it, with a real
//! container engine and a real registry, by `make cloud`; one test is run with `make cloud ONLY=name`.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may fall over")]

mod client;
mod facts;
#[expect(dead_code, unused_imports, reason = "the agent does not use all of it yet")]
mod fake;
