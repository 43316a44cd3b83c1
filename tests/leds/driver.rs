//! What the driver does to one LED.

use std::sync::Arc;

use boardkeeper::linux::leds::LedError;
use boardkeeper::linux::leds::class::RestoreOutcome;
use boardkeeper::linux::leds::driver::PersistentChanges;
use boardkeeper::linux::leds::simulated::SimulatedLed;
use boardkeeper::state::{LedLevel, Pattern, Player};
use rustix::io::Errno;

use crate::kernel::{Fault, Kernel};
use crate::{dir, driver, led, location, state};

const ALL: &[&str] = &["default-on", "heartbeat", "mmc0", "netdev", "oneshot", "pattern", "timer"];

fn identify() -> Pattern {
    "200,200".parse().unwrap()
}

fn offline() -> Pattern {
    "200,200x4,1000".parse().unwrap()
}

fn with(led: SimulatedLed) -> (Arc<Kernel>, tempfile::TempDir) {
    let kernel = Arc::new(Kernel::default());
    kernel.plug(&dir(), led);
    (kernel, tempfile::tempdir().unwrap())
}

#[test]
fn the_kernel_plays_by_the_best_trigger_it_has() {
    for (triggers, pattern, player, trigger) in [
        (&["timer", "pattern"][..], identify(), Player::Kernel, "pattern"),
        (&["timer"][..], identify(), Player::Kernel, "timer"),
        (&["timer"][..], offline(), Player::Agent, "none"),
        (&[][..], identify(), Player::Agent, "none"),
    ] {
        let (kernel, runtime) = with(SimulatedLed::new(1, triggers));
        let mut driver = driver(&kernel, runtime.path());
        assert_eq!(driver.play(&location(), &pattern, Some(38)), Ok(player));
        assert_eq!(kernel.led(&dir()).trigger, trigger);
    }
}

/// An agent that is not root may write the files of a new trigger once udev has given them to its group.
#[test]
fn a_trigger_whose_settings_are_handed_over_late_is_waited_for() {
    let was = led(ALL, "timer", &[("delay_on", "1000"), ("delay_off", "30")], 0);
    let (kernel, runtime) = with(was.clone());
    kernel.hands_over_after(3);
    let mut driver = driver(&kernel, runtime.path());
    assert_eq!(driver.play(&location(), &identify(), Some(38)), Ok(Player::Kernel));
    assert_eq!(kernel.led(&dir()).trigger, "pattern");
    assert_eq!(driver.release(&location()), Ok(RestoreOutcome::Exactly));
    assert_eq!(state(&kernel.led(&dir())), state(&was));
}

#[test]
fn where_root_only_may_write_the_settings_the_agent_plays() {
    let was = led(ALL, "heartbeat", &[], 0);
    let (kernel, runtime) = with(was.clone());
    kernel.hands_over_after(u32::MAX);
    let mut driver = driver(&kernel, runtime.path());
    assert_eq!(driver.play(&location(), &identify(), Some(38)), Ok(Player::Agent));
    assert_eq!(kernel.led(&dir()).trigger, "none");
    assert_eq!(driver.release(&location()), Ok(RestoreOutcome::Exactly));
    assert_eq!(state(&kernel.led(&dir())), state(&was));
}

/// The LED while the kernel blinks it by its `timer`; afterwards it is as it was.
fn blinked_by_timer(brightness: u32) -> SimulatedLed {
    let was = led(&["timer"], "none", &[], brightness);
    let (kernel, runtime) = with(was.clone());
    let mut driver = driver(&kernel, runtime.path());
    assert_eq!(driver.play(&location(), &identify(), Some(38)), Ok(Player::Kernel));
    let meanwhile = kernel.led(&dir());
    assert_eq!(driver.release(&location()), Ok(RestoreOutcome::Exactly));
    assert_eq!(state(&kernel.led(&dir())), state(&was));
    meanwhile
}

/// Found on the kernel itself: it ends a blink of `timer` in its own time, and loses a brightness that is written before that.
#[test]
fn a_lit_led_is_lit_again_after_the_kernel_ended_its_blink_late() {
    assert_eq!(blinked_by_timer(1).trigger, "timer");
}

/// Found on the kernel itself: `timer` blinks as bright as the LED was.
#[test]
fn a_dimmed_led_blinks_at_full_light_and_is_dimmed_again() {
    assert_eq!(blinked_by_timer(77).brightness, 255);
}

#[test]
fn lit_is_full_light() {
    let (kernel, runtime) = with(SimulatedLed::new(255, &[]));
    let mut driver = driver(&kernel, runtime.path());
    driver.hold(&location(), LedLevel::Lit).unwrap();
    assert_eq!(kernel.led(&dir()).brightness, 255);
}

#[test]
fn every_trigger_comes_back_with_its_settings() {
    let was = [
        led(ALL, "none", &[], 0),
        led(ALL, "none", &[], 77),
        led(ALL, "mmc0", &[], 0),
        led(ALL, "default-on", &[], 0),
        led(ALL, "timer", &[("delay_on", "1000"), ("delay_off", "30")], 0),
        led(ALL, "oneshot", &[("invert", "1")], 0),
        led(ALL, "netdev", &[("device_name", "eth0"), ("link", "1"), ("rx", "1")], 0),
        led(ALL, "pattern", &[("pattern", "9 10 0 90"), ("repeat", "-1")], 0),
    ];
    for was in was {
        let (kernel, runtime) = with(was.clone());
        let mut driver = driver(&kernel, runtime.path());
        driver.play(&location(), &identify(), Some(38)).unwrap();
        driver.play(&location(), &offline(), None).unwrap();
        driver.hold(&location(), LedLevel::Lit).unwrap();
        driver.play(&location(), &identify(), Some(38)).unwrap();
        assert_ne!(state(&kernel.led(&dir())), state(&was));
        assert_eq!(driver.release(&location()), Ok(RestoreOutcome::Exactly));
        assert_eq!(state(&kernel.led(&dir())), state(&was));
        assert_eq!(kernel.records(), 0);
    }
}

#[test]
fn a_brightness_below_the_most_comes_back_under_its_trigger() {
    let (kernel, runtime) = with(led(ALL, "default-on", &[], 100));
    let mut driver = driver(&kernel, runtime.path());
    driver.play(&location(), &identify(), Some(38)).unwrap();
    driver.release(&location()).unwrap();
    assert_eq!((kernel.led(&dir()).trigger.as_str(), kernel.led(&dir()).brightness), ("default-on", 100));
}

#[test]
fn what_another_program_set_meanwhile_stays() {
    for theirs in ["heartbeat", "default-on", "none"] {
        let (kernel, runtime) = with(led(ALL, "mmc0", &[], 0));
        let mut driver = driver(&kernel, runtime.path());
        driver.play(&location(), &identify(), Some(38)).unwrap();
        kernel.poke(&dir(), "trigger", theirs);
        assert_eq!(driver.release(&location()), Ok(RestoreOutcome::ChangedByOthers));
        assert_eq!(kernel.led(&dir()).trigger, theirs);
        assert_eq!(kernel.records(), 0);
    }
}

#[test]
fn a_timer_with_other_times_is_not_ours() {
    let (kernel, runtime) = with(led(&["timer", "mmc0"], "mmc0", &[], 0));
    let mut driver = driver(&kernel, runtime.path());
    driver.play(&location(), &identify(), None).unwrap();
    kernel.poke(&dir(), "delay_on", "50");
    assert_eq!(driver.release(&location()), Ok(RestoreOutcome::ChangedByOthers));
    assert_eq!(kernel.led(&dir()).settings[&"delay_on".to_owned()], "50");
}

#[test]
fn a_trigger_that_another_program_sets_while_we_write_is_not_removed() {
    let (kernel, runtime) = with(led(&["heartbeat"], "none", &[], 0));
    let mut driver = driver(&kernel, runtime.path());
    driver.play(&location(), &identify(), None).unwrap();
    kernel.poke(&dir(), "trigger", "heartbeat");
    assert!(matches!(driver.set(&location(), LedLevel::Dark), Err(LedError::Busy(_))));
    assert_eq!(kernel.led(&dir()).trigger, "heartbeat");
}

#[test]
fn a_finished_pattern_plays_again() {
    let (kernel, runtime) = with(led(ALL, "mmc0", &[], 0));
    let mut driver = driver(&kernel, runtime.path());
    let quick: Pattern = "5,5".parse().unwrap();
    driver.play(&location(), &quick, Some(1)).unwrap();
    for _ in 0..4 {
        // Each is a write, and time passes.
        kernel.poke(&dir(), "repeat", "1");
    }
    driver.play(&location(), &identify(), Some(38)).unwrap();
    assert_eq!(kernel.led(&dir()).repeat, Some(38));
    assert_eq!(driver.release(&location()), Ok(RestoreOutcome::Exactly));
}

#[test]
fn what_a_killed_process_changed_is_put_back_by_the_next_one() {
    let was = led(ALL, "timer", &[("delay_on", "1000"), ("delay_off", "1000")], 0);
    let (kernel, runtime) = with(was.clone());
    let mut first = driver(&kernel, runtime.path());
    first.play(&location(), &identify(), Some(38)).unwrap();
    kernel.kill();
    drop(first);
    kernel.start_anew();
    let mut next = driver(&kernel, runtime.path());
    assert_eq!(next.recover(PersistentChanges::Keep), [("led-ACT".to_owned(), Ok(RestoreOutcome::Exactly))]);
    assert_eq!(state(&kernel.led(&dir())), state(&was));
    assert_eq!(next.recover(PersistentChanges::Keep), []);
}

#[test]
fn two_programs_do_not_drive_one_led() {
    let (kernel, runtime) = with(led(ALL, "mmc0", &[], 0));
    let mut first = driver(&kernel, runtime.path());
    first.play(&location(), &identify(), Some(38)).unwrap();
    let mut second = driver(&kernel, runtime.path());
    let Err(LedError::Busy(why)) = second.hold(&location(), LedLevel::Lit) else { panic!("it is held") };
    assert!(why.contains("a test, pid"), "{why}");
    assert_eq!(second.recover(PersistentChanges::Include), []);
    drop(first);
    assert_eq!(second.hold(&location(), LedLevel::Lit), Ok(()));
}

#[test]
fn what_is_left_changed_comes_back_only_when_asked_for() {
    let (kernel, runtime) = with(led(ALL, "mmc0", &[], 0));
    let mut first = driver(&kernel, runtime.path());
    first.hold(&location(), LedLevel::Lit).unwrap();
    first.leave_all().unwrap();
    drop(first);
    let mut next = driver(&kernel, runtime.path());
    assert_eq!(next.recover(PersistentChanges::Keep), []);
    assert_eq!(kernel.led(&dir()).brightness, 255);
    assert_eq!(next.recover(PersistentChanges::Include), [("led-ACT".to_owned(), Ok(RestoreOutcome::Exactly))]);
    assert_eq!(kernel.led(&dir()).trigger, "mmc0");
}

#[test]
fn a_read_only_sysfs_is_said_and_nothing_is_left_behind() {
    let (kernel, runtime) = with(led(ALL, "mmc0", &[], 0));
    kernel.read_only();
    let mut driver = driver(&kernel, runtime.path());
    assert!(matches!(driver.play(&location(), &identify(), Some(38)), Err(LedError::ReadOnly(_))));
    assert_eq!(driver.release_all(), Ok(()));
    assert_eq!(kernel.records(), 0);
}

#[test]
fn an_error_at_any_write_is_an_error_and_never_a_panic_and_the_led_comes_back() {
    let was = led(ALL, "timer", &[("delay_on", "1000"), ("delay_off", "30")], 0);
    for (errno, n) in [Errno::IO, Errno::BUSY, Errno::ACCESS].into_iter().flat_map(|errno| (1..40).map(move |n| (errno, n))) {
        let (kernel, runtime) = with(was.clone());
        kernel.fault_at(n, Fault::Fails(errno));
        let mut driver = driver(&kernel, runtime.path());
        let _ = driver.play(&location(), &identify(), Some(38));
        let _ = driver.hold(&location(), LedLevel::Lit);
        let _ = driver.release(&location());
        driver.release_all().unwrap_or_else(|_| driver.release_all().unwrap());
        driver.recover(PersistentChanges::Keep);
        assert_eq!(state(&kernel.led(&dir())), state(&was), "{errno:?} at write {n}");
        assert_eq!(kernel.records(), 0, "{errno:?} at write {n}");
    }
}

#[test]
fn one_that_is_unplugged_at_any_write_is_said_to_be_gone() {
    for n in 1..12 {
        let (kernel, runtime) = with(led(ALL, "mmc0", &[], 0));
        kernel.fault_at(n, Fault::Unplugged);
        let mut driver = driver(&kernel, runtime.path());
        let played = driver.play(&location(), &identify(), Some(38));
        let held = played.and_then(|_| driver.hold(&location(), LedLevel::Lit));
        let put = driver.release_all();
        let outcomes = [held.err(), put.err()];
        let gone = |error: &LedError| matches!(error, LedError::Vanished(_));
        assert!(outcomes.iter().flatten().all(gone), "write {n}: {outcomes:?}");
        // A new LED by the same name is not the agent's.
        kernel.plug(&dir(), led(ALL, "heartbeat", &[], 0));
        driver.recover(PersistentChanges::Keep);
        assert_eq!(kernel.led(&dir()).trigger, "heartbeat");
    }
}
