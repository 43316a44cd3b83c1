//! Target-state documents from the rows of a supervisor's tables.

use serde_json::{Map, Value, json};

use super::sqlite::Row;
use super::{TakeOverError, clouds};
use crate::json;
use crate::sorted::SortedMap;

/// What a stored service repeats of its app.
const OF_THE_APP: [&str; 4] = ["appId", "appUuid", "commit", "releaseId"];
/// What of a service is no field of its composition.
const OF_THE_SERVICE: [&str; 8] = ["id", "image_id", "image", "running", "environment", "labels", "contract", "composition"];

/// The document of the third generation. `None`: no app is stored.
pub(super) fn today(
    apps: &[Row],
    config: &[Row],
    settings: &SortedMap<&str, &str>,
    cloud: Option<&str>,
) -> Result<Option<Value>, TakeOverError> {
    let source = source(apps, cloud)?;
    let mut found = Map::new();
    for row in apps {
        let is_fleet = row.text("class").is_none_or(|it| it == "fleet");
        if is_fleet && row.text("source").is_some() && row.text("source") != source {
            continue;
        }
        let id = row.int("appId").unwrap_or_default();
        let uuid = row.text("uuid").map_or_else(|| id.to_string(), ToOwned::to_owned);
        found.insert(uuid, app(id, row)?);
    }
    if found.is_empty() {
        return Ok(None);
    }
    let config = config.first().map(|it| column(it, "deviceConfig", "targetValues")).transpose()?;
    let config = config.filter(Value::is_object).unwrap_or_else(|| json!({}));
    Ok(Some(named(settings, json!({"config": config, "apps": found}))))
}

/// The cloud whose apps count: that of the device's `config.json`, else the only one.
fn source<'a>(apps: &'a [Row], cloud: Option<&str>) -> Result<Option<&'a str>, TakeOverError> {
    let sources = clouds(apps);
    let plain = |it: &str| it.trim_end_matches('/').to_owned();
    if let Some(own) = sources.iter().find(|it| Some(plain(it)) == cloud.map(plain)) {
        return Ok(Some(own));
    }
    if sources.len() > 1 {
        return Err(TakeOverError::SeveralClouds(sources.into_iter().map(ToOwned::to_owned).collect()));
    }
    Ok(sources.first().copied())
}

fn app(id: i64, row: &Row) -> Result<Value, TakeOverError> {
    let mut releases = Map::new();
    // Both are missing if the app has no release.
    if let (Some(commit), Some(release)) = (row.text("commit"), row.int("releaseId")) {
        let mut services = Map::new();
        for stored in column(row, "app", "services")?.as_array().into_iter().flatten() {
            let (name, service) = service(stored)?;
            services.insert(name, service);
        }
        let release = json!({"id": release, "services": services, "volumes": column(row, "app", "volumes")?,
            "networks": column(row, "app", "networks")?});
        releases.insert(commit.to_owned(), release);
    }
    Ok(json!({"id": id, "name": row.text("name"), "class": row.text("class").unwrap_or("fleet"),
        "is_host": row.int("isHost") == Some(1), "releases": releases}))
}

/// A service, and its name. Before version 13 the fields of its composition are its own.
pub(super) fn service(stored: &Value) -> Result<(String, Value), TakeOverError> {
    let wrong = |why: &str| TakeOverError::Content { table: "app", column: "services", why: why.to_owned() };
    let mut fields = stored.as_object().cloned().ok_or_else(|| wrong("a service is no object"))?;
    let Some(Value::String(name)) = fields.remove("serviceName") else { return Err(wrong("a service has no name")) };
    for field in OF_THE_APP {
        fields.remove(field);
    }
    for (from, to) in [("serviceId", "id"), ("imageId", "image_id")] {
        let value = fields.remove(from).ok_or_else(|| wrong("a service has no number"))?;
        fields.insert(to.to_owned(), value);
    }
    if !fields.contains_key("composition") {
        let (own, composition): (Map<_, _>, Map<_, _>) =
            fields.into_iter().partition(|(field, _)| OF_THE_SERVICE.contains(&field.as_str()));
        fields = own;
        fields.insert("composition".to_owned(), Value::Object(composition));
    }
    Ok((name, Value::Object(fields)))
}

/// The document of 2017. `None`: no app is stored.
pub(super) fn of_2017(apps: &[Row], settings: &SortedMap<&str, &str>) -> Result<Option<Value>, TakeOverError> {
    let mut found = Map::new();
    for row in apps.iter().filter(|it| it.int("markedForDeletion") != Some(1)) {
        let Some((id, image)) = row.int("appId").zip(row.text("imageId")) else { continue };
        let mut environment = column(row, "app", "env")?;
        if let Some(variables) = environment.as_object_mut() {
            // The supervisor's own are stored with the owner's.
            variables
                .retain(|name, value| !(name.starts_with("RESIN_") || name == "RESIN" || name == "USER" && value == "root"));
        }
        let mut app = json!({"name": row.text("name"), "image": image, "environment": environment,
            "config": column(row, "app", "config")?});
        if let Some(commit) = row.text("commit") {
            app["commit"] = json!(commit);
        }
        found.insert(id.to_string(), app);
    }
    Ok((!found.is_empty()).then(|| named(settings, json!({"apps": found}))))
}

fn named(settings: &SortedMap<&str, &str>, mut document: Value) -> Value {
    if let Some(name) = settings.get("name") {
        document["name"] = json!(name);
    }
    document
}

/// A column that has JSON in it. A missing one is an empty object.
fn column(row: &Row, table: &'static str, column: &'static str) -> Result<Value, TakeOverError> {
    let Some(text) = row.text(column) else { return Ok(json!({})) };
    json::read(text.as_bytes()).map_err(|why| TakeOverError::Content { table, column, why: why.to_string() })
}
