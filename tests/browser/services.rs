//! Services: restart, stop and start, purge with its question, and what they write.

use serde_json::json;

use crate::agent::PATIENCE;
use crate::lab::{Lab, until};
use crate::page::{Page, agent};
use crate::target::{App, Service};

/// Counts on its output, and keeps a file in its volume.
const PROGRAM: &str = "trap 'exit 0' TERM; echo old > /data/kept.new; mv -n /data/kept.new /data/kept; n=0; \
    while :; do echo line $n; n=$((n+1)); sleep 1 & wait $!; done";

fn app(lab: &Lab) -> App {
    let main = Service::new("main", &lab.image("1"));
    let main = main.with("command", json!(["sh", "-c", PROGRAM])).with("volumes", json!(["data:/data"]));
    App::new(1403, "c1", vec![main, Service::new("side", &lab.image("1"))]).volumes(&["data"])
}

#[test]
#[ignore = "needs `make browser`"]
fn a_service_is_restarted_stopped_and_started() {
    let lab = Lab::enter();
    let agent = agent(&lab, &app(&lab));
    let page = Page::logged_in(&lab, &agent);
    let started = |name: &str| lab.inspect(&lab.the(name).id)["State"]["StartedAt"].clone();
    let before = (started("main"), started("side"));
    page.click("Restart main");
    page.sees("main was restarted.");
    until(PATIENCE, "main was started anew", || started("main") != before.0);
    assert_eq!(started("side"), before.1);
    page.sees_in("[data-service=main] .is", "running");

    page.click("Stop main");
    page.sees("main was stopped.");
    page.sees_in("[data-service=main] .fact-wanted", "stopped by hand");
    until(PATIENCE, "main is stopped", || lab.the("main").state == "exited");
    page.sees_in("[data-service=main] .is", "exited");
    assert_eq!(lab.the("side").state, "running");
    page.click("Start main");
    page.sees("main was started.");
    page.sees_in("[data-service=main] .is", "running");
    assert_eq!(lab.the("main").state, "running");
}

#[test]
#[ignore = "needs `make browser`"]
fn a_purge_asks_for_the_apps_name() {
    let lab = Lab::enter();
    let agent = agent(&lab, &app(&lab));
    let page = Page::logged_in(&lab, &agent);
    let kept = || lab.inside(&lab.the("main").id, &["cat", "/data/kept"]);
    until(PATIENCE, "there are data", || lab.inside(&lab.the("main").id, &["ls", "/data"]).contains("kept"));
    lab.inside(&lab.the("main").id, &["sh", "-c", "echo precious > /data/kept"]);
    page.click("Purge the data of app…");
    page.sees("Purge app?");
    // Neither a click too much nor another name does it.
    page.clicks("#confirm", None);
    page.browser.types(&page.the("#typed", None).unwrap(), "main");
    page.clicks("#confirm", None);
    assert!(page.shows("Purge app?"), "{}", page.text());
    page.click("Cancel");
    page.sees_no_more("Purge app?");
    assert_eq!(kept(), "precious\n");
    page.click("Purge the data of app…");
    page.sees("Purge app?");
    page.browser.types(&page.the("#typed", None).unwrap(), "app");
    page.clicks("#confirm", None);
    page.sees("The data of app were purged.");
    until(PATIENCE, "the data are gone", || lab.the("main").state == "running" && kept() == "old\n");
    agent.settles();
}

#[test]
#[ignore = "needs `make browser`"]
fn what_a_service_writes_is_followed() {
    let lab = Lab::enter();
    let agent = agent(&lab, &app(&lab));
    let page = Page::logged_in(&lab, &agent);
    page.click("Logs of main");
    page.sees_in("#logs", "line ");
    let last = || page.text_of("#logs").lines().filter_map(|it| it.rsplit(' ').next()?.parse::<u64>().ok()).max();
    let first = last().unwrap();
    until(PATIENCE, "the log goes on", || last().unwrap() >= first + 3);
    let text = page.text_of("#logs");
    let numbers: Vec<u64> = text.lines().filter_map(|it| it.rsplit(' ').next()?.parse().ok()).collect();
    assert!(numbers.windows(2).all(|it| it[1] == it[0] + 1), "each line once, in order: {text}");
    page.click("Logs of main");
    until(PATIENCE, "the log is closed", || page.the("#logs", None).is_none());
}
