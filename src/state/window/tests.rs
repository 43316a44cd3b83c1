use super::*;
use crate::state::utc::days_since_1970;

/// The spring of 2026: Berlin's clocks go from 02:00 to 03:00 on the 29th of March, which is 01:00 UTC.
const SPRING: i64 = 1_774_746_000;
/// The autumn: from 03:00 back to 02:00 on the 25th of October, which is 01:00 UTC.
const AUTUMN: i64 = 1_792_890_000;

fn berlin(change: i64) -> Vec<ZoneOffset> {
    let [before, after] = if change == SPRING { [3600, 7200] } else { [7200, 3600] };
    let of = |begins, ends, offset| ZoneOffset { begins, ends, offset };
    vec![of(change - 20 * DAY, change, before), of(change, change + 20 * DAY, after)]
}

fn secs(year: i64, month: i64, day: i64, hour: i64, minute: i64) -> i64 {
    days_since_1970(year, month, day) * DAY + hour * 3600 + minute * MINUTE
}

/// The device's own zone.
fn known(offsets: Result<Vec<ZoneOffset>, String>) -> KnownZones {
    [(None, offsets)].into_iter().collect()
}

/// The state in UTC, or in Berlin around a change of its clocks.
fn state(window: &str, now: i64, zone: Option<i64>) -> WindowState {
    let window: UpdateWindow = window.parse().unwrap();
    let utc = vec![ZoneOffset { begins: now - 2 * DAY, ends: now + 16 * DAY, offset: 0 }];
    window.state(now, false, &known(Ok(zone.map_or(utc, berlin))))
}

fn opens(secs: i64, offset: i64) -> WindowState {
    WindowState::Closed(Opening::At { secs, offset })
}

#[test]
fn a_window_is_open_from_its_first_second_to_its_last() {
    let at = |hour, minute| secs(2026, 11, 25, hour, minute);
    for (now, expected) in [
        (at(1, 59), opens(at(2, 0), 0)),
        (at(2, 0) - 1, opens(at(2, 0), 0)),
        (at(2, 0), WindowState::Open(Some(at(4, 0)))),
        (at(4, 0) - 1, WindowState::Open(Some(at(4, 0)))),
        (at(4, 0), opens(at(2, 0) + DAY, 0)),
    ] {
        assert_eq!(state("02:00-04:00", now, None), expected);
    }
}

#[test]
fn days_are_those_on_which_it_begins() {
    // A Friday, and the Saturday after it.
    let (friday, saturday) = (secs(2026, 11, 27, 0, 0), secs(2026, 11, 28, 0, 0));
    let until_two = WindowState::Open(Some(saturday + 2 * 3600));
    assert_eq!(state("Fri 22:00-02:00", friday + 23 * 3600, None), until_two);
    assert_eq!(state("Fri 22:00-02:00", saturday + 3600, None), until_two);
    assert_eq!(state("Fri 22:00-02:00", saturday + 23 * 3600, None), opens(friday + 7 * DAY + 22 * 3600, 0));
    // Over the end of the week, lists, any case.
    for (days, open) in [("Sat-Mon", false), ("fri-mon", true), ("Mon,FRI", true), ("Mon-Thu,Sat-Sun", false), ("Fri", true)] {
        let is_open = matches!(state(&format!("{days} 10:00-11:00"), friday + 10 * 3600, None), WindowState::Open(_));
        assert_eq!(is_open, open, "{days}");
    }
}

#[test]
fn of_several_rules_each_counts_and_those_that_touch_are_one() {
    let at = |hour| secs(2026, 11, 25, hour, 0);
    let window = "02:00-04:00; 04:00-05:00; 20:00-22:00";
    assert_eq!(state(window, at(3), None), WindowState::Open(Some(at(5))));
    assert_eq!(state(window, at(6), None), opens(at(20), 0));
    let in_no_order = "20:00-22:00; 04:00-05:00; 04:30-04:40; 02:00-04:00";
    assert_eq!(state(in_no_order, at(3), None), WindowState::Open(Some(at(5))));
    assert_eq!(state(in_no_order, at(6), None), opens(at(20), 0));
    assert_eq!(state("00:00-24:00", at(6), None), WindowState::Open(Some(at(6) + 16 * DAY)));
}

#[test]
fn on_the_day_that_skips_an_hour_a_window_is_what_is_left_of_it() {
    // 02:30 does not exist: it opens at 03:00, which is 01:00 UTC, and closes at 03:30.
    assert_eq!(state("02:30-03:30", SPRING - 1, Some(SPRING)), opens(SPRING, 7200));
    assert_eq!(state("02:30-03:30", SPRING, Some(SPRING)), WindowState::Open(Some(SPRING + 30 * MINUTE)));
    // Wholly within the hour: it opens on the day after, at 00:15 UTC.
    assert_eq!(state("02:15-02:45", SPRING - 1800, Some(SPRING)), opens(SPRING - 3600 + DAY + 15 * MINUTE, 7200));
    // Around it: an hour shorter.
    assert_eq!(state("01:30-03:30", SPRING - 1200, Some(SPRING)), WindowState::Open(Some(SPRING + 1800)));
}

#[test]
fn on_the_day_that_repeats_an_hour_a_window_within_it_opens_twice() {
    let first = AUTUMN - 1800;
    assert_eq!(state("02:30-02:45", first - 1, Some(AUTUMN)), opens(first, 7200));
    assert_eq!(state("02:30-02:45", first, Some(AUTUMN)), WindowState::Open(Some(first + 900)));
    assert_eq!(state("02:30-02:45", first + 900, Some(AUTUMN)), opens(AUTUMN + 1800, 3600));
    // Around it: an hour longer, without a break.
    assert_eq!(state("02:00-03:00", AUTUMN - 3600, Some(AUTUMN)), WindowState::Open(Some(AUTUMN + 3600)));
    assert_eq!(state("02:00-03:00", AUTUMN, Some(AUTUMN)), WindowState::Open(Some(AUTUMN + 3600)));
}

#[test]
fn no_window_is_open_before_the_clock_is_set() {
    let closed = WindowState::Closed(Opening::ClockNotSet);
    assert_eq!(state("00:00-24:00", 3600, None), closed);
    assert_eq!(state("00:00-24:00", SET_SINCE_SECS - 1, None), closed);
    assert!(matches!(state("00:00-24:00", SET_SINCE_SECS, None), WindowState::Open(_)));
    assert_eq!(state("always", 3600, None), WindowState::Open(None));
}

#[test]
fn a_reboot_opens_a_window_of_its_own() {
    let of = |text: &str, at_boot| {
        let window: UpdateWindow = text.parse().unwrap();
        window.state(secs(2026, 11, 25, 1, 0), at_boot, &known(Err("none".to_owned())))
    };
    assert_eq!(of("reboot", true), WindowState::Open(None));
    assert_eq!(of("reboot", false), WindowState::Closed(Opening::NextBoot));
    assert_eq!(of("02:00-04:00", true), WindowState::Closed(Opening::ZoneUnknown("none".to_owned())));
    assert_eq!(of("Reboot; 02:00-04:00", true), WindowState::Open(None));
}

/// As it was until 2011 on Samoa, which skipped a whole day: no Friday.
#[test]
fn a_week_without_that_day_has_no_such_window() {
    let now = secs(2026, 11, 24, 0, 0);
    let window: UpdateWindow = "Fri 10:00-11:00".parse().unwrap();
    let few = vec![ZoneOffset { begins: now - DAY, ends: now + DAY, offset: 0 }];
    assert_eq!(window.state(now, false, &known(Ok(few))), WindowState::Closed(Opening::NotSoon));
}

#[test]
fn what_is_no_window_says_what_is_wrong() {
    for (text, wrong) in [
        ("", "it is empty"),
        (" ; 02:00-03:00", "a rule is empty"),
        ("sometimes", "`sometimes` is not from-until"),
        ("02:00", "`02:00` is not from-until"),
        ("2-4", "`2` is no time"),
        ("02:00-25:00", "`25:00` is no time"),
        ("02:60-03:00", "`02:60` is no time"),
        ("24:01-03:00", "`24:01` is no time"),
        ("+2:00-03:00", "`+2:00` is no time"),
        ("02:00-02:00", "has no length"),
        ("24:00-02:00", "has no length"),
        ("Mo 02:00-03:00", "`Mo` is none of Mon, Tue"),
        ("Mon- 02:00-03:00", "`` is none of"),
        ("Mon-Fri 02:00-03:00 Europe/Berlin now", "more than days, times and a zone"),
        ("02:00-03:00 ../../etc/passwd", "is no zone"),
        ("02:00-03:00 /etc/passwd", "is no zone"),
        ("02:00-03:00 Europe//Berlin", "is no zone"),
        ("02:00-03:00 +5", "is no zone"),
        ("02:00-03:00 +15:00", "is no zone"),
        ("02:00-03:00\u{7}", "unprintable"),
    ] {
        let said = text.parse::<UpdateWindow>().unwrap_err().to_string();
        assert!(said.contains(wrong), "{text:?}: {said}");
    }
    let long = "02:00-03:00; ".repeat(100);
    assert!(long.parse::<UpdateWindow>().unwrap_err().to_string().contains("longer than"));
}

#[test]
fn a_zone_is_a_name_or_an_offset() {
    let zone = |text: &str| text.parse::<UpdateWindow>().unwrap().times[0].zone.clone();
    assert_eq!(zone("Mon 2:00-04:00"), None);
    for name in ["Europe/Berlin", "America/Argentina/Buenos_Aires", "Etc/GMT+5", "EST5EDT", "+05:30", "-03:00", "UTC"] {
        assert_eq!(zone(&format!("02:00-04:00 {name}")).as_deref(), Some(name));
        assert_eq!(zone(&format!("Mon 02:00-04:00 {name}")).as_deref(), Some(name));
    }
    let offsets = ["UTC", "Z", "+05:30", "-03:00", "Europe/Berlin", "+5:30", "EST5EDT"].map(fixed_offset);
    assert_eq!(offsets, [Some(0), Some(0), Some(19_800), Some(-10_800), None, None, None]);
}

#[test]
fn what_is_waited_for_is_told_in_utc_and_in_the_zone() {
    let told = |opens| ClosedWindow { text: "02:00-04:00".to_owned(), opens }.to_string();
    let at = secs(2026, 11, 29, 1, 0);
    assert_eq!(
        told(Opening::At { secs: at, offset: 3600 }),
        "the update window `02:00-04:00`, which opens at 2026-11-29T01:00:00Z (2026-11-29T02:00:00+01:00)"
    );
    assert!(told(Opening::At { secs: at, offset: -12_600 }).ends_with("(2026-11-28T21:30:00-03:30)"));
    assert!(told(Opening::At { secs: at, offset: 0 }).ends_with("opens at 2026-11-29T01:00:00Z"));
    assert!(told(Opening::ZoneUnknown("no such file".to_owned())).ends_with("does not open: no such file"));
}
