use super::*;

const MINUTE: Duration = Duration::from_secs(60);

fn tracker() -> WindowTracker {
    WindowTracker::new(None, BootWindow::default())
}

#[test]
fn the_first_start_in_a_boot_opens_a_window_and_the_second_finds_it_as_it_was() {
    let mut first = tracker();
    assert!(first.begin_boot("one", MINUTE));
    assert_eq!(first.boot_window().closes_up, 11 * MINUTE);
    let mut second = WindowTracker::new(None, first.boot_window().clone());
    assert!(!second.begin_boot("one", 5 * MINUTE));
    assert_eq!(second.boot_window(), first.boot_window());
    assert!(second.begin_boot("two", MINUTE / 2));
    assert_eq!(second.boot_window().closes_up, 10 * MINUTE + MINUTE / 2);
}

#[test]
fn an_agent_that_is_installed_long_after_the_boot_opens_no_window() {
    let mut tracker = tracker();
    assert!(tracker.begin_boot("one", 16 * MINUTE));
    assert_eq!(tracker.boot_window().closes_up, Duration::ZERO);
}
