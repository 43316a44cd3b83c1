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
