//! Raspberry Pi 1 Model B+.
//!
//! Under the vendor's trigger `input` the line of `PWR` is an *input* that follows the brown-out detector; any other trigger
//! makes it an output, and the warning is gone until the trigger is put back.
//!
//! Sources: `bcm2835-rpi-b-plus.dts` of mainline, `bcm2708-rpi-b-plus.dts` of the vendor. `led0` and `led1` are the names
//! before Linux 6.1 (raspberrypi/linux ea14f14d).

use crate::{Board, BootConfig, Colour, Header, Led, Light, Line, Place, Point, Polarity, Role, chips, headers, outlines};

pub(crate) const BOARD: Board = Board {
    id: "raspberry-pi-1-model-b-plus",
    name: "Raspberry Pi 1 Model B+",
    also: &[],
    slugs: &["raspberry-pi", "raspberrypi"],
    models: &["Raspberry Pi Model B Plus", "Raspberry Pi Model B+"],
    compatible: &["raspberrypi,model-b-plus"],
    boot_config: BootConfig::ConfigTxt,
    outline: Some(&outlines::PI_MODEL_B_PLUS),
    leds: &[
        Led {
            name: "ACT",
            role: Role::Identify,
            colour: Colour::Green,
            place: Place::OnBoard,
            at: Some(Point { x: 2, y: 9 }),
            light: Light::AsTold,
            classes: &["ACT", "led0"],
            lines: &[Line { chip: chips::BCM2835, offset: 47, name: Some("STATUS_LED"), lit_by: Polarity::ActiveHigh }],
        },
        Led {
            name: "PWR",
            role: Role::Power,
            colour: Colour::Red,
            place: Place::OnBoard,
            at: Some(Point { x: 2, y: 13 }),
            light: Light::AsTold,
            classes: &["PWR", "led1"],
            lines: &[Line { chip: chips::BCM2835, offset: 35, name: Some("PWR_LOW_N"), lit_by: Polarity::ActiveHigh }],
        },
    ],
    not_leds: &[],
    not_lines: &[],
    headers: &[Header { chip: chips::BCM2835, pins: headers::RASPBERRY_PI_40 }],
};
