//! Namespaces shared with another service of the app.

use super::*;

#[test]
fn a_service_waits_for_the_one_whose_processes_or_ipc_it_shares() {
    let read = |fields: Value| {
        let mut b = json!({"serviceName": "b", "image": "x"});
        b.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let services = json!({"1": {"serviceName": "a", "image": "x"}, "2": b});
        parse(&json!({"apps": {"1": {"commit": "c", "services": services}}}).to_string(), None).map_err(|it| it.to_string())
    };
    for fields in [json!({"pid": "service:a"}), json!({"ipc": "service: a"})] {
        let target = read(fields).unwrap();
        let b = &app(&target, 1).services[&"b".to_owned()];
        assert_eq!(b.config.shares().map(|(_, it)| it).collect::<Vec<_>>(), ["a"]);
        assert_eq!(b.depends_on.keys().collect::<Vec<_>>(), ["a"]);
    }
    for (fields, told) in [
        (json!({"pid": "service:c"}), "services.2.pid: the app has no service \"c\""),
        (json!({"ipc": "service:"}), "services.2.ipc: the app has no service \"\""),
        (json!({"pid": "service:b"}), "services wait for each other: b"),
    ] {
        let said = read(fields).unwrap_err();
        assert!(said.contains(told), "{said}");
    }
    for plain in ["shareable", "private", "host", "none", "container:x"] {
        let target = read(json!({"ipc": plain, "pid": "host"})).unwrap();
        let config = &app(&target, 1).services[&"b".to_owned()].config;
        assert_eq!((config.ipc.as_str(), config.pid.as_deref(), config.shares().count()), (plain, Some("host"), 0));
    }
}
