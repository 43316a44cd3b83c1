//! The agent and its cloud: a fake one of ours, with real TLS, made from recorded answers.
//!
//! `facts` holds the fake to what was recorded of a real one. `stories` need a real container engine and a real registry, and
//! are run by `make cloud`; one of them is run with `make cloud ONLY=name`.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may fall over")]

mod client;
mod facts;
#[expect(dead_code, reason = "the agent does not use all of it yet")]
mod fake;
#[path = "../engine/http.rs"]
#[expect(dead_code, reason = "tests of the engine use more of it")]
mod http;
mod images;
#[path = "../engine/lab.rs"]
#[expect(dead_code, reason = "tests of the engine use more of it")]
mod lab;
mod stories;
