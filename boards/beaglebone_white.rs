//! BeagleBone, the first one, known as the white one.
//!
//! Its compatible string is a fallback of nearly every other BeagleBone, so it comes last in their lists and is tried last. The
//! `green` in the names is only a name.
//!
//! Sources: `am335x-bone.dts` of mainline; the trees of beagleboard/BeagleBoard-DeviceTrees for Linux 4.4 to 6.6, where the
//! LEDs are `usr0` to `usr3`.

use crate::{Board, BootConfig, Colour, Led, Light, Line, Place, Polarity, Role, chips, outlines};

pub(crate) const BOARD: Board = Board {
    id: "beaglebone-white",
    name: "BeagleBone",
    also: &["BeagleBone (white)"],
    slugs: &["beaglebone-black", "beaglebone"],
    models: &["TI AM335x BeagleBone"],
    compatible: &["ti,am335x-bone"],
    boot_config: BootConfig::UEnv,
    outline: Some(&outlines::BONE),
    leds: &[
        Led {
            name: "USR0",
            role: Role::Activity,
            colour: Colour::Unknown,
            place: Place::OnBoard,
            at: None,
            light: Light::AsTold,
            classes: &["beaglebone:green:usr0", "beaglebone:green:heartbeat"],
            lines: &[Line { chip: chips::AM335X_GPIO1, offset: 21, name: None, lit_by: Polarity::ActiveHigh }],
        },
        Led {
            name: "USR1",
            role: Role::Activity,
            colour: Colour::Unknown,
            place: Place::OnBoard,
            at: None,
            light: Light::AsTold,
            classes: &["beaglebone:green:usr1", "beaglebone:green:mmc0"],
            lines: &[Line { chip: chips::AM335X_GPIO1, offset: 22, name: None, lit_by: Polarity::ActiveHigh }],
        },
        Led {
            name: "USR2",
            role: Role::Activity,
            colour: Colour::Unknown,
            place: Place::OnBoard,
            at: None,
            light: Light::AsTold,
            classes: &["beaglebone:green:usr2", "beaglebone:green:cpu0"],
            lines: &[Line { chip: chips::AM335X_GPIO1, offset: 23, name: None, lit_by: Polarity::ActiveHigh }],
        },
        Led {
            name: "USR3",
            role: Role::Identify,
            colour: Colour::Unknown,
            place: Place::OnBoard,
            at: None,
            light: Light::AsTold,
            classes: &["beaglebone:green:usr3", "beaglebone:green:mmc1"],
            lines: &[Line { chip: chips::AM335X_GPIO1, offset: 24, name: None, lit_by: Polarity::ActiveHigh }],
        },
    ],
    not_leds: &[],
    not_lines: &[],
    headers: &[],
};
