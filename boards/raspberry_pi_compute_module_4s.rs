//! Raspberry Pi Compute Module 4S.
//!
//! The cloud has no type for the module itself; the Revolution Pi Connect S is a carrier of it. Mainline does not have it.
//!
//! Sources: `bcm2711-rpi-cm4s.dts` of the vendor. `led0` and `led1` are the names before Linux 6.1 (raspberrypi/linux
//! ea14f14d).

use crate::{Board, BootConfig, Colour, Led, Light, Line, Place, Polarity, Role, chips, outlines};

pub(crate) const BOARD: Board = Board {
    id: "raspberry-pi-compute-module-4s",
    name: "Raspberry Pi Compute Module 4S",
    also: &[],
    slugs: &["revpi-connect-s"],
    models: &["Raspberry Pi Compute Module 4S"],
    compatible: &["raspberrypi,4-compute-module-s"],
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
