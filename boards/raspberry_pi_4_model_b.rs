//! Raspberry Pi 4 Model B.
//!
//! Sources: `bcm2711-rpi-4-b.dts` of mainline and of the vendor. `led0` and `led1` are the names before Linux 6.1
//! (raspberrypi/linux ea14f14d).

use crate::{Board, BootConfig, Colour, Header, Led, Light, Line, Place, Point, Polarity, Role, chips, headers, outlines};

pub(crate) const BOARD: Board = Board {
    id: "raspberry-pi-4-model-b",
    name: "Raspberry Pi 4 Model B",
    also: &[],
    slugs: &["raspberrypi4-64"],
    models: &["Raspberry Pi 4 Model B"],
    compatible: &["raspberrypi,4-model-b"],
    boot_config: BootConfig::ConfigTxt,
    outline: Some(&outlines::PI_4),
    leds: &[
        Led {
            name: "ACT",
            role: Role::Identify,
            colour: Colour::Green,
            place: Place::At("on the edge beside the power socket"),
            at: Some(Point { x: 2, y: 45 }),
            light: Light::AsTold,
            classes: &["ACT", "led0"],
            lines: &[Line { chip: chips::BCM2711, offset: 42, name: Some("STATUS_LED_G_CLK"), lit_by: Polarity::ActiveHigh }],
        },
        Led {
            name: "PWR",
            role: Role::Power,
            colour: Colour::Red,
            place: Place::At("on the edge beside the power socket"),
            at: Some(Point { x: 2, y: 49 }),
            light: Light::AsTold,
            classes: &["PWR", "led1"],
            lines: &[Line { chip: chips::EXPANDER, offset: 2, name: Some("PWR_LED_OFF"), lit_by: Polarity::ActiveLow }],
        },
    ],
    not_leds: &[],
    not_lines: &[],
    headers: &[Header { chip: chips::BCM2711, pins: headers::RASPBERRY_PI_40 }],
};
