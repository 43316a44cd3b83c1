//! An app: the services, networks and volumes that one release brings.

use sha2::{Digest, Sha256};

use crate::sorted::{SortedMap, SortedSet};
use crate::state::canonical_form::CanonicalForm;
use crate::state::contract::Contract;
use crate::state::{AppId, NetworkConfig, Service, VolumeConfig};

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
    pub services: SortedMap<String, Service>,
    /// Networks of the release by their name in the document; `default` need not be among them.
    pub networks: SortedMap<String, NetworkConfig>,
    /// Volumes of the release by their name in the document.
    pub volumes: SortedMap<String, VolumeConfig>,
    /// Volumes whose data a rollback puts back too. No part of their configuration: nothing is recreated for a change.
    pub snapshots: SortedSet<String>,
    /// What the release and its services require of the device.
    pub contracts: Vec<Contract>,
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
    /// A compose file: what `docker compose` would run.
    Compose,
}

impl App {
    /// A hash of what the release is: its commit, and what its services are created from. It distinguishes a release that
    /// failed from one that is yet to be tried.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let mut hasher = Sha256::new();
        hasher.update(self.commit.canonical_text());
        for (name, service) in &self.services {
            hasher.update(name.canonical_text());
            hasher.update(service.config.hash(service.image.as_str()).0);
            hasher.update(service.running.canonical_text());
        }
        hex::encode(hasher.finalize())
    }

    /// The name on the engine that a network of the app is created with.
    #[must_use]
    pub fn engine_network_name(&self, name: &str) -> String {
        format!("{}_{name}", self.uuid)
    }

    /// Every name on the engine that a network of the app may have: the one it is created with, and that of older supervisors.
    #[must_use]
    pub fn engine_network_names(&self, name: &str) -> [String; 2] {
        [self.engine_network_name(name), format!("{}_{name}", self.id)]
    }

    /// The name on the engine of the trial network that tests the driver of a network of the app.
    #[must_use]
    pub fn trial_network_name(&self, name: &str) -> String {
        format!("new_{}", self.engine_network_name(name))
    }

    /// Whether a network of this name on the engine is one of the app's, or tests the driver of one.
    #[must_use]
    pub fn has_engine_network(&self, engine_name: &str) -> bool {
        let is_of = |name: &String| {
            self.engine_network_names(name).iter().any(|it| it == engine_name) || self.trial_network_name(name) == engine_name
        };
        self.networks.keys().any(is_of)
    }
}
