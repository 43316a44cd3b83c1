//! Raspberry Pi Compute Module 5, and 5 Lite without eMMC.
//!
//! Linux 6.8 of the vendor spells the compatible string `model`. Mainline up to 7.2 does not have it. The LED may be inverted,
//! as on the 5.
//!
//! Sources: `bcm2712-rpi-cm5-cm5io.dts`, `-cm5-cm4io.dts` and `-cm5l-*.dts` of the vendor.

use crate::{Board, BootConfig, Colour, Led, Light, Line, Place, Polarity, Role, chips, outlines};

pub(crate) const BOARD: Board = Board {
    id: "raspberry-pi-compute-module-5",
    name: "Raspberry Pi Compute Module 5",
    also: &["Raspberry Pi Compute Module 5 Lite"],
    slugs: &["raspberrypi5"],
    models: &["Raspberry Pi Compute Module 5", "Raspberry Pi Compute Module 5 Lite"],
    compatible: &["raspberrypi,5-compute-module", "raspberrypi,5-compute-model"],
    boot_config: BootConfig::ConfigTxt,
    outline: Some(&outlines::MODULE),
    leds: &[
        Led {
            name: "ACT",
            role: Role::Identify,
            colour: Colour::Green,
            place: Place::Carrier,
            at: None,
            light: Light::MaybeInverted,
            classes: &["ACT", "led0"],
            lines: &[Line { chip: chips::BCM2712, offset: 9, name: Some("2712_STAT_LED"), lit_by: Polarity::ActiveLow }],
        },
        Led {
            name: "PWR",
            role: Role::Power,
            colour: Colour::Red,
            place: Place::Carrier,
            at: None,
            light: Light::AsTold,
            classes: &["PWR", "led1"],
            lines: &[Line { chip: chips::RP1, offset: 44, name: Some("RP1_STAT_LED"), lit_by: Polarity::ActiveLow }],
        },
    ],
    not_leds: &[],
    not_lines: &[],
    headers: &[],
};
