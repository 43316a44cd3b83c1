//! Dates of the Gregorian calendar, as seconds since 1970. After Hinnant, "chrono-compatible low-level date algorithms": years
//! begin with March, so that a leap day is the last one of its year.

/// Days from the first of March of the year 0 to 1970.
const EPOCH: i64 = 719_468;

/// A time in the form `2026-11-23T16:40:05Z`.
#[must_use]
pub fn utc(secs: i64) -> String {
    let (days, second) = (secs.div_euclid(86_400) + EPOCH, secs.rem_euclid(86_400));
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// A time in the form `2026-11-23T16:40:05.123Z`, of milliseconds since 1970.
#[must_use]
pub fn utc_millis(millis: i64) -> String {
    let secs = utc(millis.div_euclid(1000));
    format!("{}.{:03}Z", secs.trim_end_matches('Z'), millis.rem_euclid(1000))
}

/// A time as RFC 3339 writes it, with a fraction of a second or none: `2026-11-23T16:40:05.5+01:00`. In nanoseconds since 1970.
/// `None`: it is no such time, or not between 1970 and 2262.
#[must_use]
pub fn from_rfc3339(text: &str) -> Option<i64> {
    let number = |at: std::ops::Range<usize>, most: i64| {
        let digits = text.get(at).filter(|it| it.bytes().all(|it| it.is_ascii_digit()))?;
        digits.parse::<i64>().ok().filter(|it| *it <= most)
    };
    let mark = |at: usize, marks: &[u8]| text.as_bytes().get(at).is_some_and(|it| marks.contains(it));
    let date = [number(0..4, 9999)?, number(5..7, 12)?, number(8..10, 31)?];
    let [hour, minute, second] = [number(11..13, 23)?, number(14..16, 59)?, number(17..19, 60)?];
    let has_marks = mark(4, b"-") && mark(7, b"-") && mark(10, b"Tt ") && mark(13, b":") && mark(16, b":");
    if !has_marks || date[0] < 1970 || date[1] < 1 || date[2] < 1 {
        return None;
    }
    let fraction =
        text.get(19..)?.strip_prefix('.').map(|it| it.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default());
    let zone = 19 + fraction.map_or(0, |it| it.len() + 1);
    let nanos = match fraction {
        None => 0,
        Some("") => return None,
        Some(digits) => format!("{digits:0<9}").get(..9)?.parse::<i64>().ok()?,
    };
    let offset_secs = match text.get(zone..)? {
        "Z" | "z" => 0,
        other if other.len() == 6 && mark(zone, b"+-") && mark(zone + 3, b":") => {
            let secs = number(zone + 1..zone + 3, 23)? * 3600 + number(zone + 4..zone + 6, 59)? * 60;
            if other.starts_with('-') { -secs } else { secs }
        }
        _ => return None,
    };
    let secs = days_since_1970(date[0], date[1], date[2]) * 86_400 + hour * 3600 + minute * 60 + second - offset_secs;
    secs.checked_mul(1_000_000_000)?.checked_add(nanos)
}

/// Days since 1970 of a date in the year 1 or later.
#[must_use]
pub const fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let (year, month_from_march) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    365 * year + year / 4 - year / 100 + year / 400 + (153 * month_from_march + 2) / 5 + day - 1 - EPOCH
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_rfc_3339_are_read() {
        for (text, nanos) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2026-11-23T15:04:05Z", Some(1_795_446_245_000_000_000)),
            ("2026-11-23t15:04:05.5z", Some(1_795_446_245_500_000_000)),
            ("2026-11-23 16:04:05.1234567899+01:00", Some(1_795_446_245_123_456_789)),
            ("2026-11-23T13:34:05-01:30", Some(1_795_446_245_000_000_000)),
            ("2026-11-23T15:04:05", None),
            ("2026-11-23T15:04Z", None),
            ("2026-13-23T15:04:05Z", None),
            ("2026-11-23T24:04:05Z", None),
            ("2026-11-23T15:04:05.Z", None),
            ("2026-11-23T15:04:05+1:00", None),
            ("2026-11-23T15:04:05+01:00x", None),
            ("20é6-11-23T15:04:05Z", None),
            ("+026-11-23T15:04:05Z", None),
            ("9999-11-23T15:04:05Z", None),
            ("1969-12-31T23:59:59Z", None),
            ("", None),
        ] {
            assert_eq!(from_rfc3339(text), nanos, "{text}");
        }
        assert_eq!(utc_millis(1_795_446_245_007), "2026-11-23T15:04:05.007Z");
        assert_eq!(utc_millis(-1), "1969-12-31T23:59:59.999Z");
    }

    #[test]
    fn moments_are_as_a_calendar_has_them() {
        for (secs, said) in [
            (0, "1970-01-01T00:00:00Z"),
            (-1, "1969-12-31T23:59:59Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_827_696, "2000-02-29T12:34:56Z"),
            (1_700_000_000, "2023-11-14T22:13:20Z"),
            (1_795_446_245, "2026-11-23T15:04:05Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(utc(secs), said);
            let number = |at: std::ops::Range<usize>| said[at].parse().unwrap();
            assert_eq!(days_since_1970(number(0..4), number(5..7), number(8..10)), secs.div_euclid(86_400), "{said}");
        }
    }
}
