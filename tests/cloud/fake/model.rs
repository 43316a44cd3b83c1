//! Fleets, releases, devices and keys, as the cloud keeps them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::token::Signer;

/// Everything that the cloud knows.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) fleets: Vec<Fleet>,
    pub(super) devices: Vec<Device>,
    pub(super) keys: Vec<ProvisioningKey>,
    /// The session token of the user.
    pub(super) user: String,
    pub(super) signer: Signer,
    /// The name by which a registry knows the cloud.
    pub(super) issuer: String,
    last_id: u64,
    seed: u16,
}

#[derive(Debug)]
pub(super) struct Fleet {
    pub(super) id: u64,
    pub(super) uuid: String,
    pub(super) name: String,
    pub(super) releases: Vec<Release>,
    pub(super) variables: Variables,
    pub(super) config: Variables,
}

pub(super) type Variables = BTreeMap<String, String>;

#[derive(Debug)]
pub(super) struct Release {
    pub(super) id: u64,
    pub(super) commit: String,
    pub(super) services: Vec<Service>,
    pub(super) volumes: Vec<String>,
}

/// A service of a release.
#[derive(Debug, Clone, Default)]
pub(crate) struct Service {
    pub(crate) name: String,
    /// `HOST/v2/HEX@sha256:HEX`.
    pub(crate) image: String,
    pub(crate) composition: Map<String, Value>,
    pub(crate) labels: Map<String, Value>,
    pub(crate) variables: BTreeMap<String, String>,
    /// Filled in when it is released.
    pub(crate) id: u64,
    /// Filled in when it is released.
    pub(crate) image_id: u64,
}

#[derive(Debug)]
pub(super) struct ProvisioningKey {
    pub(super) key: String,
    pub(super) fleet: u64,
    pub(super) expires: Option<SystemTime>,
}

/// A device.
#[derive(Debug)]
pub(super) struct Device {
    pub(super) id: u64,
    pub(super) uuid: String,
    pub(super) key: String,
    pub(super) fleet: u64,
    pub(super) name: String,
    pub(super) frozen: bool,
    /// Where its API is, while it is in the VPN.
    pub(super) address: Option<SocketAddr>,
    /// The release that it is pinned on.
    pub(super) pinned: Option<u64>,
    pub(super) variables: Variables,
    pub(super) config: Variables,
    pub(super) tags: Variables,
    /// What it reported of itself.
    pub(super) fields: Map<String, Value>,
    /// What it reported of apps, by their uuid.
    pub(super) apps: Map<String, Value>,
    pub(super) logs: Vec<LogLine>,
    /// When it polled with its key.
    pub(super) polled: Vec<Instant>,
    /// The body of the last target that was served, and of the one before that differs.
    pub(super) targets: [Option<String>; 2],
}

/// A line of a device's log, as the cloud keeps it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LogLine {
    /// When the cloud took it.
    pub(crate) created_at: u64,
    /// When the device says it was written. 0 for what is no whole number.
    pub(crate) timestamp: u64,
    pub(crate) is_system: bool,
    pub(crate) is_stderr: bool,
    pub(crate) service: Option<u64>,
    pub(crate) message: String,
}

impl Fleet {
    pub(super) fn has_release(&self, id: u64) -> bool {
        self.releases.iter().any(|it| it.id == id)
    }
}

impl Model {
    pub(super) fn new(seed: u16) -> Self {
        let (user, signer, issuer) = (String::new(), Signer::new(), format!("127.0.0.1:{seed}"));
        let (fleets, devices, keys) = (Vec::new(), Vec::new(), Vec::new());
        let mut this = Self { fleets, devices, keys, user, signer, issuer, last_id: 0, seed };
        this.user = this.hex("user");
        this
    }

    /// A number that no other thing has.
    pub(super) fn id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// 32 hex digits that no other thing has.
    pub(super) fn hex(&mut self, what: &str) -> String {
        let id = self.id();
        hex::encode(&Sha256::digest(format!("{what} {id} {}", self.seed))[..16])
    }

    pub(super) fn fleet(&self, id: u64) -> Option<&Fleet> {
        self.fleets.iter().find(|it| it.id == id)
    }

    pub(super) fn device(&self, uuid: &str) -> Option<&Device> {
        self.devices.iter().find(|it| it.uuid == uuid)
    }

    pub(super) fn device_mut(&mut self, uuid: &str) -> Option<&mut Device> {
        self.devices.iter_mut().find(|it| it.uuid == uuid)
    }

    /// A device that may use the cloud: not a frozen one.
    pub(super) fn active(&self, uuid: &str) -> Option<&Device> {
        self.device(uuid).filter(|it| !it.frozen)
    }

    /// Whether this is a device's key, or a provisioning key that has not expired, or the user's.
    pub(super) fn knows(&self, key: &str) -> bool {
        key == self.user || self.devices.iter().any(|it| it.key == key) || self.provisioned_by(key).is_some()
    }

    /// The fleet that a provisioning key is for, until it expires.
    pub(super) fn provisioned_by(&self, key: &str) -> Option<u64> {
        let valid = |it: &&ProvisioningKey| it.key == key && it.expires.is_none_or(|at| at > now());
        self.keys.iter().find(valid).map(|it| it.fleet)
    }

    /// The release that a device is to run.
    pub(super) fn release_of(&self, device: &Device) -> Option<&Release> {
        let releases = &self.fleet(device.fleet)?.releases;
        device.pinned.map_or_else(|| releases.last(), |id| releases.iter().find(|it| it.id == id))
    }
}

/// The wall clock.
#[expect(clippy::disallowed_methods, reason = "what the cloud writes down is real time, as a device's lines have it")]
pub(super) fn now() -> SystemTime {
    SystemTime::now()
}

/// Milliseconds since 1970.
pub(super) fn milliseconds() -> u64 {
    let since = now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
