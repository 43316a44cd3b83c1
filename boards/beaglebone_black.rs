//! BeagleBone Black.
//!
//! The `green` in the names is only a name: most are fitted with blue ones. Unlisted clones and capes match here by their
//! compatible strings, which is right for these LEDs.
//!
//! Sources: `am335x-boneblack.dts` of mainline; the trees of beagleboard/BeagleBoard-DeviceTrees for Linux 4.4 to 6.6, where
//! the LEDs are `usr0` to `usr3`.

use crate::{Board, BootConfig, Colour, Led, Light, Line, Place, Polarity, Role, chips, headers, outlines};

pub(crate) const BOARD: Board = Board {
    id: "beaglebone-black",
    name: "BeagleBone Black",
    also: &[],
    slugs: &["beaglebone-black", "beaglebone"],
    models: &["TI AM335x BeagleBone Black"],
    compatible: &["ti,am335x-bone-black"],
    boot_config: BootConfig::UEnv,
    outline: Some(&outlines::BONE),
    leds: &[
        Led {
            name: "USR0",
            role: Role::Activity,
            colour: Colour::Blue,
            place: Place::At("beside the Ethernet socket"),
            at: None,
            light: Light::AsTold,
            classes: &["beaglebone:green:usr0", "beaglebone:green:heartbeat"],
            lines: &[Line { chip: chips::AM335X_GPIO1, offset: 21, name: Some("[usr0 led]"), lit_by: Polarity::ActiveHigh }],
        },
        Led {
            name: "USR1",
            role: Role::Activity,
            colour: Colour::Blue,
            place: Place::At("beside the Ethernet socket"),
            at: None,
            light: Light::AsTold,
            classes: &["beaglebone:green:usr1", "beaglebone:green:mmc0"],
            lines: &[Line { chip: chips::AM335X_GPIO1, offset: 22, name: Some("[usr1 led]"), lit_by: Polarity::ActiveHigh }],
        },
        Led {
            name: "USR2",
            role: Role::Activity,
            colour: Colour::Blue,
            place: Place::At("beside the Ethernet socket"),
            at: None,
            light: Light::AsTold,
            classes: &["beaglebone:green:usr2", "beaglebone:green:cpu0"],
            lines: &[Line { chip: chips::AM335X_GPIO1, offset: 23, name: Some("[usr2 led]"), lit_by: Polarity::ActiveHigh }],
        },
        Led {
            name: "USR3",
            role: Role::Identify,
            colour: Colour::Blue,
            place: Place::At("beside the Ethernet socket"),
            at: None,
            light: Light::AsTold,
            classes: &["beaglebone:green:usr3", "beaglebone:green:mmc1"],
            lines: &[Line { chip: chips::AM335X_GPIO1, offset: 24, name: Some("[usr3 led]"), lit_by: Polarity::ActiveHigh }],
        },
    ],
    not_leds: &[],
    not_lines: &[],
    headers: headers::BEAGLEBONE_BLACK,
};
