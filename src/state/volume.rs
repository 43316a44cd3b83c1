//! Named volumes of an app.

use std::collections::BTreeMap;

use crate::state::AppId;

/// What a volume should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeConfig {
    /// The engine's driver.
    pub driver: String,
    /// Options for the driver.
    pub driver_opts: BTreeMap<String, String>,
    /// Labels of the owner.
    pub labels: BTreeMap<String, String>,
}

/// A volume of ours on the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Its name on the engine, `<app id>_<name>`.
    pub name: String,
    /// The app it belongs to.
    pub app: AppId,
    /// What it is.
    pub config: VolumeConfig,
}

impl Default for VolumeConfig {
    fn default() -> Self {
        Self { driver: "local".to_owned(), driver_opts: BTreeMap::new(), labels: BTreeMap::new() }
    }
}
