//! Raspberry Pi Compute Module 3 and 3+, with and without eMMC.
//!
//! Mainline has no LED for it. The balena Fin is a carrier of this module.
//!
//! Sources: `bcm2837-rpi-cm3-io3.dts` of mainline, `bcm2710-rpi-cm3.dts` of the vendor, which boots the 3+ too. `led0` and
//! `led1` are the names before Linux 6.1 (raspberrypi/linux ea14f14d).

use crate::{Board, BootConfig, Colour, Led, Light, Line, Place, Polarity, Role, chips, outlines};

pub(crate) const BOARD: Board = Board {
    id: "raspberry-pi-compute-module-3",
    name: "Raspberry Pi Compute Module 3",
    also: &["Raspberry Pi Compute Module 3+"],
    slugs: &["raspberrypi3", "raspberrypi3-64"],
    models: &[
        "Raspberry Pi Compute Module 3",
        "Raspberry Pi Compute Module 3 IO board",
        "Raspberry Pi Compute Module 3 Plus",
        "Raspberry Pi Compute Module 3+",
    ],
    compatible: &["raspberrypi,3-compute-module", "raspberrypi,3-compute-module-plus"],
    boot_config: BootConfig::ConfigTxt,
    outline: Some(&outlines::MODULE_DIMM),
    leds: &[Led {
        name: "ACT",
        role: Role::Identify,
        colour: Colour::Green,
        place: Place::Carrier,
        at: None,
        light: Light::AsTold,
        classes: &["ACT", "led0"],
        lines: &[Line { chip: chips::VIRTUAL, offset: 0, name: None, lit_by: Polarity::ActiveHigh }],
    }],
    not_leds: &[],
    not_lines: &[],
    headers: &[],
};
