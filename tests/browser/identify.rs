//! The drawn LED is lit when the board's is.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use boardkeeper::linux::leds::files::LedFiles as _;
use boardkeeper::linux::leds::simulated::folder::SimulatedBoard;
use serde_json::json;

use crate::agent::PATIENCE;
use crate::driver::Key;
use crate::lab::{Lab, pause, until};
use crate::page::{Page, agent};
use crate::target::{App, Service};

/// How long both are watched.
const WATCHED: Duration = Duration::from_secs(6);
/// Notes when the drawn LED changes.
const WATCH: &str = "window.seen = [];
    const led = document.querySelector('circle.led[data-led=\"ACT\"]');
    const note = () => window.seen.push([Date.now(), led.dataset.lit === 'true']);
    note();
    new MutationObserver(note).observe(led, { attributes: true, attributeFilter: ['data-lit'] });";

#[expect(clippy::disallowed_methods, reason = "the browser notes its own changes by the wall clock")]
fn now_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// Whether it was lit at a moment, by the changes that were noted.
fn lit_at(changes: &[(u64, bool)], at: u64) -> bool {
    changes.iter().rev().find(|(since, _)| *since <= at).is_some_and(|(_, lit)| *lit)
}

#[test]
#[ignore = "needs `make browser`"]
fn the_drawn_led_blinks_in_step_with_the_boards() {
    let lab = Lab::enter();
    let agent = agent(&lab, &App::new(1401, "c1", vec![Service::new("main", &lab.image("1"))]));
    let page = Page::logged_in(&lab, &agent);
    let root = agent.path("runtime/simulated-board");
    let (board, file) = (SimulatedBoard::open(&root).unwrap(), root.join("sys/class/leds/ACT/brightness"));
    page.click("Identify");
    page.sees("ACT blinks for another");
    page.run(WATCH);
    let (begun, mut real) = (now_ms(), Vec::new());
    while Duration::from_millis(now_ms() - begun) < WATCHED {
        let lit = board.read(&file).unwrap().trim() != "0";
        if real.last().is_none_or(|(_, last)| *last != lit) {
            real.push((now_ms(), lit));
        }
        pause(5);
    }
    let seen: Vec<(u64, bool)> = serde_json::from_value(page.run("return window.seen")).unwrap();
    // 200 ms lit, 200 ms dark: 15 rounds, which a busy machine may draw late, but not miss.
    let drawn = seen.windows(2).filter(|it| it[0].1 != it[1].1).count();
    assert!(drawn > 20, "{seen:?}");
    let moments: Vec<u64> = (begun + 200..begun + 5800).step_by(10).collect();
    let same = moments.iter().filter(|at| lit_at(&seen, **at) == lit_at(&real, **at)).count();
    let share = same * 100 / moments.len();
    eprintln!("figure: the drawn LED agrees with the board's {share} % of the time, {drawn} changes in 6 s");
    assert!(share >= 75, "{share} %: drawn {seen:?}, real {real:?}");
    page.sees("ACT has blinked");
    until(PATIENCE, "the drawn LED rests", || {
        page.run("return document.querySelector('circle.led[data-led=\"ACT\"]').dataset.lit") != json!("true")
    });
}

#[test]
#[ignore = "needs `make browser`"]
fn a_board_is_identified_without_a_mouse() {
    let lab = Lab::enter();
    let agent = agent(&lab, &App::new(1402, "c1", vec![Service::new("main", &lab.image("1"))]));
    let page = Page::logged_in(&lab, &agent);
    page.run("document.activeElement.blur()");
    let mut passed = Vec::new();
    while page.run("return document.activeElement.id") != json!("identify") {
        assert!(passed.len() < 6, "Identify is not among the first: {passed:?}");
        page.browser.presses(Key::Tab);
        passed.push(page.run("return document.activeElement.outerHTML"));
        assert_ne!(page.run("return getComputedStyle(document.activeElement).outlineStyle"), json!("none"), "{passed:?}");
    }
    page.browser.presses(Key::Enter);
    page.sees("ACT blinks for another");
    assert_eq!(agent.get("/agent/v1/leds").json()["owner"], "identify");
}
