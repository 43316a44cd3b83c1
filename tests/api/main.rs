//! The API through its real router, with a fake reconciler that has no engine.
//!
//! Every response is checked against the API description at `GET /agent/v1/openapi.json`, whatever else a test is about.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may fall over")]

mod access;
mod any;
mod described;
mod host;
mod house;
mod light;
mod lines;
mod log;
mod malformed;
mod power;
mod reads;
mod reference;
mod refused;
mod site;
mod slow;
mod wire;
