//! A user identifies the device: the LED blinks, and is afterwards exactly as it was.

use std::thread::sleep;
use std::time::Instant;

use crate::agent::Agent;
use crate::uleds::Led;
use crate::{BLINK, flavour, millis, secs};

/// How the LED may be before: what is written to it, and in which order.
const WAYS: &[&[(&str, &str)]] = &[
    &[],
    &[("brightness", "77")],
    &[("trigger", "heartbeat"), ("invert", "1")],
    &[("trigger", "oneshot"), ("delay_on", "30"), ("delay_off", "70"), ("invert", "1")],
    &[("trigger", "transient"), ("duration", "500")],
    &[("trigger", "default-on")],
    &[("trigger", "timer"), ("delay_on", "1000"), ("delay_off", "30")],
    &[("trigger", "timer"), ("delay_on", "200"), ("delay_off", "200")],
    &[("trigger", "pattern"), ("repeat", "-1"), ("pattern", "9 100 9 0 0 900 0 0")],
];

/// The ways that this kernel has.
fn ways(led: &Led) -> Vec<&'static [(&'static str, &'static str)]> {
    let has = |way: &&&[(&str, &str)]| way.iter().all(|(name, value)| *name != "trigger" || led.knows(value));
    WAYS.iter().filter(has).copied().collect()
}

fn make(led: &Led, way: &[(&str, &str)]) {
    led.write("trigger", "none");
    led.write("brightness", "0");
    for (name, value) in way {
        led.write(name, value);
    }
}

#[test]
#[ignore = "it needs the kernel of tests/lab/kernel.sh"]
fn a_led_blinks_37_times_in_15_s_and_is_as_it_was_whatever_it_did_before() {
    let led = Led::plug("id-all-ways", 255);
    let agent = Agent::of(&led.name);
    let ways = ways(&led);
    for way in &ways {
        make(&led, way);
        let before = led.state();
        let begun = Instant::now();
        assert_eq!(agent.identify(), led.name);
        sleep(secs(1));
        let told = agent.leds();
        assert_eq!((&told["owner"], &told["purposes"][0]["seconds_left"]), (&"identify".into(), &14.into()), "{told}");
        let player = if flavour() == "sysfs" { "agent" } else { "kernel" };
        assert_eq!(told["player"], player);
        sleep(millis(13_800));
        led.blinks(begun).check(36..=38, 255, BLINK);
        sleep(secs(1));
        assert_eq!(led.state(), before, "after {way:?}");
        assert_eq!(agent.leds()["owner"], serde_json::Value::Null);
    }
    println!("seen: identified {} times, each from another state, and each left as it was", ways.len());
}

#[test]
#[ignore = "it needs the kernel of tests/lab/kernel.sh"]
fn identified_again_it_blinks_15_s_from_then() {
    let led = Led::plug("id-again", 1);
    let agent = Agent::of(&led.name);
    let begun = Instant::now();
    agent.identify();
    sleep(secs(10));
    agent.identify();
    sleep(secs(20));
    let blinks = led.blinks(begun);
    assert!((61..=63).contains(&blinks.lit), "{}", blinks.lit);
    assert!(blinks.whole > millis(24_500) && blinks.whole < millis(25_300), "{:?}", blinks.whole);
}

#[test]
#[ignore = "it needs the kernel of tests/lab/kernel.sh"]
fn a_killed_agents_led_is_put_back_by_its_next_life() {
    let led = Led::plug("id-killed", 255);
    let mut agent = Agent::of(&led.name);
    let ways = ways(&led);
    // Odd steps, so that every part of a blink has its turn.
    let mut changed = 0;
    for (n, way) in ways.iter().cycle().take(30).enumerate() {
        make(&led, way);
        let before = led.state();
        agent.identify();
        sleep(millis(u64::try_from(n).unwrap() * 487));
        agent.kill();
        let killed = led.state();
        changed += usize::from(killed != before);
        agent.live();
        let begun = Instant::now();
        // The agent removes its record last: until then it may still write to the LED.
        loop {
            let (now, owes) = (led.state(), agent.owes());
            if now == before && !owes {
                break;
            }
            let found = format!("{n}: killed as {killed:?}, after 5 s {now:?} and not {before:?}; a record is left: {owes}");
            assert!(begun.elapsed() < secs(5), "{found}");
            sleep(millis(5));
        }
    }
    // Killed at once it may have changed nothing yet, and to blink may be what it did before.
    assert!(changed >= 20, "it was killed while it blinked {changed} times");
}

#[test]
#[ignore = "it needs the kernel of tests/lab/kernel.sh"]
fn an_agent_that_is_stopped_puts_its_led_back_first() {
    let led = Led::plug("id-stopped", 1);
    make(&led, &[("trigger", "heartbeat")]);
    let before = led.state();
    let mut agent = Agent::of(&led.name);
    agent.identify();
    sleep(millis(700));
    agent.stop();
    assert_eq!(led.state(), before);
}

#[test]
#[ignore = "it needs the kernel of tests/lab/kernel.sh"]
fn what_another_program_set_meanwhile_stays() {
    let led = Led::plug("id-theirs", 255);
    let mut agent = Agent::of(&led.name);
    for killed in [false, true] {
        make(&led, &[("trigger", "default-on")]);
        agent.identify();
        // In the middle of a step: at its end software may have looked just before, and be about to write.
        sleep(millis(3_100));
        led.write("trigger", "heartbeat");
        led.write("invert", "1");
        let theirs = led.state();
        if killed {
            agent.kill();
            agent.live();
        }
        sleep(secs(20));
        assert_eq!(led.state(), theirs);
    }
}

#[test]
#[ignore = "it needs the kernel of tests/lab/kernel.sh"]
fn a_led_that_is_unplugged_while_it_blinks_is_missed_and_welcomed_back() {
    let led = Led::plug("id-unplugged", 1);
    let agent = Agent::of(&led.name);
    assert_eq!(agent.identify(), led.name);
    sleep(millis(2_300));
    led.unplug();
    sleep(secs(3));
    let answer = agent.identify();
    assert!(answer.starts_with("none; "), "{answer}");
    let led = Led::plug("id-unplugged", 1);
    let begun = Instant::now();
    assert_eq!(agent.identify(), led.name);
    sleep(secs(16));
    led.blinks(begun).check(36..=38, 1, BLINK);
    assert_eq!(led.trigger(), "none");
}

#[test]
#[ignore = "it needs the kernel of tests/lab/kernel.sh"]
fn a_pattern_is_held_for_a_while_and_identifying_comes_first() {
    let led = Led::plug("id-pattern", 255);
    let other = Led::plug("id-other:green:user", 255);
    make(&other, &[("trigger", "heartbeat")]);
    let (before, others) = (led.state(), other.state());
    let agent = Agent::of(&led.name);
    let hold = |name: &str, body: &str| agent.ask("POST", &format!("/agent/v1/leds/{name}/pattern"), body);
    let reply = hold(&other.name, "{\"pattern\": \"100,100\", \"seconds\": 10}");
    assert_eq!((reply.status, &reply.json()["led"]), (200, &other.name.as_str().into()), "{}", reply.json());
    assert_eq!(hold("id-pattern", "{\"pattern\": \"50,450\", \"seconds\": 30}").status, 200);
    let begun = Instant::now();
    sleep(secs(5));
    led.blinks(begun).check(9..=11, 255, (millis(50), millis(450)));
    agent.identify();
    assert_eq!(agent.leds()["owner"], "identify");
    sleep(secs(4));
    // Of 100 ms lit and dark there are five a second; in its tenth it may be over, and the heartbeat is back.
    other.blinks(begun).check(42..=46, 255, (millis(100), millis(100)));
    sleep(secs(2));
    assert_eq!(other.state(), others);
    sleep(secs(10));
    assert_eq!(agent.leds()["owner"], "pattern");
    assert_eq!(agent.ask("DELETE", "/agent/v1/leds/identify/pattern", "").status, 204);
    assert_eq!(led.state(), before);
    assert_eq!(hold("no-such-led", "{\"pattern\": \"100,100\"}").status, 404);
}
