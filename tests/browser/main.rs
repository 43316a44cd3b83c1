//! The page in a real browser: Debian's Chromium, driven over `WebDriver`, with the real agent and a real container engine.
//!
//! Run by `make browser`, which brings up a lab for them (see `tests/lab/inside.sh`). One test is run with
//! `make browser ONLY=name`. The tests look at what a person sees: texts, roles and names. Pictures of the page are kept in
//! `target/browser`.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may fall over")]
#![expect(clippy::print_stderr, reason = "a test that fails shows what the agent said")]

mod access;
#[path = "../engine/agent.rs"]
#[expect(dead_code, reason = "tests of the engine use more of it")]
mod agent;
mod bringup;
mod driver;
#[path = "../engine/http.rs"]
#[expect(dead_code, reason = "tests of the engine use more of it")]
mod http;
mod identify;
mod keys;
#[path = "../engine/lab.rs"]
#[expect(dead_code, reason = "tests of the engine use more of it")]
mod lab;
mod outages;
mod page;
mod pictures;
#[path = "../bench/proc.rs"]
#[expect(dead_code, reason = "the measurements use more of it")]
mod proc;
#[path = "../engine/proxy.rs"]
mod proxy;
mod rest;
mod services;
#[path = "../engine/target.rs"]
#[expect(dead_code, reason = "tests of the engine use more of it")]
mod target;
mod updates;
