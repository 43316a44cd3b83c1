//! PocketBeagle 2.
//!
//! Mainline composes the same name for two LEDs, so `green:indicator` is line 4 and `green:indicator_1` line 3. The vendor's
//! tree for the AM6232 gives line 4 a colour and no function, which makes `green:`, and then line 3 is `green:indicator`.
//! Hence the order of names below: where `green:` exists, it is line 4. An early tree for Linux 5.10 has two control lines of
//! the microcontroller in the LED class.
//!
//! Sources: `k3-am62-pocketbeagle2.dts` of mainline 7.2; `k3-am6232-pocketbeagle2.dts` of beagleboard/linux at 0b32e049.

use crate::{Board, BootConfig, Colour, Led, Light, Line, Outline, Place, Polarity, Role, chips};

pub(crate) const BOARD: Board = Board {
    id: "pocketbeagle-2",
    name: "PocketBeagle 2",
    also: &["PocketBeagle2"],
    slugs: &[],
    models: &["BeagleBoard.org PocketBeagle2"],
    compatible: &["beagle,am62-pocketbeagle2", "beagle,am6232-pocketbeagle2", "beagle,am625-pocketbeagle2"],
    boot_config: BootConfig::Extlinux,
    outline: Some(&Outline { width: 55, height: 35, parts: &[] }),
    leds: &[
        Led {
            name: "USR3",
            role: Role::Activity,
            colour: Colour::Green,
            place: Place::OnBoard,
            at: None,
            light: Light::AsTold,
            classes: &["green:heartbeat"],
            lines: &[Line { chip: chips::K3, offset: 6, name: Some("[USR LED 3]"), lit_by: Polarity::ActiveHigh }],
        },
        Led {
            name: "USR2",
            role: Role::Activity,
            colour: Colour::Green,
            place: Place::OnBoard,
            at: None,
            light: Light::AsTold,
            classes: &["green:disk-activity"],
            lines: &[Line { chip: chips::K3, offset: 5, name: Some("[USR LED 2]"), lit_by: Polarity::ActiveHigh }],
        },
        Led {
            name: "USR1",
            role: Role::Identify,
            colour: Colour::Green,
            place: Place::OnBoard,
            at: None,
            light: Light::AsTold,
            classes: &["green:", "green:indicator"],
            lines: &[Line { chip: chips::K3, offset: 4, name: Some("[USR LED 1]"), lit_by: Polarity::ActiveHigh }],
        },
        Led {
            name: "USR0",
            role: Role::User,
            colour: Colour::Green,
            place: Place::OnBoard,
            at: None,
            light: Light::AsTold,
            classes: &["green:indicator_1"],
            lines: &[Line { chip: chips::K3, offset: 3, name: Some("[USR LED 0]"), lit_by: Polarity::ActiveHigh }],
        },
    ],
    not_leds: &["mcu_nrst", "mcu_bsl"],
    not_lines: &[],
    headers: &[],
};
