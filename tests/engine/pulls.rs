//! Registries that are slow, remote, private, or cut off.

use std::fs;
use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::json;

use crate::agent::{Agent, PATIENCE};
use crate::lab::{CLOSED_REGISTRY, Lab, REGISTRY, now, pause, run, until};
use crate::proxy;
use crate::target::{App, Service};

/// The same image, by way of the line at `port`.
fn by_way_of(port: u16, image: &str) -> String {
    image.replacen(&format!(":{REGISTRY}/"), &format!(":{port}/"), 1)
}

#[test]
#[ignore = "needs `make engine`"]
fn a_layer_that_is_cut_half_way_arrives_all_the_same() {
    let lab = Lab::enter();
    let image = by_way_of(5020, &lab.remote("cut", 4));
    let line = proxy::open(5020, REGISTRY);
    line.cuts.store(2, Ordering::SeqCst);
    let app = App::new(900, "c1", vec![Service::new("main", &image)]);
    let agent = Agent::with(&lab, &app);
    assert_eq!(line.was_cut.load(Ordering::SeqCst), 2);
    drop(agent);
    lab.forget(&image);
}

#[test]
#[ignore = "needs `make engine`"]
fn of_an_update_that_does_not_fit_nothing_is_begun() {
    let lab = Lab::enter();
    let images = ["large-1", "large-2"].map(|tag| lab.remote(tag, 40));
    let services =
        |images: [&str; 2]| vec![Service::new("one", images[0]), Service::new("two", images[1]).strategy("kill-then-download")];
    let before = App::new(903, "c1", services([&lab.image("1"), &lab.image("2")]));
    let after = App::new(903, "c2", services([&images[0], &images[1]]));
    // 100 MiB each are needed.
    let root = lab.docker(&["info", "--format", "{{.DockerRootDir}}"]);
    let free = run(Command::new("df").args(["--output=avail", "--block-size=1M", root.trim()]));
    let free: u64 = free.lines().last().unwrap().trim().parse().unwrap();
    let mut agent = Agent::new(&lab).arguments(&["--disk-floor", &format!("{}M", free - 150)]);
    agent.want(&before.v3());
    agent.start();
    agent.arrives(&before);
    let old = lab.the("two").id;
    agent.want(&after.v3());
    agent.says(" of use only together: ");
    // It is tried again meanwhile, and one of them would be here.
    pause(5000);
    assert_eq!(images.each_ref().map(|it| lab.has(it)), [false; 2]);
    assert_eq!(lab.the("two").id, old, "it was killed for what does not fit");
    agent.says(" of use only together: ");
    drop(agent);

    let mut agent = Agent::new(&lab);
    agent.want(&after.v3());
    agent.start();
    agent.arrives(&after);
    drop(agent);
    for image in &images {
        lab.forget(image);
    }
}

#[test]
#[ignore = "needs `make engine`"]
fn a_slow_download_holds_up_no_other_service_and_is_reported() {
    let lab = Lab::enter();
    let image = by_way_of(5021, &lab.remote("slow", 8));
    let line = proxy::open(5021, REGISTRY);
    line.bytes_per_second.store(800_000, Ordering::SeqCst);
    let slow = App::new(901, "c1", vec![Service::new("slow", &image)]);
    let quick = |commit, tag| App::new(902, commit, vec![Service::new("quick", &lab.image(tag))]);
    let mut agent = Agent::new(&lab);
    agent.want(&App::together(&[&slow, &quick("c1", "1")]));
    agent.start();
    let runs =
        |commit: &str| lab.containers().iter().any(|it| it.state == "running" && it.name.ends_with(&format!("_{commit}")));
    until(5, "the quick one runs", || runs("c1"));
    until(PATIENCE, "the slow one is told of", || {
        let device = agent.get("/v1/device").json();
        device["status"] == "Downloading" && device["download_progress"].as_u64().is_some_and(|it| it < 100)
    });
    let bytes = || {
        let downloads = agent.get("/agent/v1/state").json()["downloads"].take();
        let number = |name: &str| downloads[0][name].as_u64();
        number("bytes").zip(number("total_bytes"))
    };
    let mut seen = Vec::new();
    until(PATIENCE, "its bytes rise", || {
        seen.extend(bytes());
        seen.first().zip(seen.last()).is_some_and(|(first, last)| last.0 > first.0 + 1_000_000)
    });
    assert!(seen.is_sorted() && seen.iter().all(|(bytes, total)| bytes <= total && *total > 8_000_000), "{seen:?}");
    agent.want(&App::together(&[&slow, &quick("c2", "2")]));
    until(5, "the quick one is updated meanwhile", || runs("c2"));
    assert!(!lab.has(&image));
    line.bytes_per_second.store(0, Ordering::SeqCst);
    until(PATIENCE, "both run", || lab.containers().len() == 2 && agent.is_settled());
    drop(agent);
    lab.forget(&image);
}

#[test]
#[ignore = "needs `make engine`"]
fn a_download_that_is_no_longer_wanted_is_dropped() {
    let lab = Lab::enter();
    let image = by_way_of(5022, &lab.remote("unwanted", 8));
    let line = proxy::open(5022, REGISTRY);
    line.bytes_per_second.store(100_000, Ordering::SeqCst);
    let app = |commit, image: &str| App::new(903, commit, vec![Service::new("main", image)]);
    let agent = Agent::with(&lab, &app("c1", &lab.image("1")));
    agent.want(&app("c2", &image).v3());
    until(PATIENCE, "it downloads", || agent.get("/v1/device").json()["status"] == "Downloading");
    let since = now();
    let last = app("c3", &lab.image("2"));
    agent.want(&last.v3());
    let took = agent.arrives(&last);
    assert!(took < Duration::from_secs(8), "it took {took:?}");
    line.bytes_per_second.store(0, Ordering::SeqCst);
    pause(3000);
    assert!(!lab.events(&since).contains(&format!("pull {image}")), "it was pulled to the end");
}

#[test]
#[ignore = "needs `make engine`"]
fn an_image_that_was_pulled_is_deleted_when_no_service_needs_it() {
    let lab = Lab::enter();
    let (one, two) = (lab.remote("gc1", 0), lab.remote("gc2", 0));
    let app = |commit, image: &str| App::new(904, commit, vec![Service::new("main", image)]);
    let agent = Agent::with(&lab, &app("c1", &one));
    agent.want(&app("c2", &two).v3());
    agent.arrives(&app("c2", &two));
    until(PATIENCE, "the old image is gone", || !lab.has(&one));
    assert!(lab.has(&two));
}

#[test]
#[ignore = "needs `make engine`"]
fn a_closed_registry_opens_with_the_right_password() {
    let lab = Lab::enter();
    let (user, password) = ("board", "open sesame");
    lab.closed_registry(user, password);
    let registry = format!("127.0.0.1:{CLOSED_REGISTRY}");
    let image = format!("{registry}/tests/app:closed");
    lab.load(&image, 0);
    lab.docker(&["login", "-u", user, "-p", password, &registry]);
    lab.docker(&["push", "-q", &image]);
    lab.docker(&["logout", &registry]);
    lab.forget(&image);

    let app = App::new(905, "c1", vec![Service::new("main", &image)]);
    let mut agent = Agent::new(&lab);
    agent.want(&app.v3());
    agent.start();
    agent.says("credentials");
    agent.stop("TERM");

    // base64 of `board:open sesame`, as `docker login` writes it.
    let auth = agent.path("auth.json");
    fs::write(&auth, json!({"auths": {registry: {"auth": "Ym9hcmQ6b3BlbiBzZXNhbWU="}}}).to_string()).unwrap();
    let mut agent = agent.arguments(&["--registry-auth", auth.to_str().unwrap()]);
    agent.start();
    agent.arrives(&app);
}
