//! Raspberry Pi Zero.
//!
//! Its one LED shows power and activity: lit, and dark for a moment when the card is read. Mainline from 6.1 to 7.2 calls the
//! line active-high although the net is `STATUS_LED_N`, so there the LED is dark when the kernel reports it as on.
//!
//! Sources: `bcm2835-rpi-zero.dts` of mainline, `bcm2708-rpi-zero.dts` of the vendor. `led0` and `led1` are the names before
//! Linux 6.1 (raspberrypi/linux ea14f14d).

use crate::{Board, BootConfig, Colour, Header, Led, Light, Line, Place, Point, Polarity, Role, chips, headers, outlines};

pub(crate) const BOARD: Board = Board {
    id: "raspberry-pi-zero",
    name: "Raspberry Pi Zero",
    also: &[],
    slugs: &["raspberry-pi", "raspberrypi"],
    models: &["Raspberry Pi Zero"],
    compatible: &["raspberrypi,model-zero"],
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
        lines: &[Line { chip: chips::BCM2835, offset: 47, name: Some("STATUS_LED_N"), lit_by: Polarity::ActiveLow }],
    }],
    not_leds: &[],
    not_lines: &[],
    headers: &[Header { chip: chips::BCM2835, pins: headers::RASPBERRY_PI_40 }],
};
