//! Outlines that several boards share: their sizes, and the largest parts on them, by which a person finds the way on a board.
//!
//! Millimetres from the top left corner, as the board lies in its manufacturer's drawings, to about 1 mm. Parts are drawn from
//! above; those at an edge end there, although their sockets stand out.
//!
//! Sources: Raspberry Pi's mechanical drawings of the models B, A+, B+, 3A+, 4 B, 5, Zero and of the Compute Modules; BeagleBoard's
//! manuals of the BeagleBone, Black, Blue, AI, AI-64, PocketBeagle and BeaglePlay.

use crate::{Outline, Part, PartKind};

/// Raspberry Pi 1 Model A and B.
pub(crate) const PI_MODEL_B: Outline = Outline {
    width: 85,
    height: 56,
    parts: &[
        Part { kind: PartKind::Header, x: 1, y: 1, width: 33, height: 5 },
        Part { kind: PartKind::Audio, x: 59, y: 0, width: 12, height: 12 },
        Part { kind: PartKind::Usb, x: 68, y: 18, width: 17, height: 13 },
        Part { kind: PartKind::Ethernet, x: 64, y: 35, width: 21, height: 16 },
        Part { kind: PartKind::Hdmi, x: 37, y: 45, width: 15, height: 11 },
        Part { kind: PartKind::Power, x: 0, y: 46, width: 6, height: 8 },
    ],
};

/// Raspberry Pi 1 Model B+, 2 and 3 Model B, and 3 Model B+.
pub(crate) const PI_MODEL_B_PLUS: Outline = Outline {
    width: 85,
    height: 56,
    parts: &[
        Part { kind: PartKind::Header, x: 7, y: 1, width: 51, height: 5 },
        Part { kind: PartKind::Usb, x: 68, y: 2, width: 17, height: 14 },
        Part { kind: PartKind::Usb, x: 68, y: 20, width: 17, height: 14 },
        Part { kind: PartKind::Ethernet, x: 64, y: 38, width: 21, height: 16 },
        Part { kind: PartKind::Power, x: 7, y: 51, width: 8, height: 5 },
        Part { kind: PartKind::Hdmi, x: 24, y: 45, width: 15, height: 11 },
        Part { kind: PartKind::Audio, x: 50, y: 43, width: 7, height: 13 },
    ],
};

/// Raspberry Pi 1 Model A+ and 3 Model A+.
pub(crate) const PI_MODEL_A_PLUS: Outline = Outline {
    width: 65,
    height: 56,
    parts: &[
        Part { kind: PartKind::Header, x: 7, y: 1, width: 51, height: 5 },
        Part { kind: PartKind::Usb, x: 51, y: 24, width: 14, height: 14 },
        Part { kind: PartKind::Power, x: 7, y: 51, width: 8, height: 5 },
        Part { kind: PartKind::Hdmi, x: 24, y: 45, width: 15, height: 11 },
        Part { kind: PartKind::Audio, x: 50, y: 43, width: 7, height: 13 },
    ],
};

/// Raspberry Pi 4 Model B.
pub(crate) const PI_4: Outline = Outline {
    width: 85,
    height: 56,
    parts: &[
        Part { kind: PartKind::Header, x: 7, y: 1, width: 51, height: 5 },
        Part { kind: PartKind::Ethernet, x: 64, y: 2, width: 21, height: 16 },
        Part { kind: PartKind::Usb, x: 68, y: 22, width: 17, height: 14 },
        Part { kind: PartKind::Usb, x: 68, y: 40, width: 17, height: 14 },
        Part { kind: PartKind::Power, x: 7, y: 49, width: 9, height: 7 },
        Part { kind: PartKind::Hdmi, x: 23, y: 49, width: 7, height: 7 },
        Part { kind: PartKind::Hdmi, x: 36, y: 49, width: 7, height: 7 },
        Part { kind: PartKind::Audio, x: 50, y: 43, width: 7, height: 13 },
    ],
};

/// Raspberry Pi 5.
pub(crate) const PI_5: Outline = Outline {
    width: 85,
    height: 56,
    parts: &[
        Part { kind: PartKind::Header, x: 7, y: 1, width: 51, height: 5 },
        Part { kind: PartKind::Usb, x: 68, y: 2, width: 17, height: 14 },
        Part { kind: PartKind::Usb, x: 68, y: 20, width: 17, height: 14 },
        Part { kind: PartKind::Ethernet, x: 64, y: 38, width: 21, height: 16 },
        Part { kind: PartKind::Power, x: 7, y: 49, width: 9, height: 7 },
        Part { kind: PartKind::Hdmi, x: 22, y: 49, width: 7, height: 7 },
        Part { kind: PartKind::Hdmi, x: 36, y: 49, width: 7, height: 7 },
    ],
};

/// The Raspberry Pi Zeros.
pub(crate) const PI_ZERO: Outline = Outline {
    width: 65,
    height: 30,
    parts: &[
        Part { kind: PartKind::Header, x: 7, y: 1, width: 51, height: 5 },
        Part { kind: PartKind::Card, x: 1, y: 11, width: 12, height: 12 },
        Part { kind: PartKind::Hdmi, x: 7, y: 23, width: 11, height: 7 },
        Part { kind: PartKind::Usb, x: 38, y: 25, width: 8, height: 5 },
        Part { kind: PartKind::Power, x: 50, y: 25, width: 8, height: 5 },
    ],
};

/// The `BeagleBone` and its kin with Ethernet, of the size of a credit card.
pub(crate) const BONE: Outline = Outline {
    width: 86,
    height: 53,
    parts: &[
        Part { kind: PartKind::Header, x: 18, y: 1, width: 59, height: 5 },
        Part { kind: PartKind::Header, x: 18, y: 47, width: 59, height: 5 },
        Part { kind: PartKind::Power, x: 0, y: 5, width: 14, height: 9 },
        Part { kind: PartKind::Ethernet, x: 0, y: 22, width: 21, height: 16 },
    ],
};

/// Compute Modules with the edge connector of a memory module.
pub(crate) const MODULE_DIMM: Outline = Outline { width: 68, height: 31, parts: &[] };

/// Compute Modules 4 and 5.
pub(crate) const MODULE: Outline = Outline { width: 55, height: 40, parts: &[] };
