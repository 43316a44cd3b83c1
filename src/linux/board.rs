//! What the kernel and the host say of the board, its LEDs and its GPIO chips.

mod detect;
mod leds;
#[cfg(test)]
mod tests;

pub use detect::detect;
pub use leds::read_leds;
