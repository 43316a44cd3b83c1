//! BeagleBone Black Wireless.
//!
//! On Linux 4.4 of the vendor the enable line of its Bluetooth radio is in the LED class.
//!
//! Sources: `am335x-boneblack-wireless.dts` of mainline; the trees of beagleboard/BeagleBoard-DeviceTrees for Linux 4.4 to 6.6,
//! where the LEDs are `usr0` to `usr3`.

use crate::{Board, BootConfig, Outline, beaglebone_white};

pub(crate) const BOARD: Board = Board {
    id: "beaglebone-black-wireless",
    name: "BeagleBone Black Wireless",
    also: &[],
    slugs: &["beaglebone-black", "beaglebone"],
    models: &["TI AM335x BeagleBone Black Wireless"],
    compatible: &["ti,am335x-bone-black-wireless"],
    boot_config: BootConfig::UEnv,
    outline: Some(&Outline { width: 86, height: 53, parts: &[] }),
    leds: beaglebone_white::BOARD.leds,
    not_leds: &["wl18xx_bt_en"],
    not_lines: &[],
    headers: &[],
};
