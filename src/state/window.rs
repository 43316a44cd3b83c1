//! Update windows: when an update may disturb a running service, as its owner writes it.
//!
//! ```text
//! window  = rule { ";" rule }
//! rule    = "always" | "reboot" | [ days ] HH:MM "-" HH:MM [ zone ]
//! days    = day [ "-" day ] { "," day [ "-" day ] }       Mon Tue Wed Thu Fri Sat Sun, in any case
//! zone    = a name as in Europe/Berlin, or an offset as in +05:30; the device's own zone where it is left out
//! ```
//!
//! A rule is open at an instant whose local time is within it. A rule over midnight belongs to the day on which it begins. So
//! on a day whose local time skips an hour, a rule within that hour does not open, and one that overlaps it is shorter; on a
//! day whose local time repeats an hour, a rule within that hour opens twice.

use std::fmt;
use std::str::FromStr;

use crate::sorted::SortedMap;
use crate::state::utc::utc;

/// The label of a service that says when an update may disturb it.
pub const UPDATE_WINDOW_LABEL: &str = "io.boardkeeper.update-window";
/// The setting of a target's configuration that says the same of every service without the label.
pub const UPDATE_WINDOW_SETTING: &str = "SUPERVISOR_UPDATE_WINDOW";
/// The longest text of a window, in characters.
const MAX_CHARS: usize = 500;
/// The longest name of a zone, in characters. The longest of the database has 32.
const MAX_ZONE_CHARS: usize = 64;
/// The first of January 2026 in seconds since 1970, before this release was made: a clock before that was never set.
pub const SET_SINCE_SECS: i64 = 1_767_225_600;
/// How far into the past and the future local time has to be known to say when a window opens next, in seconds. A weekly
/// window opens within eight days, except one that the change to summer time skips.
pub const AROUND_SECS: std::ops::RangeInclusive<i64> = -2 * DAY..=16 * DAY;

const DAY: i64 = 86_400;
const MINUTE: i64 = 60;
const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

/// When an update may disturb a running service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct UpdateWindow {
    /// As it was written, without blanks around it.
    pub text: String,
    /// At any time.
    pub always: bool,
    /// When the agent starts for the first time in a boot.
    pub at_boot: bool,
    /// At these times of the week.
    pub times: Vec<WeeklyTime>,
}

/// A time of the week.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct WeeklyTime {
    /// The days on which it begins, Monday first.
    days: [bool; 7],
    /// When it begins, in minutes after midnight.
    from: u16,
    /// When it ends, in minutes after the midnight before it began.
    until: u16,
    /// The zone of its times. `None`: the device's.
    pub zone: Option<String>,
}

/// A time for which a zone's local time is that far from UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ZoneOffset {
    /// When it begins, in seconds since 1970.
    pub begins: i64,
    /// When it ends.
    pub ends: i64,
    /// Local time minus UTC, in seconds.
    pub offset: i64,
}

/// The offsets around now of zones by their names, or why one is not known. `None`: the device's own zone.
pub type KnownZones = SortedMap<Option<String>, Result<Vec<ZoneOffset>, String>>;

/// Whether a window is open.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum WindowState {
    /// It is open. Holds when it closes, in seconds since 1970; `None`: not by the clock.
    Open(Option<i64>),
    /// It is closed.
    Closed(Opening),
}

/// When a closed window opens.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Opening {
    /// At that time.
    At {
        /// In seconds since 1970.
        secs: i64,
        /// Local time minus UTC then, in seconds.
        offset: i64,
    },
    /// At the next boot.
    NextBoot,
    /// Not before the clock is set.
    ClockNotSet,
    /// Not before its zone is known to the device, for this reason.
    ZoneUnknown(String),
    /// Not within the next two weeks.
    NotSoon,
}

/// A window that is closed, which holds up a step.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClosedWindow {
    /// The window, as its owner wrote it.
    pub text: String,
    /// When it opens.
    pub opens: Opening,
}

/// Why a text is no window: what is wrong, and what is expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}; a window is like `Mon-Fri 02:00-04:00 Europe/Berlin`, `reboot` or `always`, several with `;` between")]
pub struct WindowError(String);

impl UpdateWindow {
    /// Whether it is open at this instant. `at_boot`: the agent started for the first time in this boot.
    #[must_use]
    pub fn state(&self, now: i64, at_boot: bool, zones: &KnownZones) -> WindowState {
        if self.always || self.at_boot && at_boot {
            return WindowState::Open(None);
        }
        if self.times.is_empty() {
            return WindowState::Closed(Opening::NextBoot);
        }
        if now < SET_SINCE_SECS {
            return WindowState::Closed(Opening::ClockNotSet);
        }
        let mut ranges = Vec::new();
        let mut unknown = None;
        for time in &self.times {
            match zones.get(&time.zone) {
                Some(Ok(offsets)) => offsets.iter().for_each(|it| time.open_within(it, &mut ranges)),
                Some(Err(why)) => unknown = Some(why.clone()),
                None => (),
            }
        }
        state_of(&ranges, now).unwrap_or_else(|| WindowState::Closed(unknown.map_or(Opening::NotSoon, Opening::ZoneUnknown)))
    }
}

/// Whether one of these ranges is open, or when the next one opens.
fn state_of(ranges: &[OpenRange], now: i64) -> Option<WindowState> {
    let mut closes = None;
    // One that begins where another ends continues it.
    while let Some(later) = ranges.iter().filter(|it| it.contains(closes.unwrap_or(now))).map(|it| it.ends).max() {
        closes = Some(later);
    }
    if closes.is_some() {
        return Some(WindowState::Open(closes));
    }
    let next = ranges.iter().filter(|it| it.begins > now).min_by_key(|it| it.begins)?;
    Some(WindowState::Closed(Opening::At { secs: next.begins, offset: next.offset }))
}

/// A time for which a rule is open, in seconds since 1970.
#[derive(Debug, Clone, Copy)]
struct OpenRange {
    begins: i64,
    ends: i64,
    offset: i64,
}

impl OpenRange {
    /// Whether this instant is within it.
    fn contains(&self, at: i64) -> bool {
        self.begins <= at && self.ends > at
    }
}

impl WeeklyTime {
    /// When it is open while local time has this offset.
    fn open_within(&self, &ZoneOffset { begins, ends, offset }: &ZoneOffset, ranges: &mut Vec<OpenRange>) {
        let first = (begins + offset).div_euclid(DAY) - 1;
        let last = (ends + offset).div_euclid(DAY);
        for day in first..=last {
            // The first of January 1970 was a Thursday.
            let weekday = usize::try_from((day + 3).rem_euclid(7)).unwrap_or_default();
            let at = |minute: u16| day * DAY + i64::from(minute) * MINUTE - offset;
            let (opens, closes) = (at(self.from).max(begins), at(self.until).min(ends));
            if self.days[weekday] && opens < closes {
                ranges.push(OpenRange { begins: opens, ends: closes, offset });
            }
        }
    }
}

impl FromStr for UpdateWindow {
    type Err = WindowError;

    fn from_str(text: &str) -> Result<Self, WindowError> {
        let text = text.trim();
        if text.chars().count() > MAX_CHARS || text.chars().any(char::is_control) {
            return Err(WindowError(format!("it is longer than {MAX_CHARS} characters, or has unprintable ones")));
        }
        let mut window = Self { text: text.to_owned(), always: false, at_boot: false, times: Vec::new() };
        for rule in text.split(';').map(str::trim) {
            match rule.to_ascii_lowercase().as_str() {
                "" => return Err(WindowError(if text.is_empty() { "it is empty" } else { "a rule is empty" }.to_owned())),
                "always" => window.always = true,
                "reboot" => window.at_boot = true,
                _ => window.times.push(rule.parse()?),
            }
        }
        Ok(window)
    }
}

impl FromStr for WeeklyTime {
    type Err = WindowError;

    fn from_str(rule: &str) -> Result<Self, WindowError> {
        let words: Vec<&str> = rule.split_whitespace().collect();
        let (days, times, zone) = match words[..] {
            [times] => (None, times, None),
            [days, times, zone] => (Some(days), times, Some(zone)),
            [one, other] if one.starts_with(|it: char| it.is_ascii_digit()) => (None, one, Some(other)),
            [days, times] => (Some(days), times, None),
            _ => return Err(WindowError(format!("`{rule}` has more than days, times and a zone"))),
        };
        let (from, until) = times.split_once('-').ok_or_else(|| WindowError(format!("`{times}` is not from-until")))?;
        let (from, until) = (minutes(from)?, minutes(until)?);
        if from == until || from == 24 * 60 {
            return Err(WindowError(format!("`{times}` has no length; a whole day is 00:00-24:00")));
        }
        let until = if until > from { until } else { until + 24 * 60 };
        Ok(Self { days: days.map_or(Ok([true; 7]), parse_days)?, from, until, zone: zone.map(parse_zone).transpose()? })
    }
}

/// `HH:MM`, up to 24:00, in minutes.
fn minutes(text: &str) -> Result<u16, WindowError> {
    let wrong = || WindowError(format!("`{text}` is no time from 00:00 to 24:00"));
    let (hours, minutes) = text.split_once(':').ok_or_else(wrong)?;
    let number = |it: &str, lengths: std::ops::RangeInclusive<usize>| {
        let digits = lengths.contains(&it.len()) && it.bytes().all(|it| it.is_ascii_digit());
        digits.then(|| it.parse::<u16>().ok()).flatten().ok_or_else(wrong)
    };
    let (hours, minutes) = (number(hours, 1..=2)?, number(minutes, 2..=2)?);
    let all = hours * 60 + minutes;
    if minutes < 60 && all <= 24 * 60 { Ok(all) } else { Err(wrong()) }
}

/// `Mon-Fri,Sun`.
fn parse_days(text: &str) -> Result<[bool; 7], WindowError> {
    let day = |name: &str| {
        let found = DAYS.iter().position(|it| it.eq_ignore_ascii_case(name));
        found.ok_or_else(|| WindowError(format!("`{name}` is none of {}", DAYS.join(", "))))
    };
    let mut days = [false; 7];
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (day(first)?, day(last)?);
        // Sat-Mon goes over the end of the week.
        let length = (last + 7 - first) % 7;
        (0..=length).for_each(|it| days[(first + it) % 7] = true);
    }
    Ok(days)
}

/// A name of the zone database, or an offset. Whether the device knows the name is seen when it is used.
fn parse_zone(text: &str) -> Result<String, WindowError> {
    let is_name = |part: &str| !part.is_empty() && part.bytes().all(|it| it.is_ascii_alphanumeric() || b"_+-".contains(&it));
    let named = text.len() <= MAX_ZONE_CHARS && text.split('/').all(is_name);
    if fixed_offset(text).is_some() || named && text.starts_with(|it: char| it.is_ascii_alphabetic()) {
        Ok(text.to_owned())
    } else {
        Err(WindowError(format!("`{text}` is no zone like Europe/Berlin or +05:30")))
    }
}

/// The offset that a zone's name says itself: UTC, or `+05:30`. In seconds.
#[must_use]
pub fn fixed_offset(zone: &str) -> Option<i64> {
    if ["UTC", "Etc/UTC", "GMT", "Z"].contains(&zone) {
        return Some(0);
    }
    let (sign, digits) = match zone.as_bytes().first()? {
        b'+' => (1, &zone[1..]),
        b'-' => (-1, &zone[1..]),
        _ => return None,
    };
    let all = minutes(digits).ok().filter(|it| digits.len() == 5 && *it <= 14 * 60)?;
    Some(sign * i64::from(all) * MINUTE)
}

impl fmt::Display for ClosedWindow {
    /// Completes "waits for".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the update window `{}`", self.text)?;
        match &self.opens {
            Opening::At { secs, offset: 0 } => write!(f, ", which opens at {}", utc(*secs)),
            Opening::At { secs, offset } => {
                let local = utc(secs + offset);
                let (sign, minutes) = (if *offset < 0 { '-' } else { '+' }, offset.abs() / MINUTE);
                let local = local.trim_end_matches('Z');
                write!(f, ", which opens at {} ({local}{sign}{:02}:{:02})", utc(*secs), minutes / 60, minutes % 60)
            }
            Opening::NextBoot => f.write_str(", which opens at the next boot"),
            Opening::ClockNotSet => f.write_str(", which opens when the clock is set: it is before this release was made"),
            Opening::ZoneUnknown(why) => write!(f, ", which does not open: {why}"),
            Opening::NotSoon => f.write_str(", which does not open within two weeks"),
        }
    }
}

#[cfg(test)]
mod tests;
