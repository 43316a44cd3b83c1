//! Labels of a release, which hold for each of its services that has no such label of its own.

use super::*;

/// The services `web`, which has no labels, and `db`, whose window is its own, in a release with these labels.
fn v3_release(labels: &Value) -> String {
    let service =
        |id: u32, labels: Value| json!({"id": id, "image_id": id, "image": "x:1", "labels": labels, "composition": {}});
    let services = json!({"web": service(1, json!({})), "db": service(2, json!({"io.boardkeeper.update-window": "always"}))});
    let release = json!({"id": 1, "labels": labels, "services": services, "networks": {}, "volumes": {}});
    json!({"device": {"apps": {"b0a2": {"id": 1, "name": "a", "releases": {"c1": release}}}}}).to_string()
}

/// The same as a document of local mode.
fn v2_app(labels: &Value) -> String {
    let service = |name: &str, labels: Value| json!({"serviceName": name, "image": "x:1", "labels": labels});
    let services =
        json!({"1": service("web", json!({})), "2": service("db", json!({"io.boardkeeper.update-window": "always"}))});
    json!({"local": {"apps": {"1": {"name": "a", "commit": "c1", "labels": labels, "services": services}}}}).to_string()
}

fn windows(target: &Target) -> Vec<(&str, &str)> {
    let services = app(target, 1).services.iter();
    services.map(|(name, it)| (name.as_str(), it.update_window.as_ref().map_or("", |it| &it.text))).collect()
}

#[test]
fn a_window_of_a_v3_release_counts_for_services_without_one() {
    let target = parse(&v3_release(&json!({"io.boardkeeper.update-window": "02:00-04:00"})), None).unwrap();
    assert_eq!(windows(&target), [("db", "always"), ("web", "02:00-04:00")]);
    assert!(target.warnings.is_empty(), "{:?}", target.warnings);
}

#[test]
fn a_window_of_a_v2_app_counts_for_services_without_one() {
    let target = parse(&v2_app(&json!(["io.boardkeeper.update-window=02:00-04:00"])), None).unwrap();
    assert_eq!(windows(&target), [("db", "always"), ("web", "02:00-04:00")]);
    assert!(target.warnings.is_empty(), "{:?}", target.warnings);
}

#[test]
fn labels_of_a_release_are_no_part_of_any_container() {
    for document in [v3_release, v2_app] {
        let with = parse(&document(&json!({"io.boardkeeper.update-window": "02:00-04:00"})), None).unwrap();
        let without = parse(&document(&json!({})), None).unwrap();
        let configs = |target: &Target| app(target, 1).services.values().map(|it| it.config.clone()).collect::<Vec<_>>();
        assert_eq!(configs(&with), configs(&without));
        assert_ne!(app(&with, 1), app(&without, 1));
    }
}

#[test]
fn other_labels_of_a_release_are_ignored_with_a_warning_each() {
    let labels = json!({"mine": {"deep": 1}, "io.balena.features.dbus": "1", "io.boardkeeper.config": "x"});
    let target = parse(&v3_release(&labels), None).unwrap();
    assert!(app(&target, 1).services.values().all(|it| it.config.labels.is_empty() && it.features.is_empty()));
    let of = "device.apps.b0a2.releases.c1.labels";
    assert_eq!(
        target.warnings,
        [
            format!(
                "{of}.io.balena.features.dbus: only labels io.boardkeeper.* count for every service, \"io.balena.features.dbus\" is ignored"
            ),
            format!("{of}.io.boardkeeper.config: the label \"io.boardkeeper.config\" is the supervisor's to give, ignored"),
            format!("{of}.mine: only labels io.boardkeeper.* count for every service, \"mine\" is ignored"),
        ]
    );
}

#[test]
fn a_wrong_window_of_a_release_is_one_mistake_at_its_place() {
    for (document, of) in [(v3_release as fn(&Value) -> String, "device.apps.b0a2.releases.c1"), (v2_app, "local.apps.1")] {
        let said = parse(&document(&json!({"io.boardkeeper.update-window": "nightly"})), None).unwrap_err().0;
        let begins = format!("{of}.labels.io.boardkeeper.update-window: the label io.boardkeeper.update-window: ");
        assert!(said.starts_with(&begins) && said.contains("`nightly`"), "{said}");
        let said = parse(&document(&json!("reboot")), None).unwrap_err().0;
        assert!(said.starts_with(&format!("{of}.labels: expected an object")), "{said}");
    }
}
