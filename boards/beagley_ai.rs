//! BeagleY-AI. The cloud has no type for it.
//!
//! Linux 6.1 of the vendor names the LEDs after an evaluation board, and has the two switches of the camera connectors in the
//! LED class.
//!
//! Sources: `k3-am67a-beagley-ai.dts` of mainline 7.2 and of beagleboard/linux at 028a2d72; the tree of
//! beagleboard/BeagleBoard-DeviceTrees for Linux 6.1.

use crate::{Board, BootConfig, Colour, Led, Light, Line, Outline, Place, Polarity, Role, chips};

pub(crate) const BOARD: Board = Board {
    id: "beagley-ai",
    name: "BeagleY-AI",
    also: &[],
    slugs: &[],
    models: &["BeagleBoard.org BeagleY-AI"],
    compatible: &["beagle,am67a-beagley-ai", "beagle,j722s-beagley-ai"],
    boot_config: BootConfig::Extlinux,
    outline: Some(&Outline { width: 85, height: 56, parts: &[] }),
    leds: &[
        Led {
            name: "ACT",
            role: Role::Identify,
            colour: Colour::Green,
            place: Place::OnBoard,
            at: None,
            light: Light::AsTold,
            classes: &[":heartbeat", "j722s-evm:green:disk-activity"],
            lines: &[Line { chip: chips::K3, offset: 12, name: None, lit_by: Polarity::ActiveHigh }],
        },
        Led {
            name: "PWR",
            role: Role::Power,
            colour: Colour::Red,
            place: Place::OnBoard,
            at: None,
            light: Light::AsTold,
            classes: &["led-0", "j722s-evm:red:pwr"],
            lines: &[Line { chip: chips::K3, offset: 11, name: None, lit_by: Polarity::ActiveLow }],
        },
    ],
    not_leds: &["MIPI_SWITCH_OE", "MIPI_SWITCH_SEL"],
    not_lines: &[],
    headers: &[],
};
