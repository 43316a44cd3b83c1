//! What is known of the LED a person finds the device by.

use std::fmt;

use tokio::time::Instant;

/// The LEDs, and who shows something with each now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedStatus {
    /// The LED to find the device by, or why there is none.
    pub led: Result<LedInfo, String>,
    /// What it shows.
    pub shows: LedActivity,
    /// Every other LED that may be driven, and what it shows. As they were when the LEDs were last looked for.
    pub others: Vec<(LedInfo, LedActivity)>,
}

/// What is known of what a LED shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LedActivity {
    /// Who shows something with it, highest first. Only the first is seen.
    pub owners: Vec<LedOwner>,
    /// Who makes it blink, while it does.
    pub player: Option<Player>,
    /// What went wrong with it last, until something went right.
    pub trouble: Option<String>,
}

/// A LED, in words for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedInfo {
    /// The name it is known by: the kernel's, or that of the line it is wired to.
    pub name: String,
    /// Why it is this one, or what it is.
    pub why: String,
}

/// Which LED is meant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum LedRef {
    /// The one to find the device by, whichever that is now.
    Identify,
    /// The one of this name: the kernel's, or what is printed beside it.
    Named(String),
}

/// Somebody who shows something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedOwner {
    /// What for.
    pub purpose: LedPurpose,
    /// Until when, if that is known.
    pub until: Option<Instant>,
}

/// What a LED is used for, the least important first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LedPurpose {
    /// The device cannot reach its cloud.
    Offline,
    /// Somebody asked for a pattern, for a while. Whoever looks for the device must see it all the same.
    Pattern,
    /// Somebody wants to see which device this is.
    Identify,
    /// Somebody tries LEDs out, with the bring-up tool.
    BringUp,
}

/// Who makes the LED blink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Player {
    /// The kernel, by a trigger; the agent sleeps.
    Kernel,
    /// The agent, change by change.
    Agent,
}

/// What came of asking to identify the device. Displays as the header `Identify-Led` has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdentifyOutcome {
    /// This LED blinks.
    By(String),
    /// Somebody tries LEDs out; this LED will blink if that ends in time.
    Waiting(String),
    /// None does. Says why.
    None(String),
}

/// A pattern that is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldPattern {
    /// The LED's name.
    pub led: String,
    /// Who has it now: [`LedPurpose::Pattern`], or who comes first.
    pub owner: LedPurpose,
    /// Who makes it blink, while it does.
    pub player: Option<Player>,
}

/// Why no pattern is held. Each says what, where and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LedRefusal {
    /// There is no such LED.
    #[error("{0}")]
    NoLed(String),
    /// It is not to be driven.
    #[error("{0}")]
    Guarded(String),
    /// A driver or another program has it.
    #[error("{0}")]
    Busy(String),
    /// It did not do as told.
    #[error("{0}")]
    Failed(String),
}

impl Default for LedStatus {
    fn default() -> Self {
        Self { led: Err("not looked for yet".into()), shows: LedActivity::default(), others: Vec::new() }
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
        // A header takes printable ASCII and nothing else; LED names are the kernel's, and may hold anything.
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
