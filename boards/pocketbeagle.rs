//! PocketBeagle.
//!
//! Sources: `am335x-pocketbeagle.dts` of mainline, which names the LEDs as the vendor does; the trees of
//! beagleboard/BeagleBoard-DeviceTrees for Linux 4.4 to 6.6, where the LEDs are `usr0` to `usr3`.

use crate::{Board, BootConfig, Colour, Led, Light, Line, Outline, Place, Polarity, Role, chips};

pub(crate) const BOARD: Board = Board {
    id: "pocketbeagle",
    name: "PocketBeagle",
    also: &[],
    slugs: &["beaglebone-pocket"],
    models: &["TI AM335x PocketBeagle"],
    compatible: &["ti,am335x-pocketbeagle"],
    boot_config: BootConfig::UEnv,
    outline: Some(&Outline { width: 56, height: 35, parts: &[] }),
    leds: &[
        Led {
            name: "USR0",
            role: Role::Activity,
            colour: Colour::Unknown,
            place: Place::OnBoard,
            at: None,
            light: Light::AsTold,
            classes: &["beaglebone:green:usr0"],
            lines: &[Line { chip: chips::AM335X_GPIO1, offset: 21, name: Some("[USR LED 0]"), lit_by: Polarity::ActiveHigh }],
        },
        Led {
            name: "USR1",
            role: Role::Activity,
            colour: Colour::Unknown,
            place: Place::OnBoard,
            at: None,
            light: Light::AsTold,
            classes: &["beaglebone:green:usr1"],
            lines: &[Line { chip: chips::AM335X_GPIO1, offset: 22, name: Some("[USR LED 1]"), lit_by: Polarity::ActiveHigh }],
        },
        Led {
            name: "USR2",
            role: Role::Activity,
            colour: Colour::Unknown,
            place: Place::OnBoard,
            at: None,
            light: Light::AsTold,
            classes: &["beaglebone:green:usr2"],
            lines: &[Line { chip: chips::AM335X_GPIO1, offset: 23, name: Some("[USR LED 2]"), lit_by: Polarity::ActiveHigh }],
        },
        Led {
            name: "USR3",
            role: Role::Identify,
            colour: Colour::Unknown,
            place: Place::OnBoard,
            at: None,
            light: Light::AsTold,
            classes: &["beaglebone:green:usr3"],
            lines: &[Line { chip: chips::AM335X_GPIO1, offset: 24, name: Some("[USR LED 3]"), lit_by: Polarity::ActiveHigh }],
        },
    ],
    not_leds: &[],
    not_lines: &[],
    headers: &[],
};
