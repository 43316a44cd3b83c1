//! The patterns of the agent's own purposes.

use std::time::Duration;

use crate::state::{LedPurpose, Pattern};

/// How long a device identifies itself after the last request.
pub const IDENTIFY_FOR: Duration = Duration::from_secs(15);

/// The pattern of a purpose. `None`: the purpose has no fixed pattern.
#[must_use]
pub fn of(purpose: LedPurpose) -> Option<Pattern> {
    match purpose {
        LedPurpose::BringUp | LedPurpose::Pattern => None,
        LedPurpose::Identify => Some(blinks(1, 0)),
        LedPurpose::Offline => Some(blinks(4, 1000)),
    }
}

/// Blinks of 200 ms on and 200 ms off, as supervisors have shown since 2014.
fn blinks(times: u16, pause_ms: u16) -> Pattern {
    Pattern::blinks(200, 200, times, pause_ms).expect("eight steps of a second or less are a pattern")
}
