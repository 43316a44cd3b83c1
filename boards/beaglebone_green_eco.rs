//! BeagleBone Green Eco, by Seeed Studio. The cloud has no type for it.
//!
//! Sources: `am335x-bonegreen-eco.dts` of mainline 7.2; the trees of beagleboard/BeagleBoard-DeviceTrees for Linux 4.4 to 6.6,
//! where the LEDs are `usr0` to `usr3`.

use crate::{Board, BootConfig, beaglebone_white, outlines};

pub(crate) const BOARD: Board = Board {
    id: "beaglebone-green-eco",
    name: "BeagleBone Green Eco",
    also: &["Seeed Studio BeagleBone Green Eco"],
    slugs: &[],
    models: &["Seeed Studio BeagleBone Green Eco"],
    compatible: &["seeed,am335x-bone-green-eco"],
    boot_config: BootConfig::UEnv,
    outline: Some(&outlines::BONE),
    leds: beaglebone_white::BOARD.leds,
    not_leds: &[],
    not_lines: &[],
    headers: &[],
};
