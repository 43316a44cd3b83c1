//! BeagleBone Green Gateway, by Seeed Studio. It has a fifth LED, which shows network activity.
//!
//! Mainline does not know it.
//!
//! Sources: the trees of beagleboard/BeagleBoard-DeviceTrees for Linux 4.4 to 6.6, where the LEDs are `usr0` to `usr3`.

use crate::{Board, BootConfig, Colour, Led, Light, Line, Place, Polarity, Role, chips};

pub(crate) const BOARD: Board = Board {
    id: "beaglebone-green-gateway",
    name: "BeagleBone Green Gateway",
    also: &["SeeedStudio BeagleBone Green Gateway"],
    slugs: &["beaglebone-green-gateway"],
    models: &["SeeedStudio BeagleBone Green Gateway"],
    compatible: &["ti,am335x-bone-green-gateway"],
    boot_config: BootConfig::UEnv,
    outline: None,
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
        Led {
            name: "USR4",
            role: Role::Activity,
            colour: Colour::Unknown,
            place: Place::OnBoard,
            at: None,
            light: Light::AsTold,
            classes: &["beaglebone:green:usr4"],
            lines: &[Line { chip: chips::AM335X_GPIO2, offset: 21, name: None, lit_by: Polarity::ActiveHigh }],
        },
    ],
    not_leds: &["wl18xx_bt_en"],
    not_lines: &[],
    headers: &[],
};
