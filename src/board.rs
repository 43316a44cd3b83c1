//! Which board this is, and which of its LEDs identifies it: decisions on what `linux` has read. Pure.

use std::fmt;
use std::path::PathBuf;

use boards::{Board, Led};

mod choose;
mod free_lines;
mod guess;
mod recognise;
#[cfg(test)]
mod tests;

pub use boards::{BootConfig, Polarity};
pub use choose::choose_led;
pub use free_lines::{FreeLine, free_lines};
pub use recognise::{BoardEvidence, recognise};

/// What configuration and environment say of the board.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BoardHints {
    /// The configured board: an id or a slug. Empty and `auto` mean none.
    pub board: Option<String>,
    /// The device type from the environment, `BALENA_DEVICE_TYPE`.
    pub device_type: Option<String>,
}

/// The detected board.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DetectedBoard {
    /// The board, if it is a known one.
    pub board: Option<&'static Board>,
    /// The candidates, if only a device type is known that several boards share. Empty otherwise.
    pub perhaps: Vec<&'static Board>,
    /// What identified the board.
    pub how: DetectedBy,
    /// The device tree's `model`.
    pub model: Option<String>,
    /// The device tree's `compatible`, most specific first.
    pub compatible: Vec<String>,
    /// A warning about a statement on the board that was overruled: what, where and what to do.
    pub complaint: Option<String>,
}

/// Whether the board itself says what it is. A device type is only what an image was made for, and a later entry of
/// `compatible` is only a related board: related boards share names, not wiring.
fn is_sure(detected: &DetectedBoard) -> bool {
    match &detected.how {
        DetectedBy::Configuration(_) | DetectedBy::Model(_) => true,
        DetectedBy::Compatible(entry) => detected.compatible.first() == Some(entry),
        DetectedBy::DeviceType { .. } | DetectedBy::Nothing => false,
    }
}

impl DetectedBoard {
    /// How its firmware or boot loader is configured: boards that share a device type have that in common.
    #[must_use]
    pub fn boot_config(&self) -> Option<BootConfig> {
        self.board.or(self.perhaps.first().copied()).map(|it| it.boot_config)
    }
}

/// What identified the board.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DetectedBy {
    /// The configuration, with this value.
    Configuration(String),
    /// The device tree's `model`, or the `Model` of `/proc/cpuinfo` where the device tree is hidden.
    Model(String),
    /// An entry of the device tree's `compatible`.
    Compatible(String),
    /// A device type, and where it was read.
    DeviceType {
        /// The cloud's name of the board.
        slug: String,
        /// The variable or file that has it.
        from: String,
    },
    /// Nothing did.
    Nothing,
}

/// The LEDs and GPIO chips of the host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AvailableLeds {
    /// The kernel's LEDs, in the order of their names.
    pub leds: Vec<KernelLed>,
    /// The GPIO chips; their order has no meaning.
    pub chips: Vec<KernelChip>,
}

/// A directory under `/sys/class/leds`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KernelLed {
    /// Its name in the LED class.
    pub name: String,
    /// Its directory, under the host's root.
    pub dir: PathBuf,
    /// The brightness that lights it fully.
    pub max_brightness: Option<u32>,
    /// The triggers as the kernel lists them, the current one in brackets.
    pub triggers: String,
    /// The driver of the device that owns it, `leds-gpio`.
    pub driver: Option<String>,
    /// The function of that device, if it uses the LED for itself.
    pub owner: Option<LedFunction>,
    /// The colours of a multicolour LED, in the order in which intensities are written. Empty for a LED of one colour.
    pub colours: Vec<String>,
    /// Why it cannot be written, if sysfs shows that.
    pub unwritable: Option<String>,
}

/// The function of a device that uses its LED for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LedFunction {
    /// A network interface, its PHY or its radio.
    Network,
    /// A card reader or a disk.
    Storage,
    /// A keyboard or another input device.
    Input,
    /// A battery or a charger.
    PowerSupply,
}

/// A GPIO chip of the host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KernelChip {
    /// The device that owns it.
    pub device: String,
    /// The driver's label, if sysfs shows it.
    pub label: Option<String>,
}

/// The LED to identify the board with, and why it was chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedChoice {
    /// The LED, if there is one.
    pub led: Option<LedLocation>,
    /// The board file's description of it.
    pub described: Option<&'static Led>,
    /// Why this LED, or why none: one sentence for users.
    pub why: String,
    /// The candidates that were rejected and why, in the order in which they were considered.
    pub passed_over: Vec<(String, String)>,
    /// Other LEDs that may be driven when a user names them. Without the chosen one.
    pub others: Vec<OtherLed>,
    /// GPIO lines without an LED that the board leaves to its owner.
    pub free_lines: Vec<FreeLine>,
}

/// Where a LED is connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LedLocation {
    /// In the kernel's LED class.
    Class {
        /// Its name in the class.
        name: String,
        /// Its directory, under the host's root.
        dir: PathBuf,
    },
    /// On a GPIO line that the kernel has no LED for. The driver first checks that the line has no holder, and that its name,
    /// if it has one, is this one.
    Line {
        /// The device that owns the chip.
        device: String,
        /// The driver's label of the chip, if it means this chip and no other.
        label: Option<String>,
        /// The line's name, on kernels that name it.
        name: Option<String>,
        /// Which of the chip's lines, from 0.
        offset: u32,
        /// Which level lights it.
        polarity: Polarity,
    },
}

/// A LED that was not chosen and may still be driven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherLed {
    /// Its name in the LED class.
    pub name: String,
    /// Its directory, under the host's root.
    pub dir: PathBuf,
    /// The board file's description of it.
    pub described: Option<&'static Led>,
}

impl fmt::Display for LedLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Class { name, .. } | Self::Line { name: Some(name), .. } => f.write_str(name),
            Self::Line { device, offset, name: None, .. } => write!(f, "line {offset} of {device}"),
        }
    }
}

impl fmt::Display for DetectedBoard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.board, self.perhaps.is_empty()) {
            (Some(board), _) => write!(f, "{}, ", board.name)?,
            (None, true) => write!(f, "a board we do not know, ")?,
            (None, false) => {
                write!(f, "one of ")?;
                for (i, board) in self.perhaps.iter().enumerate() {
                    write!(f, "{}{}", if i == 0 { "" } else { ", " }, board.name)?;
                }
                write!(f, ", ")?;
            }
        }
        write!(f, "{}", self.how)
    }
}

impl fmt::Display for DetectedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DetectedBy::Configuration(value) => write!(f, "as configured (`{value}`)"),
            DetectedBy::Model(model) => write!(f, "by its model `{model}`"),
            DetectedBy::Compatible(entry) => write!(f, "by `{entry}` in its device tree"),
            DetectedBy::DeviceType { slug, from } => write!(f, "by its device type `{slug}` in {from}"),
            DetectedBy::Nothing => write!(f, "and nothing told us what it is"),
        }
    }
}
