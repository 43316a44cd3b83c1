//! The whole agent, end to end: the real binary, a real container engine, a real registry.
//!
//! Run by `make engine`, which brings up a lab for them (see `tests/lab/inside.sh`). One test is run with
//! `make engine ONLY=name`.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may fall over")]
#![expect(clippy::print_stderr, reason = "a test that fails shows what the agent said")]

mod agent;
mod agent_logs;
#[path = "../lab/budget.rs"]
mod budget;
mod calls;
mod compose;
mod crashes;
mod demands;
mod depends;
mod documents;
mod follow;
mod forward;
mod full;
mod hooks;
mod http;
mod install;
mod internal;
mod keys;
mod lab;
mod leases;
mod local_logs;
mod local_mode;
mod locks;
mod media;
mod metrics;
mod networks;
mod outages;
mod paused;
mod ports;
#[path = "../lab/promtool.rs"]
mod promtool;
mod proxy;
mod pulls;
mod refused;
mod releases;
mod same;
mod session;
mod shares;
#[expect(dead_code, reason = "unit tests use more of it")]
#[path = "../lab/signer.rs"]
mod signer;
mod snapshots;
mod soak;
mod strategies;
mod takeover;
mod takeover_database;
mod target;
mod target_trial;
mod trial;
mod troubles;
mod updates;
mod waits;
mod why;
mod windows;
