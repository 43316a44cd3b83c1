//! What each supported board is made of.
//!
//! One file per board, one constant per file, no behaviour. The agent reads
//! these constants; nothing here reads anything. A board that needs *code* (a
//! LED behind an I²C expander, say) gets a new [`Line`] variant and an arm in
//! `src/linux/leds.rs`, so that the board file stays a description.
//!
//! To support a board: copy the file of its nearest kin, change it, add one
//! line to [`ALL`], run `make check`. A wrong description does not compile.

#![no_std]

mod raspberry_pi_3;
mod raspberry_pi_4;

/// Every board this agent can run on, in alphabetical order of [`Board::name`].
pub const ALL: &[&Board] = &[&raspberry_pi_3::BOARD, &raspberry_pi_4::BOARD];

/// A supported board.
#[derive(Debug, PartialEq, Eq)]
pub struct Board {
    /// Name for people, as printed on the box.
    pub name: &'static str,
    /// Device-type slugs the cloud knows it by.
    pub slugs: &'static [&'static str],
    /// Device-tree `compatible` strings, most specific first.
    pub compatible: &'static [&'static str],
    /// LEDs the agent may drive. Empty when the board has none to spare.
    pub leds: &'static [Led],
}

/// A LED, and what it is for.
#[derive(Debug, PartialEq, Eq)]
pub struct Led {
    /// What the agent says with it.
    pub role: Role,
    /// Where it is wired.
    pub line: Line,
}

/// What a LED tells the person looking at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Identifies the device and shows faults.
    Status,
    /// Lit while an update is being applied.
    Activity,
}

/// Where a LED is wired.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// A kernel LED: a directory under `/sys/class/leds`.
    Sysfs {
        /// Names it goes by, newest kernel first.
        names: &'static [&'static str],
    },
    /// A bare GPIO line that no kernel driver has claimed.
    Gpio {
        /// Name of the line, as `gpioinfo` prints it. Offsets move; names stay.
        name: &'static str,
        /// Which level lights it.
        lit_by: Volts,
    },
}

/// The two levels of a GPIO line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Volts {
    /// The line is at ground.
    Low,
    /// The line is at its supply.
    High,
}

impl Board {
    /// The first board that `matches` any of the given identities.
    #[must_use]
    pub fn find(matches: impl Fn(&Board) -> bool) -> Option<&'static Board> {
        ALL.iter().copied().find(|board| matches(board))
    }

    /// The LED with this role.
    #[must_use]
    pub fn led(&self, role: Role) -> Option<&Led> {
        self.leds.iter().find(|led| led.role == role)
    }

    /// A description that contradicts itself must not compile.
    const fn validate(&self) {
        assert!(!self.name.is_empty(), "a board has a name");
        assert!(!self.slugs.is_empty(), "a board has a device type");
        let mut i = 0;
        while i < self.leds.len() {
            let mut j = i + 1;
            while j < self.leds.len() {
                let same = self.leds[i].role as u8 == self.leds[j].role as u8;
                assert!(!same, "two LEDs with one role");
                j += 1;
            }
            if let Line::Sysfs { names } = &self.leds[i].line {
                assert!(!names.is_empty(), "a kernel LED has a name");
            }
            i += 1;
        }
    }
}

const _: () = {
    let mut i = 0;
    while i < ALL.len() {
        ALL[i].validate();
        i += 1;
    }
};
