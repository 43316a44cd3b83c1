//! Raspberry Pi Zero 2 W.
//!
//! With Linux 6.12.62 of the vendor a user saw the LED lit at brightness 0 (raspberrypi/linux#7250); the outcome of that
//! report is not known.
//!
//! Sources: `bcm2837-rpi-zero-2-w.dts` of mainline, booted on an emulated board with Linux 6.1 and 7.2;
//! `bcm2710-rpi-zero-2-w.dts` of the vendor. `led0` and `led1` are the names before Linux 6.1 (raspberrypi/linux ea14f14d).

use crate::{Board, BootConfig, Colour, Header, Led, Light, Line, Place, Point, Polarity, Role, chips, headers, outlines};

pub(crate) const BOARD: Board = Board {
    id: "raspberry-pi-zero-2-w",
    name: "Raspberry Pi Zero 2 W",
    also: &[],
    slugs: &["raspberrypi0-2w-64"],
    models: &["Raspberry Pi Zero 2 W", "Raspberry Pi Zero 2"],
    compatible: &["raspberrypi,model-zero-2-w", "raspberrypi,model-zero-2"],
    boot_config: BootConfig::ConfigTxt,
    outline: Some(&outlines::PI_ZERO),
    leds: &[Led {
        name: "ACT",
        role: Role::Identify,
        colour: Colour::Green,
        place: Place::At("beside the power socket"),
        at: Some(Point { x: 62, y: 23 }),
        light: Light::MaybeInverted,
        classes: &["ACT", "led0"],
        lines: &[Line { chip: chips::BCM2836, offset: 29, name: Some("STATUS_LED_N"), lit_by: Polarity::ActiveLow }],
    }],
    not_leds: &[],
    not_lines: &[],
    headers: &[Header { chip: chips::BCM2836, pins: headers::RASPBERRY_PI_40 }],
};
