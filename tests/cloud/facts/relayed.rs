//! A user's verbs, as they arrive at a device, and what the user gets of its answers.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread::{JoinHandle, spawn};

use hyper::Method;
use serde_json::{Value, json};

use super::{Scene, UUID, is_empty};
use crate::fake::Relayed;

const SECRET: &str = "a8768acd30dd25f8a7a21fbf18998595";

/// A device that answers one request so; what arrived there.
fn device(scene: &Scene, answer: &'static str) -> JoinHandle<String> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    is_empty(&scene.report(&json!({"api_port": 48484, "api_secret": SECRET})), 200);
    scene.cloud.connects(UUID, Some(listener.local_addr().unwrap()));
    spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut bytes = vec![0; 4096];
        let size = stream.read(&mut bytes).unwrap();
        stream.write_all(answer.as_bytes()).unwrap();
        String::from_utf8_lossy(&bytes[..size]).into_owned()
    })
}

fn relayed(status: u16, body: impl Into<Value>) -> Relayed {
    Relayed { status, body: body.into() }
}

const OK: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 2\r\nConnection: close\r\n\r\nOK";

#[test]
fn requests_arrive_byte_for_byte() {
    let scene = Scene::registered();
    let traced = "traceparent: 00-d3d819502763beaafede2a14bf3a6ccd-90f0dfb6704e8daf-01\r\n\
                  sentry-trace: d3d819502763beaafede2a14bf3a6ccd-90f0dfb6704e8daf-1\r\nConnection: close\r\n\r\n";
    let host = format!("?apikey={SECRET} HTTP/1.1\r\nhost: {UUID}.balena:48484\r\n");
    let data = json!({"force": false});
    let with = "accept: application/json\r\ncontent-type: application/json\r\ncontent-length: 15\r\n";
    let cases = [
        (Method::POST, "/v1/blink", None, format!("POST /v1/blink{host}content-length: 0\r\n{traced}")),
        (Method::GET, "/ping?lost=1", None, format!("GET /ping{host}{traced}")),
        (Method::POST, "/v1/reboot", Some(&data), format!("POST /v1/reboot{host}{with}{traced}{{\"force\":false}}")),
    ];
    for (method, path, data, expected) in cases {
        let arrived = device(&scene, OK);
        assert_eq!(scene.cloud.relay(UUID, &method, path, data), relayed(200, "OK"));
        assert_eq!(arrived.join().unwrap(), expected);
    }
    let arrived = device(&scene, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
    let asked = json!({"uuid": UUID, "data": {"force": true}});
    is_empty_204(&scene.client.ask("POST", "/supervisor/v1/update", &scene.cloud.user_token(), &asked));
    assert!(arrived.join().unwrap().ends_with("\r\n\r\n{\"force\":true}"));
    let arrived = device(&scene, OK);
    scene.cloud.sets_variable(UUID, "PUSHED", "1");
    assert_eq!(arrived.join().unwrap(), format!("POST /v1/update{host}content-length: 0\r\n{traced}"));
}

fn is_empty_204(reply: &crate::client::Reply) {
    assert_eq!((reply.status, reply.body.len()), (204, 0));
}

#[test]
fn answers_are_filtered() {
    let bad = "Bad API response from supervisor";
    let cases = [
        (
            "423 Locked\r\nContent-Type: application/json\r\nContent-Length: 33\r\n\r\n{\"Data\":\"\",\"Error\":\"locked (or not)\"}",
            relayed(423, json!({"Data": "", "Error": "locked (or not)"})),
        ),
        ("423 Locked\r\nContent-Type: text/plain\r\n\r\nUpdates are locked", relayed(423, "Updates are locked")),
        ("503 x\r\nContent-Type: text/plain\r\n\r\nError: nope_", relayed(500, bad)),
        ("200 OK\r\nContent-Type: application/octet-stream\r\n\r\nOK", relayed(500, bad)),
        ("200 OK\r\nContent-Type: application/json\r\n\r\n{oops", relayed(500, bad)),
        (
            "200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{\"\r\n5\r\na\":1}\r\n0\r\n\r\n",
            relayed(200, json!({"a": 1})),
        ),
        ("401 x\r\n\r\n", relayed(401, Value::Null)),
    ];
    for (answer, expected) in cases {
        let scene = Scene::registered();
        let arrived = device(&scene, Box::leak(format!("HTTP/1.1 {answer}").into_boxed_str()));
        assert_eq!(scene.cloud.relay(UUID, &Method::POST, "/v1/blink", None), expected, "{answer}");
        arrived.join().unwrap();
    }
}

#[test]
fn devices_that_are_not_there_are_not_reached() {
    let scene = Scene::registered();
    let blink = || scene.cloud.relay(UUID, &Method::POST, "/v1/blink", None);
    assert_eq!(blink(), relayed(404, "No online device(s) found"));
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    scene.cloud.connects(UUID, Some(closed));
    assert_eq!(blink(), relayed(502, "tunneling socket could not be established, statusCode=500"));
    scene.cloud.freezes(UUID, true);
    assert_eq!(blink(), relayed(404, "No online device(s) found"));
}
