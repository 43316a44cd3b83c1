//! The facts that the agent reports of a board: what it is, how it was detected, and which LED was chosen.

use crate::linux::leds::host::LedHost;
use crate::state::BoardFacts;

impl LedHost {
    /// The board and its LED, as they are now.
    pub fn facts(&self) -> BoardFacts {
        let detected = &self.detected;
        let choice = self.choice(&self.offer());
        BoardFacts {
            id: detected.board.map(|board| board.id.to_owned()),
            name: detected.board.map(|board| board.name.to_owned()),
            recognised: detected.to_string(),
            perhaps: detected.perhaps.iter().map(|board| board.name.to_owned()).collect(),
            complaint: detected.complaint.clone(),
            model: detected.model.clone(),
            compatible: detected.compatible.clone(),
            simulated: self.simulated,
            led: choice.led.as_ref().map(ToString::to_string),
            why: choice.why,
            passed_over: choice.passed_over,
            others: choice.others.into_iter().map(|other| other.name).collect(),
        }
    }
}
