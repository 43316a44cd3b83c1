//! Raspberry Pi Compute Module 1.
//!
//! The carrier's LED shares its line with the eMMC: line 47 is `EMMC_EN_N`. The kernel's LED knows its polarity, on which
//! vendor and mainline disagree; a program that drives the line itself may take the disk away from the running system.
//!
//! Sources: `bcm2835-rpi-cm1-io1.dts` of mainline, `bcm2708-rpi-cm.dts` of the vendor. `led0` and `led1` are the names before
//! Linux 6.1 (raspberrypi/linux ea14f14d).

use crate::{Board, BootConfig, Colour, Led, Light, Line, Place, Polarity, Role, chips, outlines};

pub(crate) const BOARD: Board = Board {
    id: "raspberry-pi-compute-module-1",
    name: "Raspberry Pi Compute Module 1",
    also: &[],
    slugs: &["raspberry-pi", "raspberrypi"],
    models: &["Raspberry Pi Compute Module", "Raspberry Pi Compute Module IO board"],
    compatible: &["raspberrypi,compute-module"],
    boot_config: BootConfig::ConfigTxt,
    outline: Some(&outlines::MODULE_DIMM),
    leds: &[Led {
        name: "ACT",
        role: Role::Identify,
        colour: Colour::Green,
        place: Place::Carrier,
        at: None,
        light: Light::MaybeInverted,
        classes: &["ACT", "led0"],
        lines: &[],
    }],
    not_leds: &[],
    not_lines: &[Line { chip: chips::BCM2835, offset: 47, name: Some("EMMC_EN_N"), lit_by: Polarity::ActiveHigh }],
    headers: &[],
};
