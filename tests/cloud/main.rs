//! The agent and its cloud: a fake one of ours, with real TLS, made from recorded answers.
//!
//! `facts` holds the fake to what was recorded of a real one. `stories` need a real container engine and a real registry, and
//! are run by `make cloud`; one of them is run with `make cloud ONLY=name`.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may fall over")]
#![expect(clippy::print_stderr, reason = "a test that fails shows what the agent said")]

mod board;
#[path = "../lab/budget.rs"]
mod budget;
#[path = "../port/bus.rs"]
mod bus;
mod client;
mod facts;
mod fake;
#[path = "../engine/http.rs"]
#[expect(dead_code, reason = "tests of the engine use more of it")]
mod http;
mod images;
#[path = "../engine/lab.rs"]
#[expect(dead_code, reason = "tests of the engine use more of it")]
mod lab;
#[path = "../port/power/fake.rs"]
#[expect(dead_code, reason = "tests of the port use more of it")]
mod logind;
#[path = "../bench/proc.rs"]
#[expect(dead_code, reason = "the measurements use more of it")]
mod proc;
mod stories;

/// What becomes of a request to [`logind`]; here the first.
#[expect(dead_code, reason = "tests of the port use more of it")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answers {
    Yes,
    Refused,
    Blocked,
    Hanging,
    Vanishing,
    Gone,
}
