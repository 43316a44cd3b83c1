//! Raspberry Pi Compute Module 4.
//!
//! Sources: `bcm2711-rpi-cm4-io.dts` of mainline, `bcm2711-rpi-cm4.dts` of the vendor. `led0` and `led1` are the names before
//! Linux 6.1 (raspberrypi/linux ea14f14d).

use crate::{Board, BootConfig, Colour, Led, Light, Line, Place, Polarity, Role, chips, outlines};

pub(crate) const BOARD: Board = Board {
    id: "raspberry-pi-compute-module-4",
    name: "Raspberry Pi Compute Module 4",
    also: &[],
    slugs: &["raspberrypicm4-ioboard"],
    models: &["Raspberry Pi Compute Module 4", "Raspberry Pi Compute Module 4 IO Board"],
    compatible: &["raspberrypi,4-compute-module"],
    boot_config: BootConfig::ConfigTxt,
    outline: Some(&outlines::MODULE),
    leds: &[
        Led {
            name: "ACT",
            role: Role::Identify,
            colour: Colour::Green,
            place: Place::Carrier,
            at: None,
            light: Light::AsTold,
            classes: &["ACT", "led0"],
            lines: &[Line { chip: chips::BCM2711, offset: 42, name: Some("STATUS_LED_G_CLK"), lit_by: Polarity::ActiveHigh }],
        },
        Led {
            name: "PWR",
            role: Role::Power,
            colour: Colour::Red,
            place: Place::Carrier,
            at: None,
            light: Light::AsTold,
            classes: &["PWR", "led1"],
            lines: &[Line { chip: chips::EXPANDER, offset: 2, name: Some("PWR_LED_OFF"), lit_by: Polarity::ActiveLow }],
        },
    ],
    not_leds: &[],
    not_lines: &[],
    headers: &[],
};
