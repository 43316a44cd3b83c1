//! Databases with the tables of balena-supervisor 19.0.5 and of a supervisor of 2017.

use super::*;

use std::path::PathBuf;

use crate::linux::store::Store;
use crate::port::{Store as _, StoredState};

const UUID: &str = "0123456789abcdef0123456789abcdef";
const KEY: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f0";
const WORKER_KEY: &str = "a0b1c2d3e4f5061728394a5b6c7d8e9f";
const CLOUD: &str = "https://api.example.com";

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/take-over").join(name)
}

fn taken(name: &str, cloud: Option<&str>) -> Inheritance {
    read(&path(name), cloud, TargetChoice::Take).unwrap()
}

fn of_app(app: u32) -> String {
    format!("{app:032x}")
}

#[test]
fn of_balena_supervisor_19_the_keys_and_the_target_are_taken_over() {
    let all = taken("supervisor-19.sqlite", None);
    assert_eq!(all.device_key, Some(Secret::new(KEY.to_owned())));
    let worker = KeptKey { app_uuid: of_app(300), key: Secret::new(WORKER_KEY.to_owned()) };
    assert_eq!(all.service_keys, SortedMap::from_iter([(ServiceKey::new(AppId(300), "worker"), worker)]));
    let target = all.target.unwrap();
    assert_eq!(target.name.as_deref(), Some("kitchen"));
    assert_eq!(target.config[&"SUPERVISOR_POLL_INTERVAL".to_owned()], "900000");
    // The app of the host is left to it, and what a developer pushed is not the owner's.
    assert_eq!(target.apps.keys().collect::<Vec<_>>(), [&AppId(300)]);
    let app = &target.apps[&AppId(300)];
    assert_eq!((app.uuid.as_str(), app.name.as_str(), app.commit.as_deref()), (&*of_app(300), "app", Some("c1")));
    assert_eq!((app.release_id, app.volumes.len(), app.services.len()), (7, 1, 2));
    let worker = &app.services[&"worker".to_owned()];
    assert_eq!((worker.id, worker.image_id, worker.image.as_str()), (2, 2, "tests/takeover:plain"));
    assert_eq!(all.other_releases, SortedMap::from_iter([(AppId(300), "c0".to_owned())]));
    assert_eq!(all.uuid, None, "it is in config.json");
    assert!(all.notes.iter().any(|it| it.contains("the key of service gone of app 8")), "{:?}", all.notes);
}

/// The stored target is what the cloud's document was: nothing is lost or added on the way through the database.
#[test]
fn a_target_from_the_database_is_the_one_that_the_cloud_sent() {
    let text = std::fs::read_to_string(path("../target-v3.json")).unwrap();
    let sent = document::parse(&text, None).unwrap();
    let document: serde_json::Value = serde_json::from_str(&text).unwrap();
    let device = document.as_object().unwrap().values().next().unwrap().as_object().unwrap();
    let mut apps = serde_json::Map::new();
    for (uuid, app) in device["apps"].as_object().unwrap() {
        let mut app = app.clone();
        for (_, release) in app["releases"].as_object_mut().unwrap() {
            let services = release["services"].as_object().unwrap().iter().map(|(name, service)| {
                let mut stored = service.clone();
                let fields = stored.as_object_mut().unwrap();
                for (from, to) in [("id", "serviceId"), ("image_id", "imageId")] {
                    let value = fields.remove(from).unwrap();
                    fields.insert(to.to_owned(), value);
                }
                fields.insert("serviceName".to_owned(), name.clone().into());
                fields.insert("appId".to_owned(), 1.into());
                tables::service(&stored).unwrap()
            });
            release["services"] = serde_json::Value::Object(services.collect());
        }
        apps.insert(uuid.clone(), app);
    }
    let again = serde_json::json!({"name": device["name"], "config": device["config"], "apps": apps});
    let again = document::parse(&again.to_string(), None).unwrap();
    assert_eq!((again.apps, again.config, again.name), (sent.apps, sent.config, sent.name));
}

#[test]
fn a_composition_of_before_version_13_is_one_too() {
    let stored = serde_json::json!({"serviceName": "main", "serviceId": 1, "imageId": 2, "image": "i", "environment": {}, "labels": {},
        "appId": 3, "releaseId": 4, "privileged": true, "network_mode": "host", "running": true});
    let (name, service) = tables::service(&stored).unwrap();
    assert_eq!(name, "main");
    assert_eq!(
        service,
        serde_json::json!({"id": 1, "image_id": 2, "image": "i", "environment": {}, "labels": {}, "running": true,
            "composition": {"privileged": true, "network_mode": "host"}})
    );
    for wrong in [serde_json::json!("main"), serde_json::json!({"image": "i"}), serde_json::json!({"serviceName": "x"})] {
        assert!(tables::service(&wrong).is_err(), "{wrong}");
    }
}

#[test]
fn of_2017_the_key_the_uuid_and_the_apps_with_their_owners_variables_are_taken_over() {
    let all = taken("supervisor-2017.sqlite", None);
    assert_eq!(all.device_key, Some(Secret::new(KEY.repeat(2))));
    assert_eq!(all.uuid.as_deref(), Some(UUID));
    let target = all.target.unwrap();
    assert_eq!(target.name.as_deref(), Some("kitchen"));
    assert_eq!(target.config[&"SUPERVISOR_POLL_INTERVAL".to_owned()], "60000");
    assert_eq!(target.apps.keys().collect::<Vec<_>>(), [&AppId(300)], "301 was to be removed");
    let app = &target.apps[&AppId(300)];
    assert_eq!((app.name.as_str(), app.commit.as_deref()), ("app", Some("c1")));
    assert!(app.shape == crate::state::app::Generation::Single);
    let document: serde_json::Value = serde_json::from_str(&target.document).unwrap();
    assert_eq!(document["apps"]["300"]["environment"], serde_json::json!({"COLOUR": "blue"}));
}

#[test]
fn of_several_clouds_that_of_the_config_json_counts() {
    let error = read(&path("several-clouds.sqlite"), None, TargetChoice::Take).unwrap_err().to_string();
    assert!(error.contains("https://api.example.com, https://api.other.example"), "{error}");
    for (cloud, app) in [(CLOUD, 300), ("https://api.other.example/", 400)] {
        let target = taken("several-clouds.sqlite", Some(cloud)).target.unwrap();
        assert_eq!(target.apps.keys().collect::<Vec<_>>(), [&AppId(app)]);
    }
    let keys = read(&path("several-clouds.sqlite"), None, TargetChoice::Leave).unwrap();
    assert!(keys.target.is_none() && keys.device_key.is_some());
}

#[test]
fn a_database_without_apps_gives_no_target_that_would_remove_everything() {
    let all = taken("no-target.sqlite", Some(CLOUD));
    assert_eq!(all.target, None);
    assert!(all.notes.iter().any(|it| it.contains("no target is taken over")), "{:?}", all.notes);
    assert!(all.device_key.is_some());
}

#[test]
fn another_programs_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "text").unwrap();
    let error = read(&file, None, TargetChoice::Take).unwrap_err().to_string();
    assert!(error.contains("not an SQLite database"), "{error}");
}

fn heir(dir: &tempfile::TempDir, replaces: bool) -> Heir {
    Heir { state_dir: dir.path().join("state"), uuid: None, device_key: None, replaces }
}

fn stored(dir: &tempfile::TempDir) -> StoredState {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let store = Store::new(&dir.path().join("state"), Box::new(|text| document::parse_kept(text, Some(UUID))));
    runtime.block_on(store.load()).unwrap()
}

#[test]
fn what_is_taken_over_is_what_the_agent_loads() {
    let dir = tempfile::tempdir().unwrap();
    let all = taken("supervisor-19.sqlite", None);
    heir(&dir, false).keep(&all).unwrap();
    let state = stored(&dir);
    assert_eq!(state.complaints, Vec::<String>::new());
    let keys = state.keys.unwrap();
    let worker = ServiceKey::new(AppId(300), "worker");
    assert_eq!(keys.device.reveal(), KEY);
    assert_eq!(keys.of(&worker, &of_app(300)).reveal(), WORKER_KEY);
    assert_ne!(keys.of(&worker, "another app of this number").reveal(), WORKER_KEY);
    let mut renewed = keys.clone();
    renewed.renew(&worker);
    assert_ne!(renewed.of(&worker, &of_app(300)).reveal(), WORKER_KEY);
    assert_eq!(state.targets.wanted, all.target);
    assert_eq!(state.targets.last_good, None);
    assert_eq!(state.targets.pulled.len(), 2);
    assert_eq!(state.identity, None);
}

#[test]
fn an_agent_with_keys_of_its_own_gives_them_up_only_by_force() {
    let dir = tempfile::tempdir().unwrap();
    heir(&dir, false).keep(&taken("no-target.sqlite", None)).unwrap();
    let before = stored(&dir).keys.unwrap();
    let all = taken("supervisor-2017.sqlite", None);
    let error = heir(&dir, false).keep(&all).unwrap_err().to_string();
    assert!(error.contains("--force"), "{error}");
    assert_eq!(stored(&dir).keys.as_ref(), Some(&before));
    heir(&dir, true).keep(&all).unwrap();
    let after = stored(&dir);
    assert_eq!(after.keys.as_ref().unwrap().device, Secret::new(KEY.repeat(2)));
    assert_eq!(after.keys.unwrap().root, before.root);
    assert_eq!(after.targets.wanted, all.target);
    assert_eq!(after.identity.unwrap().uuid, UUID);
}

#[test]
fn a_running_agent_is_not_written_under() {
    let dir = tempfile::tempdir().unwrap();
    let running = crate::linux::store::hold(&dir.path().join("state")).unwrap();
    let error = heir(&dir, true).keep(&taken("supervisor-19.sqlite", None)).unwrap_err().to_string();
    assert!(error.contains("stop it first"), "{error}");
    drop(running);
    heir(&dir, true).keep(&taken("supervisor-19.sqlite", None)).unwrap();
}

/// Root can read the database, and must not write as root where the agent's user may put a link.
#[test]
fn root_writes_as_the_owner_of_the_state_directory() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::create_dir(&state).unwrap();
    // That takes root.
    if chown(&state, Some(1234), Some(1234)).is_err() {
        return;
    }
    let (all, heir) = (taken("supervisor-19.sqlite", None), heir(&dir, false));
    // A thread of its own: it stays that user.
    std::thread::scope(|scope| scope.spawn(|| heir.keep(&all).unwrap()).join().unwrap());
    let files: Vec<_> = std::fs::read_dir(&state).unwrap().map(|it| it.unwrap()).collect();
    assert!(files.iter().any(|it| it.file_name() == "keys.json"));
    for file in files {
        let seen = file.metadata().unwrap();
        assert_eq!((seen.uid(), seen.gid()), (1234, 1234), "{}", file.path().display());
    }
    assert!(rustix::process::geteuid().is_root());
}
