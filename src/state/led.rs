//! The state of the LEDs, above all of the one by which a user identifies the device.

use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

use crate::state::Pattern;
use crate::state::history::Requester;

/// The LEDs, and the current owners of each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedStatus {
    /// The LED that identifies the device, or why there is none.
    pub led: Result<LedInfo, String>,
    /// What it shows.
    pub shows: LedActivity,
    /// Every other LED that may be driven, and what it shows. As of the last scan for LEDs.
    pub others: Vec<(LedInfo, LedActivity)>,
}

/// What a LED shows, as far as known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LedActivity {
    /// Owners that show something with it, highest priority first. Only the first one is visible.
    pub owners: Vec<LedOwner>,
    /// What plays its pattern, while it blinks.
    pub player: Option<Player>,
    /// The pattern it shows, and since when.
    pub pattern: Option<(Pattern, Instant)>,
    /// The last error, until something succeeds.
    pub trouble: Option<String>,
}

/// A LED, in human-readable text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedInfo {
    /// Its name: the kernel's, or that of the line it is wired to.
    pub name: String,
    /// Why this LED was chosen, or what it is.
    pub why: String,
}

/// Selects a LED.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum LedRef {
    /// The LED that identifies the device, whichever that is now.
    Identify,
    /// The LED of this name: the kernel's, or the one printed beside it.
    Named(String),
    /// The GPIO line of this name, which the board's file leaves to the owner. Something may be wired to it that shows the
    /// pattern.
    Line(String),
}

/// A GPIO line that the board's file leaves to the owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FreeLineInfo {
    /// Its name in the board's documentation.
    pub name: String,
    /// Where on the board it is.
    pub place: String,
    /// The kernel's current name of the chip it is on: `gpiochip0`.
    pub chip: String,
    /// Its offset on the chip, from 0.
    pub offset: u32,
    /// Its direction now.
    pub direction: LineDirection,
    /// What holds it.
    pub holder: LineHolder,
}

/// The direction of a GPIO line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineDirection {
    /// Into the chip.
    Input,
    /// Out of it.
    Output,
}

/// What holds a GPIO line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LineHolder {
    /// Nothing.
    None,
    /// This agent, for a pattern.
    Agent,
    /// A driver or another program, by the name that it gave the kernel, if it gave one.
    Other(Option<String>),
}

/// One use of a LED.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedOwner {
    /// What the LED is used for.
    pub purpose: LedPurpose,
    /// Until when, if that is known.
    pub until: Option<Instant>,
}

/// What a LED is used for, lowest priority first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LedPurpose {
    /// The device cannot reach its cloud.
    Offline,
    /// A client requested a pattern, for a while. A user who looks for the device must still see it, so this ranks below
    /// `Identify`.
    Pattern,
    /// A user wants to see which device this is.
    Identify,
    /// A user tests LEDs with the bring-up tool.
    BringUp,
}

/// A hold of LEDs or lines that has ended, or could not begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedHold {
    /// What was held, for what.
    pub subject: HoldSubject,
    /// For how long it was held.
    pub held: Duration,
    /// How it ended.
    pub end: HoldEnd,
}

/// What is held, for what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HoldSubject {
    /// A LED or line, for a pattern.
    Pattern {
        /// The LED or line, by its own name.
        which: LedRef,
        /// The pattern that the caller requested last.
        pattern: Pattern,
        /// For how long the caller requested that one.
        length: Duration,
        /// How often the caller requested one.
        times: u32,
    },
    /// All LEDs and lines, for the bring-up tool.
    BringUp,
}

/// How a hold ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HoldEnd {
    /// Its time was over.
    TimeOver,
    /// It was released, by this caller if one is known.
    Released(Option<Requester>),
    /// Another caller requested a pattern.
    Replaced(Option<Requester>),
    /// The LED could not be driven, for this reason.
    Failed(String),
}

/// What plays a pattern on a LED.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Player {
    /// The kernel, by a trigger; the agent sleeps.
    Kernel,
    /// The agent, writing change by change.
    Agent,
}

/// The outcome of an identify request. `Display` gives the value of the header `Identify-Led`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdentifyOutcome {
    /// This LED blinks.
    By(String),
    /// The bring-up tool holds the LEDs; this LED will blink if the tool ends in time.
    Waiting(String),
    /// No LED blinks. Says why.
    None(String),
}

/// A pattern that was accepted for a LED.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldPattern {
    /// The name of the LED, or of the line.
    pub led: String,
    /// What it shows now: [`LedPurpose::Pattern`], or a purpose of higher priority.
    pub owner: LedPurpose,
    /// What plays the LED's pattern, while it blinks.
    pub player: Option<Player>,
}

/// Why a pattern was refused. Each message says what, where and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LedRefusal {
    /// There is no such LED.
    #[error("{0}")]
    NoLed(String),
    /// The LED must not be driven.
    #[error("{0}")]
    Guarded(String),
    /// A driver or another program uses the LED.
    #[error("{0}")]
    Busy(String),
    /// Driving the LED failed.
    #[error("{0}")]
    Failed(String),
}

impl Default for LedStatus {
    fn default() -> Self {
        Self { led: Err("not looked for yet".into()), shows: LedActivity::default(), others: Vec::new() }
    }
}

impl fmt::Display for LedRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Identify => f.write_str("identify"),
            Self::Named(name) | Self::Line(name) => f.write_str(name),
        }
    }
}

impl fmt::Display for LedPurpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Offline => "no-connectivity",
            Self::Pattern => "pattern",
            Self::Identify => "identify",
            Self::BringUp => "bring-up",
        })
    }
}

impl fmt::Display for LineDirection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Input => "input",
            Self::Output => "output",
        })
    }
}

impl fmt::Display for Player {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kernel => "kernel",
            Self::Agent => "agent",
        })
    }
}

impl fmt::Display for IdentifyOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A header value may hold only printable ASCII; LED names come from the kernel and may hold anything.
        let plain = |text: &str| text.chars().map(|c| if matches!(c, ' '..='~') { c } else { '?' }).collect::<String>();
        match self {
            Self::By(name) => f.write_str(&plain(name)),
            Self::Waiting(name) => write!(f, "{}; after the bring-up test", plain(name)),
            Self::None(why) => write!(f, "none; {}", plain(why)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_says_what_happened() {
        assert_eq!(IdentifyOutcome::By("ACT".into()).to_string(), "ACT");
        assert_eq!(IdentifyOutcome::None("no LED on this board\r\n".into()).to_string(), "none; no LED on this board??");
    }

    #[test]
    fn bring_up_comes_first() {
        assert!(LedPurpose::BringUp > LedPurpose::Identify && LedPurpose::Identify > LedPurpose::Pattern);
        assert!(LedPurpose::Pattern > LedPurpose::Offline);
    }
}
