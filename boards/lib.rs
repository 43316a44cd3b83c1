//! Descriptions of the supported boards.
//!
//! One file per board, one constant per file, no behaviour. The agent reads these constants; nothing here reads anything. A
//! board that needs *code* (a LED behind an expander that no other board has) gets it in `src/linux`, so that the board file
//! stays a description.
//!
//! To support a board: copy the file of the most similar one, change it, add one line to [`ALL`], run `make check`. A
//! description that contradicts itself, or another board, does not compile: see [`Board::validate`]. `README.md` beside this
//! file explains the rest.

#![no_std]

mod beaglebone_ai;
mod beaglebone_ai_64;
mod beaglebone_black;
mod beaglebone_black_wireless;
mod beaglebone_blue;
mod beaglebone_green;
mod beaglebone_green_eco;
mod beaglebone_green_gateway;
mod beaglebone_green_wireless;
mod beaglebone_white;
mod beagleplay;
mod beagley_ai;
mod check;
mod chips;
mod headers;
mod outlines;
mod pocketbeagle;
mod pocketbeagle_2;
mod raspberry_pi_1_model_a;
mod raspberry_pi_1_model_a_plus;
mod raspberry_pi_1_model_b;
mod raspberry_pi_1_model_b_plus;
mod raspberry_pi_2_model_b;
mod raspberry_pi_3_model_a_plus;
mod raspberry_pi_3_model_b;
mod raspberry_pi_3_model_b_plus;
mod raspberry_pi_400;
mod raspberry_pi_4_model_b;
mod raspberry_pi_5;
mod raspberry_pi_500;
mod raspberry_pi_compute_module_1;
mod raspberry_pi_compute_module_3;
mod raspberry_pi_compute_module_4;
mod raspberry_pi_compute_module_4s;
mod raspberry_pi_compute_module_5;
mod raspberry_pi_zero;
mod raspberry_pi_zero_2_w;
mod raspberry_pi_zero_w;

/// Every supported board, in the order of [`Board::name`].
pub const ALL: &[&Board] = &[
    &beaglebone_white::BOARD,
    &beaglebone_ai::BOARD,
    &beaglebone_ai_64::BOARD,
    &beaglebone_black::BOARD,
    &beaglebone_black_wireless::BOARD,
    &beaglebone_blue::BOARD,
    &beaglebone_green::BOARD,
    &beaglebone_green_eco::BOARD,
    &beaglebone_green_gateway::BOARD,
    &beaglebone_green_wireless::BOARD,
    &beagleplay::BOARD,
    &beagley_ai::BOARD,
    &pocketbeagle::BOARD,
    &pocketbeagle_2::BOARD,
    &raspberry_pi_1_model_a::BOARD,
    &raspberry_pi_1_model_a_plus::BOARD,
    &raspberry_pi_1_model_b::BOARD,
    &raspberry_pi_1_model_b_plus::BOARD,
    &raspberry_pi_2_model_b::BOARD,
    &raspberry_pi_3_model_a_plus::BOARD,
    &raspberry_pi_3_model_b::BOARD,
    &raspberry_pi_3_model_b_plus::BOARD,
    &raspberry_pi_4_model_b::BOARD,
    &raspberry_pi_400::BOARD,
    &raspberry_pi_5::BOARD,
    &raspberry_pi_500::BOARD,
    &raspberry_pi_compute_module_1::BOARD,
    &raspberry_pi_compute_module_3::BOARD,
    &raspberry_pi_compute_module_4::BOARD,
    &raspberry_pi_compute_module_4s::BOARD,
    &raspberry_pi_compute_module_5::BOARD,
    &raspberry_pi_zero::BOARD,
    &raspberry_pi_zero_2_w::BOARD,
    &raspberry_pi_zero_w::BOARD,
];

/// Names in the LED class that are not LEDs on any board: control lines of radios, microcontrollers and camera switches that
/// some kernels expose as LEDs because it was the easy way. Blinking one resets the device it controls.
pub const NEVER_BLINK: &[&str] = &["MIPI_SWITCH_OE", "MIPI_SWITCH_SEL", "mcu_bsl", "mcu_nrst", "wl18xx_bt_en"];

/// A supported board.
#[derive(Debug, PartialEq, Eq)]
pub struct Board {
    /// Its ID on the agent's command line: the name of its file, with hyphens. No two boards share it.
    pub id: &'static str,
    /// The product's name, as printed on the box.
    pub name: &'static str,
    /// Other product names: the same board with a header soldered in, or without its flash.
    pub also: &'static [&'static str],
    /// The cloud's device types for it. Many boards may share one; some have none.
    pub slugs: &'static [&'static str],
    /// Its `model` in the device tree, in every spelling, without the revision that firmware appends.
    pub models: &'static [&'static str],
    /// Device-tree `compatible` strings that mean this board and no other.
    pub compatible: &'static [&'static str],
    /// The file in which its boot loader or firmware is configured.
    pub boot_config: BootConfig,
    /// Its size and its largest parts, for drawings. `None`: not known, or it is inside another product.
    pub outline: Option<&'static Outline>,
    /// LEDs the agent may drive. Empty when the board has none to spare.
    pub leds: &'static [Led],
    /// Names in the LED class of this board that are not LEDs. All of them are in [`NEVER_BLINK`].
    pub not_leds: &'static [&'static str],
    /// GPIO lines that look like a LED's and must never be driven.
    pub not_lines: &'static [Line],
    /// Lines on headers that are free for the board's owner. Empty where that is not known.
    pub headers: &'static [Header],
}

/// The file in which a board's boot loader or firmware is configured.
///
/// Sources: the Raspberry Pi documentation of `config.txt`; the images of `BeagleBoard`, which have `uEnv.txt` for the boards
/// with an `AM335x` or AM57 and `extlinux.conf` for those with a K3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BootConfig {
    /// `config.txt`, which Raspberry Pi's firmware reads.
    ConfigTxt,
    /// `uEnv.txt`, which U-Boot reads into its environment.
    UEnv,
    /// `extlinux.conf`, the menu of U-Boot's `sysboot`.
    Extlinux,
}

/// The size of a board and its largest parts, in millimetres, as it lies in its manufacturer's drawings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outline {
    /// From left to right.
    pub width: u8,
    /// From top to bottom.
    pub height: u8,
    /// Parts by which a person finds the way on it.
    pub parts: &'static [Part],
}

/// A part of an [`Outline`]: a rectangle, in millimetres from the top left corner of the board.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// What it is.
    pub kind: PartKind,
    /// Its left edge.
    pub x: u8,
    /// Its upper edge.
    pub y: u8,
    /// From left to right.
    pub width: u8,
    /// From top to bottom.
    pub height: u8,
}

/// What a part of a board is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartKind {
    /// A socket for sound.
    Audio,
    /// A socket for a memory card.
    Card,
    /// A socket for Ethernet.
    Ethernet,
    /// A socket for a display.
    Hdmi,
    /// Pins.
    Header,
    /// The socket of the power supply.
    Power,
    /// A socket for USB devices, or two above each other.
    Usb,
}

/// A place on an [`Outline`], in millimetres from the top left corner of the board.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Point {
    /// From the left edge.
    pub x: u8,
    /// From the upper edge.
    pub y: u8,
}

/// A LED and its purpose.
#[derive(Debug, PartialEq, Eq)]
pub struct Led {
    /// Its label on the board, or the manufacturer's name for it: `ACT`, `USR3`.
    pub name: &'static str,
    /// What the agent may use it for.
    pub role: Role,
    /// Its colour.
    pub colour: Colour,
    /// Where on the board it is.
    pub place: Place,
    /// Where it is on [`Board::outline`], to about 4 mm: enough to look there. `None`: not known, or on the carrier.
    pub at: Option<Point>,
    /// Whether the kernel's on and off can be trusted.
    pub light: Light,
    /// Its directories under `/sys/class/leds`, the most specific name first: the first that exists is this LED.
    pub classes: &'static [&'static str],
    /// Its GPIO lines, for kernels without a driver for this LED. The first whose chip exists is this LED. Empty if only the
    /// kernel may drive it.
    pub lines: &'static [Line],
}

/// What a LED shows to the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// The LED to blink to identify the board. At most one on a board.
    Identify,
    /// Free for programs to use.
    User,
    /// Shows the machine's activity: storage, processor, radio.
    Activity,
    /// Shows the state of the power supply. Used only if there is no other.
    Power,
}

/// The colour of a LED.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// Blue.
    Blue,
    /// Green.
    Green,
    /// Red.
    Red,
    /// It differs between manufacturers, or is not documented.
    Unknown,
}

/// Where a LED is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Somewhere on the board.
    OnBoard,
    /// At this place: `by the USB-C socket`.
    At(&'static str),
    /// On the carrier of a module, if the carrier has one. The kernel's LED exists either way.
    Carrier,
}

/// Whether a LED that the kernel reports as on is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Light {
    /// As the kernel reports.
    AsTold,
    /// Some kernels are said to invert it; the board's file says which. A blink looks the same either way.
    MaybeInverted,
}

/// A line of a GPIO chip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    /// The chip it is on.
    pub chip: Chip,
    /// Its offset on the chip, from 0.
    pub offset: u32,
    /// Its name in the device tree, on kernels that have one. A line by another name is another line.
    pub name: Option<&'static str>,
    /// The level that lights the LED.
    pub lit_by: Polarity,
}

/// A GPIO chip. Its number is no identity: it changes with every boot and every kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chip {
    /// The platform device that owns it, `4804c000.gpio`: the parent directory of `/sys/bus/gpio/devices/gpiochipN`.
    pub device: &'static str,
    /// Its driver's label, if that means this chip and no other.
    pub label: Option<&'static str>,
}

/// The lines of one chip that a board brings out to its headers and leaves to its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The chip they are on.
    pub chip: Chip,
    /// The lines.
    pub pins: &'static [Pin],
}

/// A line on a header, free for the board's owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pin {
    /// Its name in the board's documentation. Kernels that name the line begin its name with this one.
    pub name: &'static str,
    /// Its offset on the chip, from 0.
    pub offset: u32,
    /// Where on the board it is: `pin 29 of the header`.
    pub place: &'static str,
}

/// The level of a line that lights a LED.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Polarity {
    /// The LED is lit when the line is at its supply voltage.
    ActiveHigh,
    /// The LED is lit when the line is at ground.
    ActiveLow,
}

impl BootConfig {
    /// Where the file is below the host's root: the first of these that exists.
    #[must_use]
    pub const fn paths(self) -> &'static [&'static str] {
        match self {
            Self::ConfigTxt => &["boot/firmware/config.txt", "boot/config.txt", "mnt/boot/config.txt"],
            Self::UEnv => &["boot/uEnv.txt"],
            Self::Extlinux => &["boot/firmware/extlinux/extlinux.conf", "boot/extlinux/extlinux.conf"],
        }
    }
}

impl Board {
    /// The board with this ID.
    #[must_use]
    pub fn by_id(id: &str) -> Option<&'static Board> {
        ALL.iter().copied().find(|board| board.id == id)
    }

    /// Every board of this device type.
    pub fn by_slug(slug: &str) -> impl Iterator<Item = &'static Board> {
        ALL.iter().copied().filter(move |board| board.slugs.contains(&slug))
    }

    /// The board that a device tree's `model` names, with or without a revision.
    #[must_use]
    pub fn by_model(model: &str) -> Option<&'static Board> {
        ALL.iter().copied().find(|board| board.models.iter().any(|it| names(model, it)))
    }

    /// The board that matches a device tree's `compatible`, and the entry that does: the first that is known, most specific
    /// first.
    pub fn by_compatible<'a>(entries: impl IntoIterator<Item = &'a str>) -> Option<(&'static Board, &'a str)> {
        entries.into_iter().find_map(|entry| {
            let board = ALL.iter().copied().find(|board| board.compatible.contains(&entry))?;
            Some((board, entry))
        })
    }

    /// The LED to identify the board with.
    #[must_use]
    pub fn identify(&self) -> Option<&'static Led> {
        self.leds.iter().find(|led| led.role == Role::Identify)
    }
}

impl Place {
    /// Whether it is on the board itself, and so certainly there.
    #[must_use]
    pub fn is_on_the_board(&self) -> bool {
        !self.is_on_a_carrier()
    }

    /// Whether it is on the carrier, if anywhere.
    #[must_use]
    pub fn is_on_a_carrier(&self) -> bool {
        matches!(self, Place::Carrier)
    }
}

/// Whether a model is the listed one. Firmware appends ` Rev 1.2`; device trees ` rev 1.2`, ` rev2` or ` V3.0`. Any other
/// suffix makes it another board: a Raspberry Pi 500 is not a 5, and a Zero 3 will not be a Zero.
fn names(model: &str, listed: &str) -> bool {
    let Some(rest) = model.strip_prefix(listed) else { return false };
    let revision = [" Rev", " rev", " V"].iter().find_map(|it| rest.strip_prefix(it));
    rest.is_empty() || revision.is_some_and(|it| it.starts_with(|c: char| c == ' ' || c.is_ascii_digit()))
}
