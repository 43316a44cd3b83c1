//! What board the agent found itself on when it started.

/// The board, in words for people.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BoardFacts {
    /// Our own name of it, where it is a board we know.
    pub id: Option<String>,
    /// What it is called, where it is a board we know.
    pub name: Option<String>,
    /// What it was taken for, and how it was recognised: one sentence.
    pub recognised: String,
    /// What it may be, where all that is known fits several boards.
    pub perhaps: Vec<String>,
    /// What was said of the board and could not be heeded.
    pub complaint: Option<String>,
    /// What its device tree calls it.
    pub model: Option<String>,
    /// What it is compatible with, most specific first.
    pub compatible: Vec<String>,
    /// Whether it is made up.
    pub simulated: bool,
    /// The LED to identify it with.
    pub led: Option<String>,
    /// Why this LED, or why none.
    pub why: String,
    /// LEDs that were considered and not taken, and why not.
    pub passed_over: Vec<(String, String)>,
    /// Other LEDs that may be driven when a person asks for them by name.
    pub others: Vec<String>,
}
