//! The label of volumes whose data a rollback puts back.

use serde_json::{Value, json};

use super::{AppId, DEVICE, parse};

#[test]
fn a_volume_may_ask_that_its_data_goes_back_and_no_container_or_volume_has_the_label() {
    let volume = |labels: Value| json!({"labels": labels});
    let label = |value: &str| json!({"io.boardkeeper.snapshot": value, "mine": "yes"});
    let read = |volumes: Value| {
        let release = json!({"id": 1, "releases": {"c": {"id": 1, "services": {}, "volumes": volumes}}});
        let app = json!({DEVICE: {"name": "board", "config": {}, "apps": {"u".repeat(32): release}}});
        parse(&app.to_string(), Some(DEVICE))
    };
    let target = read(json!({"a": volume(label("true")), "b": volume(label("false")), "c": {},
        "d": volume(json!(["io.boardkeeper.snapshot=1"]))}))
    .unwrap();
    let app = &target.apps[&AppId(1)];
    assert_eq!(app.snapshots.iter().collect::<Vec<_>>(), ["a", "d"]);
    assert_eq!(app.volumes[&"a".to_owned()].labels, [("mine".to_owned(), "yes".to_owned())].into_iter().collect());
    assert_eq!((target.warnings, app.volumes[&"a".to_owned()].clone()), (vec![], app.volumes[&"b".to_owned()].clone()));
    let wrong = read(json!({"a": volume(label("maybe"))})).unwrap_err().to_string();
    assert!(wrong.contains("volumes.a: the label io.boardkeeper.snapshot: `true` or `false` is expected"), "{wrong}");
    let elsewhere = json!({"driver_opts": {"type": "tmpfs", "device": "tmpfs"}, "labels": label("true")});
    let target = read(json!({"a": elsewhere})).unwrap();
    assert_eq!(target.apps[&AppId(1)].snapshots.len(), 0);
    assert!(target.warnings[0].contains("is not where the engine keeps volumes"), "{:?}", target.warnings);
}
