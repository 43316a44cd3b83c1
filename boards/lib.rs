//! What each supported board is made of.
//!
//! One file per board, one constant per file, no behaviour. The agent reads these constants; nothing here reads anything. A
//! board that needs *code* (a LED behind an expander nobody has met yet) gets it in `src/linux`, so that the board file stays a
//! description.
//!
//! To support a board: copy the file of its nearest kin, change it, add one line to [`ALL`], run `make check`. A description
//! that contradicts itself, or another board, does not compile: see [`Board::validate`]. `README.md` beside this file tells the rest.

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

/// Every board we know, in the order of [`Board::name`].
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

/// Names in the LED class that are not LEDs on any board: wires to radios, microcontrollers and camera switches that some
/// kernels expose as LEDs because it was the easy way. To blink one is to reset what hangs on it.
pub const NEVER_BLINK: &[&str] = &["MIPI_SWITCH_OE", "MIPI_SWITCH_SEL", "mcu_bsl", "mcu_nrst", "wl18xx_bt_en"];

/// A supported board.
#[derive(Debug, PartialEq, Eq)]
pub struct Board {
    /// What a person calls it on our command line. The name of its file, with hyphens. No two boards share it.
    pub id: &'static str,
    /// Name for people, as printed on the box.
    pub name: &'static str,
    /// Other names on boxes: the same board with a header soldered in, or without its flash.
    pub also: &'static [&'static str],
    /// Device types the cloud knows it by. Many boards may share one; some have none.
    pub slugs: &'static [&'static str],
    /// What its device tree calls it in `model`, in every spelling, without the revision that firmware appends.
    pub models: &'static [&'static str],
    /// Device-tree `compatible` strings that mean this board and no other.
    pub compatible: &'static [&'static str],
    /// LEDs the agent may drive. Empty when the board has none to spare.
    pub leds: &'static [Led],
    /// Names in the LED class of this board that are not LEDs. All of them are in [`NEVER_BLINK`].
    pub not_leds: &'static [&'static str],
    /// Lines that look like a LED's and must never be driven by hand.
    pub not_lines: &'static [Line],
}

/// A LED, and what it is for.
#[derive(Debug, PartialEq, Eq)]
pub struct Led {
    /// What is printed beside it, or what its maker calls it: `ACT`, `USR3`.
    pub name: &'static str,
    /// What the agent may say with it.
    pub role: Role,
    /// The colour a person looks for.
    pub colour: Colour,
    /// Where a person looks for it.
    pub place: Place,
    /// How far what the kernel says can be believed.
    pub light: Light,
    /// Directories under `/sys/class/leds` it goes by, the one that says most first: the first that exists is this LED.
    pub classes: &'static [&'static str],
    /// How it is wired, for kernels that know no such LED. The first whose chip exists is this LED. Empty when nobody may
    /// drive it but the kernel.
    pub lines: &'static [Line],
}

/// What a LED tells the person looking at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// The one to blink when somebody asks which board this is. At most one on a board.
    Identify,
    /// Means nothing until a program gives it a meaning.
    User,
    /// Flickers with what the machine does: storage, processor, radio.
    Activity,
    /// Tells of the supply. Borrowed only when there is nothing else.
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
    /// It differs between makes, or nobody wrote it down.
    Unknown,
}

/// Where a LED is to be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Somewhere on the board.
    OnBoard,
    /// There: `by the USB-C socket`.
    At(&'static str),
    /// On the carrier that the module sits in, if the carrier has one. The kernel's LED exists either way.
    Carrier,
}

/// Whether what the kernel calls lit is lit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Light {
    /// As the kernel says.
    AsTold,
    /// Some kernels are said to have it the wrong way round; the board's file says which. A blink looks the same either way.
    MaybeInverted,
}

/// A line of a GPIO chip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    /// The chip it belongs to.
    pub chip: Chip,
    /// Which of the chip's lines, from 0.
    pub offset: u32,
    /// What the device tree calls the line, on kernels where it does. A line by another name is another line.
    pub name: Option<&'static str>,
    /// Which level lights the LED.
    pub lit_by: Polarity,
}

/// A GPIO chip. Numbers of chips are not among its names: they change with every boot and every kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chip {
    /// The platform device that owns it, `4804c000.gpio`: the directory that `/sys/bus/gpio/devices/gpiochipN` lies in.
    pub device: &'static str,
    /// What its driver calls it, where that means this chip and no other.
    pub label: Option<&'static str>,
}

/// Which level of a line lights a LED.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Polarity {
    /// The LED is lit when the line is at its supply.
    ActiveHigh,
    /// The LED is lit when the line is at ground.
    ActiveLow,
}

impl Board {
    /// The board that goes by this id.
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

    /// The board that a device tree's `compatible` names, and the entry that does: the first that we know, most specific first.
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

/// Whether a model is the listed one. Firmware appends ` Rev 1.2`; device trees ` rev 1.2`, ` rev2` or ` V3.0`. Anything else that
/// follows makes it another board: a Raspberry Pi 500 is not a 5, and a Zero 3 will not be a Zero.
fn names(model: &str, listed: &str) -> bool {
    let Some(rest) = model.strip_prefix(listed) else { return false };
    let revision = [" Rev", " rev", " V"].iter().find_map(|it| rest.strip_prefix(it));
    rest.is_empty() || revision.is_some_and(|it| it.starts_with(|c: char| c == ' ' || c.is_ascii_digit()))
}
