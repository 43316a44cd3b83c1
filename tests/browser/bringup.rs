//! Bring-up at a bench with a phone: each LED and line is blinked and answered for, and the report is the tool's.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::agent::PATIENCE;
use crate::lab::{Lab, run, until};
use crate::page::{Page, agent};
use crate::target::{App, Service};

/// The names of an object's members.
fn members(of: &Value) -> BTreeSet<&str> {
    of.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
#[ignore = "needs `make browser`"]
fn each_led_and_line_is_answered_for_and_the_report_is_downloaded() {
    let lab = Lab::enter();
    let agent = agent(&lab, &App::new(1406, "c1", vec![Service::new("main", &lab.image("1"))]));
    let page = Page::logged_in(&lab, &agent);
    page.browser.on_phone();
    let root = agent.path("runtime/simulated-board");
    let trigger = |led: &str| {
        let text = fs::read_to_string(root.join("sys/class/leds").join(led).join("trigger")).unwrap();
        text.split_once('[').unwrap().1.split_once(']').unwrap().0.to_owned()
    };
    let line = |file: &str| fs::read_to_string(root.join("gpio/gpiochip0/line5").join(file)).unwrap();
    let verdict = |item: &str| page.text_of(&format!("[data-item={item}] .answer"));
    let answers = |button: &str, item: &str| {
        page.clicks(&format!("[data-item={item}] button"), Some(button));
    };

    let before = trigger("ACT");
    answers("Blink: ACT", "ACT");
    until(PATIENCE, "ACT blinks", || trigger("ACT") != before);
    answers("Yes: ACT", "ACT");
    until(PATIENCE, "the answer is shown", || verdict("ACT") == "seen");
    answers("Blink: PWR", "PWR");
    answers("Again: PWR", "PWR");
    answers("No: PWR", "PWR");
    until(PATIENCE, "the answer is shown", || verdict("PWR") == "not seen");
    page.clicks("#lines summary", None);
    answers("Blink: GPIO5", "GPIO5");
    until(PATIENCE, "the line is driven", || line("direction") == "out");
    answers("Yes: GPIO5", "GPIO5");
    // A line that a driver has taken meanwhile is not driven, and the page says what holds it.
    fs::write(root.join("gpio/gpiochip0/line6/consumer"), "spi0").unwrap();
    answers("Blink: GPIO6", "GPIO6");
    until(PATIENCE, "the refusal is shown", || verdict("GPIO6").contains("spi0"));
    until(PATIENCE, "all is as it was", || {
        (trigger("ACT"), trigger("PWR"), line("direction")) == (before.clone(), "default-on".into(), "in".into())
    });

    page.clicks("#report", None);
    let downloads = page.browser.downloads();
    let report = || fs::read_dir(downloads).unwrap().flatten().find(|it| it.path().extension().is_some_and(|it| it == "json"));
    until(PATIENCE, "the report is downloaded", || report().is_some());
    let text = fs::read_to_string(report().unwrap().path()).unwrap();
    let report: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&report["leds"][0]["operator_ok"], &report["leds"][1]["operator_ok"]), (&true.into(), &false.into()), "{text}");
    let [free, held] = [&report["lines"][0], &report["lines"][1]];
    assert_eq!((&free["name"], &free["operator_ok"]), (&"GPIO5".into(), &true.into()), "{text}");
    assert_eq!((&held["name"], &held["driver_ok"]), (&"GPIO6".into(), &false.into()), "{text}");

    // The format is that of the tool; only the lines are more.
    let mut tool = Command::new(env!("CARGO_BIN_EXE_boardkeeper"));
    tool.args(["led", "test", "--json", "--assume-seen"]).env("BOARDKEEPER_BOARD", "simulated");
    let tools = run(tool.env("BOARDKEEPER_RUNTIME_DIR", lab.dir().join("tool")));
    let tools: Value = serde_json::from_str(&tools).unwrap();
    let mut wanted = members(&tools);
    wanted.insert("lines");
    assert_eq!(members(&report), wanted);
    for member in ["schema", "board", "tool"] {
        assert_eq!(report[member], tools[member], "{text}");
    }
    assert_eq!(members(&report["leds"][0]), members(&tools["leds"][0]));
    for member in ["name", "label", "colour", "place"] {
        assert_eq!(report["leds"][0][member], tools["leds"][0][member], "{member}: {text}");
    }
}
