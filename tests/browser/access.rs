//! Whether people who do not see the page, or see it badly, can use it: axe-core finds nothing serious.

use std::fs;

use serde_json::{Value, json};

use crate::lab::Lab;
use crate::page::{Page, agent};
use crate::target::{App, Service};

/// Runs axe in the page; what it finds that is serious or worse, as one text each.
const AXE: &str = "const found = await axe.run(document, { resultTypes: ['violations'] });
    return found.violations.filter((it) => ['serious', 'critical'].includes(it.impact))
        .map((it) => `${it.id}: ${it.help}: ${it.nodes.map((it) => it.html).join(' | ')}`);";

/// The axe that `make browser` fetched.
fn axe() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/target/browser/axe/node_modules/axe-core/axe.min.js");
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}; `make browser` fetches it from npm"))
}

fn complaints(page: &Page, axe: &str) -> Vec<String> {
    // The page's policy forbids scripts that are not its own, also such; the driver's are not under it.
    page.browser.run(&format!("if (!window.axe) {{ {axe}; window.axe = axe || module.exports; }}"), &[]);
    serde_json::from_value(page.run(AXE)).unwrap()
}

#[test]
#[ignore = "needs `make browser`"]
fn axe_finds_nothing_serious() {
    let (lab, axe) = (Lab::enter(), axe());
    let app = |commit: &str| {
        App::new(1409, commit, vec![Service::new("main", &lab.image("1")), Service::new("side", &lab.image("2"))])
    };
    let agent = agent(&lab, &app("c1"));
    let page = Page::open(&lab, &agent);
    page.sees("boardkeeper key");
    let mut found: Vec<(String, Vec<String>)> = Vec::new();
    let mut look = |what: &str| {
        for scheme in ["light", "dark"] {
            page.browser.prefers(scheme);
            page.browser.on_phone();
            found.push((format!("{what}, {scheme}, phone"), complaints(&page, &axe)));
            page.browser.on_desk();
            found.push((format!("{what}, {scheme}, desk"), complaints(&page, &axe)));
        }
    };
    look("logging in");
    page.log_in(crate::agent::KEY);
    page.sees("Services");
    page.click("Identify");
    page.click("Logs of main");
    page.click("Blink: ACT");
    look("the page");
    page.click("Purge the data of app…");
    page.sees("Purge app?");
    look("a question");
    let found: Vec<_> = found.into_iter().filter(|(_, complaints)| !complaints.is_empty()).collect();
    assert_eq!(found, []);
}

#[test]
#[ignore = "needs `make browser`"]
fn a_phone_scrolls_in_one_direction_only() {
    let lab = Lab::enter();
    let agent = agent(&lab, &App::new(1410, "c1", vec![Service::new("a-service-with-a-rather-long-name", &lab.image("1"))]));
    let page = Page::logged_in(&lab, &agent);
    page.browser.on_phone();
    let wide: Value = page.run("return document.documentElement.scrollWidth");
    assert_eq!(wide, json!(390), "nothing is wider than the screen");
    // What is touched is as large as a finger: 24 CSS pixels are WCAG's least.
    let small = page.run(
        "return [...document.querySelectorAll('button, input, select')].filter((it) => it.checkVisibility())
            .map((it) => [it.textContent, it.getBoundingClientRect()])
            .filter(([, box]) => box.width < 24 || box.height < 24).map(([text]) => text)",
    );
    assert_eq!(small, json!([]));
}
