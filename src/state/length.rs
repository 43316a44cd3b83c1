//! Lengths of time, as people write them on a command line and in labels.

use std::ops::RangeInclusive;

/// Reads a time in whole seconds: `45` or `45s`, `30m`, `2h`, `1d`. `None`: it is not written so, or not within the range.
pub fn whole_seconds(text: &str, range: RangeInclusive<u64>) -> Option<u64> {
    let digits = text.len() - text.trim_start_matches(|it: char| it.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let unit = match unit {
        "s" | "" => 1,
        "m" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        _ => return None,
    };
    let seconds = number.parse::<u64>().ok()?.checked_mul(unit)?;
    range.contains(&seconds).then_some(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_number_and_a_unit_within_the_range() {
        for (text, expected) in [("1", 1), ("45s", 45), ("30m", 1800), ("2h", 7200), ("1d", 86_400)] {
            assert_eq!(whole_seconds(text, 1..=86_400), Some(expected), "{text}");
        }
        for text in [
            "",
            "0",
            "s",
            "1 s",
            "-1s",
            "+1s",
            "1.5m",
            "1w",
            "1m30s",
            "86401",
            "25h",
            "99999999999999999999",
            "18446744073709551615d",
        ] {
            assert_eq!(whole_seconds(text, 1..=86_400), None, "{text}");
        }
    }
}
