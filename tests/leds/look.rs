//! What the LEDs of a board show, as a page asks for it again and again.

use std::fs;
use std::future::poll_fn;
use std::path::Path;
use std::pin::pin;

use boardkeeper::linux::leds::Leds;
use boardkeeper::linux::leds::host::{HostPaths, LedHost, SIMULATED};
use boardkeeper::port::Leds as _;
use boardkeeper::state::LedLevel;

fn board(runtime: &Path) -> LedHost {
    let place = HostPaths {
        root: "/nowhere".into(),
        runtime: runtime.to_owned(),
        board: Some(SIMULATED.to_owned()),
        device_type: None,
        led_file: None,
    };
    LedHost::open(place).unwrap()
}

/// What they show, and how often the task had to be woken for it.
async fn look(leds: &Leds) -> (Vec<(String, LedLevel)>, u32) {
    let mut looked = pin!(leds.look());
    let mut wakes = 0;
    let done = poll_fn(|context| {
        let polled = looked.as_mut().poll(context);
        wakes += u32::from(polled.is_pending());
        polled
    });
    let (_, levels) = done.await.unwrap();
    (levels, wakes)
}

#[tokio::test]
async fn a_look_at_every_led_wakes_the_agent_once() {
    let runtime = tempfile::tempdir().unwrap();
    let leds = board(runtime.path()).leds("a test");
    for _ in 0..20 {
        let (levels, wakes) = look(&leds).await;
        assert_eq!(levels, [("ACT".to_owned(), LedLevel::Dark), ("PWR".to_owned(), LedLevel::Lit)]);
        assert!(wakes <= 1, "{wakes} calls on another thread");
    }
}

#[tokio::test]
async fn a_led_whose_driver_fails_is_left_out_and_the_others_are_read() {
    let runtime = tempfile::tempdir().unwrap();
    let host = board(runtime.path());
    // The driver of the simulated board reads no attribute of an LED that lacks one.
    fs::remove_file(host.place.root.join("sys/class/leds/ACT/trigger")).unwrap();
    let (levels, _) = look(&host.leds("a test")).await;
    assert_eq!(levels, [("PWR".to_owned(), LedLevel::Lit)]);
}
