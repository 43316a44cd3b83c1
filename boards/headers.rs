//! The lines that boards bring out to a header and leave to their owner.
//!
//! A line is listed only if it has no other job: no bus, console, clock or sound interface that a device tree gives it by
//! default, and nothing on the board itself hangs on it. The owner may still have wired something to the pin; only the owner
//! knows that.
//!
//! Sources: `gpio-line-names` and the default pin functions of `bcm2835-rpi-b.dts`, `bcm2835-rpi-b-plus.dts`,
//! `bcm2835-rpi-zero.dts`, `bcm2837-rpi-3-b.dts`, `bcm2837-rpi-zero-2-w.dts`, `bcm2711-rpi-4-b.dts` and
//! `am335x-boneblack.dts` of mainline, and of RP1 in the Raspberry Pi vendor's patches for it; the pin numbers of the 40-pin
//! header are those of the Raspberry Pi documentation.

use crate::{Header, Pin, chips};

/// The lines that the 40-pin header shares with the 26-pin one of the first Raspberry Pis, on each of its revisions.
pub(crate) const RASPBERRY_PI_26: &[Pin] = &[
    Pin { name: "GPIO17", offset: 17, place: "pin 11 of the header" },
    Pin { name: "GPIO22", offset: 22, place: "pin 15 of the header" },
    Pin { name: "GPIO23", offset: 23, place: "pin 16 of the header" },
    Pin { name: "GPIO24", offset: 24, place: "pin 18 of the header" },
    Pin { name: "GPIO25", offset: 25, place: "pin 22 of the header" },
];

/// The 40-pin header of Raspberry Pis.
pub(crate) const RASPBERRY_PI_40: &[Pin] = &[
    Pin { name: "GPIO5", offset: 5, place: "pin 29 of the header" },
    Pin { name: "GPIO6", offset: 6, place: "pin 31 of the header" },
    Pin { name: "GPIO12", offset: 12, place: "pin 32 of the header" },
    Pin { name: "GPIO13", offset: 13, place: "pin 33 of the header" },
    Pin { name: "GPIO16", offset: 16, place: "pin 36 of the header" },
    Pin { name: "GPIO17", offset: 17, place: "pin 11 of the header" },
    Pin { name: "GPIO22", offset: 22, place: "pin 15 of the header" },
    Pin { name: "GPIO23", offset: 23, place: "pin 16 of the header" },
    Pin { name: "GPIO24", offset: 24, place: "pin 18 of the header" },
    Pin { name: "GPIO25", offset: 25, place: "pin 22 of the header" },
    Pin { name: "GPIO26", offset: 26, place: "pin 37 of the header" },
    Pin { name: "GPIO27", offset: 27, place: "pin 13 of the header" },
];

/// The headers of the BeagleBone Black. The pins of the eMMC, of HDMI and of what the processor reads at its start are left out.
pub(crate) const BEAGLEBONE_BLACK: &[Header] = &[
    Header {
        chip: chips::AM335X_GPIO0,
        pins: &[
            Pin { name: "P8_14", offset: 26, place: "pin 14 of header P8" },
            Pin { name: "P8_17", offset: 27, place: "pin 17 of header P8" },
        ],
    },
    Header {
        chip: chips::AM335X_GPIO1,
        pins: &[
            Pin { name: "P8_11", offset: 13, place: "pin 11 of header P8" },
            Pin { name: "P8_12", offset: 12, place: "pin 12 of header P8" },
            Pin { name: "P8_15", offset: 15, place: "pin 15 of header P8" },
            Pin { name: "P8_16", offset: 14, place: "pin 16 of header P8" },
            Pin { name: "P8_26", offset: 29, place: "pin 26 of header P8" },
            Pin { name: "P9_12", offset: 28, place: "pin 12 of header P9" },
            Pin { name: "P9_23", offset: 17, place: "pin 23 of header P9" },
        ],
    },
    Header {
        chip: chips::AM335X_GPIO2,
        pins: &[
            Pin { name: "P8_7", offset: 2, place: "pin 7 of header P8" },
            Pin { name: "P8_8", offset: 3, place: "pin 8 of header P8" },
            Pin { name: "P8_9", offset: 5, place: "pin 9 of header P8" },
            Pin { name: "P8_10", offset: 4, place: "pin 10 of header P8" },
            Pin { name: "P8_18", offset: 1, place: "pin 18 of header P8" },
        ],
    },
];
