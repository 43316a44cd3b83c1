//! Raspberry Pi 2 Model B: with a BCM2836, and from revision 1.2 with a BCM2837.
//!
//! The line of `PWR` is also the brown-out detector's, as on the 1 Model B+.
//!
//! Sources: `bcm2836-rpi-2-b.dts` of mainline, booted on an emulated board with Linux 6.1, and `bcm2837-rpi-2-b.dts`;
//! `bcm2709-rpi-2-b.dts` and `bcm2710-rpi-2-b.dts` of the vendor. `led0` and `led1` are the names before Linux 6.1
//! (raspberrypi/linux ea14f14d).

use crate::{Board, BootConfig, Colour, Header, Led, Light, Line, Place, Point, Polarity, Role, chips, headers, outlines};

pub(crate) const BOARD: Board = Board {
    id: "raspberry-pi-2-model-b",
    name: "Raspberry Pi 2 Model B",
    also: &[],
    slugs: &["raspberry-pi2", "raspberrypi2"],
    models: &["Raspberry Pi 2 Model B"],
    compatible: &["raspberrypi,2-model-b", "raspberrypi,2-model-b-rev2"],
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
            lines: &[Line { chip: chips::BCM2836, offset: 47, name: Some("STATUS_LED"), lit_by: Polarity::ActiveHigh }],
        },
        Led {
            name: "PWR",
            role: Role::Power,
            colour: Colour::Red,
            place: Place::OnBoard,
            at: Some(Point { x: 2, y: 13 }),
            light: Light::AsTold,
            classes: &["PWR", "led1"],
            lines: &[Line { chip: chips::BCM2836, offset: 35, name: Some("PWR_LOW_N"), lit_by: Polarity::ActiveHigh }],
        },
    ],
    not_leds: &[],
    not_lines: &[],
    headers: &[Header { chip: chips::BCM2836, pins: headers::RASPBERRY_PI_40 }],
};
