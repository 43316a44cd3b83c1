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
}
