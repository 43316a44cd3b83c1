//! Raspberry Pi 1 Model B, both revisions.
//!
//! The red, green and yellow LEDs beside `ACT` are wired to the supply and to the Ethernet chip; software cannot reach them.
//! The first revision has the label `OK` beside this one.
//!
//! Sources: `bcm2835-rpi-b.dts` and `-b-rev2.dts` of mainline, `bcm2708-rpi-b.dts` and `-b-rev1.dts` of the vendor. `led0` and
//! `led1` are the names before Linux 6.1 (raspberrypi/linux ea14f14d).

use crate::{Board, BootConfig, Colour, Header, Led, Light, Line, Place, Polarity, Role, chips, headers, outlines};

pub(crate) const BOARD: Board = Board {
    id: "raspberry-pi-1-model-b",
    name: "Raspberry Pi 1 Model B",
    also: &[],
    slugs: &["raspberry-pi", "raspberrypi"],
    models: &["Raspberry Pi Model B"],
    compatible: &["raspberrypi,model-b", "raspberrypi,model-b-rev2"],
    boot_config: BootConfig::ConfigTxt,
    outline: Some(&outlines::PI_MODEL_B),
    leds: &[Led {
        name: "ACT",
        role: Role::Identify,
        colour: Colour::Green,
        place: Place::OnBoard,
        at: None,
        light: Light::AsTold,
        classes: &["ACT", "led0"],
        lines: &[Line { chip: chips::BCM2835, offset: 16, name: Some("STATUS_LED_N"), lit_by: Polarity::ActiveLow }],
    }],
    not_leds: &[],
    not_lines: &[],
    headers: &[Header { chip: chips::BCM2835, pins: headers::RASPBERRY_PI_26 }],
};
