//! What a person sees while the engine or the agent is gone.

use crate::lab::Lab;
use crate::page::{Page, agent};
use crate::target::{App, Service};

#[test]
#[ignore = "needs `make browser`"]
fn an_engine_that_dies_and_returns_is_seen() {
    let lab = Lab::enter();
    let agent = agent(&lab, &App::new(1407, "c1", vec![Service::new("main", &lab.image("1"))]));
    let page = Page::logged_in(&lab, &agent);
    page.sees_in("[data-fact='device.engine']", "answers");
    lab.kill_engine();
    page.sees_in("[data-fact='device.engine']", "not reached for");
    assert!(page.shows("Connected"), "the agent still answers: {}", page.text());
    lab.start_engine();
    page.sees_in("[data-fact='device.engine']", "answers");
    page.sees_in("[data-service=main] .is", "running");
}

#[test]
#[ignore = "needs `make browser`"]
fn a_page_that_is_cut_off_says_since_when_and_recovers() {
    let lab = Lab::enter();
    let mut agent = agent(&lab, &App::new(1408, "c1", vec![Service::new("main", &lab.image("1"))]));
    let page = Page::logged_in(&lab, &agent);
    page.sees("Connected");
    agent.kill();
    page.sees_in("#connection", "Not connected since ");
    let since = page.text_of("#connection");
    // What was last known stays, and nothing can be asked for.
    assert!(page.shows("main") && !page.has_button("Restart main"), "{}", page.text());
    // A second look says the same moment: that of the loss, not of the look.
    page.run("return new Promise((done) => setTimeout(done, 2500))");
    assert_eq!(page.text_of("#connection"), since);
    agent.start();
    page.sees_in("#connection", "Connected");
    page.sees_in("[data-service=main] .is", "running");
    page.click("Restart main");
    page.sees("main was restarted.");
}

#[test]
#[ignore = "needs `make browser`"]
fn a_page_that_came_in_part_is_loaded_again() {
    let lab = Lab::enter();
    let agent = agent(&lab, &App::new(1411, "c1", vec![Service::new("main", &lab.image("1"))]));
    let page = Page::logged_in(&lab, &agent);
    // Each of these is lost alone, as when a phone changes its network meanwhile: a script, one that it needs, and the texts.
    for file in ["app.js", "services.js", "texts.json"] {
        page.browser.loses(&[file]);
        page.browser.reload();
        page.sees("is loaded again in 5 s");
        page.browser.loses(&[]);
        page.sees_in("[data-service=main] .is", "running");
        assert!(!page.shows("is loaded again in 5 s"), "{}", page.text());
    }
    // Without the script that loads it again, a person reads what to do.
    page.browser.loses(&["start.js"]);
    page.browser.reload();
    page.sees("boardkeeper state");
}
