use crate::{Board, Led, Line, Role};

/// <https://www.raspberrypi.com/products/raspberry-pi-3-model-b-plus/>
pub(crate) const BOARD: Board = Board {
    name: "Raspberry Pi 3",
    slugs: &["raspberrypi3", "raspberrypi3-64"],
    compatible: &["raspberrypi,3-model-b-plus", "raspberrypi,3-model-b"],
    leds: &[Led { role: Role::Status, line: Line::Sysfs { names: &["ACT", "led0"] } }],
};
