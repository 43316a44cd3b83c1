//! Raspberry Pi 400, the one inside a keyboard.
//!
//! It has one LED, named `PWR`: no kernel has an `ACT` here. Line 42, which is `ACT` on the 4, is this one.
//!
//! Sources: `bcm2711-rpi-400.dts` of mainline and of the vendor, where the node of `ACT` is there and disabled. `led0` and
//! `led1` are the names before Linux 6.1 (raspberrypi/linux ea14f14d).

use crate::{Board, BootConfig, Colour, Header, Led, Light, Line, Place, Polarity, Role, chips, headers};

pub(crate) const BOARD: Board = Board {
    id: "raspberry-pi-400",
    name: "Raspberry Pi 400",
    also: &[],
    slugs: &["raspberrypi400-64"],
    models: &["Raspberry Pi 400"],
    compatible: &["raspberrypi,400"],
    boot_config: BootConfig::ConfigTxt,
    outline: None,
    leds: &[Led {
        name: "PWR",
        role: Role::Identify,
        colour: Colour::Green,
        place: Place::OnBoard,
        at: None,
        light: Light::AsTold,
        classes: &["PWR", "led1"],
        lines: &[Line { chip: chips::BCM2711, offset: 42, name: Some("STATUS_LED_G_CLK"), lit_by: Polarity::ActiveHigh }],
    }],
    not_leds: &[],
    not_lines: &[],
    headers: &[Header { chip: chips::BCM2711, pins: headers::RASPBERRY_PI_40 }],
};
