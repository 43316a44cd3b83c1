//! Reports, and what they are refused for.

use serde_json::{Value, json};

use super::{COMMITTED, KEY, Scene, UUID, is_empty, is_words, wants_a_key};
use crate::client::Reply;

/// Holds if the answer is the refusal it should be.
type Refusal = fn(&Reply);

/// A report of the service `main`.
fn app(scene: &Scene, commit: &str, image: &str) -> Value {
    let services = json!({"main": {"image": image, "status": "Running", "download_progress": null}});
    let fleet = scene.cloud.fleet_uuid(scene.fleet);
    json!({"apps": {fleet: {"releases": {commit: {"update_status": "done", "services": services}}, "release_uuid": commit}}})
}

#[test]
fn a_report_is_kept() {
    let scene = Scene::registered();
    wants_a_key(&scene.client.ask("PATCH", "/device/v3/state", "", &json!({UUID: {"status": "Idle"}})));
    is_empty(&scene.client.ask("PATCH", "/device/v3/state", KEY, &json!({"04efde77ad426ebf188702aaeb24ff4b": {}})), 401);
    is_empty(&scene.client.ask("PATCH", "/device/v3/state", KEY, &json!({})), 401);
    is_empty(&scene.report(&json!({"status": "Idle", "api_port": 48484, "api_secret": "5eca", "nonsense": 1})), 200);
    is_empty(&scene.report(&json!({"cpu_usage": 7, "provisioning_progress": null})), 200);
    let reported = scene.cloud.reported(UUID);
    assert_eq!(
        (&reported["status"], &reported["cpu_usage"], &reported["api_port"]),
        (&json!("Idle"), &json!(7), &json!(48484))
    );

    let image = format!("{COMMITTED}{}", "1".repeat(64));
    is_empty(&scene.report(&app(&scene, &scene.commit, &image)), 200);
    let kept = scene.cloud.reported_app(UUID, &scene.cloud.fleet_uuid(scene.fleet));
    assert_eq!(
        (&kept["release_uuid"], &kept["releases"][&scene.commit]["services"]["main"]["status"]),
        (&json!(scene.commit), &json!("Running"))
    );
    is_empty(&scene.report(&app(&scene, &scene.commit, image.split('@').next().unwrap())), 200);

    let body = crate::fake::gzip(json!({UUID: {"status": "packed"}}).to_string().as_bytes());
    let bearer = format!("Bearer {KEY}");
    let headers = [("Authorization", bearer.as_str()), ("Content-Type", "application/json"), ("Content-Encoding", "gzip")];
    is_empty(&scene.client.send("PATCH", "/device/v3/state", &headers, &body).unwrap(), 200);
    assert_eq!(scene.cloud.reported(UUID)["status"], "packed");
}

#[test]
fn one_refused_part_refuses_the_whole_report() {
    let scene = Scene::registered();
    let image = format!("{COMMITTED}{}", "1".repeat(64));
    let unknown_app = json!({"apps": {"eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee": {"releases": {}}}});
    let refused: [(Value, Refusal); 7] = [
        (app(&scene, &"f".repeat(32), &image), |it| is_empty(it, 401)),
        (app(&scene, &scene.commit, "127.0.0.1:5000/v2/none"), |it| is_empty(it, 401)),
        (app(&scene, &scene.commit, &format!("{COMMITTED}{}", "9".repeat(64))), |it| is_empty(it, 401)),
        (unknown_app, |it| is_empty(it, 401)),
        (json!({"api_port": "48484"}), |it| is_empty(it, 400)),
        (json!({"os_variant": "bookworm"}), |it| is_words(it, 400, "Check constraint violated")),
        (json!({"status": "x".repeat(51)}), |it| assert_eq!(it.status, 400)),
    ];
    for (report, is_refused) in refused {
        let mut report = report;
        report["cpu_id"] = json!("not to be kept");
        is_refused(&scene.report(&report));
    }
    assert_eq!(scene.cloud.reported(UUID).get("cpu_id"), None);
    assert_eq!(scene.cloud.reported_app(UUID, &scene.cloud.fleet_uuid(scene.fleet)), Value::Null);
}

#[test]
fn brackets_in_a_version_count_as_its_variant() {
    let scene = Scene::new();
    let none = json!({"os_version": null, "os_variant": null, "supervisor_version": null});
    assert_eq!(scene.register(&none).status, 201);
    let debian = "Debian GNU/Linux 12 (bookworm)";
    is_words(&scene.report(&json!({ "os_version": debian })), 400, "Check constraint violated");
    is_empty(&scene.report(&json!({"os_version": debian, "os_variant": "dev"})), 200);
}
