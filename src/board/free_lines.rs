//! The GPIO lines that a board leaves to its owner. Pure.

use boards::{Chip, Pin};

use super::{DetectedBoard, is_sure};

/// A line on a header, free for the board's owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FreeLine {
    /// The chip it is on.
    pub chip: &'static Chip,
    /// Its description.
    pub pin: &'static Pin,
}

/// The lines that the board's file leaves to the owner: none where the board itself did not say which board it is.
#[must_use]
pub fn free_lines(detected: &DetectedBoard) -> Vec<FreeLine> {
    let board = detected.board.filter(|_| is_sure(detected));
    let headers = board.map_or(&[][..], |board| board.headers);
    headers.iter().flat_map(|header| header.pins.iter().map(|pin| FreeLine { chip: &header.chip, pin })).collect()
}

impl FreeLine {
    /// Whether a line that the kernel gives this name may be this one. Some kernels append a pin's usual function.
    #[must_use]
    pub fn may_be_called(&self, name: Option<&str>) -> bool {
        name.is_none_or(|name| {
            let rest = name.strip_prefix(self.pin.name);
            rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_digit()))
        })
    }
}
