//! Raspberry Pi 1 Model A.
//!
//! The vendor has no device tree for it and boots it with that of the B, so `compatible` names the wrong board and only the
//! model is right. LEDs are wired as on the B.
//!
//! Sources: `bcm2835-rpi-a.dts` of mainline, `bcm2708-rpi-b.dts` of the vendor.

use crate::{Board, BootConfig, Header, chips, headers, outlines, raspberry_pi_1_model_b};

pub(crate) const BOARD: Board = Board {
    id: "raspberry-pi-1-model-a",
    name: "Raspberry Pi 1 Model A",
    also: &[],
    slugs: &["raspberry-pi", "raspberrypi"],
    models: &["Raspberry Pi Model A"],
    compatible: &["raspberrypi,model-a"],
    boot_config: BootConfig::ConfigTxt,
    outline: Some(&outlines::PI_MODEL_B),
    leds: raspberry_pi_1_model_b::BOARD.leds,
    not_leds: &[],
    not_lines: &[],
    headers: &[Header { chip: chips::BCM2835, pins: headers::RASPBERRY_PI_26 }],
};
