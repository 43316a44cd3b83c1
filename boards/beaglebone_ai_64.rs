//! BeagleBone AI-64.
//!
//! Mainline's LED names are composed without a colour, hence the leading colons. One name occurs twice, hence the `_1`.
//!
//! Sources: `k3-j721e-beagleboneai64.dts` of mainline 7.2 and of beagleboard/linux at 02b80992.

use crate::{Board, BootConfig, Colour, Led, Light, Line, Outline, Place, Polarity, Role, chips};

pub(crate) const BOARD: Board = Board {
    id: "beaglebone-ai-64",
    name: "BeagleBone AI-64",
    also: &[],
    slugs: &["beaglebone-ai64"],
    models: &["BeagleBoard.org BeagleBone AI-64"],
    compatible: &["beagle,j721e-beagleboneai64"],
    boot_config: BootConfig::Extlinux,
    outline: Some(&Outline { width: 103, height: 80, parts: &[] }),
    leds: &[
        Led {
            name: "USR0",
            role: Role::Activity,
            colour: Colour::Unknown,
            place: Place::OnBoard,
            at: None,
            light: Light::AsTold,
            classes: &["beaglebone:green:usr0", ":heartbeat"],
            lines: &[Line { chip: chips::K3, offset: 96, name: None, lit_by: Polarity::ActiveHigh }],
        },
        Led {
            name: "USR1",
            role: Role::Activity,
            colour: Colour::Unknown,
            place: Place::OnBoard,
            at: None,
            light: Light::AsTold,
            classes: &["beaglebone:green:usr1", ":disk-activity"],
            lines: &[Line { chip: chips::K3, offset: 95, name: None, lit_by: Polarity::ActiveHigh }],
        },
        Led {
            name: "USR2",
            role: Role::Activity,
            colour: Colour::Unknown,
            place: Place::OnBoard,
            at: None,
            light: Light::AsTold,
            classes: &["beaglebone:green:usr2", ":cpu"],
            lines: &[Line { chip: chips::K3, offset: 97, name: None, lit_by: Polarity::ActiveHigh }],
        },
        Led {
            name: "USR3",
            role: Role::Identify,
            colour: Colour::Unknown,
            place: Place::OnBoard,
            at: None,
            light: Light::AsTold,
            classes: &["beaglebone:green:usr3", ":disk-activity_1"],
            lines: &[Line { chip: chips::K3, offset: 110, name: None, lit_by: Polarity::ActiveHigh }],
        },
        Led {
            name: "USR4",
            role: Role::Activity,
            colour: Colour::Unknown,
            place: Place::OnBoard,
            at: None,
            light: Light::AsTold,
            classes: &["beaglebone:green:usr4", ":wlan"],
            lines: &[Line { chip: chips::K3, offset: 109, name: None, lit_by: Polarity::ActiveHigh }],
        },
    ],
    not_leds: &[],
    not_lines: &[],
    headers: &[],
};
