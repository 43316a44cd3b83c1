//! The facts that the agent reports of a board: what it is, how it was detected, and which LED was chosen.

use boards::{Outline, PartKind};

use crate::linux::leds::host::{LedHost, ListedLed};
use crate::state::{BoardFacts, BoardLed, BoardOutline, BoardPart};

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
            outline: detected.board.and_then(|board| board.outline).map(outline),
            leds: self.items().into_iter().filter(|item| item.guard.is_none()).map(led).collect(),
        }
    }
}

fn outline(it: &Outline) -> BoardOutline {
    let part =
        |it: &boards::Part| BoardPart { kind: word(it.kind), x_mm: it.x, y_mm: it.y, width_mm: it.width, height_mm: it.height };
    BoardOutline { width_mm: it.width, height_mm: it.height, parts: it.parts.iter().map(part).collect() }
}

fn word(kind: PartKind) -> &'static str {
    match kind {
        PartKind::Audio => "audio",
        PartKind::Card => "card",
        PartKind::Ethernet => "ethernet",
        PartKind::Hdmi => "hdmi",
        PartKind::Header => "header",
        PartKind::Power => "power",
        PartKind::Usb => "usb",
    }
}

fn led(it: ListedLed) -> BoardLed {
    BoardLed {
        name: it.location.to_string(),
        label: it.label,
        role: it.role,
        colour: it.colour,
        place: it.spot,
        at_mm: it.at.map(|it| (it.x, it.y)),
    }
}
