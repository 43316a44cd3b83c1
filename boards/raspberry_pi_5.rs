//! Raspberry Pi 5.
//!
//! Its two LEDs are two colours in one case. Mainline up to 7.2 has neither, and leaves the line free for the agent. Two users
//! saw `ACT` lit at brightness 0 (raspberrypi/linux#6783 is one): not yet verified on hardware.
//!
//! Sources: `bcm2712-rpi-5-b.dts` of mainline, without LEDs; `bcm2712-rpi-5-b.dts` and `bcm2712d0-rpi-5-b.dts` of the vendor;
//! raspberrypi/documentation#3505 for the one case.

use crate::{Board, BootConfig, Colour, Header, Led, Light, Line, Place, Point, Polarity, Role, chips, headers, outlines};

pub(crate) const BOARD: Board = Board {
    id: "raspberry-pi-5",
    name: "Raspberry Pi 5",
    also: &[],
    slugs: &["raspberrypi5"],
    models: &["Raspberry Pi 5", "Raspberry Pi 5 Model B"],
    compatible: &["raspberrypi,5-model-b"],
    boot_config: BootConfig::ConfigTxt,
    outline: Some(&outlines::PI_5),
    leds: &[
        Led {
            name: "ACT",
            role: Role::Identify,
            colour: Colour::Green,
            place: Place::At("beside the power button"),
            at: Some(Point { x: 2, y: 45 }),
            light: Light::MaybeInverted,
            classes: &["ACT", "led0"],
            lines: &[Line { chip: chips::BCM2712, offset: 9, name: Some("2712_STAT_LED"), lit_by: Polarity::ActiveLow }],
        },
        Led {
            name: "PWR",
            role: Role::Power,
            colour: Colour::Red,
            place: Place::At("beside the power button"),
            at: Some(Point { x: 2, y: 49 }),
            light: Light::AsTold,
            classes: &["PWR", "led1"],
            lines: &[Line { chip: chips::RP1, offset: 44, name: Some("RP1_STAT_LED"), lit_by: Polarity::ActiveLow }],
        },
    ],
    not_leds: &[],
    not_lines: &[],
    headers: &[Header { chip: chips::RP1, pins: headers::RASPBERRY_PI_40 }],
};
