//! Update windows: what waits for one on a real engine, and what does not.

use std::process::Command;

use serde_json::{Value, json};

use crate::agent::{Agent, PATIENCE};
use crate::lab::{Lab, pause, run, until};
use crate::target::{App, Service};

/// A window of an hour that is about half a day away.
fn closed() -> String {
    let hour: u32 = run(Command::new("date").args(["-u", "+%H"])).trim().parse().unwrap();
    let at = |hours: u32| (hour + hours) % 24;
    format!("{:02}:00-{:02}:00 +00:00", at(11), at(12))
}

/// The app's document, in which the window is a label of the release.
fn within(app: &App, window: &str) -> Value {
    let mut document = app.v3();
    let release = &mut document["device"]["apps"][app.uuid()]["releases"][&app.commit];
    release["labels"] = json!({"io.boardkeeper.update-window": window});
    document
}

#[test]
#[ignore = "needs `make engine`"]
fn an_update_outside_its_window_is_pulled_and_goes_on_when_forced() {
    let lab = Lab::enter();
    let image = lab.remote("window", 2);
    let app = |commit, image: &str| {
        let side = Service::new("side", image).label("io.boardkeeper.update-window", "always");
        App::new(415, commit, vec![Service::new("main", image), side])
    };
    let (first, next, window) = (app("c1", &lab.image("1")), app("c2", &image), closed());
    let mut agent = Agent::new(&lab);
    agent.want(&within(&first, &window));
    agent.start();
    agent.arrives(&first);
    let before = lab.the("main");

    agent.want(&within(&next, &window));
    agent.says(&format!("415/main waits for the update window `{window}`"));
    let started = |service: &str| lab.started().into_iter().filter(|it| it.service == service).collect::<Vec<_>>();
    until(PATIENCE, "the service with a window of its own is updated", || {
        started("side").iter().any(|it| it.name.ends_with("_c2") && it.state == "running")
    });
    assert!(lab.has(&image));
    pause(2000);
    assert_eq!(started("main"), std::slice::from_ref(&before), "it runs on");
    let device = agent.get("/v1/device").json();
    assert_eq!((&device["update_pending"], &device["update_downloaded"]), (&json!(true), &json!(true)));

    // A window is no lock: what a person asks for acts at once, on the container that is there.
    assert_eq!(agent.ask("POST", "/v2/applications/415/restart-service", &json!({"serviceName": "main"})).status, 200);
    assert_eq!(started("main")[0].id, before.id);
    assert_eq!(agent.ask("POST", "/v1/update", &json!({"force": true})).status, 204);
    agent.arrives(&next);
    assert_ne!(lab.the("main").id, before.id);
}

#[test]
#[ignore = "needs `make engine`"]
fn a_window_that_changes_recreates_nothing_and_counts_at_once() {
    let lab = Lab::enter();
    let app = |commit, tag| App::new(416, commit, vec![Service::new("main", &lab.image(tag))]);
    let agent = Agent::with(&lab, &app("c1", "1"));
    let before = lab.the("main");
    agent.want(&within(&app("c1", "1"), &closed()));
    pause(2000);
    agent.arrives(&app("c1", "1"));
    assert_eq!(lab.the("main"), before);
    agent.want(&within(&app("c2", "2"), &closed()));
    agent.says("416/main waits for the update window");
    assert_eq!(lab.started(), [before]);
    agent.want(&within(&app("c2", "2"), "always"));
    agent.arrives(&app("c2", "2"));
}
