//! The real world: the ports, on a Linux board.

pub mod board;
pub mod clock;
pub mod engine;
pub mod leds;
pub mod locks;
pub mod net;
pub mod power;
pub mod store;
pub mod target;
