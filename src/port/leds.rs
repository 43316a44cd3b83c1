//! The port of the board's LEDs.

use std::time::Duration;

use tokio::time::Instant;

use crate::state::{FreeLineInfo, LedInfo, LedLevel, LedRef, Pattern, Player};

/// The board's LEDs.
///
/// # Guarantees
/// - The original state of an LED is saved before the first change, where a crash does not lose it. [`Leds::restore`] restores
///   exactly that, and [`Leds::restore_all`] does so for every LED, whether this process changed it or one that was killed.
///   What another program set meanwhile stays.
/// - Every call is cancel-safe, and the next one finds a consistent state.
/// - An LED that must not be driven, or that a driver or another program holds, is not touched. Of GPIO lines that are no LEDs,
///   none is driven but those that [`Leds::lines`] lists.
///
/// # Caveats
/// - Success means that the driver accepted the change. Whether there is light, only a person can see.
pub trait Leds {
    /// The LEDs that there were at one moment.
    type Survey;

    /// Looks which LEDs there are. LEDs come and go, so a pattern begins with a survey of its own.
    async fn survey(&self) -> Result<Self::Survey, LedError>;
    /// The same, with what each LED shows at this moment, by name, whatever drives it: the LED that identifies the device
    /// first. An LED whose driver does not say is left out, and so is a bare line. A page looks again and again, so all of it
    /// costs as much as one survey.
    async fn look(&self) -> Result<(Self::Survey, Vec<(String, LedLevel)>), LedError>;
    /// Resolves a reference to an LED.
    fn find(&self, survey: &Self::Survey, which: &LedRef) -> Result<LedInfo, LedError>;
    /// Every LED that may be driven except the one that identifies the device.
    fn others(&self, survey: &Self::Survey) -> Vec<LedInfo>;
    /// The GPIO lines that the board leaves to its owner and that the kernel has, as they are now. No chip is fine.
    async fn lines(&self, survey: &Self::Survey) -> Result<Vec<FreeLineInfo>, LedError>;
    /// Begins a pattern, from its start, replacing the current one. Returns who plays it: with [`Player::Agent`], nothing
    /// shows until [`Leds::play`] plays it. `length`: when the pattern will be over, if known.
    async fn show(
        &self,
        survey: &Self::Survey,
        which: &LedRef,
        pattern: &Pattern,
        length: Option<Duration>,
    ) -> Result<Player, LedError>;
    /// Plays a pattern that began at `since`, change by change. Returns only if the LED fails. Dropping it stops the pattern,
    /// and from then on it changes nothing.
    async fn play(&self, which: &LedRef, pattern: &Pattern, since: Instant) -> LedError;
    /// Restores an LED that `show` or `play` changed. Nothing to restore is fine.
    async fn restore(&self, which: &LedRef) -> Result<(), LedError>;
    /// Restores every LED that was ever changed. Nothing to restore is fine.
    async fn restore_all(&self) -> Result<(), LedError>;
    /// Waits until the tool lock differs from `now`: a person tries LEDs out, or no longer does.
    async fn bench(&self, now: ToolLock) -> ToolLock;
}

/// Whether a person tries LEDs out, with a separate program. Until that ends, the agent drives none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToolLock {
    /// No such program runs.
    Free,
    /// Such a program runs.
    Taken,
}

/// Why an LED operation failed. Each says what, where and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LedError {
    /// There is no LED that may be driven.
    #[error("{0}")]
    None(String),
    /// The agent may not write to the LED.
    #[error("{0}")]
    Permission(String),
    /// The LED's file system is read-only.
    #[error("{0}")]
    ReadOnly(String),
    /// A driver or another program holds the LED. Says which.
    #[error("{0}")]
    Busy(String),
    /// The LED disappeared.
    #[error("{0}")]
    Vanished(String),
    /// The LED must not be driven: it is no LED, or what it shows would be missed.
    #[error("{0}")]
    Guarded(String),
    /// The kernel returned another error.
    #[error("{0}")]
    Failed(String),
}
