//! Raspberry Pi Zero W; with its header soldered in, Zero WH.
//!
//! Sources: `bcm2835-rpi-zero-w.dts` of mainline, `bcm2708-rpi-zero-w.dts` of the vendor. `led0` and `led1` are the names
//! before Linux 6.1 (raspberrypi/linux ea14f14d).

use crate::{Board, BootConfig, Colour, Header, Led, Light, Line, Place, Point, Polarity, Role, chips, headers, outlines};

pub(crate) const BOARD: Board = Board {
    id: "raspberry-pi-zero-w",
    name: "Raspberry Pi Zero W",
    also: &["Raspberry Pi Zero WH"],
    slugs: &["raspberry-pi", "raspberrypi"],
    models: &["Raspberry Pi Zero W"],
    compatible: &["raspberrypi,model-zero-w"],
    boot_config: BootConfig::ConfigTxt,
    outline: Some(&outlines::PI_ZERO),
    leds: &[Led {
        name: "ACT",
        role: Role::Identify,
        colour: Colour::Green,
        place: Place::At("beside the power socket"),
        at: Some(Point { x: 62, y: 23 }),
        light: Light::AsTold,
        classes: &["ACT", "led0"],
        lines: &[Line { chip: chips::BCM2835, offset: 47, name: Some("STATUS_LED_N"), lit_by: Polarity::ActiveLow }],
    }],
    not_leds: &[],
    not_lines: &[],
    headers: &[Header { chip: chips::BCM2835, pins: headers::RASPBERRY_PI_40 }],
};
