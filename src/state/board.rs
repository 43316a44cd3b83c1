//! The board, as detected when the agent started.

/// The detected board, in human-readable text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BoardFacts {
    /// The agent's id of the board, if it is a known one.
    pub id: Option<String>,
    /// Its name, if it is a known board.
    pub name: Option<String>,
    /// What it was recognised as, and how: one sentence.
    pub recognised: String,
    /// The candidates, if the evidence fits several boards.
    pub perhaps: Vec<String>,
    /// What is wrong with the configured board: it is unknown, or the hardware contradicts it.
    pub complaint: Option<String>,
    /// The model in the device tree.
    pub model: Option<String>,
    /// `compatible` of the device tree, most specific first.
    pub compatible: Vec<String>,
    /// Whether the board is simulated.
    pub simulated: bool,
    /// The LED that identifies the device.
    pub led: Option<String>,
    /// Why this LED was chosen, or why none.
    pub why: String,
    /// LEDs that were considered and rejected, and why.
    pub passed_over: Vec<(String, String)>,
    /// Other LEDs that may be driven when a client requests them by name.
    pub others: Vec<String>,
    /// Its size and its largest parts, for drawings, if they are known.
    pub outline: Option<BoardOutline>,
    /// The LEDs that may be driven, the one that identifies the device first.
    pub leds: Vec<BoardLed>,
}

/// The size of a board and its largest parts, in millimetres, seen from above.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoardOutline {
    /// From left to right.
    pub width_mm: u8,
    /// From top to bottom.
    pub height_mm: u8,
    /// Parts by which a person finds the way on it.
    pub parts: Vec<BoardPart>,
}

/// A part of a board: a rectangle, in millimetres from the top left corner of the board.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BoardPart {
    /// What it is, in one word.
    pub kind: &'static str,
    /// Its left edge.
    pub x_mm: u8,
    /// Its upper edge.
    pub y_mm: u8,
    /// From left to right.
    pub width_mm: u8,
    /// From top to bottom.
    pub height_mm: u8,
}

/// What is known of an LED before it is driven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoardLed {
    /// Its name, as requests have it.
    pub name: String,
    /// The label printed beside it.
    pub label: Option<&'static str>,
    /// What the agent uses it for.
    pub role: String,
    /// Its colour.
    pub colour: Option<&'static str>,
    /// Where on the device to look for it.
    pub place: String,
    /// How far it is from the left and from the upper edge of the outline, in millimetres, to about 4 mm.
    pub at_mm: Option<(u8, u8)>,
}
