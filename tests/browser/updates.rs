//! Updates: a lock that is overridden, and a download that is watched.

use std::fs;
use std::sync::atomic::Ordering;

use crate::agent::PATIENCE;
use crate::lab::{Lab, REGISTRY, locks, until};
use crate::page::{Page, agent};
use crate::proxy;
use crate::target::{App, Service};

#[test]
#[ignore = "needs `make browser`"]
fn a_lock_is_shown_and_overridden() {
    let lab = Lab::enter();
    let app =
        |commit: &str, colour: &str| App::new(1404, commit, vec![Service::new("main", &lab.image("1")).env("COLOUR", colour)]);
    let agent = agent(&lab, &app("c1", "red"));
    let page = Page::logged_in(&lab, &agent);
    fs::create_dir_all(locks(1404, "main")).unwrap();
    fs::write(locks(1404, "main").join("updates.lock"), "").unwrap();
    let old = lab.the("main").id;
    agent.want(&app("c2", "green").v3());
    page.sees("main holds a lock since");
    page.sees("What is waited for");
    // The new container may be there already; it has not been started.
    let running: Vec<String> = lab.started().into_iter().map(|it| it.id).collect();
    assert_eq!(running, [old.as_str()]);
    page.click("Override…");
    page.sees("Override the update locks?");
    page.clicks("#confirm", None);
    page.sees("The update goes on without regard to locks.");
    agent.arrives(&app("c2", "green"));
    page.sees_no_more("What is waited for");
    assert_ne!(lab.the("main").id, old);
}

#[test]
#[ignore = "needs `make browser`"]
fn a_download_is_watched() {
    let lab = Lab::enter();
    let image = lab.remote("watched", 8).replacen(&format!(":{REGISTRY}/"), ":5021/", 1);
    let line = proxy::open(5021, REGISTRY);
    line.bytes_per_second.store(1024 * 1024, Ordering::SeqCst);
    let before = App::new(1405, "c1", vec![Service::new("main", &lab.image("1"))]);
    let after = App::new(1405, "c2", vec![Service::new("main", &image)]);
    let agent = agent(&lab, &before);
    let page = Page::logged_in(&lab, &agent);
    agent.want(&after.v3());
    page.sees("Downloading");
    page.sees_in(".download .hint", " MB of ");
    let percent = || page.run("return document.querySelector('progress')?.value ?? -1").as_f64().unwrap();
    let mut seen: Vec<f64> = Vec::new();
    until(PATIENCE, "the download ends", || {
        let now = percent();
        if now >= 0.0 && seen.last() != Some(&now) {
            seen.push(now);
        }
        !page.shows("Downloading")
    });
    line.bytes_per_second.store(0, Ordering::SeqCst);
    assert!(seen.len() >= 3 && seen.is_sorted(), "it moves forward: {seen:?}");
    agent.arrives(&after);
    page.sees_in("[data-service=main] .fact-image", "tests/app:watched");
    drop(agent);
    lab.forget(&image);
}
