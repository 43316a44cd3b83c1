//! Logs: what of a body arrives in the store.

use std::io::Write;
use std::thread::sleep;
use std::time::Duration;

use serde_json::{Value, json};

use super::{KEY, Scene, UUID, is_empty, is_words, wants_a_key};
use crate::client::Reply;
use crate::fake::gzip;

const NDJSON: &str = "application/x-ndjson";

fn lines(count: usize) -> String {
    let line =
        |it| json!({"message": format!("line {it}"), "timestamp": 1_795_435_573_506_u64, "serviceId": 7}).to_string() + "\n";
    (0..count).map(line).collect()
}

fn upload(scene: &Scene, key: &str, kind: &str, body: &[u8], packed: bool) -> Reply {
    let bearer = format!("Bearer {key}");
    let mut headers = vec![("Authorization", bearer.as_str()), ("Content-Type", kind)];
    headers.extend(packed.then_some(("Content-Encoding", "gzip")));
    scene.client.send("POST", &format!("/device/v2/{UUID}/log-stream"), &headers, body).unwrap()
}

fn kept(scene: &Scene) -> Vec<String> {
    scene.cloud.logs(UUID).into_iter().map(|it| it.message).collect()
}

#[test]
fn fifty_lines_of_a_body_are_kept_and_the_rest_is_counted() {
    for (count, suppressed) in [(50, 0), (51, 1), (1000, 950)] {
        let scene = Scene::registered();
        is_empty(&upload(&scene, KEY, NDJSON, &gzip(lines(count).as_bytes()), true), 201);
        let mut expected: Vec<_> = (suppressed..count).map(|it| format!("line {it}")).collect();
        expected.extend((suppressed > 0).then(|| format!("Warning: Suppressed {suppressed} message(s) due to rate limiting")));
        assert_eq!(kept(&scene), expected);
        assert_eq!(scene.cloud.logs(UUID).last().unwrap().is_system, suppressed > 0);
        assert_eq!(scene.cloud.logs(UUID)[0].service, Some(7));
    }
    let scene = Scene::registered();
    for _ in 0..10 {
        is_empty(&upload(&scene, KEY, NDJSON, lines(50).as_bytes(), false), 201);
    }
    assert_eq!(kept(&scene).len(), 500);
}

#[test]
fn what_is_no_line_is_dropped_silently_or_refused() {
    let scene = Scene::registered();
    let (no_time, no_message) = (json!({"message": "x"}), json!({"timestamp": 1}));
    let words_for_time = json!({"message": "x", "timestamp": "noon"});
    is_empty(&upload(&scene, KEY, NDJSON, format!("{no_time}\n{no_message}\n{words_for_time}\n").as_bytes(), false), 201);
    is_empty(&upload(&scene, KEY, NDJSON, b"", false), 201);
    let mut broken = gzip(lines(3).as_bytes());
    broken.truncate(12);
    broken.extend([0xff; 20]);
    is_empty(&upload(&scene, KEY, NDJSON, &broken, true), 201);
    is_words(&upload(&scene, KEY, NDJSON, b"hello\n", false), 400, "Could not parse row hello...");
    let why = "Streaming requests require Content-Type application/x-ndjson";
    for kind in ["text/plain", "application/x-ndjson; charset=utf-8"] {
        is_words(&upload(&scene, KEY, kind, lines(1).as_bytes(), false), 415, why);
    }
    wants_a_key(&upload(&scene, "nope", NDJSON, lines(1).as_bytes(), false));
    assert_eq!(kept(&scene), Vec::<String>::new());
    let odd = json!({"message": "x".repeat(11_000), "timestamp": 4_102_444_800_000_u64, "serviceId": 99, "isStdErr": true});
    is_empty(&upload(&scene, KEY, NDJSON, odd.to_string().as_bytes(), false), 201);
    let line = &scene.cloud.logs(UUID)[0];
    assert_eq!((line.message.len(), line.service, line.is_stderr, line.is_system), (11_000, Some(99), true, false));
}

#[test]
fn a_device_that_is_gone_waits_for_the_refusal() {
    let scene = Scene::registered();
    scene.cloud.brakes_for(Duration::from_millis(700));
    scene.cloud.deletes(UUID);
    let begun = tokio::time::Instant::now();
    is_empty(&upload(&scene, KEY, NDJSON, lines(1).as_bytes(), false), 401);
    assert!(begun.elapsed() >= Duration::from_millis(700), "{:?}", begun.elapsed());
}

#[test]
fn a_stream_that_stays_open_is_stored_and_never_acknowledged() {
    let scene = Scene::registered();
    let mut line = scene.client.connect().unwrap();
    let head = format!(
        "POST /device/v2/{UUID}/log-stream HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nContent-Type: {NDJSON}\r\n\
         Transfer-Encoding: chunked\r\n\r\n"
    );
    let piece = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
    line.write_all(format!("{head}{}", piece(&lines(60))).as_bytes()).unwrap();
    sleep(Duration::from_millis(900));
    line.write_all(piece(&lines(1)).as_bytes()).unwrap();
    sleep(Duration::from_millis(900));
    let (all, value) = (kept(&scene), Value::from("Warning: Suppressed 10 message(s) due to rate limiting"));
    assert_eq!((all.len(), all[50].as_str()), (52, value.as_str().unwrap()));
    assert_eq!(scene.cloud.exchanges().last().unwrap().status, 0);
}
