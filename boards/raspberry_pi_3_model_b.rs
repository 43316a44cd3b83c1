//! Raspberry Pi 3 Model B.
//!
//! Both LEDs are on the firmware's expander: the vendor's kernels reach `ACT` through a virtual chip, mainline through the
//! expander itself, and mainline has no `PWR` at all. A write can succeed without the firmware lighting the LED. The line of
//! `PWR` is also the brown-out detector's, as on the 1 Model B+.
//!
//! Sources: `bcm2837-rpi-3-b.dts` of mainline, `bcm2710-rpi-3-b.dts` of the vendor. `led0` and `led1` are the names before
//! Linux 6.1 (raspberrypi/linux ea14f14d).

use crate::{Board, BootConfig, Colour, Header, Led, Light, Line, Place, Point, Polarity, Role, chips, headers, outlines};

pub(crate) const BOARD: Board = Board {
    id: "raspberry-pi-3-model-b",
    name: "Raspberry Pi 3 Model B",
    also: &[],
    slugs: &["raspberrypi3", "raspberrypi3-64"],
    models: &["Raspberry Pi 3 Model B"],
    compatible: &["raspberrypi,3-model-b"],
    boot_config: BootConfig::ConfigTxt,
    outline: Some(&outlines::PI_MODEL_B_PLUS),
    leds: &[
        Led {
            name: "ACT",
            role: Role::Identify,
            colour: Colour::Green,
            place: Place::At("on the edge beside the power socket"),
            at: Some(Point { x: 2, y: 45 }),
            light: Light::AsTold,
            classes: &["ACT", "led0"],
            lines: &[
                Line { chip: chips::VIRTUAL, offset: 0, name: None, lit_by: Polarity::ActiveHigh },
                Line { chip: chips::EXPANDER, offset: 2, name: Some("STATUS_LED"), lit_by: Polarity::ActiveHigh },
            ],
        },
        Led {
            name: "PWR",
            role: Role::Power,
            colour: Colour::Red,
            place: Place::At("on the edge beside the power socket"),
            at: Some(Point { x: 2, y: 49 }),
            light: Light::AsTold,
            classes: &["PWR", "led1"],
            lines: &[Line { chip: chips::EXPANDER_BCM2837, offset: 7, name: Some("PWR_LOW_N"), lit_by: Polarity::ActiveHigh }],
        },
    ],
    not_leds: &[],
    not_lines: &[],
    headers: &[Header { chip: chips::BCM2836, pins: headers::RASPBERRY_PI_40 }],
};
