//! Raspberry Pi 1 Model A+.
//!
//! The vendor has no device tree for it and boots it with that of the B+: only the model tells them apart. LEDs are wired
//! alike.
//!
//! Sources: `bcm2835-rpi-a-plus.dts` of mainline, `bcm2708-rpi-b-plus.dts` of the vendor.

use crate::{Board, BootConfig, Header, chips, headers, outlines, raspberry_pi_1_model_b_plus};

pub(crate) const BOARD: Board = Board {
    id: "raspberry-pi-1-model-a-plus",
    name: "Raspberry Pi 1 Model A+",
    also: &[],
    slugs: &["raspberry-pi", "raspberrypi"],
    models: &["Raspberry Pi Model A Plus", "Raspberry Pi Model A+"],
    compatible: &["raspberrypi,model-a-plus"],
    boot_config: BootConfig::ConfigTxt,
    outline: Some(&outlines::PI_MODEL_A_PLUS),
    leds: raspberry_pi_1_model_b_plus::BOARD.leds,
    not_leds: &[],
    not_lines: &[],
    headers: &[Header { chip: chips::BCM2835, pins: headers::RASPBERRY_PI_40 }],
};
