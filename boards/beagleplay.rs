//! BeaglePlay.
//!
//! Mainline's LED names are composed without a colour, hence the leading colons.
//!
//! Sources: `k3-am625-beagleplay.dts` of mainline 7.2; the trees of beagleboard/BeagleBoard-DeviceTrees for Linux 5.10 to 6.6.

use crate::{Board, BootConfig, Colour, Led, Light, Line, Outline, Place, Polarity, Role, chips};

pub(crate) const BOARD: Board = Board {
    id: "beagleplay",
    name: "BeaglePlay",
    also: &[],
    slugs: &["beagleplay"],
    models: &["BeagleBoard.org BeaglePlay"],
    compatible: &["beagle,am625-beagleplay"],
    boot_config: BootConfig::Extlinux,
    outline: Some(&Outline { width: 83, height: 80, parts: &[] }),
    leds: &[
        Led {
            name: "USR0",
            role: Role::Activity,
            colour: Colour::Unknown,
            place: Place::OnBoard,
            at: None,
            light: Light::AsTold,
            classes: &["beaglebone:green:usr0", ":heartbeat"],
            lines: &[Line { chip: chips::K3, offset: 3, name: Some("USR0"), lit_by: Polarity::ActiveHigh }],
        },
        Led {
            name: "USR1",
            role: Role::Activity,
            colour: Colour::Unknown,
            place: Place::OnBoard,
            at: None,
            light: Light::AsTold,
            classes: &["beaglebone:green:usr1", ":disk-activity"],
            lines: &[Line { chip: chips::K3, offset: 4, name: Some("USR1"), lit_by: Polarity::ActiveHigh }],
        },
        Led {
            name: "USR2",
            role: Role::Activity,
            colour: Colour::Unknown,
            place: Place::OnBoard,
            at: None,
            light: Light::AsTold,
            classes: &["beaglebone:green:usr2", ":cpu"],
            lines: &[Line { chip: chips::K3, offset: 5, name: Some("USR2"), lit_by: Polarity::ActiveHigh }],
        },
        Led {
            name: "USR3",
            role: Role::Identify,
            colour: Colour::Unknown,
            place: Place::OnBoard,
            at: None,
            light: Light::AsTold,
            classes: &["beaglebone:green:usr3", ":lan"],
            lines: &[Line { chip: chips::K3, offset: 6, name: Some("USR3"), lit_by: Polarity::ActiveHigh }],
        },
        Led {
            name: "USR4",
            role: Role::Activity,
            colour: Colour::Unknown,
            place: Place::OnBoard,
            at: None,
            light: Light::AsTold,
            classes: &["beaglebone:green:usr4", ":wlan"],
            lines: &[Line { chip: chips::K3, offset: 9, name: Some("USR4"), lit_by: Polarity::ActiveHigh }],
        },
    ],
    not_leds: &[],
    not_lines: &[],
    headers: &[],
};
