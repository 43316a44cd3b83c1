//! Raspberry Pi 3 Model A+.
//!
//! The vendor has no device tree for it and boots it with that of the 3 Model B+, so `compatible` names the wrong board and
//! only the model is right.
//!
//! Sources: `bcm2837-rpi-3-a-plus.dts` of mainline, `bcm2710-rpi-3-b-plus.dts` of the vendor. `led0` and `led1` are the names
//! before Linux 6.1 (raspberrypi/linux ea14f14d).

use crate::{Board, BootConfig, Colour, Header, Led, Light, Line, Place, Point, Polarity, Role, chips, headers, outlines};

pub(crate) const BOARD: Board = Board {
    id: "raspberry-pi-3-model-a-plus",
    name: "Raspberry Pi 3 Model A+",
    also: &[],
    slugs: &["raspberrypi3", "raspberrypi3-64"],
    models: &["Raspberry Pi 3 Model A Plus", "Raspberry Pi 3 Model A+"],
    compatible: &["raspberrypi,3-model-a-plus"],
    boot_config: BootConfig::ConfigTxt,
    outline: Some(&outlines::PI_MODEL_A_PLUS),
    leds: &[
        Led {
            name: "ACT",
            role: Role::Identify,
            colour: Colour::Green,
            place: Place::At("on the edge beside the power socket"),
            at: Some(Point { x: 2, y: 45 }),
            light: Light::AsTold,
            classes: &["ACT", "led0"],
            lines: &[Line { chip: chips::BCM2836, offset: 29, name: Some("STATUS_LED_G"), lit_by: Polarity::ActiveHigh }],
        },
        Led {
            name: "PWR",
            role: Role::Power,
            colour: Colour::Red,
            place: Place::At("on the edge beside the power socket"),
            at: Some(Point { x: 2, y: 49 }),
            light: Light::AsTold,
            classes: &["PWR", "led1"],
            lines: &[Line {
                chip: chips::EXPANDER_BCM2837,
                offset: 2,
                name: Some("STATUS_LED_R"),
                lit_by: Polarity::ActiveLow,
            }],
        },
    ],
    not_leds: &[],
    not_lines: &[],
    headers: &[Header { chip: chips::BCM2836, pins: headers::RASPBERRY_PI_40 }],
};
