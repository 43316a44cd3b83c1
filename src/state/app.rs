//! An app: the services, networks and volumes that one release brings.

use std::collections::BTreeMap;
use std::fmt;

use crate::state::{NetworkConfig, Service, VolumeConfig};

/// The number the cloud gave an app. Container labels and lock directories carry it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AppId(pub u32);

/// The target state of one app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct App {
    /// Its number.
    pub id: AppId,
    /// Its unique name in the cloud; where a document has none, the number in digits.
    pub uuid: String,
    /// Its human-readable name.
    pub name: String,
    /// The commit of the wanted release. `None`: the app stays, and runs nothing.
    pub commit: Option<String>,
    /// The number of the wanted release; 0 where the document has none.
    pub release_id: u32,
    /// Services of the release, by name.
    pub services: BTreeMap<String, Service>,
    /// Networks of the release by their name in the document; `default` need not be among them.
    pub networks: BTreeMap<String, NetworkConfig>,
    /// Volumes of the release by their name in the document.
    pub volumes: BTreeMap<String, VolumeConfig>,
    /// The document has the shape of 2017: one container, host network, privileged, `/data`.
    pub shape: Generation,
}

/// The generation of documents that an app came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Generation {
    /// Multi-container: v2 and v3 documents.
    Services,
    /// One container per app, run as supervisors of 2017 did.
    Single,
}

impl fmt::Display for AppId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
