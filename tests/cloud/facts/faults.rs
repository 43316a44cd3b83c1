//! Faults happen when they are asked for, to the calls they are asked for, and end.

use std::thread::sleep;
use std::time::Duration;

use serde_json::{Value, json};

use super::{KEY, Scene, UUID, is_empty};
use crate::client::{self, Client};
use crate::fake::{Call, FakeCloud, Fault};

#[test]
fn an_answer_is_lost_after_the_call_was_done() {
    let scene = Scene::new();
    scene.cloud.fails_times(1, Call::Register, Fault::LosesAnswer);
    let form = json!({"application": scene.fleet, "uuid": UUID, "device_type": "raspberrypi3", "api_key": KEY});
    let bearer = format!("Bearer {}", scene.provisioning);
    let headers = [("Authorization", bearer.as_str()), ("Content-Type", "application/json")];
    scene.client.send("POST", "/device/register", &headers, form.to_string().as_bytes()).unwrap_err();
    assert_eq!(scene.cloud.devices(), [UUID]);
    assert_eq!(scene.register(&json!({})).status, 409);
}

#[test]
fn answers_break_stall_and_do_not_end() {
    let scene = Scene::registered();
    let whole = scene.state(&[]).body.len();
    let bearer = format!("Bearer {KEY}");
    let path = format!("/device/v3/{UUID}/state");
    let get = || scene.client.send("GET", &path, &[("Authorization", &bearer)], b"");
    scene.cloud.fails_times(1, Call::Target, Fault::DiesMidBody);
    assert!(get().is_err());
    let died = scene.cloud.calls(Call::Target).pop().unwrap();
    assert!(scene.cloud.bytes_of(&died).1 > whole as u64 / 2);
    scene.cloud.fails_times(1, Call::Target, Fault::Slow(Duration::from_millis(600)));
    let begun = tokio::time::Instant::now();
    assert_eq!(get().unwrap().status, 200);
    assert!(begun.elapsed() > Duration::from_millis(600));

    scene.cloud.fails_times(1, Call::Target, Fault::EndlessBody);
    let mut line = scene.client.connect().unwrap();
    // The first pieces of a body that is chunked: a megabyte, and it goes on.
    std::io::Write::write_all(&mut line, format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).unwrap();
    std::io::Read::read_exact(&mut line, &mut vec![0; 1_000_000]).unwrap();
    drop(line);

    scene.cloud.fails(Call::Any, Fault::Stalls);
    let line = scene.client.connect().unwrap();
    line.sock.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let mut line = line;
    assert!(client::send(&mut line, "GET", "/ping", &[], b"").is_err());
    scene.cloud.is_well();
    assert_eq!(get().unwrap().status, 200);
}

#[test]
fn refusals_say_what_they_should() {
    let scene = Scene::registered();
    let once = |fault| {
        scene.cloud.fails_times(1, Call::Target, fault);
        scene.state(&[])
    };
    let busy = once(Fault::Unavailable(Some(25)));
    assert_eq!((busy.status, busy.header("retry-after")), (503, Some("25")));
    assert_eq!(once(Fault::TooMany(None)).header("retry-after"), None);
    let portal = once(Fault::Portal);
    assert_eq!((portal.status, portal.header("content-type")), (200, Some("text/html; charset=utf-8")));
    let moved = once(Fault::Moved("https://localhost:1/x".to_owned()));
    assert_eq!((moved.status, moved.header("location")), (301, Some("https://localhost:1/x")));
    is_empty(&once(Fault::RefusesKeys), 401);
    assert_eq!(scene.state(&[]).status, 200);
    let fleet = scene.cloud.fleet_uuid(scene.fleet);
    scene.cloud.fails(Call::Report, Fault::RefusesApp(fleet.clone()));
    is_empty(&scene.report(&json!({"apps": {fleet: {"releases": {}}}})), 401);
    is_empty(&scene.report(&json!({"status": "Idle"})), 200);
}

#[test]
fn targets_come_late_and_with_tags_of_others() {
    let scene = Scene::registered();
    let first = scene.state(&[]);
    scene.cloud.sets_variable(UUID, "A", "1");
    scene.cloud.fails_times(1, Call::Target, Fault::StaleEtag);
    let stale = scene.state(&[]);
    assert_eq!(stale.header("etag"), first.header("etag"));
    assert_ne!(stale.text(), first.text());
    scene.cloud.fails_times(1, Call::Target, Fault::OldTarget);
    let old = scene.state(&[]);
    assert_eq!((old.text(), old.header("etag")), (first.text(), first.header("etag")));
    assert_eq!(scene.state(&[]).text(), stale.text());
}

#[test]
fn connections_are_kept_closed_and_refused() {
    let scene = Scene::registered();
    let mut line = scene.client.connect().unwrap();
    let mut ping = || client::send(&mut line, "GET", "/ping", &[], b"");
    let kept = ping().unwrap();
    assert_eq!((kept.header("connection"), kept.header("keep-alive")), (Some("keep-alive"), Some("timeout=5")));
    sleep(Duration::from_secs(3));
    assert_eq!(ping().unwrap().status, 200);
    sleep(Duration::from_secs(6));
    assert!(ping().is_err(), "it is kept for five seconds");

    scene.cloud.fails(Call::Ping, Fault::ClosesKept);
    let mut line = scene.client.connect().unwrap();
    assert_eq!(client::send(&mut line, "GET", "/ping", &[], b"").unwrap().status, 200);
    sleep(Duration::from_millis(500));
    assert!(client::send(&mut line, "GET", "/ping", &[], b"").is_err());
    scene.cloud.is_well();
    let mut line = scene.client.connect().unwrap();
    assert!(client::send(&mut line, "GET", "/ping", &[], b"").is_ok());
    scene.cloud.closes_connections();
    sleep(Duration::from_millis(200));
    assert!(client::send(&mut line, "GET", "/ping", &[], b"").is_err());
    scene.cloud.goes_down();
    sleep(Duration::from_millis(200));
    assert!(scene.client.connect().is_err());
    scene.cloud.comes_up();
    sleep(Duration::from_millis(200));
    assert_eq!(scene.client.ask("GET", "/ping", "", &Value::Null).status, 200);
    let elsewhere = Client::new(&FakeCloud::start());
    assert!(elsewhere.send("GET", "/ping", &[], b"").is_err(), "that cloud is gone");
}

/// A client that resumes its session, and keeps the connection, needs what was measured of a real chain.
#[test]
fn a_resumed_session_costs_what_it_costs_elsewhere() {
    let scene = Scene::registered();
    let tag = scene.state(&[]).header("etag").unwrap().to_owned();
    scene.state(&[("If-None-Match", &tag), ("Accept-Encoding", "gzip")]);
    let mut line = scene.client.connect().unwrap();
    let bearer = format!("Bearer {KEY}");
    let headers = [("Authorization", bearer.as_str()), ("If-None-Match", tag.as_str()), ("Accept-Encoding", "gzip")];
    for _ in 0..2 {
        assert_eq!(client::send(&mut line, "GET", &format!("/device/v3/{UUID}/state"), &headers, b"").unwrap().status, 304);
    }
    drop(line);
    sleep(Duration::from_millis(200));
    // The first of all is the registration: no session was there to be resumed.
    let calls = scene.cloud.exchanges();
    let cost = |at: usize| scene.cloud.bytes_of(&calls[at]).0 + scene.cloud.bytes_of(&calls[at]).1;
    // Recorded: 3,534 with a new session, 1,639 resumed, 501 on the same connection.
    let costs = [cost(0), cost(2), cost(4)];
    assert!((2_200..4_200).contains(&costs[0]) && (1_100..1_900).contains(&costs[1]), "{costs:?}");
    assert!((350..650).contains(&costs[2]), "{costs:?}");
}
