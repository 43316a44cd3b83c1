//! One test suite per port, for every world: its trait states the contract.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may fall over")]

mod bus;
mod clock;
mod cloud;
mod engine;
mod host;
mod leds;
mod listen;
mod locks;
mod mdns;
mod net;
mod power;
mod real;
mod simulated;
mod store;
mod units;
mod vpn;
#[path = "../sim/world.rs"]
#[expect(dead_code, reason = "the simulator uses more of it")]
mod world;
