use std::string::String as Text;
use std::vec::Vec as List;

use proptest::prelude::*;

use super::*;

fn any_pattern() -> impl Strategy<Value = Pattern> {
    let step = (any::<bool>(), 1..400_u16);
    prop::collection::vec(step, 1..STEPS).prop_map(|steps| {
        let level = |lit| if lit { LedLevel::Lit } else { LedLevel::Dark };
        Pattern::new(steps.into_iter().map(|(lit, ms)| PatternStep { level: level(lit), ms })).unwrap()
    })
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Draws the first `until` ms, one character per 100 ms.
fn draw(pattern: &Pattern, until: u64) -> Text {
    let dot = |t| if pattern.at(ms(t)).0 == LedLevel::Lit { '#' } else { '.' };
    (0..until).step_by(100).map(dot).collect()
}

#[test]
fn pictures() {
    let identify: Pattern = "200,200".parse().unwrap();
    assert_eq!(draw(&identify, 1600), "##..##..##..##..");
    let offline: Pattern = "200,200x4,1000".parse().unwrap();
    assert_eq!(draw(&offline, 3000), "##..##..##..##............##..");
    assert_eq!(offline.round(), ms(2600));
}

#[test]
fn the_kernel_is_told_each_level_twice() {
    let pattern = Pattern::blinks(200, 200, 2, 1000).unwrap();
    assert_eq!(pattern.kernel_text(255).as_str(), "255 200 255 0 0 200 0 0 255 200 255 0 0 1200 0 0");
    assert_eq!(pattern.rounds_in(ms(15_000)), 9);
    assert_eq!(Pattern::blinks(200, 200, 1, 0).unwrap().rounds_in(ms(15_000)), 38);
}

#[test]
fn the_longest_pattern_fits_the_kernels_text() {
    let slow = PatternStep { level: LedLevel::Lit, ms: u16::MAX };
    let steps = (0..STEPS).map(|n| if n % 2 == 0 { slow } else { PatternStep { level: LedLevel::Dark, ..slow } });
    let pattern = Pattern::new(steps).unwrap();
    assert!(pattern.kernel_text(u32::MAX).len() <= KERNEL_TEXT);
}

#[test]
fn a_square_is_what_the_timer_can_do() {
    assert_eq!(Pattern::blinks(200, 300, 1, 0).unwrap().square(), Some((200, 300)));
    assert_eq!(Pattern::blinks(200, 300, 1, 100).unwrap().square(), Some((200, 400)));
    assert_eq!(Pattern::blinks(200, 300, 2, 100).unwrap().square(), None);
    assert_eq!(Pattern::blinks(200, 0, 1, 0).unwrap().square(), None);
}

#[test]
fn what_is_no_pattern_says_why() {
    let read = |text: &str| text.parse::<Pattern>().unwrap_err();
    assert_eq!(read(""), PatternError::Unreadable);
    assert_eq!(read("200"), PatternError::Unreadable);
    assert_eq!(read("200,200,"), PatternError::Unreadable);
    assert_eq!(read("-1,5"), PatternError::Unreadable);
    assert_eq!(read("0,0"), PatternError::Empty);
    assert_eq!(read("1,1x0"), PatternError::Empty);
    assert_eq!(read("1,1x17"), PatternError::TooLong);
    assert_eq!(read("65536,1"), PatternError::Unreadable);
    assert_eq!(read("1,65535x1,1"), PatternError::TooSlow);
}

proptest! {
    /// The end of a step is later than now, and until then nothing changes.
    #[test]
    fn the_next_change_is_the_next(pattern in any_pattern(), t in 0..20_000_u64) {
        let (level, end) = pattern.at(ms(t));
        let end = u64::try_from(end.as_millis()).unwrap();
        prop_assert!(t < end);
        for between in t..end {
            prop_assert_eq!(pattern.at(ms(between)), (level, ms(end)));
        }
    }

    /// Every round is the same, however late.
    #[test]
    fn it_goes_on_forever(pattern in any_pattern(), t in 0..20_000_u64, rounds in 0..1_000_000_u32) {
        let later = ms(t) + pattern.round() * rounds;
        prop_assert_eq!(pattern.at(ms(t)).0, pattern.at(later).0);
    }

    /// Going from change to change passes each step once a round.
    #[test]
    fn a_round_is_as_long_as_its_steps(pattern in any_pattern()) {
        let mut t = Duration::ZERO;
        let mut seen: List<PatternStep> = List::new();
        while t < pattern.round() {
            let (level, end) = pattern.at(t);
            seen.push(PatternStep { level, ms: u16::try_from(end.abs_diff(t).as_millis()).unwrap() });
            t = end;
        }
        prop_assert_eq!(seen.as_slice(), pattern.steps());
        prop_assert_eq!(t, pattern.round());
    }

    /// No two neighbouring steps have the same level.
    #[test]
    fn neighbours_differ(pattern in any_pattern()) {
        prop_assert!(pattern.steps().windows(2).all(|pair| pair[0].level != pair[1].level));
    }

    /// Any text is parsed or rejected, and never panics.
    #[test]
    fn any_text_is_answered(text in "[0-9x, -]{0,24}") {
        let _ = text.parse::<Pattern>();
    }
}
