//! Update locks: how apps use the files, and how users override them.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::time::Duration;

use serde_json::json;

use crate::agent::{Agent, PATIENCE};
use crate::lab::{Lab, locks, pause, until};
use crate::target::{App, Service};

fn app(lab: &Lab, id: u32, commit: &str, tag: &str) -> App {
    App::new(id, commit, vec![Service::new("calm", &lab.image(tag)), Service::new("main", &lab.image(tag))])
}

#[test]
#[ignore = "needs `make engine`"]
fn a_lock_holds_the_update_up_and_its_end_lets_it_go_on_at_once() {
    let lab = Lab::enter();
    let agent = Agent::with(&lab, &app(&lab, 400, "c1", "1"));
    let before = lab.containers();
    lab.inside(&lab.the("main").id, &["touch", "/tmp/balena/updates.lock"]);

    let next = app(&lab, 400, "c2", "2");
    agent.want(&next.v3());
    agent.says("locked");
    pause(3000);
    assert_eq!(lab.started(), before, "one locked service holds up the whole release");
    let device = agent.get("/v1/device").json();
    assert_eq!(
        (&device["update_pending"], &device["update_downloaded"], &device["update_failed"]),
        (&json!(true), &json!(true), &json!(true))
    );

    fs::remove_file(locks(400, "main").join("updates.lock")).unwrap();
    let took = until(PATIENCE, "it goes on", || lab.containers().iter().all(|it| !before.contains(it)));
    assert!(took < Duration::from_secs(2), "it took {took:?}");
    agent.arrives(&next);
}

#[test]
#[ignore = "needs `make engine`"]
fn the_last_of_several_locks_counts_whatever_it_is_made_of() {
    let lab = Lab::enter();
    let agent = Agent::with(&lab, &app(&lab, 401, "c1", "1"));
    let before = lab.containers();
    let (calm, main) = (locks(401, "calm"), locks(401, "main"));
    fs::write(calm.join("resin-updates.lock"), "").unwrap();
    symlink("/nowhere", main.join("updates.lock")).unwrap();
    let next = app(&lab, 401, "c2", "2");
    agent.want(&next.v3());
    agent.says("locked");
    fs::remove_file(calm.join("resin-updates.lock")).unwrap();
    pause(2000);
    assert_eq!(lab.started(), before);
    fs::remove_file(main.join("updates.lock")).unwrap();
    agent.arrives(&next);
}

#[test]
#[ignore = "needs `make engine`"]
fn force_takes_the_lock_away() {
    let lab = Lab::enter();
    let agent = Agent::with(&lab, &app(&lab, 402, "c1", "1"));
    let lock = locks(402, "main").join("updates.lock");
    fs::write(&lock, "").unwrap();
    let next = app(&lab, 402, "c2", "2");
    agent.want(&next.v3());
    agent.says("locked");
    let reply = agent.ask("POST", "/v1/update", &json!({"force": true}));
    assert_eq!((reply.status, &*reply.body), (204, ""));
    agent.arrives(&next);
    assert!(!lock.exists());
}

#[test]
#[ignore = "needs `make engine`"]
fn the_override_takes_locks_away_without_being_asked() {
    let lab = Lab::enter();
    let agent = Agent::with(&lab, &app(&lab, 403, "c1", "1"));
    fs::write(locks(403, "main").join("updates.lock"), "").unwrap();
    let next = app(&lab, 403, "c2", "2").config("RESIN_SUPERVISOR_OVERRIDE_LOCK", "1");
    agent.want(&next.v3());
    agent.arrives(&next);
}

/// Takes a lock as apps should: it creates the file, and holds the lock only if the file did not exist.
fn take(lock: &Path) {
    until(10, "the lock can be taken", || fs::File::create_new(lock).is_ok());
}

#[test]
#[ignore = "needs `make engine`"]
fn actions_respect_locks_and_force_overrides_them() {
    let lab = Lab::enter();
    let app = App::new(404, "c1", vec![Service::new("main", &lab.image("1"))]);
    let agent = Agent::with(&lab, &app);
    for (path, body) in
        [("/v1/restart", json!({"appId": 404})), ("/v1/purge", json!({"appId": 404})), ("/v1/apps/404/stop", json!({}))]
    {
        let before = lab.the("main");
        let lock = locks(404, "main").join("updates.lock");
        take(&lock);
        let reply = agent.ask("POST", path, &body);
        assert_eq!(reply.status, 423, "{path}: {reply:?}");
        assert_eq!(reply.json()["status"], "failed");
        assert_eq!(lab.the("main"), before);

        let mut forced = body.clone();
        forced["force"] = json!(true);
        let reply = agent.ask("POST", path, &forced);
        assert_eq!(reply.status, 200, "{path}: {reply:?}");
        assert!(!lock.exists(), "{path}");
        assert_eq!(agent.ask("POST", "/v1/apps/404/start", &json!({})).status, 200);
        agent.arrives(&app);
    }
}

#[test]
#[ignore = "needs `make engine`"]
fn locks_of_our_own_are_given_back() {
    let lab = Lab::enter();
    let agent = Agent::with(&lab, &app(&lab, 405, "c1", "1"));
    let next = app(&lab, 405, "c2", "2");
    agent.want(&next.v3());
    agent.arrives(&next);
    for service in ["calm", "main"] {
        let left: Vec<_> = fs::read_dir(locks(405, service)).unwrap().flatten().map(|it| it.file_name()).collect();
        assert!(left.is_empty(), "{service}: {left:?}");
    }
}

#[test]
#[ignore = "needs `make engine`"]
fn a_service_that_runs_as_nobody_holds_its_lock() {
    let lab = Lab::enter();
    let services = |tag: &str| vec![Service::new("main", &lab.image(tag)).with("user", json!("65534:65534"))];
    let agent = Agent::with(&lab, &App::new(406, "c1", services("1")));
    let before = lab.the("main");
    lab.inside(&before.id, &["touch", "/tmp/balena/updates.lock"]);
    let lock = locks(406, "main").join("updates.lock");
    assert_eq!(fs::metadata(&lock).unwrap().uid(), 65534);

    let next = App::new(406, "c2", services("2"));
    agent.want(&next.v3());
    agent.says("locked");
    assert_eq!(agent.ask("POST", "/v1/restart", &json!({"appId": 406})).status, 423);
    pause(3000);
    assert_eq!(lab.started(), std::slice::from_ref(&before));
    assert!(lock.exists(), "only force removes it");
    lab.inside(&before.id, &["rm", "/tmp/balena/updates.lock"]);
    agent.arrives(&next);
}

#[test]
#[ignore = "needs `make engine`"]
fn a_lock_file_of_a_service_that_a_release_dropped_holds_nothing_up() {
    let lab = Lab::enter();
    let agent = Agent::with(&lab, &app(&lab, 407, "c1", "1"));
    let only = App::new(407, "c2", vec![Service::new("main", &lab.image("1"))]);
    agent.want(&only.v3());
    agent.arrives(&only);
    let left = locks(407, "calm").join("updates.lock");
    fs::write(&left, "").unwrap();
    assert_eq!(agent.ask("POST", "/v1/restart", &json!({"appId": 407})).status, 200);
    let next = App::new(407, "c3", vec![Service::new("main", &lab.image("2"))]);
    agent.want(&next.v3());
    agent.arrives(&next);
    assert!(left.exists());
}

#[test]
#[ignore = "needs `make engine`"]
fn a_lock_that_is_gone_refuses_no_more() {
    let lab = Lab::enter();
    let app = App::new(408, "c1", vec![Service::new("main", &lab.image("1"))]);
    let agent = Agent::with(&lab, &app);
    let lock = locks(408, "main").join("updates.lock");
    for wait in [0, 0, 10, 50, 90] {
        take(&lock);
        // The agent has looked, and knows of the lock.
        pause(400);
        assert_eq!(agent.ask("POST", "/v1/restart", &json!({"appId": 408})).status, 423);
        fs::remove_file(&lock).unwrap();
        pause(wait);
        let reply = agent.ask("POST", "/v1/restart", &json!({"appId": 408}));
        assert_eq!(reply.status, 200, "{wait} ms after it was removed: {reply:?}");
    }
    agent.arrives(&app);
}

#[test]
#[ignore = "needs `make engine`"]
fn a_leftover_of_a_supervisor_is_given_back_beside_a_services_lock() {
    let lab = Lab::enter();
    let agent = Agent::with(&lab, &app(&lab, 409, "c1", "1"));
    let (calm, main) = (locks(409, "calm"), locks(409, "main").join("updates.lock"));
    fs::write(&main, "").unwrap();
    // As its tool `lockfile` makes them.
    for file in ["resin-updates.lock", "updates.lock"] {
        fs::write(calm.join(file), "0").unwrap();
        fs::set_permissions(calm.join(file), fs::Permissions::from_mode(0o444)).unwrap();
        chown(calm.join(file), Some(65534), Some(0)).unwrap();
    }
    agent.ask("POST", "/v1/update", &json!({}));
    until(PATIENCE, "it is given back", || fs::read_dir(&calm).unwrap().count() == 0);
    assert!(main.exists());
    assert_eq!(agent.ask("POST", "/v1/restart", &json!({"appId": 409})).status, 423);
    fs::remove_file(&main).unwrap();
    agent.settles();
}
