//! Target documents as the cloud writes them (v3), made from the model's target.

use std::collections::BTreeMap;

use boardkeeper::document::parse;
use boardkeeper::state::config::Mount;
use boardkeeper::state::release::{DEADLINE_LABEL, ROLLBACK_LABEL, SETTLE_LABEL};
use boardkeeper::state::service::Strategy;
use boardkeeper::state::snapshot::SNAPSHOT_LABEL;
use boardkeeper::state::window::UPDATE_WINDOW_LABEL;
use boardkeeper::state::{App, Condition, Service, Target, TrialRules};
use serde_json::{Map, Value, json};

/// The document of a device.
pub(crate) fn v3(uuid: &str, target: &Target) -> String {
    let config: Map<_, _> = target.config.iter().map(|(name, value)| (format!("RESIN_{name}"), json!(value))).collect();
    let apps: Map<_, _> = target.apps.values().map(|it| (it.uuid.clone(), app(it))).collect();
    json!({uuid: {"name": "board", "config": config, "apps": apps}}).to_string()
}

/// What an agent makes of the document of a device.
pub(crate) fn parsed(uuid: &str, target: &Target) -> Target {
    parse(&v3(uuid, target), Some(uuid)).expect("the cloud writes good documents")
}

fn app(app: &App) -> Value {
    let mut body = json!({"id": app.id.0, "name": app.name, "is_host": false, "class": "fleet"});
    if let Some(commit) = &app.commit {
        let services: Map<_, _> = app.services.iter().map(|(name, it)| (name.clone(), service(it))).collect();
        let networks: Map<_, _> =
            app.networks.iter().map(|(name, it)| (name.clone(), json!({"internal": it.internal}))).collect();
        let volume = |name: &String| {
            let kept = app.snapshots.contains(name);
            (name.clone(), if kept { json!({"labels": {SNAPSHOT_LABEL: "true"}}) } else { json!({}) })
        };
        let volumes: Map<_, _> = app.volumes.keys().map(volume).collect();
        let release = json!({"id": app.release_id, "services": services, "networks": networks, "volumes": volumes});
        body["releases"] = json!({commit: release});
    }
    body
}

fn service(it: &Service) -> Value {
    let config = &it.config;
    let depends_on: Map<_, _> = it
        .depends_on
        .iter()
        .map(|(on, it)| {
            (on.clone(), json!({"condition": condition(it.condition), "required": it.required, "restart": it.restart}))
        })
        .collect();
    let mounts: Vec<_> = config
        .mounts
        .iter()
        .map(|it| match it {
            Mount::Volume { name, path, .. } => format!("{name}:{path}"),
            Mount::Anonymous { path } | Mount::Bind { path, .. } => path.clone(),
        })
        .collect();
    let mut composition = json!({
        "depends_on": depends_on,
        "restart": config.restart.to_string(),
        "stop_grace_period": format!("{}ms", config.stop_grace.as_millis()),
        "volumes": mounts,
    });
    if !config.networks.is_empty() {
        composition["networks"] = config.networks.keys().cloned().collect();
    }
    if let Some(check) = &config.health {
        composition["healthcheck"] = json!({"test": check.test});
    }
    json!({
        "id": it.id,
        "image_id": it.image_id,
        "image": it.image.as_str(),
        "running": it.running,
        "environment": config.env.iter().collect::<BTreeMap<_, _>>(),
        "labels": labels(it),
        "composition": composition,
    })
}

const fn condition(it: Condition) -> &'static str {
    match it {
        Condition::Started => "service_started",
        Condition::Healthy => "service_healthy",
        Condition::Completed => "service_completed_successfully",
    }
}

fn labels(it: &Service) -> BTreeMap<String, String> {
    let strategy = match it.strategy {
        Strategy::DownloadThenKill => "download-then-kill",
        Strategy::KillThenDownload => "kill-then-download",
        Strategy::DeleteThenDownload => "delete-then-download",
        Strategy::HandOver => "hand-over",
    };
    let timeout = it.handover_timeout.as_millis().to_string();
    let mut labels = BTreeMap::from([
        ("io.balena.update.strategy".to_owned(), strategy.to_owned()),
        ("io.balena.update.handover-timeout".to_owned(), timeout),
    ]);
    if let Some(window) = &it.update_window {
        labels.insert(UPDATE_WINDOW_LABEL.to_owned(), window.text.clone());
    }
    if let Some(rollback) = it.trial.rollback {
        labels.insert(ROLLBACK_LABEL.to_owned(), rollback.to_string());
    }
    let usual = TrialRules::default();
    for (label, time, usual) in
        [(SETTLE_LABEL, it.trial.settle, usual.settle), (DEADLINE_LABEL, it.trial.deadline, usual.deadline)]
    {
        if time != usual {
            labels.insert(label.to_owned(), format!("{}s", time.as_secs()));
        }
    }
    if it.requires_reboot {
        labels.insert("io.balena.update.requires-reboot".to_owned(), "1".to_owned());
    }
    labels.extend(it.config.labels.clone());
    labels
}

/// What is read from a target's document otherwise than it was meant, but for the labels that say it.
pub(crate) fn misread(target: &Target) -> Option<String> {
    let read = parsed("c0ffee", target);
    for (app, name, meant) in target.services() {
        let mut found = read.apps.get(&app.id)?.services.get(name)?.clone();
        found.config.labels.clone_from(&meant.config.labels);
        // The model leaves out the default network, and the service's own name on each.
        found.config.networks.retain(|network, _| network != "default");
        found.config.networks.iter_mut().for_each(|(_, it)| it.aliases.clear());
        if found != *meant {
            return Some(format!("{name}: {:?}; {found:?}, meant {meant:?}", found.config.differences(&meant.config)));
        }
    }
    let bare = |target: &Target| {
        let mut apps = target.apps.clone();
        for (_, app) in &mut apps {
            app.services.clear();
        }
        (apps, target.config.clone())
    };
    (bare(target) != bare(&read)).then(|| format!("{:?}, meant {:?}", bare(&read), bare(target)))
}
