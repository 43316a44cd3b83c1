//! The bring-up tool on the kernel's LEDs, as users and scripts call it.

use std::io::Write;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Instant;

use rustix::process::Signal;
use serde_json::Value;

use crate::agent::{Agent, ended, signal, tool, without_privileges};
use crate::uleds::Led;
use crate::{BLINK, secs, until};

#[test]
#[ignore = "it needs the kernel of tests/lab/kernel.sh"]
fn the_tool_blinks_the_led_to_identify_with_and_puts_it_back() {
    let led = Led::plug("tool-blink", 255);
    led.write("trigger", "oneshot");
    led.write("delay_on", "70");
    let (was, dir) = (led.state(), tempfile::tempdir().unwrap());
    let begun = Instant::now();
    assert_eq!(ended(tool(dir.path(), "led --led-file tool-blink blink identify --for 4s")), (0, String::new()));
    led.blinks(begun).check(9..=11, 255, BLINK);
    assert_eq!(led.state(), was);
    let begun = Instant::now();
    assert_eq!(ended(tool(dir.path(), "led --led-file tool-blink blink --pattern 60,60x3,600 --for 5s")).0, 0);
    let blinks = led.blinks(begun);
    assert!((15..=18).contains(&blinks.lit), "{blinks:?}");
    assert_eq!(led.state(), was);
}

#[test]
#[ignore = "it needs the kernel of tests/lab/kernel.sh"]
fn an_interrupted_tool_puts_everything_back_and_a_killed_one_leaves_it_to_restore() {
    let led = Led::plug("tool-held", 255);
    led.write("trigger", "heartbeat");
    led.write("invert", "1");
    let (was, dir) = (led.state(), tempfile::tempdir().unwrap());
    for (how, code) in [(Signal::INT, Some(130)), (Signal::TERM, Some(130)), (Signal::HUP, Some(130)), (Signal::KILL, None)] {
        let mut child = tool(dir.path(), "led --led-file tool-held on").stderr(Stdio::null()).spawn().unwrap();
        until("the LED is lit", secs(5), || led.trigger() == "none" && led.read("brightness") == "255");
        signal(&child, how);
        assert_eq!(child.wait().unwrap().code(), code);
        if how == Signal::KILL {
            assert_ne!(led.state(), was);
            let (code, said) = ended(tool(dir.path(), "led restore"));
            assert_eq!((code, said.as_str()), (0, "led-tool-held: as it was\n"));
        }
        assert_eq!(led.state(), was);
    }
    assert_eq!(ended(tool(dir.path(), "led --led-file tool-held on --leave")).0, 0);
    assert_eq!((led.trigger().as_str(), led.read("brightness").as_str()), ("none", "255"));
    assert_eq!(ended(tool(dir.path(), "led restore")).0, 0);
    assert_eq!(led.state(), was);
}

#[test]
#[ignore = "it needs the kernel of tests/lab/kernel.sh"]
fn walking_and_testing_tell_what_was_read_back_and_leave_nothing_changed() {
    let (led, other) = (Led::plug("tool-test", 255), Led::plug("tool-other", 1));
    led.write("trigger", "oneshot");
    other.write("brightness", "1");
    let (was, others, dir) = (led.state(), other.state(), tempfile::tempdir().unwrap());
    let begun = Instant::now();
    let (code, said) = ended(tool(dir.path(), "led walk tool-test tool-other --force --step 100ms --rounds 3"));
    assert_eq!((code, said.as_str()), (0, "tool-test\ntool-other\n".repeat(3).as_str()));
    assert_eq!((led.blinks(begun).lit, led.state(), other.state()), (3, was.clone(), others.clone()));
    let (code, said) = ended(tool(dir.path(), "led test tool-test tool-other --force --assume-seen --json"));
    let report: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
    assert_eq!(code, 0, "{said}");
    let first = &report["leds"][0];
    assert_eq!((&first["driver_ok"], &first["operator_ok"], &first["restored"]), (&true.into(), &Value::Null, &true.into()));
    assert_eq!((&first["read_back"]["right"], &first["read_back"]["wrong"]), (&10.into(), &0.into()));
    assert_eq!((&first["before_trigger"], &first["after_trigger"]), (&"oneshot".into(), &"oneshot".into()));
    assert!(report["kernel"].as_str().is_some_and(|it| it.contains('.')), "{report}");
    let mut child = tool(dir.path(), "led test tool-test --force");
    let mut child = child.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"n\n").unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1), "somebody did not see it");
    assert_eq!((led.state(), other.state()), (was, others));
}

#[test]
#[ignore = "it needs the kernel of tests/lab/kernel.sh"]
fn exit_codes_give_scripts_the_reason() {
    let led = Led::plug("tool-codes", 1);
    let dir = tempfile::tempdir().unwrap();
    let run = |words: &str| ended(tool(dir.path(), words)).0;
    assert_eq!(run("led --led-file tool-codes blink --pattern 5"), 2);
    assert_eq!(run("led on no-such-led"), 3);
    // Only root may write to a LED, and a container's /sys is read-only.
    let (code, said) = ended(without_privileges(tool(
        tempfile::tempdir().unwrap().path().join("own").as_path(),
        "led --led-file tool-codes on --for 1s",
    )));
    assert_eq!(code, 4, "{said}");
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", "mount -o remount,bind,ro /sys && exec boardkeeper led on tool-codes --force --for 1s"]);
    command.env("BOARDKEEPER_RUNTIME_DIR", dir.path());
    let (code, said) = ended(command);
    assert_eq!(code, 4, "{said}");
    assert!(said.contains("read-only"), "{said}");
    let mut child = tool(dir.path(), "led --led-file tool-codes on").stderr(Stdio::null()).spawn().unwrap();
    until("the LED is lit", secs(5), || led.read("brightness") == "1");
    let (code, said) = ended(tool(dir.path(), "led --led-file tool-codes on --for 1s"));
    assert!(code == 5 && said.contains("is held by the bring-up tool"), "{code}: {said}");
    signal(&child, Signal::INT);
    child.wait().unwrap();
    let mut child =
        tool(dir.path(), "led --led-file tool-codes blink --pattern 150,50 --for 4s").stderr(Stdio::null()).spawn().unwrap();
    sleep(secs(1));
    led.unplug();
    assert_eq!(child.wait().unwrap().code(), Some(6));
}

#[test]
#[ignore = "it needs the kernel of tests/lab/kernel.sh"]
fn the_agent_makes_way_for_the_tool_and_goes_on() {
    let led = Led::plug("tool-way", 255);
    led.write("trigger", "heartbeat");
    let was = led.state();
    let agent = Agent::of(&led.name);
    agent.identify();
    sleep(secs(2));
    let (code, said) = ended(tool(&agent.runtime(), "led --led-file tool-way on --for 3s"));
    assert_eq!(code, 0, "{said}");
    until("the agent goes on", secs(3), || agent.leds()["owner"] == "identify" && led.trigger() != "heartbeat");
    until("it is over", secs(15), || led.state() == was);
    // One that is killed at the bench has its LED put back by the agent.
    let mut child = tool(&agent.runtime(), "led --led-file tool-way on").stderr(Stdio::null()).spawn().unwrap();
    until("the LED is lit", secs(5), || led.trigger() == "none" && led.read("brightness") == "255");
    child.kill().unwrap();
    child.wait().unwrap();
    until("the agent has put it back", secs(5), || led.state() == was);
}
