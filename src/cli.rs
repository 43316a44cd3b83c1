//! The command line.

pub mod bench;
pub mod board;
pub mod gpio;
pub mod led;
