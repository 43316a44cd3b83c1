//! What board this is, and which of its LEDs a person should look at.

use std::fmt;
use std::path::{Path, PathBuf};

use boards::{Board, Led};

mod choose;
mod detect;
mod guess;
mod leds;
#[cfg(test)]
mod tests;

pub use boards::Polarity;
pub use choose::choose;
pub use detect::detect;
pub use leds::read_leds;

/// What we are told about the board, before we look.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BoardHints {
    /// What the configuration says it is: an id or a slug. Empty and `auto` say nothing.
    pub board: Option<String>,
    /// The device type the environment says it is, `BALENA_DEVICE_TYPE`.
    pub device_type: Option<String>,
}

/// What board this is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DetectedBoard {
    /// The board, where it is one that we know.
    pub board: Option<&'static Board>,
    /// What it may be, where all we have is a device type that several boards share. Empty otherwise.
    pub perhaps: Vec<&'static Board>,
    /// Who told us.
    pub how: DetectedBy,
    /// What the device tree calls it.
    pub model: Option<String>,
    /// What it is compatible with, most specific first.
    pub compatible: Vec<String>,
    /// What was said of the board and could not be heeded, for a person: what, where and what to do.
    pub complaint: Option<String>,
}

/// By whom the board was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DetectedBy {
    /// The configuration says so, in these words.
    Configuration(String),
    /// The device tree's `model`, or the `Model` of `/proc/cpuinfo` where the device tree is hidden.
    Model(String),
    /// An entry of the device tree's `compatible`.
    Compatible(String),
    /// A device type, and where it was read.
    DeviceType {
        /// The cloud's name of it.
        slug: String,
        /// The variable or file that says so.
        from: String,
    },
    /// Nobody.
    Nothing,
}

/// What the host offers by way of LEDs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AvailableLeds {
    /// The kernel's LEDs, in the order of their names.
    pub leds: Vec<KernelLed>,
    /// The GPIO chips, in no order that means anything.
    pub chips: Vec<KernelChip>,
}

/// A directory under `/sys/class/leds`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KernelLed {
    /// Its name.
    pub name: String,
    /// Where it is, under the host's root.
    pub dir: PathBuf,
    /// The brightness that lights it fully.
    pub max_brightness: Option<u32>,
    /// The triggers it knows, the current one in brackets, as the kernel lists them.
    pub triggers: String,
    /// The driver of the device that has it, `leds-gpio`.
    pub driver: Option<String>,
    /// What that device is, where it has a business of its own.
    pub owner: Option<LedFunction>,
    /// The colours it mixes, in the order in which intensities are written. Empty for a LED of one colour.
    pub colours: Vec<String>,
    /// Why it cannot be written, where that is plain from looking at it.
    pub unwritable: Option<String>,
}

/// What a LED belongs to, that has a business of its own.
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
    /// What its driver calls it, where the kernel tells without being asked for it.
    pub label: Option<String>,
}

/// The LED to identify the board with, and why that one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedChoice {
    /// The LED, if there is one.
    pub led: Option<LedLocation>,
    /// What the board's file says of it.
    pub described: Option<&'static Led>,
    /// Why this one, or why none: one sentence for people.
    pub why: String,
    /// What else was considered, and why not, in the order in which it was.
    pub passed_over: Vec<(String, String)>,
    /// Other LEDs that may be driven when a person asks for them by name. The chosen one is not among them.
    pub others: Vec<OtherLed>,
}

/// Where a LED hangs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LedLocation {
    /// In the kernel's LED class.
    Class {
        /// Its name there.
        name: String,
        /// Its directory, under the host's root.
        dir: PathBuf,
    },
    /// On a GPIO line that the kernel has no LED for. Whoever drives it asks first that nobody holds the line, and that its name,
    /// if it has one, is this one.
    Line {
        /// The device that owns the chip.
        device: String,
        /// What the chip's driver calls it, where that means this chip and no other.
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
    /// What the board's file says of it.
    pub described: Option<&'static Led>,
}

/// Looks at the host and chooses the LED to identify it with.
///
/// `led_file` is what `--led-file` or `LED_FILE` says, if anything.
pub fn choose_led(root: &Path, detected: &DetectedBoard, led_file: Option<&str>) -> LedChoice {
    choose(detected, led_file, &read_leds(root))
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
            DetectedBy::Configuration(said) => write!(f, "as configured (`{said}`)"),
            DetectedBy::Model(model) => write!(f, "by its model `{model}`"),
            DetectedBy::Compatible(entry) => write!(f, "by `{entry}` in its device tree"),
            DetectedBy::DeviceType { slug, from } => write!(f, "by its device type `{slug}` in {from}"),
            DetectedBy::Nothing => write!(f, "and nothing told us what it is"),
        }
    }
}
