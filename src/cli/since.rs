//! From when on: `10m`, or a time.

use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::state::utc::{from_rfc3339, utc};

/// From when on, as the command line says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Since {
    /// So many seconds before now.
    Ago(u32),
    /// A time: as it was written, and in nanoseconds since 1970.
    At(String, i64),
}

impl Since {
    /// The value of the API's parameter.
    pub(super) fn of_query(&self) -> String {
        match self {
            Self::Ago(secs) => secs.to_string(),
            Self::At(text, _) => text.clone(),
        }
    }

    /// In nanoseconds since 1970, by this machine's clock.
    pub(super) fn time(&self) -> i64 {
        match self {
            Self::At(_, at) => *at,
            Self::Ago(secs) => now_nanos().saturating_sub(i64::from(*secs) * 1_000_000_000),
        }
    }
}

/// The time by this machine's clock, in nanoseconds since 1970.
#[expect(clippy::disallowed_methods, reason = "a command of a person, who means this machine's clock")]
fn now_nanos() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_nanos()).unwrap_or(i64::MAX)
}

/// The same as `2026-11-29T02:00:00Z`.
pub(super) fn now_utc() -> String {
    utc(now_nanos().div_euclid(1_000_000_000))
}

impl FromStr for Since {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(at) = from_rfc3339(text) {
            return Ok(Self::At(text.to_owned(), at));
        }
        let wrong = || "use a time ago, such as 30s, 10m, 2h or 3d, or a time such as 2026-11-29T02:00:00Z".to_owned();
        let unit = text.chars().last().ok_or_else(wrong)?;
        let secs = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86_400,
            _ => return Err(wrong()),
        };
        let number = text.strip_suffix(unit).filter(|it| it.bytes().all(|it| it.is_ascii_digit())).ok_or_else(wrong)?;
        let number: u32 = number.parse().map_err(|_| wrong())?;
        Ok(Self::Ago(number.saturating_mul(secs)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_ago_or_a_time() {
        for (text, secs) in [("30s", 30), ("10m", 600), ("2h", 7200), ("3d", 259_200), ("4294967295d", u32::MAX)] {
            assert_eq!(text.parse(), Ok(Since::Ago(secs)), "{text}");
        }
        let at: Since = "2026-11-23T15:04:05Z".parse().unwrap();
        assert_eq!((at.of_query().as_str(), at.time()), ("2026-11-23T15:04:05Z", 1_795_446_245_000_000_000));
        for text in ["", "m", "10", "-1m", "+1m", "1.5h", "10 m", "10é", "yesterday", "2026-11-23"] {
            assert!(text.parse::<Since>().is_err(), "{text}");
        }
    }
}
