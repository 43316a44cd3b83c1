//! What users request of an app over the API.

use std::sync::atomic::Ordering;

use serde_json::json;

use crate::agent::{Agent, PATIENCE};
use crate::lab::{Lab, REGISTRY, pause, until};
use crate::proxy;
use crate::target::{App, Service};

#[test]
#[ignore = "needs `make engine`"]
fn purge_empties_the_volume_and_brings_the_app_back() {
    let lab = Lab::enter();
    let main = Service::new("main", &lab.image("1")).with("volumes", json!(["data:/data"]));
    let app = App::new(500, "c1", vec![main]).volumes(&["data"]);
    let agent = Agent::with(&lab, &app);
    let before = lab.the("main");
    lab.inside(&before.id, &["sh", "-c", "echo precious > /data/file"]);
    lab.docker(&["restart", "-t", "1", &before.id]);
    assert_eq!(lab.inside(&before.id, &["ls", "/data"]).trim(), "file");

    let reply = agent.ask("POST", "/v1/purge", &json!({"appId": 500}));
    assert_eq!((reply.status, &*reply.body), (200, r#"{"Data":"OK","Error":""}"#));
    let after = lab.the("main");
    assert_eq!((&*after.state, lab.inside(&after.id, &["ls", "/data"]).trim()), ("running", ""));
    assert_ne!(after.id, before.id);
}

#[test]
#[ignore = "needs `make engine`"]
fn a_clean_up_removes_the_volumes_that_no_container_has_and_the_target_does_not_name() {
    let lab = Lab::enter();
    let main = Service::new("main", &lab.image("1")).with("volumes", json!(["data:/data"]));
    let agent = Agent::with(&lab, &App::new(514, "c1", vec![main]).volumes(&["data", "spare"]));
    let labels = ["--label", "io.balena.supervised=true", "--label", "io.balena.app-id=514"];
    for name in ["514_old", "514_held"] {
        lab.docker(&[&["volume", "create"], &labels[..], &[name]].concat());
    }
    lab.docker(&["volume", "create", "514_foreign"]);
    lab.docker(&["create", "--name", "foreign", "-v", "514_held:/x", &lab.image("1")]);
    // The agent plans from what it last observed.
    until(PATIENCE, "the unused volume is gone", || {
        agent.ask("POST", "/v1/update", &json!({}));
        agent.settles();
        let reply = agent.get("/v2/cleanup-volumes");
        assert_eq!((reply.status, &*reply.body), (200, r#"{"status":"success"}"#));
        !lab.docker(&["volume", "ls", "-q"]).contains("514_old")
    });
    let left = lab.docker(&["volume", "ls", "-q"]);
    for name in ["514_data", "514_spare", "514_held", "514_foreign"] {
        assert!(left.lines().any(|it| it == name), "{name} stays: {left}");
    }
    agent.settles();
    assert_eq!(agent.state()["troubles"], json!([]));
}

#[test]
#[ignore = "needs `make engine`"]
fn a_volume_whose_options_changed_keeps_its_data_until_its_owner_purges() {
    let lab = Lab::enter();
    let main = |tag: &str| vec![Service::new("main", &lab.image(tag)).with("volumes", json!(["data:/data"]))];
    let agent = Agent::with(&lab, &App::new(510, "c1", main("1")).volumes(&["data"]));
    lab.inside(&lab.the("main").id, &["sh", "-c", "echo precious > /data/file"]);

    let options = json!({"driver_opts": {"type": "tmpfs", "device": "tmpfs", "o": "size=1m"}, "labels": {"a": "b"}});
    let next = App::new(510, "c2", main("2")).volume("data", options);
    agent.want(&next.v3());
    agent.arrives(&next);
    assert_eq!(lab.inside(&lab.the("main").id, &["cat", "/data/file"]).trim(), "precious");
    let troubles = agent.state()["troubles"].to_string();
    assert!(troubles.contains("volume 510_data") && troubles.contains("until the app is purged"), "{troubles}");

    assert_eq!(agent.ask("POST", "/v1/purge", &json!({"appId": 510})).status, 200);
    assert_eq!(lab.inside(&lab.the("main").id, &["ls", "/data"]).trim(), "");
    assert!(lab.docker(&["volume", "inspect", "510_data"]).contains("tmpfs"));
    agent.settles();
    assert_eq!(agent.state()["troubles"], json!([]));
}

#[test]
#[ignore = "needs `make engine`"]
fn a_volume_of_the_hosts_files_is_a_plain_one_and_said() {
    let lab = Lab::enter();
    let main = Service::new("main", &lab.image("1")).with("volumes", json!(["root:/host"]));
    let options = json!({"driver_opts": {"type": "none", "o": "bind", "device": "/"}});
    let agent = Agent::with(&lab, &App::new(511, "c1", vec![main]).volume("root", options));
    assert_eq!(lab.inside(&lab.the("main").id, &["ls", "/host"]).trim(), "");
    assert!(agent.log().contains("a path or device of the host (\"/\") cannot be mounted"), "{}", agent.log());
}

#[test]
#[ignore = "needs `make engine`"]
fn a_purge_that_cannot_clear_a_volume_says_so() {
    let lab = Lab::enter();
    let files = lab.dir().join("another-supervisors");
    std::fs::create_dir_all(&files).unwrap();
    std::fs::write(files.join("file"), "precious").unwrap();
    let (device, labels) = (format!("device={}", files.display()), ["io.balena.supervised=true", "io.balena.app-id=512"]);
    let options = ["--opt", "type=none", "--opt", "o=bind", "--opt", &device, "--label", labels[0], "--label", labels[1]];
    lab.docker(&[&["volume", "create"], &options[..], &["512_data"]].concat());
    let main = Service::new("main", &lab.image("1")).with("volumes", json!(["data:/data"]));
    let app = App::new(512, "c1", vec![main]).volumes(&["data"]);
    let agent = Agent::with(&lab, &app);
    assert_eq!(lab.inside(&lab.the("main").id, &["cat", "/data/file"]).trim(), "precious");

    let reply = agent.ask("POST", "/v1/purge", &json!({"appId": 512}));
    assert_eq!(reply.status, 503, "{reply:?}");
    assert!(reply.body.contains("512_data") && reply.body.contains("another-supervisors"), "{reply:?}");
    assert!(files.join("file").exists());
    agent.settles();
    // What is there now is as the target says.
    assert_eq!(lab.inside(&lab.the("main").id, &["ls", "/data"]).trim(), "");
    assert_eq!(agent.ask("POST", "/v1/purge", &json!({"appId": 512})).status, 200);
}

#[test]
#[ignore = "needs `make engine`"]
fn restart_makes_every_container_anew() {
    let lab = Lab::enter();
    let app = App::new(501, "c1", vec![Service::new("main", &lab.image("1")), Service::new("other", &lab.image("1"))]);
    let agent = Agent::with(&lab, &app);
    let before = lab.containers();
    let reply = agent.ask("POST", "/v1/restart", &json!({"appId": "501"}));
    assert_eq!((reply.status, &*reply.body), (200, "OK"));
    let after = lab.containers();
    assert_eq!(after.len(), 2);
    assert!(after.iter().all(|it| it.state == "running" && before.iter().all(|old| old.id != it.id)));
}

#[test]
#[ignore = "needs `make engine`"]
fn restart_is_answered_while_another_service_updates() {
    let lab = Lab::enter();
    let large = lab.remote("slow-restart", 8).replace(&REGISTRY.to_string(), "5010");
    let line = proxy::open(5010, REGISTRY);
    line.bytes_per_second.store(400_000, Ordering::SeqCst);
    let app =
        |commit, image: &str| App::new(502, commit, vec![Service::new("main", &lab.image("1")), Service::new("other", image)]);
    let agent = Agent::with(&lab, &app("c1", &lab.image("1")));
    let next = app("c2", &large);
    agent.want(&next.v3());
    until(PATIENCE, "it downloads", || agent.get("/v1/device").json()["status"] == "Downloading");
    // The new release is not here yet, so what runs is stopped and started in its own container.
    let started = || lab.containers().iter().map(|it| lab.inspect(&it.id)["State"]["StartedAt"].clone()).collect::<Vec<_>>();
    for second in 0..15 {
        let before = started();
        let reply = agent.ask("POST", "/v1/restart", &json!({"appId": 502}));
        assert_eq!((reply.status, &*reply.body), (200, "OK"), "in second {second}");
        let seen = lab.containers();
        let services: Vec<_> = seen.iter().map(|it| (&*it.service, &*it.state)).collect();
        assert_eq!(services, [("main", "running"), ("other", "running")], "in second {second}");
        let after = started();
        assert!(before.iter().all(|it| !after.contains(it)), "in second {second}: {before:?}, {after:?}");
        pause(1000);
    }
    line.bytes_per_second.store(0, Ordering::SeqCst);
    agent.arrives(&next);
}

#[test]
#[ignore = "needs `make engine`"]
fn a_stopped_app_stays_so_until_started_or_until_the_agent_starts_again() {
    let lab = Lab::enter();
    let app = App::new(503, "c1", vec![Service::new("main", &lab.image("1"))]);
    let mut agent = Agent::with(&lab, &app);
    let id = lab.the("main").id;
    let same = json!({"containerId": id});
    let is = |state: &str| lab.the("main").id == id && lab.the("main").state == state;

    assert_eq!(agent.ask("POST", "/v1/apps/503/stop", &json!({})).json(), same);
    assert!(is("exited"));
    pause(4000);
    assert!(is("exited"), "it stays stopped");
    assert_eq!(agent.ask("POST", "/v1/apps/503/stop", &json!({})).json(), same, "again is no mistake");

    assert_eq!(agent.ask("POST", "/v1/apps/503/start", &json!({})).json(), same);
    assert!(is("running"));

    assert_eq!(agent.ask("POST", "/v1/apps/503/stop", &json!({})).status, 200);
    agent.stop("TERM");
    agent.start();
    agent.arrives(&app);
    assert!(is("running"), "a start of the agent starts it");
}

#[test]
#[ignore = "needs `make engine`"]
fn the_api_of_2017_knows_one_service_an_app() {
    let lab = Lab::enter();
    let app = App::new(504, "c1", vec![Service::new("main", &lab.image("1")), Service::new("other", &lab.image("1"))]);
    let agent = Agent::with(&lab, &app);
    let before = lab.containers();
    for path in ["/v1/apps/504/stop", "/v1/apps/504/start"] {
        assert_eq!(agent.ask("POST", path, &json!({})).status, 400, "{path}");
    }
    assert_eq!(agent.get("/v1/apps/504").status, 400);
    for path in ["/v1/apps/99/stop", "/v1/apps/99/start", "/v1/apps/none/stop"] {
        assert_eq!(agent.ask("POST", path, &json!({})).status, 400, "{path}");
    }
    assert_eq!(lab.containers(), before);
}

#[test]
#[ignore = "needs `make engine`"]
fn the_device_tells_what_the_reference_says() {
    let lab = Lab::enter();
    let agent = Agent::with(&lab, &App::new(505, "c1", vec![Service::new("main", &lab.image("1"))]));
    let device = agent.get("/v1/device").json();
    assert_eq!(device["api_port"], agent.port());
    assert_eq!((&device["status"], &device["commit"]), (&json!("Idle"), &json!("c1")));
    for field in ["ip_address", "os_version", "supervisor_version", "mac_address", "download_progress"] {
        assert!(device.get(field).is_some(), "{field} in {device}");
    }
    for flag in ["update_pending", "update_downloaded", "update_failed"] {
        assert_eq!(device[flag], false, "{flag}");
    }
}
