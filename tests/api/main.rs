//! The API through its real router, with a fake reconciler that has no engine.
//!
//! Every response is checked against the API description at `GET /agent/v1/openapi.json`, whatever else a test is about.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may fall over")]

mod access;
#[path = "../lab/budget.rs"]
mod budget;
mod cross_site;
mod gpio_lines;
mod history;
mod host;
mod leases;
mod leds;
mod lines;
mod local_mode;
mod log;
mod malformed;
mod metrics;
mod multi;
mod objects;
mod openapi;
mod page;
mod power;
#[path = "../lab/promtool.rs"]
mod promtool;
mod random_requests;
mod reads;
mod received;
mod reference;
mod refused;
mod releases;
mod services;
mod slow;
mod streams;
mod target_trial;
mod test_device;
mod wire;
