//! Who gets in: keys, wrong keys, keys made anew, and links that work once.

use serde_json::json;

use crate::agent::KEY;
use crate::driver::Key;
use crate::lab::Lab;
use crate::page::{Page, agent};
use crate::target::{App, Service};

fn app(lab: &Lab) -> App {
    App::new(1400, "c1", vec![Service::new("main", &lab.image("1"))])
}

#[test]
#[ignore = "needs `make browser`"]
fn a_key_opens_the_page_for_its_tab_only() {
    let lab = Lab::enter();
    let agent = agent(&lab, &app(&lab));
    let page = Page::open(&lab, &agent);
    page.sees("boardkeeper key");
    assert!(!page.shows("Services") && !page.shows("main"), "{}", page.text());
    // Without a mouse: the field has the focus of a person who types, and Enter sends it.
    let field = page.the("#key", None).unwrap();
    assert_eq!(page.browser.role_and_name(&field).1, "Key");
    page.browser.types(&field, KEY);
    page.browser.presses(Key::Enter);
    page.sees("Services");
    page.sees("Raspberry Pi 4 Model B");
    page.sees("main");
    page.browser.reload();
    page.sees("Services");
    let elsewhere = page.run(
        "return performance.getEntriesByType('resource').map((it) => it.name).filter((it) => !it.startsWith(location.origin))",
    );
    assert_eq!(elsewhere, json!([]), "the page sends requests to no other server");
    assert_eq!(page.run("return [localStorage.length, document.cookie]"), json!([0, ""]));
    page.browser.another_tab();
    page.browser.visit(&page.address("/"));
    page.sees("boardkeeper key");
    assert!(!page.shows("Services"), "{}", page.text());
}

#[test]
#[ignore = "needs `make browser`"]
fn a_wrong_key_is_said_and_the_next_one_is_tried() {
    let lab = Lab::enter();
    let agent = agent(&lab, &app(&lab));
    let page = Page::open(&lab, &agent);
    page.log_in(&"f".repeat(64));
    page.sees("The device does not know this key.");
    assert!(!page.shows("Services"), "{}", page.text());
    assert_eq!(page.run("return document.activeElement.id"), json!("key"), "the next key can be typed at once");
    page.run("document.getElementById('key').value = ''");
    page.log_in(KEY);
    page.sees("Services");
    page.click("Log out");
    page.sees("boardkeeper key");
    assert_eq!(page.run("return sessionStorage.length"), json!(0));
}

#[test]
#[ignore = "needs `make browser`"]
fn a_key_that_was_made_anew_is_asked_for() {
    let lab = Lab::enter();
    let agent = agent(&lab, &app(&lab));
    let page = Page::logged_in(&lab, &agent);
    let reply = agent.ask("POST", "/v1/regenerate-api-key", &json!({}));
    assert_eq!(reply.status, 200, "{reply:?}");
    page.sees("The device does not know this key any more.");
    page.log_in(reply.body.trim());
    page.sees("Services");
}

#[test]
#[ignore = "needs `make browser`"]
fn a_link_opens_the_page_once() {
    let lab = Lab::enter();
    let agent = agent(&lab, &app(&lab));
    let made = agent.ask("POST", "/agent/v1/page-links", &json!({}));
    assert!(made.status < 300, "{made:?}");
    let path = made.json()["path"].as_str().unwrap().to_owned();
    let page = Page::open(&lab, &agent);
    page.browser.visit(&page.address(&path));
    page.sees("Services");
    assert_eq!(page.run("return location.href"), json!(page.address("/")), "the link is not in the history");
    page.browser.another_tab();
    page.browser.visit(&page.address(&path));
    page.sees("This link was used already");
    assert!(!page.shows("Services"), "{}", page.text());
}
