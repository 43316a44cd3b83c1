//! What a supervisor that is replaced keeps in its database: keys, and the target.
//!
//! Two generations of its tables are read. Those since 2018 (version 7 to 19) have the columns `services` of `app` and, since
//! version 12, the table `apiSecret`; those of 2017 have one container for each app. The database is only read: the old
//! supervisor finds it as it left it.

use std::path::Path;

use crate::document;
use crate::sorted::{SortedMap, SortedSet};
use crate::state::keys::{KeptKey, is_device_key};
use crate::state::{AppId, Secret, ServiceKey, Target};

mod heir;
pub mod sqlite;
mod tables;

pub use heir::{Heir, HeirError};
use sqlite::{Database, Row, SqliteError};

/// What is taken over.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inheritance {
    /// The key by which the cloud and scripts reach the API.
    pub device_key: Option<Secret>,
    /// Services' keys.
    pub service_keys: SortedMap<ServiceKey, KeptKey>,
    /// The target. `None`: there is none, or none is wanted.
    pub target: Option<Target>,
    /// The device's uuid, where the database has it: later ones are in `config.json` only.
    pub uuid: Option<String>,
    /// The releases that ran last, as far as they are not those of the target.
    pub other_releases: SortedMap<AppId, String>,
    /// What is not taken over, and why.
    pub notes: Vec<String>,
}

/// Whether the target is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetChoice {
    /// It is.
    Take,
    /// It is left where it is.
    Leave,
}

/// Why nothing can be taken over.
#[derive(Debug, thiserror::Error)]
pub enum TakeOverError {
    /// The file cannot be read as a database.
    #[error(transparent)]
    Database(#[from] SqliteError),
    /// It is a database of another program.
    #[error("it is no database of a resin or balena supervisor: it has no table `{0}`")]
    Stranger(&'static str),
    /// A text in it is not what a supervisor writes.
    #[error("`{column}` of table `{table}` cannot be read: {why}")]
    Content {
        /// Which table.
        table: &'static str,
        /// Which column.
        column: &'static str,
        /// Why not.
        why: String,
    },
    /// Apps of several clouds are there.
    #[error(
        "the device was in several clouds ({}), and its config.json names none of them: name the file with --boot-config",
        .0.join(", ")
    )]
    SeveralClouds(Vec<String>),
    /// The agent does not accept the target.
    #[error(
        "its target is rejected:\n{0}\nwith --without-target the keys alone are taken over; give the agent a target with --target"
    )]
    Target(String),
}

/// Reads a database. `cloud` is the API's address in the device's `config.json`.
pub fn read(path: &Path, cloud: Option<&str>, choice: TargetChoice) -> Result<Inheritance, TakeOverError> {
    inherit(&Database::open(path)?, cloud, choice)
}

/// Reads the content of a database.
pub fn inherit(database: &Database, cloud: Option<&str>, choice: TargetChoice) -> Result<Inheritance, TakeOverError> {
    let settings = database.table("config")?.ok_or(TakeOverError::Stranger("config"))?;
    let settings: SortedMap<_, _> = settings.iter().filter_map(|it| Some((it.text("key")?, it.text("value")?))).collect();
    let apps = database.table("app")?.ok_or(TakeOverError::Stranger("app"))?;
    let mut inheritance = Inheritance { uuid: settings.get("uuid").map(|it| (*it).to_owned()), ..Inheritance::default() };
    if let Some(key) = settings.get("apiSecret") {
        inheritance.take_device_key(key);
    }
    for secret in database.table("apiSecret")?.unwrap_or_default() {
        inheritance.take_secret(&secret, &apps);
    }
    if settings.get("localMode").is_some_and(|it| *it == "true") {
        inheritance.notes.push("it is in local mode: what a developer pushed is not taken over".to_owned());
    }
    if choice == TargetChoice::Leave {
        return Ok(inheritance);
    }
    let config = database.table("deviceConfig")?.unwrap_or_default();
    let releases = database.table("currentCommit")?.unwrap_or_default();
    let document = if apps.iter().any(|it| it.has("services")) {
        tables::today(&apps, &config, &settings, cloud)?
    } else {
        tables::of_2017(&apps, &settings)?
    };
    inheritance.take_target(document, &releases)?;
    Ok(inheritance)
}

impl Inheritance {
    /// A key that is damaged, or too easily guessed, is none.
    fn take_device_key(&mut self, key: &str) {
        if is_device_key(key) {
            self.device_key = Some(Secret::new(key.to_owned()));
        } else {
            self.notes.push("its device key is none that the agent accepts; the agent generates one".to_owned());
        }
    }

    /// A row of `apiSecret`: that of app 0 is the device's.
    fn take_secret(&mut self, secret: &Row, apps: &[Row]) {
        let Some((app, key)) = secret.int("appId").and_then(|it| u32::try_from(it).ok()).zip(secret.text("key")) else {
            return;
        };
        let Some(service) = secret.text("serviceName") else {
            if app == 0 {
                self.take_device_key(key);
            }
            return;
        };
        let uuid = apps.iter().find(|it| it.int("appId") == Some(i64::from(app))).and_then(|it| it.text("uuid"));
        let service = ServiceKey::new(AppId(app), service);
        match uuid {
            Some(uuid) if is_device_key(key) => {
                let key = KeptKey { app_uuid: uuid.to_owned(), key: Secret::new(key.to_owned()) };
                self.service_keys.insert(service, key);
            }
            // A service that was removed leaves its key behind.
            _ => self.notes.push(format!("the key of service {} of app {app} is not taken over", service.service)),
        }
    }

    fn take_target(&mut self, document: Option<serde_json::Value>, releases: &[Row]) -> Result<(), TakeOverError> {
        let Some(document) = document else {
            // No app is no target: one without apps would remove everything.
            self.notes.push("it has no app, so no target is taken over".to_owned());
            return Ok(());
        };
        let target = document::parse(&document.to_string(), None).map_err(|why| TakeOverError::Target(why.to_string()))?;
        for row in releases {
            let app = row.int("appId").and_then(|it| u32::try_from(it).ok()).map(AppId);
            let Some((app, commit)) = app.and_then(|it| target.apps.get(&it)).zip(row.text("commit")) else { continue };
            if app.commit.as_deref() != Some(commit) {
                self.other_releases.insert(app.id, commit.to_owned());
            }
        }
        self.notes.extend(target.warnings.iter().cloned());
        self.target = Some(target);
        Ok(())
    }
}

/// The clouds whose apps a table has.
fn clouds(apps: &[Row]) -> SortedSet<&str> {
    apps.iter().filter_map(|it| it.text("source")).filter(|it| *it != "local").collect()
}

#[cfg(test)]
mod tests;
