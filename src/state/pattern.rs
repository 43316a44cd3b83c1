//! Blink patterns, as functions of time. Uses `core` and `heapless` only, so that a fixture without an operating system can
//! play them.

use core::fmt;
use core::str::FromStr;
use core::time::Duration;

use heapless::{String, Vec};

/// Limit of steps in a pattern. The longest built-in pattern has eight.
pub const STEPS: usize = 32;

/// Bytes of a pattern as text for the kernel's `pattern` trigger: two pairs a step, each at most `4294967295 65535 `.
pub const KERNEL_TEXT: usize = STEPS * 2 * 17;

/// The level of a LED. The kernel or the board decides which voltage that is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LedLevel {
    /// It gives no light.
    Dark,
    /// It gives all the light it can.
    Lit,
}

impl LedLevel {
    /// The opposite level.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Dark => Self::Lit,
            Self::Lit => Self::Dark,
        }
    }
}

impl fmt::Display for LedLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dark => "dark",
            Self::Lit => "lit",
        })
    }
}

/// A level, held for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PatternStep {
    /// The level.
    pub level: LedLevel,
    /// Its duration. Never zero in a [`Pattern`].
    pub ms: u16,
}

/// A blink pattern, repeated endlessly: at least one step, each of another level than the one before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    steps: Vec<PatternStep, STEPS>,
}

/// Why a text or a list of steps is not a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatternError {
    /// No step lasts longer than 0 ms.
    Empty,
    /// It has more than [`STEPS`] steps.
    TooLong,
    /// A step lasts longer than 65535 ms.
    TooSlow,
    /// It is not written as `on,off`, `on,off x times` or `on,off x times,pause` in milliseconds.
    Unreadable,
}

impl Pattern {
    /// A pattern of these steps. Steps of 0 ms are dropped, and consecutive steps of one level are merged.
    pub fn new(steps: impl IntoIterator<Item = PatternStep>) -> Result<Self, PatternError> {
        let mut kept: Vec<PatternStep, STEPS> = Vec::new();
        for step in steps.into_iter().filter(|step| step.ms > 0) {
            match kept.last_mut() {
                Some(last) if last.level == step.level => {
                    last.ms = last.ms.checked_add(step.ms).ok_or(PatternError::TooSlow)?;
                }
                Some(_) | None => kept.push(step).map_err(|_| PatternError::TooLong)?,
            }
        }
        if kept.is_empty() { Err(PatternError::Empty) } else { Ok(Self { steps: kept }) }
    }

    /// `times` blinks, each lit for `on_ms` and then dark for `off_ms`, followed by `pause_ms` in the dark.
    pub fn blinks(on_ms: u16, off_ms: u16, times: u16, pause_ms: u16) -> Result<Self, PatternError> {
        let blink = [PatternStep { level: LedLevel::Lit, ms: on_ms }, PatternStep { level: LedLevel::Dark, ms: off_ms }];
        let pause = PatternStep { level: LedLevel::Dark, ms: pause_ms };
        Self::new((0..times).flat_map(|_| blink).chain([pause]))
    }

    /// Its steps.
    #[must_use]
    pub fn steps(&self) -> &[PatternStep] {
        &self.steps
    }

    /// How long one round takes.
    #[must_use]
    pub fn round(&self) -> Duration {
        Duration::from_millis(self.steps.iter().map(|step| u64::from(step.ms)).sum())
    }

    /// The level at `t` since the start, and when its step ends. Both depend on nothing but `t`.
    #[must_use]
    pub fn at(&self, t: Duration) -> (LedLevel, Duration) {
        let round_ms = self.round().as_millis();
        let begun_ms = t.as_millis() / round_ms * round_ms;
        let mut end_ms = begun_ms;
        for step in &self.steps {
            end_ms += u128::from(step.ms);
            if t.as_millis() < end_ms {
                return (step.level, millis(end_ms));
            }
        }
        // Never reached, because a round is as long as its steps. The first step is a valid answer all the same.
        (self.steps[0].level, millis(end_ms))
    }

    /// Rounds that fill at least this time: the kernel's `pattern` trigger takes a number of rounds.
    #[must_use]
    pub fn rounds_in(&self, length: Duration) -> u32 {
        u32::try_from(length.as_millis().div_ceil(self.round().as_millis())).unwrap_or(u32::MAX).max(1)
    }

    /// Milliseconds on and off, if this is a plain blink that begins lit: all that the kernel's `timer` trigger can play.
    #[must_use]
    pub fn square(&self) -> Option<(u16, u16)> {
        match self.steps.as_slice() {
            [on, off] if on.level == LedLevel::Lit => Some((on.ms, off.ms)),
            _ => None,
        }
    }

    /// This pattern for the kernel's `pattern` trigger, where lit is `max`.
    ///
    /// Each level is written twice, the second time for 0 ms: otherwise the kernel fades from one level to the next.
    #[must_use]
    pub fn kernel_text(&self, max: u32) -> String<KERNEL_TEXT> {
        use fmt::Write;
        let mut text = String::new();
        for step in &self.steps {
            let value = if step.level == LedLevel::Lit { max } else { 0 };
            let space = if text.is_empty() { "" } else { " " };
            write!(text, "{space}{value} {} {value} 0", step.ms).expect("STEPS steps of two pairs fit into KERNEL_TEXT");
        }
        text
    }
}

/// Milliseconds that were a `Duration`, or at most a round more.
fn millis(ms: u128) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(u64::MAX))
}

impl FromStr for Pattern {
    type Err = PatternError;

    /// Parses `200,200` or `200,200x4,1000`: on, off, times, pause; in milliseconds.
    fn from_str(text: &str) -> Result<Self, PatternError> {
        let number = |text: &str| text.trim().parse::<u16>().map_err(|_| PatternError::Unreadable);
        let mut parts = text.splitn(3, ',');
        let on = number(parts.next().unwrap_or_default())?;
        let off = parts.next().ok_or(PatternError::Unreadable)?;
        let (off, times) = off.split_once('x').unwrap_or((off, "1"));
        let pause = parts.next().unwrap_or("0");
        Self::blinks(on, number(off)?, number(times)?, number(pause)?)
    }
}

impl fmt::Display for Pattern {
    /// The steps in milliseconds: `+` is lit, `-` is dark.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, step) in self.steps.iter().enumerate() {
            let space = if n == 0 { "" } else { " " };
            let sign = if step.level == LedLevel::Lit { '+' } else { '-' };
            write!(f, "{space}{sign}{}", step.ms)?;
        }
        f.write_str(" ms")
    }
}

impl core::error::Error for PatternError {}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("a pattern needs a step that lasts at least 1 ms"),
            Self::TooLong => write!(f, "a pattern has at most {STEPS} steps"),
            Self::TooSlow => f.write_str("a step of a pattern lasts at most 65535 ms"),
            Self::Unreadable => f.write_str(
                "a pattern is written `on,off`, `on,offxTIMES` or `on,offxTIMES,pause` in milliseconds, as in 200,200x4,1000",
            ),
        }
    }
}

#[cfg(test)]
#[path = "pattern/tests.rs"]
mod tests;
