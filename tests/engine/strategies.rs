//! The update strategies: how an old container is replaced, in the order of the engine's own events.

use std::fs;
use std::time::Duration;

use crate::agent::{Agent, PATIENCE};
use crate::lab::{Lab, locks, now, pause, until};
use crate::target::{App, Service};

/// An agent that has pulled and started release one.
fn begin<'lab>(lab: &'lab Lab, id: u32, strategy: &str) -> (Agent<'lab>, App, [String; 2]) {
    let images = [lab.remote("s1", 1), lab.remote("s2", 1)];
    let app = |commit, image| App::new(id, commit, vec![Service::new("main", image).strategy(strategy)]);
    let agent = Agent::with(lab, &app("c1", &images[0]));
    (agent, app("c2", &images[1]), images)
}

/// Updates; the engine's events, and a check of their order.
fn update(lab: &Lab, agent: &Agent<'_>, next: &App) -> Vec<String> {
    let since = now();
    agent.want(&next.v3());
    agent.arrives(next);
    lab.events(&since)
}

fn in_order(events: &[String], expected: &[&str]) {
    let mut rest = events.iter();
    for wanted in expected {
        assert!(rest.any(|it| it == wanted), "`{wanted}` is not where it should be in {expected:?}: {events:#?}");
    }
}

#[test]
#[ignore = "needs `make engine`"]
fn download_then_kill_pulls_before_it_stops() {
    let lab = Lab::enter();
    let (agent, next, [_, two]) = begin(&lab, 300, "download-then-kill");
    let events = update(&lab, &agent, &next);
    in_order(&events, &[&format!("pull {two}"), "create main", "die main", "destroy main", "start main"]);
}

#[test]
#[ignore = "needs `make engine`"]
fn download_then_kill_waits_for_the_images_of_every_service() {
    let lab = Lab::enter();
    let (small, large) = (lab.image("1"), lab.remote("large", 24));
    let app = |commit, image: &str, other: &str| {
        App::new(304, commit, vec![Service::new("main", image), Service::new("other", other)])
    };
    let agent = Agent::with(&lab, &app("c1", &small, &small));
    let events = update(&lab, &agent, &app("c2", &lab.image("2"), &large));
    in_order(&events, &[&format!("pull {large}"), "die main"]);
    in_order(&events, &[&format!("pull {large}"), "die other"]);
}

#[test]
#[ignore = "needs `make engine`"]
fn kill_then_download_stops_before_it_pulls() {
    let lab = Lab::enter();
    let (agent, next, [_, two]) = begin(&lab, 301, "kill-then-download");
    let events = update(&lab, &agent, &next);
    in_order(&events, &["die main", "destroy main", &format!("pull {two}"), "create main", "start main"]);
}

#[test]
#[ignore = "needs `make engine`"]
fn delete_then_download_makes_room_before_it_pulls() {
    let lab = Lab::enter();
    let (agent, next, [one, two]) = begin(&lab, 302, "delete-then-download");
    let old = lab.call("GET", &format!("/images/{one}/json"), "").json()["Id"].as_str().unwrap().to_owned();
    let events = update(&lab, &agent, &next);
    in_order(&events, &["die main", "destroy main", &format!("delete {old}"), &format!("pull {two}"), "start main"]);
}

#[test]
#[ignore = "needs `make engine`"]
fn hand_over_runs_both_until_the_new_one_says_so() {
    let lab = Lab::enter();
    let (agent, next, [_, two]) = begin(&lab, 303, "hand-over");
    let old = lab.the("main");
    let since = now();
    agent.want(&next.v3());
    let both = || lab.containers().iter().filter(|it| it.state == "running").count() == 2;
    until(PATIENCE, "both run", both);
    pause(2000);
    assert!(both(), "the old one is there until the new one says so");
    assert!(lab.containers().iter().any(|it| it.id == old.id && it.name.starts_with("old_")));
    let new = lab.containers().into_iter().find(|it| it.id != old.id).unwrap();
    lab.inside(&new.id, &["touch", "/tmp/balena/handover-complete"]);
    agent.arrives(&next);
    assert_eq!(lab.the("main").id, new.id);
    in_order(&lab.events(&since), &[&format!("pull {two}"), "create main", "start main", "die main", "destroy main"]);
}

#[test]
#[ignore = "needs `make engine`"]
fn hand_over_ends_by_itself_after_its_time() {
    let lab = Lab::enter();
    let main =
        |image: &str| Service::new("main", image).strategy("hand-over").label("io.balena.update.handover-timeout", "3000");
    let agent = Agent::with(&lab, &App::new(305, "c1", vec![main(&lab.image("1"))]));
    let next = App::new(305, "c2", vec![main(&lab.image("2"))]);
    agent.want(&next.v3());
    until(PATIENCE, "both run", || lab.containers().iter().filter(|it| it.state == "running").count() == 2);
    let took = agent.arrives(&next);
    assert!(took > Duration::from_millis(1500), "it waited {took:?}");
    assert!(fs::read_dir(locks(305, "main")).unwrap().flatten().all(|it| it.file_name() != "handover-complete"));
}
