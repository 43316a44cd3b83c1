//! Which LED to identify the board with.

use super::{Choice, Chosen, Detected, Offer};

/// Chooses among what the host offers.
pub fn choose(_detected: &Detected, _led_file: Option<&str>, _offer: &Offer) -> Choice {
    Choice { led: Chosen::None, described: None, why: String::new(), passed_over: Vec::new(), others: Vec::new() }
}
