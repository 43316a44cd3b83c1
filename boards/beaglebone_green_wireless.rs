//! BeagleBone Green Wireless, by Seeed Studio.
//!
//! Sources: `am335x-bonegreen-wireless.dts` of mainline; the trees of beagleboard/BeagleBoard-DeviceTrees for Linux 4.4 to 6.6,
//! where the LEDs are `usr0` to `usr3`.

use crate::{Board, BootConfig, Outline, beaglebone_white};

pub(crate) const BOARD: Board = Board {
    id: "beaglebone-green-wireless",
    name: "BeagleBone Green Wireless",
    also: &["SeeedStudio BeagleBone Green Wireless"],
    slugs: &["beaglebone-green-wifi"],
    models: &["TI AM335x BeagleBone Green Wireless"],
    compatible: &["ti,am335x-bone-green-wireless"],
    boot_config: BootConfig::UEnv,
    outline: Some(&Outline { width: 86, height: 53, parts: &[] }),
    leds: beaglebone_white::BOARD.leds,
    not_leds: &["wl18xx_bt_en"],
    not_lines: &[],
    headers: &[],
};
