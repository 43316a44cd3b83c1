//! BeagleBone Green, by Seeed Studio.
//!
//! Sources: `am335x-bonegreen.dts` of mainline; the trees of beagleboard/BeagleBoard-DeviceTrees for Linux 4.4 to 6.6, where
//! the LEDs are `usr0` to `usr3`.

use crate::{Board, BootConfig, beaglebone_white, outlines};

pub(crate) const BOARD: Board = Board {
    id: "beaglebone-green",
    name: "BeagleBone Green",
    also: &["SeeedStudio BeagleBone Green"],
    slugs: &["beaglebone-green"],
    models: &["TI AM335x BeagleBone Green"],
    compatible: &["ti,am335x-bone-green"],
    boot_config: BootConfig::UEnv,
    outline: Some(&outlines::BONE),
    leds: beaglebone_white::BOARD.leds,
    not_leds: &[],
    not_lines: &[],
    headers: &[],
};
