//! The GPIO chips that boards share.
//!
//! The device is the address in the device tree, which neither a kernel nor the probe order changes. The label is given only
//! where it is unique: chips of the `AM335x` and AM57 are labelled in probe order, which is another one since Linux 5.15, so
//! that `gpio-32-63` of an old kernel is `gpio-0-31` of a new one.
//!
//! Sources: the device trees named in the boards' files, built and read; `drivers/pinctrl/bcm/pinctrl-bcm2835.c` and
//! `drivers/gpio/gpio-omap.c` of Linux 6.1 to 7.2.

use crate::Chip;

/// BCM2835: Raspberry Pi 1 and Zero.
pub(crate) const BCM2835: Chip = Chip { device: "20200000.gpio", label: Some("pinctrl-bcm2835") };

/// BCM2836 and BCM2837: Raspberry Pi 2, 3 and Zero 2.
pub(crate) const BCM2836: Chip = Chip { device: "3f200000.gpio", label: Some("pinctrl-bcm2835") };

/// BCM2711: Raspberry Pi 4.
pub(crate) const BCM2711: Chip = Chip { device: "fe200000.gpio", label: Some("pinctrl-bcm2711") };

/// BCM2712's always-on bank: Raspberry Pi 5. Mainline labels it by its device-tree path, so there the device is the only key.
pub(crate) const BCM2712: Chip = Chip { device: "107d517c00.gpio", label: Some("gpio-brcmstb@107d517c00") };

/// RP1, the south bridge of Raspberry Pi 5.
pub(crate) const RP1: Chip = Chip { device: "1f000d0000.gpio", label: Some("pinctrl-rp1") };

/// The expander that Raspberry Pi firmware drives for the kernel.
pub(crate) const EXPANDER: Chip = Chip { device: "soc:firmware:gpio", label: Some("raspberrypi-exp-gpio") };

/// The same expander, as Raspberry Pi's own kernels name it on the BCM2837.
pub(crate) const EXPANDER_BCM2837: Chip = Chip { device: "soc:firmware:expgpio", label: Some("raspberrypi-exp-gpio") };

/// Lines that exist in Raspberry Pi firmware only; in the vendor's kernels only.
pub(crate) const VIRTUAL: Chip = Chip { device: "soc:firmware:virtgpio", label: Some("brcmvirt-gpio") };

/// `AM335x`, bank 0.
pub(crate) const AM335X_GPIO0: Chip = Chip { device: "44e07000.gpio", label: None };

/// `AM335x`, bank 1.
pub(crate) const AM335X_GPIO1: Chip = Chip { device: "4804c000.gpio", label: None };

/// `AM335x`, bank 2.
pub(crate) const AM335X_GPIO2: Chip = Chip { device: "481ac000.gpio", label: None };

/// AM5729, bank 3.
pub(crate) const AM57_GPIO3: Chip = Chip { device: "48057000.gpio", label: None };

/// AM5729, bank 5.
pub(crate) const AM57_GPIO5: Chip = Chip { device: "4805b000.gpio", label: None };

/// Main domain, bank 0, of the `AM62x`, AM67A and J721E.
pub(crate) const K3: Chip = Chip { device: "600000.gpio", label: Some("600000.gpio") };
