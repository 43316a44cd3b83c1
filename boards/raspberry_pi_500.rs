//! Raspberry Pi 500, the one inside a keyboard.
//!
//! Wired as the 5, with the same doubt about the polarity. A line of the processor is named `USER_LED`; no kernel makes a LED
//! of it, and what it is connected to is not known. Mainline up to 7.2 does not have the board.
//!
//! Sources: `bcm2712-rpi-500.dts` of the vendor.

use crate::{Board, BootConfig, Colour, Header, Led, Light, Line, Place, Polarity, Role, chips, headers};

pub(crate) const BOARD: Board = Board {
    id: "raspberry-pi-500",
    name: "Raspberry Pi 500",
    also: &[],
    slugs: &["raspberrypi5"],
    models: &["Raspberry Pi 500"],
    compatible: &["raspberrypi,500"],
    boot_config: BootConfig::ConfigTxt,
    outline: None,
    leds: &[
        Led {
            name: "ACT",
            role: Role::Identify,
            colour: Colour::Green,
            place: Place::OnBoard,
            at: None,
            light: Light::MaybeInverted,
            classes: &["ACT", "led0"],
            lines: &[Line { chip: chips::BCM2712, offset: 9, name: Some("2712_STAT_LED"), lit_by: Polarity::ActiveLow }],
        },
        Led {
            name: "PWR",
            role: Role::Power,
            colour: Colour::Red,
            place: Place::OnBoard,
            at: None,
            light: Light::AsTold,
            classes: &["PWR", "led1"],
            lines: &[Line { chip: chips::RP1, offset: 44, name: Some("RP1_STAT_LED"), lit_by: Polarity::ActiveLow }],
        },
    ],
    not_leds: &[],
    not_lines: &[],
    headers: &[Header { chip: chips::RP1, pins: headers::RASPBERRY_PI_40 }],
};
