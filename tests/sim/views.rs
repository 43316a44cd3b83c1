//! Whether the views that the API gives of the device agree.

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use futures_util::FutureExt;
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;

use crate::world::Sim;
use crate::world::marks::Mark;

impl Sim {
    /// How the views of the device contradict each other, if they do. They are read at one moment.
    pub(crate) fn contradiction(&self, router: &Router) -> Option<String> {
        let key = self.with(|model| {
            let knows_keys = model.status.as_ref().is_some_and(|it| it.borrow().access.is_known());
            knows_keys.then(|| model.device_key())
        })?;
        let view = |path: &str| -> Option<Value> {
            let request = Request::get(path).header("host", "localhost").header("authorization", format!("Bearer {key}"));
            let response = router.clone().oneshot(request.body(Body::empty()).unwrap()).now_or_never()?.unwrap();
            // A key that the disk has by now and the agent has not yet.
            let known = response.status() == StatusCode::OK;
            let body = response.into_body().collect().now_or_never()?.unwrap().to_bytes();
            known.then(|| serde_json::from_slice(&body).unwrap())
        };
        let views = (view("/agent/v1/state")?, view("/v2/applications/state")?, view("/v2/state/status")?);
        self.with(|model| model.hit(Mark::ViewsCompared));
        contradiction(&views.0, &views.1, &views.2)
    }
}

/// How `GET /agent/v1/state`, `GET /v2/applications/state` and `GET /v2/state/status` contradict each other, if they do.
fn contradiction(agent: &Value, apps: &Value, status: &Value) -> Option<String> {
    let list = |it: &Value| it.as_array().cloned().unwrap_or_default();
    let activity = agent["activity"].as_str().unwrap();
    if activity != "shutting down" && (activity == "applying") != (status["appState"] == "applying") {
        return Some(format!("{activity}, and {}", status["appState"]));
    }
    let containers = list(&agent["containers"]);
    let runs = |app: &Value, service: &str| {
        containers.iter().any(|it| it["app_id"] == *app && it["service"] == service && it["phase"] == "running")
    };
    let apps = apps.as_object().unwrap();
    if apps.len() != list(&agent["apps"]).len() {
        return Some(format!("{} apps, and {}", apps.len(), list(&agent["apps"]).len()));
    }
    for shown in list(&agent["apps"]) {
        let Some(app) = apps.get(shown["name"].as_str().unwrap()) else {
            return Some(format!("{} is not shown", shown["name"]));
        };
        let (id, services) = (&app["appId"], app["services"].as_object().unwrap());
        if (id, &app["appUuid"], services.len()) != (&shown["app_id"], &shown["uuid"], list(&shown["services"]).len()) {
            return Some(format!("{app}, and {shown}"));
        }
        if activity == "settled" && !["done", "aborted"].contains(&app["updateStatus"].as_str().unwrap()) {
            return Some(format!("settled, and {app}"));
        }
        for service in list(&shown["services"]) {
            let name = service["name"].as_str().unwrap();
            let word = &services[name];
            if word["image"] != service["image"] || word["status"] == "Running" && !runs(id, name) {
                return Some(format!("{word}, and {service} of {containers:?}"));
            }
        }
        // The status is that of one app.
        for image in list(&status["images"]).iter().filter(|it| it["appId"] == *id) {
            let word = &services[image["serviceName"].as_str().unwrap()];
            let is_downloading = word["status"] == "Downloading" && image["status"] == "Downloading";
            if (word["status"] == "Downloading" || image["status"] == "Downloading") && !is_downloading
                || word["downloadProgress"] != image["downloadProgress"]
                || status["release"] != app["commit"]
            {
                return Some(format!("{word}, and {image} of {}", status["release"]));
            }
        }
    }
    let unknown = |it: &Value| {
        let same = containers.iter().find(|seen| seen["id"] == it["containerId"]);
        same.is_none_or(|seen| seen["service"] != it["serviceName"] || it["status"] == "Running" && seen["phase"] != "running")
    };
    list(&status["containers"]).iter().find(|it| unknown(it)).map(|it| format!("{it}, and {containers:?}"))
}
