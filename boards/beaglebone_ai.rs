//! BeagleBone AI. The cloud has no type for it.
//!
//! Sources: `am5729-beagleboneai.dts` of mainline; the trees of beagleboard/BeagleBoard-DeviceTrees for Linux 4.4 to 6.6, where
//! the LEDs are `usr0` to `usr4`.

use crate::{Board, BootConfig, Colour, Led, Light, Line, Outline, Place, Polarity, Role, chips};

pub(crate) const BOARD: Board = Board {
    id: "beaglebone-ai",
    name: "BeagleBone AI",
    also: &[],
    slugs: &[],
    models: &["BeagleBoard.org BeagleBone AI"],
    compatible: &["beagle,am5729-beagleboneai", "beagleboard.org,am5729-beagleboneai"],
    boot_config: BootConfig::UEnv,
    outline: Some(&Outline { width: 89, height: 54, parts: &[] }),
    leds: &[
        Led {
            name: "USR0",
            role: Role::Activity,
            colour: Colour::Unknown,
            place: Place::OnBoard,
            at: None,
            light: Light::AsTold,
            classes: &["beaglebone:green:usr0"],
            lines: &[Line { chip: chips::AM57_GPIO3, offset: 17, name: None, lit_by: Polarity::ActiveHigh }],
        },
        Led {
            name: "USR1",
            role: Role::Activity,
            colour: Colour::Unknown,
            place: Place::OnBoard,
            at: None,
            light: Light::AsTold,
            classes: &["beaglebone:green:usr1"],
            lines: &[Line { chip: chips::AM57_GPIO5, offset: 5, name: None, lit_by: Polarity::ActiveHigh }],
        },
        Led {
            name: "USR2",
            role: Role::Activity,
            colour: Colour::Unknown,
            place: Place::OnBoard,
            at: None,
            light: Light::AsTold,
            classes: &["beaglebone:green:usr2"],
            lines: &[Line { chip: chips::AM57_GPIO3, offset: 15, name: None, lit_by: Polarity::ActiveHigh }],
        },
        Led {
            name: "USR3",
            role: Role::Identify,
            colour: Colour::Unknown,
            place: Place::OnBoard,
            at: None,
            light: Light::AsTold,
            classes: &["beaglebone:green:usr3"],
            lines: &[Line { chip: chips::AM57_GPIO3, offset: 14, name: None, lit_by: Polarity::ActiveHigh }],
        },
        Led {
            name: "USR4",
            role: Role::Activity,
            colour: Colour::Unknown,
            place: Place::OnBoard,
            at: None,
            light: Light::AsTold,
            classes: &["beaglebone:green:usr4"],
            lines: &[Line { chip: chips::AM57_GPIO3, offset: 7, name: None, lit_by: Polarity::ActiveHigh }],
        },
    ],
    not_leds: &[],
    not_lines: &[],
    headers: &[],
};
