use crate::{Board, Led, Line, Role};

/// <https://www.raspberrypi.com/products/raspberry-pi-4-model-b/>
pub(crate) const BOARD: Board = Board {
    name: "Raspberry Pi 4 Model B",
    slugs: &["raspberrypi4-64"],
    compatible: &["raspberrypi,4-model-b"],
    leds: &[
        // The green one; the red one is wired to the supply.
        Led { role: Role::Status, line: Line::Sysfs { names: &["ACT", "led0"] } },
    ],
};
