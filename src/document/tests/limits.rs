//! Documents at each limit, and one above it.

use serde_json::{Map, Value, json};

use super::{parse, v2, why};

/// A v3 document of `apps` apps, each with this number of services, networks and volumes.
fn of(apps: usize, services: usize, networks: usize, volumes: usize) -> Value {
    let many =
        |count: usize, it: &dyn Fn(usize) -> Value| -> Map<_, _> { (0..count).map(|n| (format!("n{n}"), it(n))).collect() };
    let app = |n: usize| {
        let service = |n: usize| json!({"id": n + 1, "image_id": 1, "image": "x"});
        let release = json!({
            "services": many(services, &service),
            "networks": many(networks, &|_| json!({})),
            "volumes": many(volumes, &|_| json!({})),
        });
        json!({"id": n + 1, "name": "a", "releases": {"c": release}})
    };
    json!({"d": {"apps": many(apps, &app)}})
}

#[test]
fn a_document_has_as_many_things_as_a_board_can_look_after() {
    for (most, more, what) in [
        (of(64, 0, 0, 0), of(65, 0, 0, 0), "d.apps: has 65 apps, at most 64 are possible"),
        (of(2, 128, 0, 0), of(1, 257, 0, 0), "d.apps: has 257 services, at most 256 are possible"),
        (of(1, 0, 256, 0), of(1, 0, 257, 0), "d.apps: has 257 networks, at most 256 are possible"),
        (of(1, 0, 0, 512), of(3, 0, 0, 171), "d.apps: has 513 volumes, at most 512 are possible"),
    ] {
        parse(&most.to_string(), None).unwrap();
        assert_eq!(why(&more), what);
    }
}

#[test]
fn a_value_is_not_longer_than_a_program_may_be_handed() {
    for field in ["environment", "labels"] {
        let of = |bytes: usize| v2(&json!({field: {"A": "x".repeat(bytes)}}));
        parse(&of(128 * 1024 - 3), None).unwrap();
        let error = parse(&of(128 * 1024 - 2), None).unwrap_err().0;
        assert!(error.ends_with("name and value have 131071 bytes, at most 131070 are possible"), "{error}");
    }
    let listed = v2(&json!({"environment": [format!("A={}", "x".repeat(128 * 1024))]}));
    assert!(parse(&listed, None).unwrap_err().0.contains("131074 bytes"));
}

#[test]
fn nesting_has_an_end() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let deep = format!("{{\"apps\":{}1{}}}", open.repeat(100_000), close.repeat(100_000));
        assert!(parse(&deep, None).unwrap_err().0.contains("recursion limit exceeded"));
    }
}

#[test]
fn a_document_full_of_mistakes_is_refused_in_a_few_words() {
    let wrong: Map<_, _> = (0..50_000).map(|n| (format!("-{n}"), json!({"image": n, "ports": [{}, {}]}))).collect();
    let error = why(&json!({"local": {"apps": {"1": {"commit": "c", "services": wrong}}}}));
    assert!(error.len() < 4000 && error.contains("mistakes: "), "{error}");
}
