//! GPIO lines: driven through the kernel's own interface, whichever it has, and restored.

use std::io::Read;
use std::path::Path;
use std::process::Stdio;
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use boardkeeper::linux::leds::gpio::{
    Chip as Found, Direction, Gpio, GpioFallback, LineLevel, LineRequest, SysfsGpio, UapiV1, UapiV2, by_device,
};
use rustix::io::Errno;
use rustix::process::Signal;
use serde_json::Value;

use crate::agent::{Agent, ended, signal, tool};
use crate::lines::Chip;
use crate::{flavour, millis, secs, until};

fn find(rung: &dyn Gpio, chip: &Chip) -> Option<Found> {
    by_device(&rung.chips().ok()?, &chip.device).cloned()
}

fn ladder() -> GpioFallback {
    GpioFallback::new(Path::new("/"))
}

fn has_devices() -> bool {
    flavour() != "sysfs"
}

/// Which way a line goes. Where sysfs has to be asked for it, it is taken for a moment.
fn direction(chip: &Chip, line: u32) -> Direction {
    let ladder = ladder();
    let found = find(&ladder, chip).unwrap();
    let told = ladder.line(&found, line).unwrap().direction;
    ladder.request(&found, line, LineRequest::AsIs).unwrap().direction().unwrap().unwrap_or(told)
}

/// How often the line goes up while something is done.
fn rises<T>(chip: &Chip, line: u32, length: Duration, deed: impl FnOnce() -> T + Send) -> (usize, Vec<Duration>, T)
where
    T: Send,
{
    scope(|threads| {
        let done = threads.spawn(deed);
        let (begun, mut was, mut since, mut rises, mut lasted) = (Instant::now(), chip.is_high(line), None, 0, Vec::new());
        while begun.elapsed() < length {
            let now = chip.is_high(line);
            if now != was {
                rises += usize::from(now);
                lasted.extend(since.map(|since: Instant| since.elapsed()));
                (was, since) = (now, Some(Instant::now()));
            }
            sleep(millis(3));
        }
        (rises, lasted, done.join().unwrap())
    })
}

#[test]
#[ignore = "it needs the kernel of tests/lab/kernel.sh"]
fn each_kernel_is_spoken_to_in_words_that_it_knows() {
    let chip = Chip::plug("rungs", 8, &[(3, "STATUS_LED_N")], &[(5, "ACT")]);
    let root = Path::new("/");
    let ask = |rung: &dyn Gpio| {
        let found = find(rung, &chip)?;
        Some(rung.line(&found, 3).map(|info| info.name).map_err(|error| error.raw_os_error()))
    };
    let known = Some(Ok(Some("STATUS_LED_N".to_owned())));
    let unknown = Some(Err(Some(Errno::INVAL.raw_os_error())));
    let rungs = (ask(&UapiV2::new(root)), ask(&UapiV1::new(root)));
    let expected = match flavour().as_str() {
        "all" => (known.clone(), known.clone()),
        "second" => (known.clone(), unknown),
        "first" => (unknown, known.clone()),
        _ => (None, None),
    };
    assert_eq!(rungs, expected);
    assert_eq!((ask(&SysfsGpio::new(root)), ask(&ladder())), (known.clone(), known));
    println!("seen: of {rungs:?} the ladder takes the first that works");
}

#[test]
#[ignore = "it needs the kernel of tests/lab/kernel.sh"]
fn a_line_blinks_and_goes_back_to_its_direction() {
    let chip = Chip::plug("blink", 8, &[(3, "STATUS_LED_N")], &[]);
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(direction(&chip, 3), Direction::Input);
    let (up, lasted, (code, said)) =
        rises(&chip, 3, secs(6), || ended(tool(dir.path(), &format!("gpio blink {} 3 --for 4s", chip.device))));
    assert_eq!(code, 0, "{said}");
    assert!((9..=11).contains(&up), "{up}");
    let wrong: Vec<_> = lasted[..lasted.len() - 1].iter().filter(|it| **it < millis(190) || **it > millis(215)).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    assert_eq!(direction(&chip, 3), Direction::Input);
    // A line that another program left an output stays one.
    drop(ladder().request(&find(&ladder(), &chip).unwrap(), 4, LineRequest::Output(LineLevel::Low)).unwrap());
    assert_eq!(direction(&chip, 4), Direction::Output);
    let (code, said) = ended(tool(dir.path(), &format!("gpio blink {} 4 --active-low --for 1s", chip.device)));
    assert_eq!(code, 0, "{said}");
    assert_eq!((direction(&chip, 4), chip.is_high(4)), (Direction::Output, false));
}

#[test]
#[ignore = "it needs the kernel of tests/lab/kernel.sh"]
fn a_line_is_put_back_after_an_interruption_and_after_a_kill() {
    let chip = Chip::plug("killed", 8, &[], &[]);
    let dir = tempfile::tempdir().unwrap();
    for (how, code) in [(Signal::INT, Some(130)), (Signal::KILL, None)] {
        let mut child = tool(dir.path(), &format!("gpio blink {} 2", chip.device)).stderr(Stdio::null()).spawn().unwrap();
        until("the line is up", secs(5), || chip.is_high(2));
        signal(&child, how);
        assert_eq!(child.wait().unwrap().code(), code);
        if how == Signal::KILL {
            let (code, said) = ended(tool(dir.path(), "led restore"));
            assert!(code == 0 && said.ends_with("as it was\n"), "{code}: {said}");
        }
        assert_eq!((direction(&chip, 2), chip.is_high(2)), (Direction::Input, false));
    }
    // And the next program, which does not ask for a direction, finds the line free.
    let mut child = tool(dir.path(), &format!("gpio blink {} 2", chip.device)).stderr(Stdio::null()).spawn().unwrap();
    until("the line is up", secs(5), || chip.is_high(2));
    child.kill().unwrap();
    child.wait().unwrap();
    let (code, said) = ended(tool(dir.path(), &format!("gpio blink {} 2 --for 1s", chip.device)));
    assert_eq!(code, 0, "{said}");
    assert_eq!(direction(&chip, 2), Direction::Input);
}

#[test]
#[ignore = "it needs the kernel of tests/lab/kernel.sh"]
fn a_line_that_is_held_is_left_alone_and_its_holder_named() {
    let chip = Chip::plug("held", 8, &[], &[(5, "ACT")]);
    let dir = tempfile::tempdir().unwrap();
    let (code, said) = ended(tool(dir.path(), &format!("gpio blink {} 5 --for 1s", chip.device)));
    assert!(code == 5 && said.contains("is held by ACT"), "{code}: {said}");
    let ladder = ladder();
    let held = ladder.request(&find(&ladder, &chip).unwrap(), 1, LineRequest::Output(LineLevel::High)).unwrap();
    let (code, said) = ended(tool(dir.path(), &format!("gpio blink {} 1 --for 1s", chip.device)));
    let holder = if has_devices() { "boardkeeper" } else { "sysfs" };
    assert!(code == 5 && said.contains(&format!("is held by {holder}")), "{code}: {said}");
    assert_eq!((held.get().unwrap(), chip.is_high(1)), (LineLevel::High, true));
}

#[test]
#[ignore = "it needs the kernel of tests/lab/kernel.sh"]
fn a_chip_that_goes_away_in_the_middle_is_said_to() {
    let chip = Chip::plug("gone", 8, &[], &[]);
    let dir = tempfile::tempdir().unwrap();
    let words = format!("gpio blink {} 2", chip.device);
    let mut child = tool(dir.path(), &words).stderr(Stdio::piped()).spawn().unwrap();
    until("the line is up", secs(5), || chip.is_high(2));
    chip.unplug();
    let code = child.wait().unwrap().code();
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(code, Some(6), "{said}");
    let (code, said) = ended(tool(dir.path(), &words));
    assert_eq!(code, 3, "{said}");
}

#[test]
#[ignore = "it needs the kernel of tests/lab/kernel.sh"]
fn watching_tells_levels_and_holders_and_changes_nothing() {
    let chip = Chip::plug("watched", 8, &[(3, "BUTTON")], &[(5, "ACT")]);
    let dir = tempfile::tempdir().unwrap();
    let words = format!("gpio watch {} 3 5", chip.device);
    let mut child = tool(dir.path(), &words).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
    sleep(secs(1));
    chip.pull(3, "pull-up");
    sleep(secs(1));
    chip.pull(3, "pull-down");
    sleep(secs(1));
    signal(&child, Signal::INT);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let mut said = String::new();
    child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    let lines: Vec<&str> = said.lines().map(|line| line.trim_start().split_once("  ").unwrap().1).collect();
    let line = |level: &str| format!("BUTTON input {level}   5 output held by ACT");
    assert_eq!(lines, [line("low"), line("high"), line("low")], "{said}");
    // No process holds it any more.
    assert!(ladder().request(&find(&ladder(), &chip).unwrap(), 3, LineRequest::AsIs).is_ok());
}

#[test]
#[ignore = "it needs the kernel of tests/lab/kernel.sh"]
fn a_board_whose_kernel_has_no_led_is_identified_with_its_line() {
    // As the kernel of a Raspberry Pi 4 without `leds-gpio` has it.
    let chip = Chip::plug("pinctrl-bcm2711", 58, &[(42, "STATUS_LED_G_CLK")], &[]);
    let mut agent = Agent::start(&["--board", "raspberry-pi-4-model-b"]);
    let (up, _, answer) = rises(&chip, 42, secs(17), || agent.identify());
    assert_eq!(answer, "STATUS_LED_G_CLK");
    assert!((36..=38).contains(&up), "{up}");
    assert_eq!(direction(&chip, 42), Direction::Input);
    agent.identify();
    sleep(secs(2));
    agent.kill();
    assert!(agent.owes());
    agent.live();
    // The agent answers before it has restored the line; and reading a line holds it, so that the agent could not.
    until("the line is put back", secs(10), || !agent.owes());
    assert_eq!(direction(&chip, 42), Direction::Input);
    agent.stop();
    let (code, said) = ended(tool(agent.dir.path(), "led --board raspberry-pi-4-model-b test --assume-seen --json"));
    assert_eq!(code, 0, "{said}");
    let report: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
    let line = &report["leds"][0];
    assert_eq!((&line["before_direction"], &line["before_level"]), (&"input".into(), &"low".into()), "{line}");
    assert_eq!((&line["after_direction"], &line["restored"]), (&"input".into(), &true.into()), "{line}");
    println!("seen: the line went up {up} times in 15 s");
}

#[test]
#[ignore = "it needs the kernel of tests/lab/kernel.sh"]
fn the_board_shows_every_chip_and_line() {
    let chip = Chip::plug("shown", 8, &[(3, "STATUS_LED_N")], &[(5, "ACT")]);
    let dir = tempfile::tempdir().unwrap();
    let (code, said) = ended(tool(dir.path(), "board --json"));
    assert_eq!(code, 0, "{said}");
    let board: Value = serde_json::from_str(&said).unwrap();
    let chips = board["chips"].as_array().unwrap();
    let shown = chips.iter().find(|it| it["device"] == chip.device.as_str()).unwrap();
    assert_eq!((&shown["label"], shown["lines"].as_array().map(Vec::len)), (&"shown".into(), Some(8)), "{shown}");
    let (third, fifth) = (&shown["lines"][3], &shown["lines"][5]);
    assert_eq!((&fifth["consumer"], &fifth["direction"]), (&"ACT".into(), &"output".into()));
    assert_eq!((&third["name"], &third["used"]), (&"STATUS_LED_N".into(), &false.into()));
}
